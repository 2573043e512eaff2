//! Instructions of the core alone for a request: natively, without an Envoy, counted by Valgrind. They do not depend on what else the machine does.

use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;

use tollgate::config::Environment;
use tollgate::gateway::decode;
use tollgate::gateway::plan::Plan;
use tollgate::gateway::worker::Worker;
use tollgate::http::headers::Headers;
use tollgate::seam::simulated::Simulated;
use tollgate::seam::{Answer, Call};
use tollgate_e2e::native;

use crate::graphql;

/// The first argument of a bench that is counted: `bench MODE CASE REQUESTS`.
pub(crate) const MODE: &str = "instructions-of";

/// Sends so many requests of this kind through the core.
pub(crate) fn run(case: &str, requests: usize) {
    let config = graphql::config().to_string();
    let plan = decode(config.as_bytes()).map(|config| Plan::compile(&config, &Environment::new()));
    let plan = plan.expect("a configuration").expect("a plan");
    let worker = Rc::new(Worker::new(Arc::new(plan)));
    let world = Simulated::default();
    world.now.set(1_700_000_000_000);
    let documents = graphql::PATHS.map(|path| (path, graphql::document(path).to_string().into_bytes()));
    let answer = |call: &Call| {
        let path = call.headers.iter().find(|(name, _)| name == ":path");
        let (_, path) = path.expect("a path");
        let (_, body) = documents
            .iter()
            .find(|(own, _)| path.starts_with(own))
            .expect("a service");
        Answer {
            headers: [(":status", "200")].into_iter().collect(),
            trailers: Headers::default(),
            body: body.clone(),
        }
    };
    // All before the first one: what it takes to make them is in no difference.
    let bodies: Vec<_> = (0..MORE).map(|number| graphql::body(case, number)).collect();
    for body in bodies.iter().take(requests) {
        let reply = native::post(&worker, &world, body.as_bytes(), answer);
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

/// The instructions for one more request of this kind.
pub(crate) fn of(case: &str) -> f64 {
    (counted(case, MORE) - counted(case, FEW)) / (MORE - FEW) as f64
}

fn counted(case: &str, requests: usize) -> f64 {
    let bench = std::env::current_exe().expect("this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(bench)
        .args([MODE, case, &requests.to_string()])
        .output()
        .expect("valgrind runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let collected = told.lines().find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.unwrap_or_else(|| panic!("no count: {told}"));
    number.trim().parse().expect("a number")
}

const FEW: usize = 50;
const MORE: usize = 250;
