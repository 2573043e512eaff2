//! Runs cases against the core, without Envoy.

mod request;
mod steps;

pub use request::post;
pub use steps::run_steps;

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
use tollgate::seam::{Event, Note, Reply, Step, StreamId, Then, Wakeup};

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
    let (worker, world) = begin(plan);
    let run = Run::start(Exchange::impatient(worker, StreamId(0)), case, &world);
    run.differences(case)
}

/// A worker of this plan, in a world without cryptography of its own: the core verifies every signature itself.
fn begin(plan: &Arc<Plan>) -> (Rc<Worker>, Simulated) {
    let world = Simulated::default();
    world.now.set(now() * 1000);
    let worker = Rc::new(Worker::new(Arc::clone(plan)));
    worker.prepare([7; 16], &world);
    (worker, world)
}

/// The request's headers, and the name of Envoy's route for it.
fn asked(case: &Case) -> (Vec<(String, Vec<u8>)>, Option<String>) {
    let prepared = case.prepare();
    let pseudo = [
        (":method", &prepared.method),
        (":authority", &prepared.host),
        (":path", &prepared.path),
    ];
    let pseudo = pseudo.map(|(name, value)| (name.to_owned(), latin1(value)));
    let headers = prepared.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), latin1(value)));
    let route_name = prepared.path.strip_prefix("/by-name/");
    let route_name = route_name.and_then(|rest| rest.split(['/', '?']).next());
    (
        pseudo.into_iter().chain(headers).collect(),
        route_name.map(str::to_owned),
    )
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

/// One exchange as a shell drives it.
struct Run {
    exchange: Exchange,
    request: Message,
    response: Message,
    phase: Phase,
}

/// A message waits.
struct Waits;

/// How far an exchange has come.
enum Phase {
    Request,
    Response,
    /// With the gateway's own answer, if that was it.
    Over(Option<Answered>),
}

impl Run {
    fn start(exchange: Exchange, case: &Case, world: &Simulated) -> Self {
        let (headers, route_name) = asked(case);
        let body = case.body.clone().into_bytes();
        let event = Event::RequestHeaders {
            headers: Rc::new(headers.iter().map(|(name, value)| (name, value)).collect()),
            route_name,
            has_body: !body.is_empty(),
        };
        let mut run = Self {
            exchange,
            request: Message { headers, body },
            response: told(case),
            phase: Phase::Request,
        };
        let step = run.exchange.on(event, world);
        run.take(step, world);
        run
    }

    /// Looks again at the message that is held.
    fn wake(&mut self, wakeup: Wakeup, world: &Simulated) {
        if let Some(woken) = self.exchange.wake(wakeup, world) {
            self.take(woken.step, world);
        }
    }

    /// Carries out the step about the headers of the message at hand, and goes on until something is waited for.
    fn take(&mut self, step: Step, world: &Simulated) {
        let waits = step.then == Then::Wait;
        let replied = match self.phase {
            Phase::Request => self.request.apply(step),
            Phase::Response => self.response.apply(step),
            Phase::Over(_) => return,
        };
        if replied.is_none() && waits {
            return;
        }
        let Ok(replied) = replied.map_or_else(|| self.body(world), |replied| Ok(Some(replied))) else {
            return;
        };
        match (&self.phase, replied) {
            (Phase::Request, None) => {
                self.phase = Phase::Response;
                let headers: Headers = self
                    .response
                    .headers
                    .iter()
                    .map(|(name, value)| (name, value))
                    .collect();
                let event = Event::ResponseHeaders {
                    headers: Rc::new(headers),
                    has_body: !self.response.body.is_empty(),
                };
                let step = self.exchange.on(event, world);
                self.take(step, world);
            }
            (_, replied) => self.phase = Phase::Over(replied),
        }
    }

    /// In two pieces, as a network might bring it. `Err` where the message then waits.
    fn body(&mut self, world: &Simulated) -> Result<Option<Answered>, Waits> {
        let (message, direction) = match self.phase {
            Phase::Request => (&mut self.request, Direction::Request),
            _ => (&mut self.response, Direction::Response),
        };
        let whole = message.body.clone();
        let half = whole.len() / 2;
        for (end, ends) in [(half, false), (whole.len(), true)] {
            if whole.is_empty() || !self.exchange.watches(direction) {
                return Ok(None);
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
            let step = self.exchange.on(event, world);
            let waits = step.then == Then::Wait;
            let replied = message.apply(step);
            if replied.is_some() {
                return Ok(replied);
            }
            if waits {
                return Err(Waits);
            }
        }
        Ok(None)
    }

    fn differences(&self, case: &Case) -> Vec<String> {
        match &self.phase {
            Phase::Over(Some((reply, notes))) => answered(case, reply, notes),
            Phase::Over(None) if case.expect.code.is_some() || case.expect.answered => {
                vec![format!("passes instead of {}", case.expect.status)]
            }
            Phase::Over(None) => passed(case, &self.request, &self.response),
            Phase::Request | Phase::Response => vec!["waits".into()],
        }
    }
}

fn answered(case: &Case, reply: &Reply, notes: &[Note]) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, expected: &str, found: &str| {
        if expected != found {
            differences.push(format!("{what} is {found:?} instead of {expected:?}"));
        }
    };
    let expect = &case.expect;
    compare("status", &expect.status.to_string(), &reply.status.to_string());
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = String::from_utf8_lossy(&reply.body);
    if let Some(code) = &expect.code {
        compare("code", code, body["code"].as_str().unwrap_or(&text));
    }
    if let Some(expected) = &expect.body {
        compare("the body", expected, &text);
    }
    for (name, expected) in &expect.headers {
        let found = reply.headers.first(name);
        compare(name, expected.as_deref().unwrap_or("absent"), found.unwrap_or("absent"));
    }
    if let Some(expected) = &expect.errors {
        compare("the errors", &expected.to_string(), &body["errors"].to_string());
    }
    for (name, expected) in &expect.problem {
        compare(name, &expected.to_string(), &body[name.as_str()].to_string());
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
