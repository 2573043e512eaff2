//! `tollgate import` on whole files: what it says and what it makes stand beside each. `UPDATE_IMPORT=1` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

#[test]
fn a_file_of_kong_becomes_these_files_and_what_is_left_out_is_named() {
    let cases = [
        ("document", &["--issuer", "issuer.yaml"][..], 0),
        ("placeholder", &[], 2),
        ("consumers", &[], 2),
    ];
    for (name, options, status) in cases {
        let output = env::temp_dir().join(format!("tollgate-import-{name}-{}", std::process::id()));
        let file = if name == "placeholder" { "document" } else { name };
        let run = import(&format!("{file}.yaml"), &output, options);
        assert_eq!(run.status.code(), Some(status), "{name}: {}", stderr(&run));
        let folder = output.display().to_string();
        let mut made = files(&output);
        made.insert("stderr.txt".into(), stderr(&run).replace(&folder, "tollgate"));
        made.insert("stdout.txt".into(), stdout(&run).replace(&folder, "tollgate"));
        fs::remove_dir_all(&output).unwrap();
        let expected = root().join("expected").join(name);
        if env::var_os("UPDATE_IMPORT").is_some() {
            let _ = fs::remove_dir_all(&expected);
            for (path, text) in &made {
                let path = expected.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        let told = files(&expected);
        assert_eq!(
            made.keys().collect::<Vec<_>>(),
            told.keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (path, text) in &made {
            assert_eq!(text, &told[path], "{name}/{path}");
        }
    }
}

#[test]
fn nothing_that_is_there_is_lost_and_secrets_are_for_their_owner() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("gateway");
    assert_eq!(import("consumers.yaml", &output, &[]).status.code(), Some(2));
    let secrets = output.join("secrets.env");
    assert_eq!(fs::metadata(&secrets).unwrap().permissions().mode() & 0o777, 0o600);
    let policy = output.join("policies/billing.yaml");
    fs::write(&policy, "mine").unwrap();
    let again = import("consumers.yaml", &output, &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        stderr(&again).contains(" is there already: name another folder by --output, or say --force"),
        "{}",
        stderr(&again)
    );
    assert_eq!(fs::read_to_string(&policy).unwrap(), "mine");
    assert_eq!(import("consumers.yaml", &output, &["--force"]).status.code(), Some(2));
    assert!(
        fs::read_to_string(&policy)
            .unwrap()
            .starts_with("# The policy of Kong's service billing.\n")
    );
}

#[test]
fn what_is_no_configuration_of_kong_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let cases = [
        (
            write("other.yaml", "apiVersion: v1\nkind: Service\n"),
            ":1:1: is no declarative configuration of Kong",
        ),
        (write("broken.yaml", "services: [\n"), "broken.yaml:"),
        (
            write("two.yaml", "_format_version: '3.0'\nservices: []\n---\na: b\n"),
            ":4:1: is a second document",
        ),
        ("no-such-file.yaml".into(), "error: no-such-file.yaml: "),
    ];
    for (file, message) in cases {
        let output = folder.path().join("gateway");
        let run = import(&file, &output, &[]);
        assert_eq!((run.status.code(), output.exists()), (Some(1), false), "{file}");
        assert!(stderr(&run).contains(message), "{file}: {}", stderr(&run));
    }
    let no_issuer = write("no-issuer.yaml", "name: main\n");
    let run = import(
        "document.yaml",
        &folder.path().join("gateway"),
        &["--issuer", &no_issuer],
    );
    assert_eq!(run.status.code(), Some(2));
    assert!(
        stderr(&run).contains("no-issuer.yaml:1:1: is no issuer"),
        "{}",
        stderr(&run)
    );
}

#[test]
fn a_secret_that_the_gateway_would_refuse_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("gateway");
    let run = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .current_dir(root())
        .env("TOLLGATE_KEY_SECRET", "short")
        .args(["import", "kong", "consumers.yaml", "--output"])
        .arg(&output)
        .output()
        .unwrap();
    assert_eq!((run.status.code(), output.exists()), (Some(1), false));
    assert!(
        stderr(&run).contains("`TOLLGATE_KEY_SECRET` has 5 bytes"),
        "{}",
        stderr(&run)
    );
}

#[test]
fn the_documentation_shows_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["document.yaml", "issuer.yaml"].map(|name| root().join(name));
    fs::copy(&files[0], folder.path().join("kong.yaml")).unwrap();
    fs::copy(&files[1], folder.path().join("issuer.yaml")).unwrap();
    let document = fs::read_to_string(root().join("../../../../docs/KONG.md")).unwrap();
    let block = document
        .split("```console\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let (command, shown) = block.split_once('\n').unwrap();
    let words: Vec<_> = command.strip_prefix("$ tollgate ").unwrap().split(' ').collect();
    let run = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .current_dir(folder.path())
        .args(words)
        .output()
        .unwrap();
    assert_eq!(stdout(&run), shown, "{}", stderr(&run));
}

fn import(file: &str, output: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .current_dir(root())
        .env("TOLLGATE_KEY_SECRET", "a secret of the tests, which is long enough")
        .args(["import", "kong", file, "--output"])
        .arg(output)
        .args(options)
        .output()
        .unwrap()
}

/// Every file below a folder, by its path in it; none where there is no folder.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}
