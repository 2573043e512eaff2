//! One request through the core, with calls that are answered at once.

use std::rc::Rc;

use tollgate::exchange::Exchange;
use tollgate::gateway::worker::Worker;
use tollgate::http::piece::Chunk;
use tollgate::seam::simulated::Simulated;
use tollgate::seam::{Answer, Call, Event, Reply, StreamId, Then, Wakeup};

/// Posts JSON; `service` answers the calls that are made for it. The gateway itself must answer.
pub fn post(worker: &Rc<Worker>, world: &Simulated, body: &[u8], service: impl Fn(&Call) -> Answer) -> Reply {
    let pairs = [
        (":method", "POST"),
        (":authority", "a"),
        (":path", "/"),
        ("content-type", "application/json"),
    ];
    let mut exchange = Exchange::new(Rc::clone(worker), StreamId(0));
    let event = Event::RequestHeaders {
        headers: Rc::new(pairs.into_iter().collect()),
        route_name: None,
        has_body: true,
    };
    exchange.on(event, world);
    let read = || Some(body.to_vec());
    let chunk = Chunk {
        size: body.len(),
        ends: true,
        read: &read,
    };
    let mut step = exchange.on(Event::RequestBody(chunk), world);
    while step.then == Then::Wait {
        let mut is_woken = false;
        for (id, call) in worker.attend(world).calls {
            let agenda = worker.answered(id, Ok(service(&call)), world);
            is_woken |= !agenda.wakeups.is_empty();
        }
        assert!(is_woken, "the request waits for nothing");
        step = exchange.wake(Wakeup::Due, world).expect("a request that waits").step;
    }
    step.reply().expect("an answer").clone()
}
