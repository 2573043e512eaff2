//! TLS at the edge of the bundled gateway, and mutual TLS to what is behind it.

mod edge;
mod proof;
mod rotation;
mod script;
mod upstream;

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tollgate_e2e::issuer::{Issuer, TokenSpec};
use tollgate_e2e::tls::Pair;

/// A token that every route takes.
fn bearer() -> String {
    let claims = json!({"scope": "orders.read"}).as_object().cloned().expect("an object");
    let spec = TokenSpec {
        claims,
        ..TokenSpec::default()
    };
    format!("Bearer {}", Issuer::shared().token(&spec))
}

/// Runs a shell's lines in a folder; `openssl` is there.
fn shell(folder: &Path, script: &str) -> String {
    let output = Command::new("bash").args(["-ec", script]).current_dir(folder).output();
    let output = output.expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{script}\n{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// A certificate by an authority that lies in `folder` as `ca.crt` and `ca.key`.
fn issue(folder: &Path, name: &str, subject_alternative_name: &str, days: i32) -> Pair {
    shell(
        folder,
        &format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -days 1 \
             -keyout {name}.key -out self-{name}.crt
             openssl req -new -key {name}.key -subj /CN={name} -out {name}.csr
             echo 'basicConstraints=CA:FALSE
                   subjectAltName={subject_alternative_name}' >{name}.ext
             openssl x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -set_serial 7 -days {days} -extfile {name}.ext \
             -out {name}.crt"
        ),
    );
    Pair {
        certificate: folder.join(format!("{name}.crt")),
        key: folder.join(format!("{name}.key")),
    }
}

/// Another authority, in the folder as `ca.crt` and `ca.key`.
fn another_authority(folder: &Path) {
    shell(
        folder,
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=other -days 1 \
         -keyout ca.key -out ca.crt",
    );
}
