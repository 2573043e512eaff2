//! `tollgate import` on whole files: what it says and what it makes stand beside each. `UPDATE_IMPORT=1` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod members;

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

#[test]
fn no_issuer_takes_tokens_that_live_longer_than_kongs_shortest_bound() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let service = |name: &str, config: &str| {
        let plugin = format!("{{ name: jwt, config: {{ uri_param_names: [], {config} }} }}");
        format!(
            "- {{ name: {name}, url: http://{name}, routes: [ {{ name: {name}, paths: [/{name}], plugins: [ {plugin} ] }} ] }}\n"
        )
    };
    let kong = [
        "_format_version: '3.0'\nservices:\n",
        &service("a", "maximum_expiration: 600.5"),
        &service("b", "maximum_expiration: 3600"),
        &service("c", "maximum_expiration: 0"),
        "consumers: [ { username: ada, jwt_secrets: [ { key: ada, secret: a secret of adas that is long enough } ] } ]\n",
    ];
    let kong = write("kong.yaml", &kong.concat());
    let issuer = |name: &str, more: &str| {
        format!(
            "- {{ name: {name}, issuer: 'https://{name}', audiences: [api], algorithms: [ES256], jwks: {{ remote: {{ cluster: {name}, discovery: true }} }}, {more} }}\n"
        )
    };
    let issuers = write(
        "issuers.yaml",
        &(issuer("main", "") + &issuer("strict", "max_lifetime: 5m")),
    );
    let output = folder.path().join("gateway");
    let run = import(&kong, &output, &["--issuer", &issuers, "--audience", "api"]);
    let policy = fs::read_to_string(output.join("policies/gateway.yaml")).unwrap();
    let lives: Vec<_> = policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("max_lifetime: "))
        .collect();
    assert_eq!(lives, ["600s", "5m", "600s"], "{policy}");
    let told = stderr(&run);
    let told: Vec<_> = told
        .lines()
        .filter(|line| line.contains("live 600 seconds at most"))
        .collect();
    assert_eq!(told.len(), 2, "{}", stderr(&run));
    for (line, place) in told.iter().zip(["kong.yaml:4:", "kong.yaml:5:"]) {
        assert!(line.starts_with("warning: ") && line.contains(place), "{line}");
    }
}

#[test]
fn no_token_of_ones_own_issuer_passes_where_kong_restricts_a_consumer() {
    let folder = tempfile::tempdir().unwrap();
    let kong = |plugins: &str| {
        format!(
            "_format_version: '3.0'
services: [ {{ name: a, url: http://a, routes: [ {{ name: a, paths: [/a], plugins: [ {{ name: jwt }} ] }} ] }} ]
consumers: [ {{ username: ada }} ]
consumer_groups: [ {{ name: gold }} ]
plugins: [ {plugins} ]
"
        )
    };
    let cases = [
        ("", true),
        ("{ name: request-termination, consumer: ada }", false),
        ("{ name: ip-restriction, consumer: who-is-in-kongs-database }", false),
        ("{ name: request-termination, consumer_group: gold }", false),
        ("{ name: rate-limiting, consumer: ada, config: { minute: 5 } }", true),
        ("{ name: correlation-id, consumer: ada }", true),
        ("{ name: request-termination, route: a }", true),
    ];
    for (index, (plugins, remains)) in cases.into_iter().enumerate() {
        let file = folder.path().join("kong.yaml");
        fs::write(&file, kong(plugins)).unwrap();
        let output = folder.path().join(index.to_string());
        let run = import(&file.display().to_string(), &output, &["--issuer", "issuer.yaml"]);
        let policy = fs::read_to_string(output.join("policies/gateway.yaml")).unwrap();
        let told = stderr(&run).contains("may be of the issuers of `--issuer`, which are left out");
        assert_eq!(
            (policy.contains("https://issuer.example"), told),
            (remains, !remains),
            "{plugins}: {}",
            stderr(&run)
        );
    }
}

#[test]
fn a_limit_that_is_not_carried_over_is_an_error_and_its_route_stays_open() {
    let cases = [
        (
            "rate-limiting",
            "minute: 5, limit_by: path",
            "a limit by `path` is not carried over",
        ),
        (
            "rate-limiting",
            "minute: 5, limit_by: header",
            "a limit by `header` is not carried over",
        ),
        (
            "rate-limiting",
            "minute: 5.5",
            "is no whole number of requests, and is left out",
        ),
        (
            "rate-limiting",
            "minute: many",
            "is no whole number of requests, and is left out",
        ),
        (
            "rate-limiting-advanced",
            "limit: [5], window_size: [0.5]",
            "is no whole number of requests in whole seconds, and is left out",
        ),
    ];
    for (plugin, config, message) in cases {
        let folder = tempfile::tempdir().unwrap();
        let (file, output) = (folder.path().join("kong.yaml"), folder.path().join("gateway"));
        let kong = format!(
            "_format_version: '3.0'
services: [ {{ name: a, url: http://a, routes: [ {{ name: a, paths: [/a] }} ], plugins: [ {{ name: {plugin}, config: {{ {config} }} }} ] }} ]
"
        );
        fs::write(&file, kong).unwrap();
        let run = import(&file.display().to_string(), &output, &[]);
        let told = stderr(&run);
        assert_eq!(run.status.code(), Some(2), "{config}: {told}");
        let is_error = |line: &str| !line.starts_with("warning: ") && line.contains(message);
        assert!(told.lines().any(is_error), "{config}: {told}");
        let policy = fs::read_to_string(output.join("policies/a.yaml")).unwrap();
        assert!(
            policy.contains("public: true") && !policy.contains("rate_limits"),
            "{policy}"
        );
    }
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
