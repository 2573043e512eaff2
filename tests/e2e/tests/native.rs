//! The case files against the core: the whole behaviour in seconds, without Envoy.

use std::process::Command;

use tollgate_e2e::case::{CaseFile, repository};
use tollgate_e2e::native;

#[test]
fn every_case_holds_natively() {
    let mut count = 0;
    let mut failures = Vec::new();
    for (name, file) in CaseFile::of_requests() {
        let plan = native::plan(&file);
        for case in &file.requests {
            count += 1;
            failures.extend(
                native::run(&plan, case)
                    .into_iter()
                    .map(|difference| format!("{name}: {}: {difference}", case.name)),
            );
        }
    }
    assert!(
        failures.is_empty(),
        "{} differences in {count} cases:\n{}",
        failures.len(),
        failures.join("\n")
    );
    println!("{count} cases");
}

#[test]
fn every_step_holds_natively() {
    let mut failures = Vec::new();
    for (name, file) in CaseFile::of_steps() {
        let differences = native::run_steps(&file);
        failures.extend(differences.iter().map(|difference| format!("{name}: {difference}")));
        println!("{name}: {} steps", file.steps.len());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn graphql_answers_as_the_reference_does() {
    let packages = repository().join("target/tools/graphql");
    let output = Command::new("python3")
        .arg(repository().join("tests/graphql/oracle.py"))
        .arg(env!("CARGO_BIN_EXE_graphql"))
        .arg(repository().join("tests/graphql/config.yaml"))
        .args([OPERATIONS, "1"])
        .env("PYTHONPATH", packages)
        .output()
        .expect("python3 runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.ends_with("0 differences\n"),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{told}");
}

const OPERATIONS: &str = "20000";
