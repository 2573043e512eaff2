//! The same tokens through Tollgate and through Envoy's own `jwt_authn`, in one Envoy: who accepts what.

use std::env;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tollgate_e2e::bootstrap::{Bare, jwt_authn, listener, to_upstream};
use tollgate_e2e::case::{CaseFile, repository};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::issuer::Issuer;
use tollgate_e2e::raw::{self, request};

#[test]
fn ours_accepts_every_good_token_and_no_other() {
    let mut rows = Vec::new();
    let mut version = String::new();
    for (name, file) in CaseFile::of_requests() {
        if ["algorithms", "tokens"].contains(&name.as_str()) {
            let (some, through) = compare(&file);
            rows.extend(some);
            version = through;
        }
    }
    let wrong: Vec<_> = rows
        .iter()
        .filter(|row| row.ours != row.good)
        .map(|row| row.name.as_str())
        .collect();
    assert!(wrong.is_empty(), "judged wrongly: {wrong:?}");
    let good = rows.iter().filter(|row| row.good).count();
    let native = |good: bool| rows.iter().filter(|row| row.good == good && row.native != good).count();
    let summary = format!(
        "{} tokens, {good} of them good. Tollgate accepts these and no other. `jwt_authn` refuses {} of the good ones and\naccepts {} of the others.\n\n",
        rows.len(),
        native(true),
        native(false),
    );
    let verdict = |accepted: bool| if accepted { "accepts" } else { "refuses" };
    let table = rows.iter().fold(
        summary + "| token | good | Tollgate | jwt_authn |\n|---|---|---|---|\n",
        |table, row| {
            let mark = if row.native == row.good { "" } else { " (!)" };
            let good = if row.good { "yes" } else { "no" };
            format!(
                "{table}| {} | {good} | {} | {}{mark} |\n",
                row.name,
                verdict(row.ours),
                verdict(row.native)
            )
        },
    );
    println!("{table}");
    hold(&table, &version);
}

struct Row {
    name: String,
    good: bool,
    ours: bool,
    native: bool,
}

/// What both make of each token, and which Envoy that is.
fn compare(file: &CaseFile) -> (Vec<Row>, String) {
    let secret = URL_SAFE_NO_PAD.encode(Issuer::shared().secret());
    let shared = json!({"keys": [{"kty": "oct", "k": secret, "kid": "hmac"}]});
    let issuers: [(&str, &[&str], _); 2] = [
        ("https://issuer.example", &["api", "web"], Issuer::shared().jwks()),
        ("https://shared.example", &["api"], shared),
    ];
    let mut bare = Bare::new(file.config.clone(), &Echo::start("upstream"));
    bare.environment = file.environment.clone();
    bare.listeners = vec![listener(
        "native",
        vec![jwt_authn(&issuers, false)],
        vec![to_upstream()],
    )];
    let envoy = Envoy::start(&bare.bootstrap());
    let native = envoy.listener(1);
    let accepted = |address, bytes: &[u8]| match raw::send(address, bytes).expect("an answer").status {
        200 => true,
        // What jwt_authn says to a wrong audience; to values that fit into no header, the router says 503.
        401 | 403 | 431 | 503 => false,
        other => panic!("{other}"),
    };
    let mut rows = Vec::new();
    // Where a case puts its token elsewhere, the filters are not asked the same.
    for case in file
        .requests
        .iter()
        .filter(|case| case.token.is_some() && case.headers.is_empty())
    {
        let prepared = case.prepare();
        let authorization = prepared
            .headers
            .iter()
            .find(|(name, _)| name == "authorization")
            .map(|(_, value)| value.as_str());
        let bytes = request(
            "GET",
            "/",
            &[("host", "a"), ("authorization", authorization.expect("a token"))],
            b"",
        );
        rows.push(Row {
            name: case.name.clone(),
            good: case.expect.status == 200,
            ours: accepted(envoy.address(), &bytes),
            native: accepted(native, &bytes),
        });
    }
    envoy.assert_no_vm_died();
    let version = envoy.admin("/server_info").json()["version"]
        .as_str()
        .expect("a version")
        .to_owned();
    (rows, version)
}

/// The table in the documentation is of the default Envoy.
fn hold(table: &str, version: &str) {
    let versions = fs::read_to_string(repository().join("envoy/versions.txt")).expect("envoy/versions.txt");
    let default = versions
        .lines()
        .find(|line| !line.starts_with('#'))
        .and_then(|line| line.split(' ').next())
        .expect("a version");
    if !version.contains(&format!("/{default}/")) {
        return;
    }
    let path = repository().join("docs/COMPARISON.md");
    let found = fs::read_to_string(&path).expect("docs/COMPARISON.md");
    let (before, rest) = found.split_once("<!-- tokens -->\n").expect("a place for the table");
    let (part, after) = rest.split_once("<!-- end -->").expect("an end of the table");
    if part != table && env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}<!-- tokens -->\n{table}<!-- end -->{after}")).expect("docs/COMPARISON.md");
    } else {
        assert_eq!(
            part, table,
            "docs/COMPARISON.md is another; UPDATE_DOCS=1 writes it anew"
        );
    }
}
