//! Runs cases against the core, without Envoy.

use std::rc::Rc;

use tollgate::config::{Environment, decode};
use tollgate::effect::{Effect, Reply};
use tollgate::event::Event;
use tollgate::exchange::Exchange;
use tollgate::headers::Headers;
use tollgate::plan::Plan;
use tollgate::world::simulated::Simulated;

use crate::case::{Case, CaseFile};
use crate::issuer::now;
use crate::raw::{from_latin1, latin1};

/// The plan of a case file.
pub fn plan(file: &CaseFile) -> Rc<Plan> {
    let config = decode(file.config.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let environment: Environment = file.environment.clone();
    Rc::new(Plan::compile(&config, &environment).unwrap_or_else(|errors| panic!("{errors:#?}")))
}

/// Runs one case; what differs from what it expects, if anything.
pub fn run(plan: &Rc<Plan>, case: &Case) -> Vec<String> {
    if case.expect.by_envoy.is_some() {
        return Vec::new();
    }
    let prepared = case.prepare();
    let headers: Vec<(String, Vec<u8>)> = [
        (":method", &prepared.method),
        (":authority", &prepared.host),
        (":path", &prepared.path),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), latin1(value)))
    .chain(
        prepared
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), latin1(value))),
    )
    .collect();
    let map: Headers = headers.iter().map(|(name, value)| (name, value)).collect();
    let route_name = prepared
        .path
        .strip_prefix("/by-name/")
        .and_then(|rest| rest.split(['/', '?']).next());
    let event = Event::RequestHeaders {
        headers: &map,
        route_name,
        may_wait: false,
    };
    // Without cryptography of its own: the core verifies every signature itself.
    let world = Simulated::default();
    world.now.set(now() * 1000);
    plan.prepare([7; 16], &world.store);
    let effects = Exchange::new(Rc::clone(plan)).on(event, &world);
    match effects.last() {
        Some(Effect::Reply(reply)) => refused(case, reply, &effects),
        _ => passed(case, headers, &effects),
    }
}

fn refused(case: &Case, reply: &Reply, effects: &[Effect]) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, expected: &str, found: &str| {
        if expected != found {
            differences.push(format!("{what} is {found:?} instead of {expected:?}"));
        }
    };
    let expect = &case.expect;
    compare("status", &expect.status.to_string(), &reply.status.to_string());
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap_or_default();
    compare(
        "code",
        expect.code.as_deref().unwrap_or_default(),
        body["code"].as_str().unwrap_or(&reply.body),
    );
    for (name, expected) in &expect.headers {
        let found = reply
            .headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str());
        compare(name, expected.as_deref().unwrap_or("absent"), found.unwrap_or("absent"));
    }
    if let Some(reason) = &expect.reason {
        let logged = effects.iter().find_map(|effect| match effect {
            Effect::Log(_, message) => Some(message.as_str()),
            _ => None,
        });
        let found = logged.and_then(|message| message.split(['(', ')']).nth(1));
        compare("reason", reason, found.unwrap_or("absent"));
    }
    differences
}

fn passed(case: &Case, mut headers: Vec<(String, Vec<u8>)>, effects: &[Effect]) -> Vec<String> {
    let mut differences = Vec::new();
    if case.expect.status != 200 {
        return vec![format!("passes instead of {}", case.expect.status)];
    }
    for effect in effects {
        match effect {
            Effect::RemoveHeader(name) => headers.retain(|(key, _)| key.as_bytes() != name),
            Effect::SetHeader(name, value) => {
                headers.retain(|(key, _)| key != name);
                headers.push((name.clone(), value.clone()));
            }
            _ => {}
        }
    }
    let values = |name: &str| -> Vec<String> {
        let matching = headers.iter().filter(|(key, _)| key == name);
        matching.map(|(_, value)| from_latin1(value)).collect()
    };
    for (name, expected) in &case.expect.upstream {
        let found = values(name);
        if found != expected.iter().cloned().collect::<Vec<_>>() {
            differences.push(format!("the upstream's {name} is {found:?} instead of {expected:?}"));
        }
    }
    for (name, expected) in &case.expect.headers {
        let found = effects.iter().find_map(|effect| match effect {
            Effect::SetResponseHeader(own, value) if own == name => Some(value.as_str()),
            _ => None,
        });
        let expected = expected.as_deref();
        if found != expected {
            differences.push(format!("the response's {name} is {found:?} instead of {expected:?}"));
        }
    }
    if let Some(expected) = &case.expect.upstream_path {
        let found = values(":path");
        if found != [expected.clone()] {
            differences.push(format!("the upstream's path is {found:?} instead of {expected:?}"));
        }
    }
    differences
}
