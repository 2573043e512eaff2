//! The case files against the core: the whole behaviour in seconds, without Envoy.

use tollgate_e2e::case::CaseFile;
use tollgate_e2e::native;

#[test]
fn every_case_holds_natively() {
    let mut count = 0;
    let mut failures = Vec::new();
    for (path, file) in CaseFile::all() {
        if !file.steps.is_empty() {
            continue;
        }
        let plan = native::plan(&file);
        for case in &file.requests {
            count += 1;
            let name = path.file_stem().unwrap_or_default().display();
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
    for (path, file) in CaseFile::all() {
        if file.steps.is_empty() {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().display().to_string();
        let differences = native::run_steps(&file);
        failures.extend(differences.iter().map(|difference| format!("{name}: {difference}")));
        println!("{name}: {} steps", file.steps.len());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
