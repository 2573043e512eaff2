//! Runs cases against the core, without Envoy.

use std::rc::Rc;
use std::sync::Arc;

use tollgate::config::Environment;
use tollgate::exchange::Exchange;
use tollgate::gateway::decode;
use tollgate::gateway::plan::Plan;
use tollgate::gateway::worker::Worker;
use tollgate::http::headers::Headers;
use tollgate::http::piece::{Chunk, Direction};
use tollgate::seam::simulated::Simulated;
use tollgate::seam::{Event, Note, Reply, Step, StreamId};

use crate::case::{Case, CaseFile, responded};
use crate::issuer::now;
use crate::raw::{from_latin1, joined, latin1};

/// The plan of a case file.
pub fn plan(file: &CaseFile) -> Arc<Plan> {
    let config = decode(file.config.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let environment: Environment = file.environment.clone();
    Arc::new(Plan::compile(&config, &environment).unwrap_or_else(|errors| panic!("{errors:#?}")))
}

/// Runs one case; what differs from what it expects, if anything.
pub fn run(plan: &Arc<Plan>, case: &Case) -> Vec<String> {
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
        headers: Rc::new(map),
        route_name: route_name.map(str::to_owned),
        has_body: !case.body.is_empty(),
    };
    // Without cryptography of its own: the core verifies every signature itself.
    let world = Simulated::default();
    world.now.set(now() * 1000);
    let worker = Rc::new(Worker::new(Arc::clone(plan)));
    worker.prepare([7; 16], &world);
    let mut run = Run {
        exchange: Exchange::impatient(worker, StreamId(0)),
        world,
    };
    let mut request = Message {
        headers,
        body: case.body.clone().into_bytes(),
    };
    let mut response = told(case);
    let replied = run.request(event, &mut request);
    match replied.or_else(|| run.response(&mut response)) {
        Some((reply, notes)) => refused(case, &reply, &notes),
        None if case.expect.code.is_some() => vec![format!("passes instead of {}", case.expect.status)],
        None => passed(case, &request, &response),
    }
}

/// What the upstream answers with.
fn told(case: &Case) -> Message {
    let mut answer = Message {
        headers: vec![
            (":status".to_owned(), b"200".to_vec()),
            ("content-type".to_owned(), b"application/json".to_vec()),
        ],
        body: Vec::new(),
    };
    for (name, value) in case.respond.iter().map(|line| responded(line)) {
        match name {
            ":body" => answer.body = latin1(value),
            ":status" | "content-type" => answer.set(name, &[latin1(value)]),
            _ => answer.headers.push((name.to_owned(), latin1(value))),
        }
    }
    answer
}

/// A request or a response on its way.
struct Message {
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Message {
    fn set(&mut self, name: &str, values: &[Vec<u8>]) {
        self.headers.retain(|(key, _)| key != name);
        self.headers
            .extend(values.iter().map(|value| (name.to_owned(), value.clone())));
    }

    fn all(&self, name: &str) -> Option<String> {
        let matching = self.headers.iter().filter(|(key, _)| key == name);
        let texts: Vec<_> = matching.map(|(_, value)| from_latin1(value)).collect();
        joined(texts.iter().map(String::as_str))
    }

    /// Carries a step out; the gateway's own answer, with what was noted, ends the exchange.
    fn apply(&mut self, step: Step) -> Option<Answered> {
        if let Some(reply) = step.reply() {
            return Some((reply.clone(), step.notes));
        }
        for (name, values) in step.headers.iter() {
            self.set(&String::from_utf8_lossy(name), values);
        }
        if let Some(bytes) = step.body {
            self.body = bytes;
        }
        None
    }
}

/// An answer of the gateway's own, and what was noted.
type Answered = (Reply, Vec<Note>);

/// One exchange; its steps end with a reply.
struct Run {
    exchange: Exchange,
    world: Simulated,
}

impl Run {
    fn request(&mut self, event: Event<'_>, request: &mut Message) -> Option<Answered> {
        let replied = request.apply(self.exchange.on(event, &self.world));
        replied.or_else(|| self.body(Direction::Request, request))
    }

