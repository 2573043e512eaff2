//! What several targets share: a request that goes through a plan, with any bytes as the answers of services.

use std::rc::Rc;
use std::sync::Arc;

use tollgate::config::Environment;
use tollgate::exchange::Exchange;
use tollgate::gateway::decode;
use tollgate::gateway::plan::Plan;
use tollgate::gateway::worker::Worker;
use tollgate::http::headers::Headers;
use tollgate::http::piece::Chunk;
use tollgate::seam::simulated::Simulated;
use tollgate::seam::{Answer, Event, Lost, Step, StreamId, Then, Wakeup};

/// The plan of a configuration.
pub fn compile(config: &serde_json::Value) -> Arc<Plan> {
    let config = decode(config.to_string().as_bytes()).expect("a configuration");
    Arc::new(Plan::compile(&config, &Environment::from([("SECRET".to_owned(), "s".repeat(32))])).expect("a plan"))
}

/// Pieces of the input, one for each answer; the first byte of a piece tells how the call ends.
struct Answers<'a>(std::slice::Split<'a, u8, fn(&u8) -> bool>);

impl Answers<'_> {
    fn next(&mut self) -> Option<Answer> {
        let piece = self.0.next().unwrap_or_default();
        let (first, body) = piece.split_first().unwrap_or((&0, piece));
        let status = match first {
            b'!' => return None,
            b'?' => return Some(Answer::default()),
            b'4' => "404",
            b'5' => "500",
            b'T' => "504",
            b'N' => "204",
            _ => "200",
        };
        let body = if *first == b'[' || *first == b'{' { piece } else { body };
        Some(Answer {
            headers: [(":status", status)].into_iter().collect(),
            trailers: Headers::default(),
            body: body.to_vec(),
        })
    }
}

/// Sends a request, answers its calls with lines of these bytes, and checks that it ends with JSON.
pub fn go_through(plan: &Arc<Plan>, method: &str, path: &str, body: &[u8], bytes: &[u8]) {
    let worker = Rc::new(Worker::new(Arc::clone(plan)));
    let world = Simulated::default();
    world.now.set(1_700_000_000_000);
    let pairs = [(":method", method), (":authority", "a"), (":path", path), ("content-type", "application/json")];
    let mut exchange = Exchange::new(Rc::clone(&worker), StreamId(0));
    let event = Event::RequestHeaders {
        headers: Rc::new(pairs.into_iter().collect()),
        route_name: None,
        has_body: !body.is_empty(),
    };
    let mut step = exchange.on(event, &world);
    if step.then == Then::Continue {
        let read = || Some(body.to_vec());
        let chunk = Chunk { size: body.len(), ends: true, read: &read };
        step = exchange.on(Event::RequestBody(chunk), &world);
    }
    let is_line: fn(&u8) -> bool = |byte| *byte == b'\n';
    let mut answers = Answers(bytes.split(is_line));
    for _ in 0..MOST_CALLS {
        if step.then != Then::Wait {
            break;
        }
        for (id, _) in worker.attend(&world).calls {
            worker.answered(id, answers.next().ok_or(Lost::Unsent), &world);
        }
        step = exchange.wake(Wakeup::Due, &world).expect("a request that waits").step;
    }
    if step.then == Then::Wait {
        world.now.set(world.now.get() + 10_000);
        step = exchange.wake(Wakeup::TimeOver, &world).expect("a request that waits").step;
    }
    check(&step);
}

fn check(step: &Step) {
    let reply = step.reply().expect("an answer");
    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&reply.body).is_ok(), "{reply:?}");
}

/// Rounds of calls of one request.
const MOST_CALLS: usize = 50;
