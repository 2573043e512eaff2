//! The case files through a real Envoy: the shell translates every event and effect.

mod steps;

use tollgate_e2e::bootstrap::{Bare, buffer};
use tollgate_e2e::case::{Case, CaseFile};
use tollgate_e2e::echo::{Echo, Seen};
use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::raw::{Response, joined, request};

#[test]
fn every_case_holds_through_envoy() {
    let mut count = 0;
    let mut failures = Vec::new();
    for (name, file) in CaseFile::of_requests() {
        let echo = Echo::start("upstream");
        let has_bodies = file.requests.iter().any(|case| !case.body.is_empty());
        let gateway = Bare {
            environment: file.environment.clone(),
            route_names: file.route_names(),
            // So that a request whose body is refused does not reach the upstream with its headers.
            filters: if has_bodies { vec![buffer(1 << 20)] } else { vec![] },
            ..Bare::new(file.config.clone(), &echo)
        };
        let envoy = Envoy::start(&gateway.bootstrap());
        for case in &file.requests {
            count += 1;
            failures.extend(
                run(&envoy, &echo, case)
                    .into_iter()
                    .map(|difference| format!("{name}: {}: {difference}", case.name)),
            );
        }
        envoy.assert_no_vm_died();
        assert!(
            !envoy.log().contains("cannot verify signatures"),
            "the host did not verify:\n{}",
            envoy.log()
        );
    }
    assert!(
        failures.is_empty(),
        "{} differences in {count} cases:\n{}",
        failures.len(),
        failures.join("\n")
    );
    println!("{count} cases");
}

fn run(envoy: &Envoy, echo: &Echo, case: &Case) -> Vec<String> {
    let response = envoy.send(&bytes(case, &[]));
    compare(case, &response, &echo.take())
}

/// The request as it is sent, with these headers besides.
fn bytes(case: &Case, more: &[(&str, &str)]) -> Vec<u8> {
    let prepared = case.prepare();
    let own = prepared.headers.iter();
    let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
    let host = [("host", prepared.host.as_str())];
    let headers: Vec<_> = host.into_iter().chain(own).chain(more.iter().copied()).collect();
    request(&prepared.method, &prepared.path, &headers, case.body.as_bytes())
}

/// What differs from what a case expects: of the response, and of what the upstream has seen.
fn compare(case: &Case, response: &Response, seen: &[Seen]) -> Vec<String> {
    let expect = &case.expect;
    let mut differences = Vec::new();
    if response.status != expect.status {
        return vec![format!(
            "status {} instead of {}: {}",
            response.status,
            expect.status,
            response.text()
        )];
    }
    for (name, expected) in &expect.headers {
        let found = response.joined(name);
        if found != *expected {
            differences.push(format!("{name} is {found:?} instead of {expected:?}"));
        }
    }
    if let Some(expected) = &expect.body
        && *expected != response.text()
    {
        differences.push(format!("the body is {} instead of {expected}", response.text()));
    }
    if let Some(expected) = &expect.errors
        && *expected != response.json()["errors"]
    {
        differences.push(format!(
            "the errors are {} instead of {expected}",
            response.json()["errors"]
        ));
    }
    for (name, expected) in &expect.problem {
        let found = &response.json()[name];
        if found != expected {
            differences.push(format!("the problem's {name} is {found} instead of {expected}"));
        }
    }
    if expect.answered {
        if !seen.is_empty() {
            differences.push("an answered request reached the upstream".into());
        }
    } else if let Some(code) = &expect.code {
        differences.extend(refusal(code, response));
        if !seen.is_empty() {
            differences.push("a refused request reached the upstream".into());
        }
    } else if expect.by_envoy.is_none() {
        assert_eq!(seen.len(), 1, "{}: the upstream saw {seen:?}", case.name);
        differences.extend(arrival(case, &seen[0]));
    }
    differences
}

fn refusal(code: &str, response: &Response) -> Option<String> {
    if response.header("grpc-status").is_some() {
        return None;
    }
    let body = response.json();
    let whole = body["code"] == code
        && body["status"] == response.status
        && body["type"] == "about:blank"
        && body["request_id"].as_str().is_some_and(|id| id.len() == 36);
    (!whole).then(|| format!("the problem is {body} instead of {code}"))
}

fn arrival(case: &Case, seen: &Seen) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, expected) in &case.expect.upstream {
        let found = joined(seen.all(name).into_iter());
        if found != *expected {
            differences.push(format!("the upstream's {name} is {found:?} instead of {expected:?}"));
        }
    }
    if let Some(path) = &case.expect.upstream_path
        && *path != seen.path
    {
        differences.push(format!("the upstream's path is {:?} instead of {path:?}", seen.path));
    }
    if let Some(body) = &case.expect.upstream_body
        && *body != seen.body
    {
        differences.push(format!("the upstream's body is {} instead of {body}", seen.body));
    }
    if let Some(method) = &case.expect.upstream_method
        && *method != seen.method
    {
        differences.push(format!("the upstream's method is {} instead of {method}", seen.method));
    }
    differences
}