    fn response(&mut self, response: &mut Message) -> Option<Answered> {
        let headers: Headers = response.headers.iter().map(|(name, value)| (name, value)).collect();
        let event = Event::ResponseHeaders {
            headers: Rc::new(headers),
            has_body: !response.body.is_empty(),
        };
        let replied = response.apply(self.exchange.on(event, &self.world));
        replied.or_else(|| self.body(Direction::Response, response))
    }

    /// In two pieces, as a network might bring it.
    fn body(&mut self, direction: Direction, message: &mut Message) -> Option<Answered> {
        let whole = message.body.clone();
        let half = whole.len() / 2;
        for (end, ends) in [(half, false), (whole.len(), true)] {
            if whole.is_empty() || !self.exchange.watches(direction) {
                return None;
            }
            let from = if self.exchange.holds(direction) || !ends {
                0
            } else {
                half
            };
            let chunk = Chunk {
                size: end - from,
                ends,
                read: &|| Some(whole[from..end].to_vec()),
            };
            let event = match direction {
                Direction::Request => Event::RequestBody(chunk),
                Direction::Response => Event::ResponseBody(chunk),
            };
            let replied = message.apply(self.exchange.on(event, &self.world));
            if replied.is_some() {
                return replied;
            }
        }
        None
    }
}

fn refused(case: &Case, reply: &Reply, notes: &[Note]) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, expected: &str, found: &str| {
        if expected != found {
            differences.push(format!("{what} is {found:?} instead of {expected:?}"));
        }
    };
    let expect = &case.expect;
    compare("status", &expect.status.to_string(), &reply.status.to_string());
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    compare(
        "code",
        expect.code.as_deref().unwrap_or_default(),
        body["code"].as_str().unwrap_or(&String::from_utf8_lossy(&reply.body)),
    );
    for (name, expected) in &expect.headers {
        let found = reply.headers.first(name);
        compare(name, expected.as_deref().unwrap_or("absent"), found.unwrap_or("absent"));
    }
    if let Some(expected) = &expect.errors {
        compare("the errors", &expected.to_string(), &body["errors"].to_string());
    }
    if let Some(reason) = &expect.reason {
        let logged = notes.iter().find_map(|note| match note {
            Note::Log(_, message) => Some(message.as_str()),
            _ => None,
        });
        let found = logged
            .and_then(|message| message.split(['(', ')']).nth(1))
            .unwrap_or("absent");
        let is_whole = reason.contains(": ");
        let found = found.split(": ").next().filter(|_| !is_whole).unwrap_or(found);
        compare("reason", reason, found);
    }
    differences
}

fn passed(case: &Case, request: &Message, response: &Message) -> Vec<String> {
    let mut differences = Vec::new();
    let expect = &case.expect;
    let upstream = expect.upstream.iter();
    let upstream = upstream.map(|(name, expected)| ("the upstream's", name, expected, request.all(name)));
    let answer = expect.headers.iter();
    let answer = answer.map(|(name, expected)| ("the response's", name, expected, response.all(name)));
    for (whose, name, expected, found) in upstream.chain(answer) {
        if found != *expected {
            differences.push(format!("{whose} {name} is {found:?} instead of {expected:?}"));
        }
    }
    let status = Some(expect.status.to_string());
    let text = |bytes: &[u8]| Some(String::from_utf8_lossy(bytes).into_owned());
    for (what, expected, found) in [
        ("the upstream's path", &expect.upstream_path, request.all(":path")),
        ("the upstream's method", &expect.upstream_method, request.all(":method")),
        ("the upstream's body", &expect.upstream_body, text(&request.body)),
        ("the body", &expect.body, text(&response.body)),
        ("the status", &status, response.all(":status")),
    ] {
        if expected.is_some() && found != *expected {
            differences.push(format!("{what} is {found:?} instead of {expected:?}"));
        }
    }
    differences
}
