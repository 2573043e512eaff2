//! Measures what Tollgate costs, beside Envoy's own filters in the same Envoy: processor time of the Envoy process per
//! request, in interleaved rounds, medians and ratios. `scripts/bench` builds what it needs.

mod aggregate;
mod apikey;
mod backend;
mod floor;
mod graphql;
mod instructions;
mod jwt;
mod measure;
mod picture;
mod ratelimit;
mod routes;
mod transform;

use std::env;
use std::fs;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;
use tollgate_e2e::bootstrap::{direct, is_native, listener, scripted_filter};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    if let [mode, case, requests] = arguments.as_slice()
        && mode == instructions::MODE
    {
        instructions::run(case, requests.parse().expect("a number of requests"));
        return ExitCode::SUCCESS;
    }
    let json = arguments.iter().position(|argument| argument == "--json").map(|at| {
        let file = arguments.drain(at..).nth(1);
        file.expect("--json FILE")
    });
    let mut rows = Vec::new();
    for (name, run) in GROUPS {
        if arguments.is_empty() || arguments.iter().any(|argument| argument == name) {
            eprintln!("{name} ...");
            rows.extend(run());
        }
    }
    // Only Wasm has host calls to count.
    rows.retain(|row| row.unit != "calls" || !is_native());
    println!("| what | value | unit | baseline | ratio | bar | holds |\n|---|---|---|---|---|---|---|");
    for row in &rows {
        let text = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
        println!(
            "| {} | {:.1} | {} | {} | {} | {} | {} |",
            row.what,
            row.value,
            row.unit,
            text(row.baseline),
            text(row.ratio),
            text(row.bar),
            row.holds.map_or("-", |holds| if holds { "yes" } else { "NO" })
        );
    }
    if let Some(file) = json {
        fs::write(&file, serde_json::to_string_pretty(&rows).expect("JSON"))
            .unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    if rows.iter().all(|row| row.holds != Some(false)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What can be measured, by name.
const GROUPS: [(&str, Group); 9] = [
    ("jwt", jwt::run),
    ("apikey", apikey::run),
    ("ratelimit", ratelimit::run),
    ("chain", ratelimit::whole_chain),
    ("routes", routes::run),
    ("transform", transform::run),
    ("aggregate", aggregate::run),
    ("graphql", graphql::run),
    ("instructions", instructions::passed),
];

type Group = fn() -> Vec<Row>;

/// One figure.
#[derive(Debug, Serialize)]
struct Row {
    group: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
    baseline: Option<f64>,
    ratio: Option<f64>,
    bar: Option<f64>,
    holds: Option<bool>,
}

impl Row {
    fn new(group: &'static str, what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            group,
            what: what.into(),
            value,
            unit,
            baseline: None,
            ratio: None,
            bar: None,
            holds: None,
        }
    }

    /// Against a baseline; `pairs` are the ratios of single rounds.
    fn against(mut self, baseline: f64, pairs: &[f64], bar: Option<f64>) -> Self {
        let ratio = measure::median(pairs);
        (self.baseline, self.ratio, self.bar) = (Some(baseline), Some(ratio), bar);
        self.holds = bar.map(|bar| ratio <= bar);
        self
    }

    /// A count of host calls, which must be six at most.
    fn calls(group: &'static str, what: String, calls: &[String]) -> Self {
        eprintln!("  {what}: {calls:?}");
        let mut row = Self::new(group, what, calls.len() as f64, "calls");
        (row.bar, row.holds) = (Some(6.0), Some(!calls.is_empty() && calls.len() <= 6));
        row
    }
}

/// A listener whose only filter makes these host calls.
fn calibration(calls: &str) -> Value {
    nothing_but("calibration", calls)
}

/// The same under another name.
fn nothing_but(name: &str, calls: &str) -> Value {
    listener(name, vec![scripted_filter("calibration", calls)], vec![direct()])
}
