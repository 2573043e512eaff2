//! `tollgate check` on files with mistakes: what it says stands beside each, line by line. And on everything here that is
//! good, it says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test may fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[test]
fn every_mistake_is_told_with_its_line_and_what_would_be_right() {
    let mut mistakes = 0;
    for expected in entries(&cases(), "txt") {
        let told = fs::read_to_string(&expected).unwrap();
        let name = expected.with_extension("");
        let files = if name.is_dir() {
            entries(&name, "yaml")
        } else {
            vec![name.with_extension("yaml")]
        };
        let output = check(&cases(), &files);
        assert_eq!(String::from_utf8_lossy(&output.stderr), told, "{}", expected.display());
        let errors = told.lines().filter(|line| !line.starts_with("warning: ")).count();
        assert_eq!(
            output.status.code(),
            Some(i32::from(errors > 0)),
            "{}",
            expected.display()
        );
        mistakes += told.lines().count();
    }
    assert!(mistakes >= 25, "only {mistakes} mistakes are tried");
}

#[test]
fn everything_that_is_shipped_is_good() {
    let mut together = entries(&root().join("envoy/policies"), "yaml");
    assert!(together.len() >= 2);
    together.push("envoy/envoy.yaml".into());
    good(&together);
    let mesh = entries(&root().join("envoy/istio"), "yaml");
    assert!(mesh.len() >= 4);
    good(&mesh);
    for file in entries(&root().join("envoy"), "yaml") {
        good(&[file]);
    }
}

#[test]
fn every_configuration_in_the_documentation_is_good() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("check");
    fs::create_dir_all(&folder).unwrap();
    let mut count = 0;
    let mut documents = entries(&root().join("docs"), "md");
    documents.push("README.md".into());
    for document in documents {
        let text = fs::read_to_string(root().join(&document)).unwrap();
        let blocks = text
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next());
        for block in blocks.filter(|block| block.contains("version: 1")) {
            let file = folder.join(format!("{count}.yaml"));
            fs::write(&file, block).unwrap();
            good(&[file]);
            count += 1;
        }
    }
    assert!(count >= 2, "only {count} configurations found");
}

#[test]
fn warnings_fail_where_that_is_asked_for() {
    let file = [cases().join("warnings.yaml")];
    assert_eq!(check(&root(), &file).status.code(), Some(0));
    let denied = tollgate()
        .args(["check", "--deny-warnings"])
        .args(file)
        .output()
        .unwrap();
    assert_eq!(denied.status.code(), Some(1));
}

#[test]
fn what_cannot_be_read_is_not_called_a_mistake() {
    let output = check(&root(), &["no-such-file.yaml".into()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: no-such-file.yaml: "));
    assert_eq!(tollgate().arg("check").output().unwrap().status.code(), Some(2));
}

#[test]
fn the_variables_of_the_vm_are_named_and_not_read() {
    let output = check(&root(), &entries(&root().join("envoy/policies"), "yaml"));
    let told = String::from_utf8_lossy(&output.stdout);
    let last = "the VM needs in its environment: TOLLGATE_KEYS_LOOKUP_TOKEN, TOLLGATE_KEY_SECRET\n";
    assert!(told.ends_with(last), "{told}");
}

fn good(files: &[PathBuf]) {
    let output = check(&root(), files);
    let told = String::from_utf8_lossy(&output.stderr);
    let is_elsewhere = |line: &str| line.starts_with("warning: ") && line.contains("comes from elsewhere");
    assert!(
        output.status.success() && told.lines().all(is_elsewhere),
        "{files:?}\n{told}"
    );
}

fn check(folder: &Path, files: &[PathBuf]) -> Output {
    let files = files.iter().map(|file| file.strip_prefix(folder).unwrap_or(file));
    tollgate()
        .current_dir(folder)
        .arg("check")
        .args(files)
        .output()
        .unwrap()
}

/// With nothing in its environment.
fn tollgate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_clear().current_dir(root());
    command
}

fn entries(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    paths
}

/// The files with mistakes.
fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check")
}

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs the command in the repository's root.
fn ran(arguments: &[&str]) -> Output {
    tollgate().current_dir(root()).args(arguments).output().unwrap()
}

#[test]
fn schemas_are_printed_for_the_tools_of_clients() {
    let file = "tests/graphql/config.yaml";
    let printed = ran(&["graphql", "introspect", file, "--sdl"]);
    assert!(printed.status.success());
    let sdl = String::from_utf8(printed.stdout).unwrap();
    assert!(
        sdl.contains("type User implements Node & Named {") && sdl.contains("input By @oneOf {"),
        "{sdl}"
    );
    let answer = ran(&["graphql", "introspect", file, "--rule", "/"]);
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    let types = answer["data"]["__schema"]["types"].as_array().unwrap();
    let user = types.iter().find(|own| own["name"] == "User").unwrap();
    assert_eq!(user["fields"][0]["type"]["ofType"]["name"], "ID");
    assert_eq!(answer["data"]["__schema"]["mutationType"]["name"], "Mutation");
    for (arguments, told) in [
        (&[file, "--rule", "x"][..], "no rule `x` has a `graphql`; there is /"),
        (&["crates/cli/tests/check/warnings.yaml"], "no rule has a `graphql`"),
        (
            &["crates/cli/tests/check/graphql.yaml"],
            "graphql.yaml:23:7: routes[1].graphql.schema: line 1, column 17: cannot find type",
        ),
    ] {
        let output = ran(&[&["graphql", "introspect"], arguments].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && error.contains(told),
            "{arguments:?}: {error}"
        );
    }
}

#[test]
fn operations_of_clients_are_built_in() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("operations");
    fs::create_dir_all(&folder).unwrap();
    let (output, manifest) = (folder.join("tollgate.yaml"), folder.join("operations.json"));
    let files = entries(&root().join("envoy/policies"), "yaml");
    let build = |rule: &str, text: &str| {
        fs::write(&manifest, text).unwrap();
        let operations = format!("{rule}={}", manifest.display());
        let files: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
        let options = ["--operations", &operations, "--output", output.to_str().unwrap()];
        let built = ran(&[&["build"], files.as_slice(), &options].concat());
        String::from_utf8(built.stderr).unwrap()
    };
    let query = "query Names { dashboard { profile { name } } }";
    let hash = "d5a3d7a2a52e0d3c2dd3ef20b5c0b5c0f9a2f0f1f6f5d5b8b3f0f7d2a1c4e6b8";
    let apollo = format!(
        r#"{{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{{"id": "n1", "name": "Names", "type": "query", "body": "{query}"}}]}}"#
    );
    let told = build("graphql", &apollo);
    assert_eq!(told, "");
    assert!(fs::read_to_string(&output).unwrap().contains("query Names"));
    let relay = format!(r#"{{"{hash}": "{query}", "b": "{{ dashboard {{ nothing }} }}"}}"#);
    let told = build("graphql", &relay);
    assert!(
        told.contains("operations.json:1:2: ") && told.contains("is not the hash of the document, sha256:"),
        "{told}"
    );
    assert!(
        told.contains("line 1, column 15: type `Dashboard` does not have a field `nothing`"),
        "{told}"
    );
    assert!(build("users", &apollo).contains("no rule `users` has a `graphql`"));
    assert!(build("graphql", "[]").contains("has no operations"));
}
