//! The plugin's GraphQL as a filter of lines, for `tests/graphql/oracle.py`: `graphql CONFIG` writes the configuration as a line of JSON; then
//! each line that it reads is a case, an operation with the answers of services, and each line that it writes is the answer. Nothing is cached.

use std::io::{BufRead, Write, stdin, stdout};
use std::rc::Rc;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tollgate::config::Environment;
use tollgate::gateway::decode;
use tollgate::gateway::plan::Plan;
use tollgate::gateway::worker::Worker;
use tollgate::http::headers::Headers;
use tollgate::seam::simulated::Simulated;
use tollgate::seam::{Answer, Call};
use tollgate_e2e::native;

/// A line of input.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    query: String,
    #[serde(default)]
    variables: Value,
    #[serde(default)]
    operation_name: Value,
    /// What each service answers, by its name; those of `friend` by key.
    answers: Map<String, Value>,
}

fn main() {
    let path = std::env::args().nth(1).expect("the path of a configuration");
    let text = std::fs::read_to_string(path).expect("a file that can be read");
    let config: Value = serde_saphyr::from_str(&text).expect("YAML");
    println!("{config}");
    let plan = decode(config.to_string().as_bytes()).map(|config| Plan::compile(&config, &Environment::new()));
    let plan = Arc::new(plan.expect("a configuration").expect("a plan"));
    let worker = Rc::new(Worker::new(plan));
    for line in stdin().lock().lines() {
        let line = line.expect("a line");
        let case: Case = serde_json::from_str(&line).expect("a case");
        let answer = answer(&worker, &case);
        let mut out = stdout().lock();
        out.write_all(&answer)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
            .expect("a reader");
    }
}

fn answer(worker: &Rc<Worker>, case: &Case) -> Vec<u8> {
    let world = Simulated::default();
    world.now.set(1_700_000_000_000);
    let body =
        json!({"query": case.query, "variables": case.variables, "operationName": case.operation_name}).to_string();
    let reply = native::post(worker, &world, body.as_bytes(), |call| service(call, &case.answers));
    reply.body
}

fn service(call: &Call, answers: &Map<String, Value>) -> Answer {
    let own = answers.get(&call.cluster);
    let header = |name: &str| {
        call.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    };
    let missing = json!({"status": 404});
    let own = match call.cluster.as_str() {
        "friend" => {
            let key = header(":path")
                .and_then(|path| path.rsplit('/').next())
                .unwrap_or_default();
            own.and_then(|own| own.get(key)).unwrap_or(&missing)
        }
        _ => own.unwrap_or(&missing),
    };
    let status = own.get("status").and_then(Value::as_u64).unwrap_or(200).to_string();
    let body = match call.cluster.as_str() {
        "echo" => call.body.clone(),
        _ => own
            .get("body")
            .map(|body| body.to_string().into_bytes())
            .unwrap_or_default(),
    };
    Answer {
        headers: [(":status", status.as_str())].into_iter().collect(),
        trailers: Headers::default(),
        body,
    }
}
