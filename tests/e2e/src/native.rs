//! Runs cases against the core, without Envoy.

use std::rc::Rc;

use tollgate::config::{Environment, decode};
use tollgate::effect::{Effect, Reply};
use tollgate::event::Event;
use tollgate::exchange::Exchange;
use tollgate::headers::Headers;
use tollgate::plan::Plan;
use tollgate::world::simulated::Simulated;

use crate::case::{Case, CaseFile, responded};
use crate::issuer::now;
use crate::raw::{from_latin1, joined, latin1};

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
    if case.expect.code.is_some() {
        return vec![format!("passes instead of {}", case.expect.status)];
    }
    let answer = case.respond.iter().map(|line| responded(line));
    let answer = answer.map(|(name, value)| (name.to_owned(), latin1(value)));
    let mut answer: Vec<_> = [(":status".to_owned(), b"200".to_vec())]
        .into_iter()
        .chain(answer)
        .collect();
    if answer.iter().filter(|(name, _)| name == ":status").count() > 1 {
        answer.remove(0);
    }
    let set = |fields: &mut Vec<(String, Vec<u8>)>, name: &str, values: &[Vec<u8>]| {
        fields.retain(|(key, _)| key != name);
        fields.extend(values.iter().map(|value| (name.to_owned(), value.clone())));
    };
    let told = answer.iter().map(|(name, value)| (name, value)).collect();
    for effect in effects {
        match effect {
            Effect::RemoveHeader(name) => headers.retain(|(key, _)| key.as_bytes() != name),
            Effect::SetHeader(name, value) => set(&mut headers, name, std::slice::from_ref(value)),
            Effect::SetHeaders(name, values) => set(&mut headers, name, values),
            Effect::ChangeResponse(change) => {
                for (name, values) in change.apply(&told) {
                    set(&mut answer, &name, &values);
                }
            }
            Effect::SetResponseHeader(name, value) => set(&mut answer, name, &[value.clone().into_bytes()]),
            _ => {}
        }
    }
    let all = |fields: &[(String, Vec<u8>)], name: &str| {
        let matching = fields.iter().filter(|(key, _)| key == name);
        let texts: Vec<_> = matching.map(|(_, value)| from_latin1(value)).collect();
        joined(texts.iter().map(String::as_str))
    };
    for (name, expected) in &case.expect.upstream {
        let found = all(&headers, name);
        if found != *expected {
            differences.push(format!("the upstream's {name} is {found:?} instead of {expected:?}"));
        }
    }
    for (name, expected) in &case.expect.headers {
        let found = all(&answer, name);
        if found != *expected {
            differences.push(format!("the response's {name} is {found:?} instead of {expected:?}"));
        }
    }
    let status = case.expect.status.to_string();
    for (what, expected, found) in [
        (
            "the upstream's path",
            &case.expect.upstream_path,
            all(&headers, ":path"),
        ),
        (
            "the upstream's method",
            &case.expect.upstream_method,
            all(&headers, ":method"),
        ),
        ("the status", &Some(status), all(&answer, ":status")),
    ] {
        if expected.is_some() && found != *expected {
            differences.push(format!("{what} is {found:?} instead of {expected:?}"));
        }
    }
    differences
}
