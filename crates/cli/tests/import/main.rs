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

/// A gateway with a group, a plugin about that, and two consumers with keys: what stands at ada, at the group and beside both.
fn members(plugin: &str, ids: [&str; 2], [ada, group, beside]: [&str; 3]) -> (String, String) {
    let [ada_id, group_id] = ids;
    let kong = format!(
        "_format_version: '3.0'
services: [ {{ name: a, url: http://a, routes: [ {{ name: a, paths: [/a], plugins: [ {{ name: key-auth }} ] }} ] }} ]
consumers:
- {{ {ada_id} username: ada, custom_id: '42', {ada} keyauth_credentials: [ {{ key: a-key-of-adas-that-is-long }} ] }}
- {{ id: 5bcbd3a7-030b-4310-bd1d-2721ff85d236, username: bob, keyauth_credentials: [ {{ key: a-key-of-bobs-that-is-long }} ] }}
consumer_groups: [ {{ {group_id} name: gold, {group} }} ]
plugins: [ {{ {plugin}, consumer_group: gold }} ]
{beside}
"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kong.yaml");
    fs::write(&file, kong).unwrap();
    let output = folder.path().join("gateway");
    let run = import(&file.display().to_string(), &output, &[]);
    let policy = fs::read_to_string(output.join("policies/gateway.yaml"));
    (
        policy.unwrap_or_else(|error| panic!("{error}: {}", stderr(&run))),
        stderr(&run),
    )
}

#[test]
fn a_plugin_about_a_group_holds_for_its_members_wherever_and_however_they_are_named() {
    let (consumer, group) = (
        "id: 3c1f0bc0-5a7e-4d2a-8d11-000000000001,",
        "id: 3c1f0bc0-5a7e-4d2a-8d11-000000000002,",
    );
    let cases = [
        ["groups: [gold],", "", ""],
        ["groups: [ { name: gold } ],", "", ""],
        ["groups: [ { id: 3c1f0bc0-5a7e-4d2a-8d11-000000000002 } ],", "", ""],
        ["consumer_group_consumers: [ { consumer_group: gold } ],", "", ""],
        ["", "consumers: [ada]", ""],
        ["", "consumers: [ { username: ada } ]", ""],
        ["", "consumers: [ { custom_id: '42' } ]", ""],
        ["", "consumers: [ { id: 3c1f0bc0-5a7e-4d2a-8d11-000000000001 } ]", ""],
        ["", "consumer_group_consumers: [ { consumer: ada } ]", ""],
        [
            "",
            "",
            "consumer_group_consumers: [ { consumer: ada, consumer_group: gold } ]",
        ],
        [
            "",
            "",
            "consumer_group_consumers: [ { consumer: { custom_id: '42' }, consumer_group: { id: 3c1f0bc0-5a7e-4d2a-8d11-000000000002 } } ]",
        ],
    ];
    for case in cases {
        let plugin = "name: request-termination";
        let (policy, told) = members(plugin, [consumer, group], case);
        let has = |policy: &str, name: &str| policy.contains(&format!("user_id: {name}\n"));
        assert!(!has(&policy, "ada") && has(&policy, "bob"), "{case:?}\n{policy}");
        assert!(
            !told.contains("may mean one") && !told.contains("consumer_group_consumers"),
            "{told}"
        );
        let plugin = "name: rate-limiting-advanced, config: { limit: [9], window_size: [60] }";
        let (policy, _) = members(plugin, [consumer, group], case);
        assert_eq!(policy.matches("plan: gold\n").count(), 1, "{case:?}\n{policy}");
    }
    let beside = "consumer_group_plugins: [ { name: request-termination, consumer_group: gold } ]";
    let (policy, _) = members("name: cors", [consumer, group], ["groups: [gold],", "", beside]);
    assert!(
        !policy.contains("user_id: ada\n") && policy.contains("user_id: bob\n"),
        "{policy}"
    );
}

#[test]
fn a_member_by_an_id_that_is_not_in_the_file_may_be_anyone_without_an_id() {
    let id = "9e107d9d-372b-4bb6-826b-000000000009";
    let by_id = format!("consumers: [ {{ id: {id} }} ]");
    let of_group = format!("groups: [ {{ id: {id} }} ],");
    let someone_else = "consumers: [ { username: eve } ]";
    let cases = [
        (
            ["", "id: 3c1f0bc0-5a7e-4d2a-8d11-000000000002,"],
            ["", &by_id, ""],
            false,
        ),
        (
            ["id: 3c1f0bc0-5a7e-4d2a-8d11-000000000001,", ""],
            [&of_group, "", ""],
            false,
        ),
        (
            ["id: 3c1f0bc0-5a7e-4d2a-8d11-000000000001,", ""],
            ["", &by_id, ""],
            true,
        ),
        (["", ""], ["", someone_else, ""], true),
        (["", ""], ["", "consumers: [ { username: $ADA } ]", ""], false),
    ];
    for (ids, case, is_in) in cases {
        let (policy, told) = members("name: request-termination", ids, case);
        assert_eq!(policy.contains("user_id: ada\n"), is_in, "{case:?}\n{policy}");
        assert_eq!(
            told.contains("may mean one whose id is not in it"),
            !is_in,
            "{case:?}\n{told}"
        );
    }
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
