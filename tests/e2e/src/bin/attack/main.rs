//! Attacks a gateway for a while: `attack SECONDS [SEED [NUMBER]]`. With a number, that connection alone is made once more.

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tollgate_e2e::attack::Attacked;

/// Connections between two looks at what came through.
const ROUND: u64 = 2000;

fn main() -> ExitCode {
    let numbers: Result<Vec<u64>, _> = env::args().skip(1).map(|argument| argument.parse()).collect();
    let Ok(&[seconds, ref rest @ ..]) = numbers.as_deref() else {
        eprintln!("attack SECONDS [SEED [NUMBER]]");
        return ExitCode::FAILURE;
    };
    let seed = rest.first().copied().unwrap_or_else(|| rand::random::<u16>().into());
    let attacked = Attacked::start();
    if let Some(&number) = rest.get(1) {
        let outcome = attacked.attack(seed, number..number + 1);
        println!("{outcome:?}");
        attacked.envoy.assert_no_vm_died();
        return if outcome.faults.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut connections, mut requests, mut faults) = (0, 0, 0);
    println!("seed {seed}");
    let mut told = Instant::now();
    while Instant::now() < end {
        let outcome = attacked.attack(seed, connections..connections + ROUND);
        connections += outcome.connections;
        requests += outcome.requests;
        for fault in &outcome.faults {
            faults += 1;
            println!("{fault}");
        }
        attacked.envoy.assert_no_vm_died();
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!("{connections} connections so far");
        }
    }
    let classes: Vec<_> = ["2xx", "3xx", "4xx", "5xx"]
        .into_iter()
        .map(|class| {
            format!(
                "{class} {}",
                attacked.envoy.stat(&format!("http.gateway.downstream_rq_{class}"))
            )
        })
        .collect();
    println!("{connections} connections, {requests} requests came through, {faults} of them must not have");
    println!("answers: {}", classes.join(", "));
    println!("memory of Envoy: {} MiB", attacked.envoy.memory() >> 20);
    if faults == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
