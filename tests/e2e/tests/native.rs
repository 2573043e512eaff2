//! The case files against the core: the whole behaviour in seconds, without Envoy.

use tollgate_e2e::case::CaseFile;
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
