//! Which rule decides: what a request costs that the last of many rules decides about, and what many rules cost to take.

use std::env;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, Form, direct, one_issuer};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::issuer::Issuer;

use crate::Row;
use crate::measure::{ROUNDS, cost, median, message_to};

const SIZES: [usize; 5] = [1, 10, 100, 1000, 10_000];
const MESSAGES: usize = 5000;

pub(crate) fn run() -> Vec<Row> {
    let mut started = Vec::new();
    let envoys = SIZES.map(|size| {
        let mut bare = Bare::new(config(size), &Echo::start("nobody"));
        bare.form = Form::Text;
        bare.routes = Some(vec![direct()]);
        let bootstrap = bare.bootstrap();
        let began = Instant::now();
        let envoy = Envoy::alone(1, &bootstrap);
        started.push(began.elapsed().as_secs_f64());
        envoy
    });
    let bearer = format!("Bearer {}", Issuer::shared().good_token());
    let messages = SIZES.map(|size| {
        let path = format!("/team-{0}/service-{0}/items/1", size - 1);
        vec![message_to(&path, &[("authorization", &bearer)]); MESSAGES]
    });
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("  rules, round {} of {ROUNDS}", round + 1);
        let costs = envoys
            .iter()
            .zip(&messages)
            .map(|(envoy, messages)| cost(envoy, 0, messages));
        rounds.push(costs.collect::<Vec<_>>());
    }
    let column = |place: usize| median(&rounds.iter().map(|round| round[place]).collect::<Vec<_>>());
    let pairs = |place: usize| rounds.iter().map(|round| round[place] / round[1]).collect::<Vec<_>>();
    let mut rows = Vec::new();
    for (place, size) in SIZES.iter().enumerate() {
        let bar = (*size == 1000).then_some(1.05);
        let row = Row::new(
            "routes",
            format!("known token, the last of {size} rules, against 10"),
            column(place),
            "us/request",
        );
        rows.push(row.against(column(1), &pairs(place), bar));
    }
    let bounded = |what: &str, value: f64, unit, bar: f64| {
        let mut row = Row::new("routes", what, value, unit);
        (row.bar, row.holds) = (Some(bar), Some(value <= bar));
        row
    };
    let more = |values: [u64; 2]| values[1].saturating_sub(values[0]) as f64 / f64::from(1 << 20);
    let memory = [0, SIZES.len() - 1].map(|place| envoys[place].memory());
    rows.push(bounded(
        "start with 10,000 rules, longer than with one, both VMs",
        started[SIZES.len() - 1] - started[0],
        "s",
        2.0,
    ));
    rows.push(bounded(
        "memory of 10,000 rules, more than of one, both VMs",
        more(memory),
        "MiB",
        128.0,
    ));
    rows.push(bounded(
        "tollgate check of 10,000 rules",
        check(&config(10_000)),
        "s",
        2.0,
    ));
    rows
}

fn config(size: usize) -> Value {
    let rule = |number: usize| {
        json!({
            "match": {"path_prefix": format!("/team-{number}/service-{number}"), "methods": ["GET", "POST"]}, "auth": {"any": ["jwt"]},
        })
    };
    one_issuer((0..size).map(rule).collect::<Vec<_>>().into())
}

/// Seconds.
fn check(config: &Value) -> f64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("tollgate.json");
    std::fs::write(&file, config.to_string()).expect("a file");
    let command = env::var_os("TOLLGATE_BIN").expect("TOLLGATE_BIN");
    let began = Instant::now();
    let output = Command::new(command)
        .arg("check")
        .arg(&file)
        .output()
        .expect("the command");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    began.elapsed().as_secs_f64()
}
