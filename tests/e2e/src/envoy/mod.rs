//! A real Envoy process: started, waited for, asked, and ended.

mod process;
mod program;
mod shared;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bootstrap::is_native;
use crate::bundled::environment;
use crate::case::repository;
use crate::raw::{self, Response};

pub use process::{Options, Refused};

use process::Process;
use program::Program;
use shared::Lease;

/// The processor time that a process has used so far.
pub fn processor_time(process: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    let nanoseconds = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// A running Envoy. When a test fails, dropping it prints its log and its configuration.
pub struct Envoy {
    process: Option<Process>,
    /// What is to be given back, where the process is shared.
    lease: Option<Lease>,
    gateway: SocketAddr,
}

impl Envoy {
    /// Starts Envoy with two workers and waits until it is ready; panics where it is not.
    pub fn start(bootstrap: &Value) -> Self {
        Self::with_workers(2, bootstrap)
    }

    /// The same with so many workers. One test after the other may have the same process: it has forgotten what counters said.
    pub fn with_workers(concurrency: u32, bootstrap: &Value) -> Self {
        build_plugin();
        let Some(parts) = shared::parts(bootstrap) else {
            return Self::alone(concurrency, bootstrap);
        };
        let (process, lease) = shared::take(concurrency, parts).unwrap_or_else(|refused| refused.panic());
        Self::begin(process, Some(lease))
    }

    /// The same in a process of its own, for what measures it.
    pub fn alone(concurrency: u32, bootstrap: &Value) -> Self {
        let options = Options {
            concurrency,
            ..Options::default()
        };
        Self::start_with(bootstrap, &options)
    }

    /// A process of its own with these settings.
    pub fn start_with(bootstrap: &Value, options: &Options) -> Self {
        Self::try_start(bootstrap, options).unwrap_or_else(|refused| refused.panic())
    }

    /// Starts a process of its own and waits until it is ready or has ended.
    pub fn try_start(bootstrap: &Value, options: &Options) -> Result<Self, Refused> {
        build_plugin();
        Ok(Self::begin(Process::start(bootstrap, options)?, None))
    }

    fn begin(process: Process, lease: Option<Lease>) -> Self {
        let gateway = process.listeners()[0];
        Self {
            process: Some(process),
            lease,
            gateway,
        }
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// Where the listener listens that stands at this place in the bootstrap.
    pub fn listener(&self, place: usize) -> SocketAddr {
        self.process().listeners()[place]
    }

    /// The processor time that the process has used so far.
    pub fn processor_time(&self) -> Duration {
        processor_time(self.process().number())
    }

    /// The bytes that the process holds in memory.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process().number())).expect("a process");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a size");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
        kilobytes * 1024
    }

    /// Where requests go.
    pub fn address(&self) -> SocketAddr {
        self.gateway
    }

    /// Where Envoy's administration listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.process().admin
    }

    /// Asks Envoy's administration.
    pub fn admin(&self, path: &str) -> Response {
        self.process().ask(path)
    }

    /// Asks Envoy's administration to change something.
    pub fn admin_post(&self, path: &str) -> Response {
        self.process().tell(path)
    }

    /// Sends bytes to the gateway.
    pub fn send(&self, bytes: &[u8]) -> Response {
        raw::send(self.gateway, bytes)
            .unwrap_or_else(|error| panic!("{error} after sending {:?}", String::from_utf8_lossy(bytes)))
    }

    /// All that Envoy has logged.
    pub fn log(&self) -> String {
        let log = self.process().log();
        let from = self.lease.as_ref().map_or(0, |lease| lease.logged);
        log.get(from..).unwrap_or_default().to_owned()
    }

    /// The lines of the access log, where it is JSON on the standard output.
    pub fn access_log(&self) -> Vec<Value> {
        let log = self.log();
        let lines = log.lines().filter(|line| line.starts_with('{'));
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// The value of a statistic by its whole name; 0 where it is not there.
    pub fn stat(&self, name: &str) -> u64 {
        self.stats(name)
            .into_iter()
            .find(|(key, _)| key == name)
            .map_or(0, |(_, value)| value)
    }

    /// Counters and gauges whose name contains `part`.
    pub fn stats(&self, part: &str) -> Vec<(String, u64)> {
        let mut stats = self.process().stats();
        stats.retain(|(name, _)| name.contains(part));
        stats
    }

    /// Panics where a VM has died: then some worker trapped.
    pub fn assert_no_vm_died(&self) {
        let died: Vec<_> = self
            .stats("vm_reload")
            .into_iter()
            .filter(|(_, value)| *value > 0)
            .collect();
        assert!(died.is_empty(), "a worker's VM died: {died:?}\n{}", self.log());
        assert!(!self.log().contains("panicked"), "the plugin panicked:\n{}", self.log());
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else {
            return;
        };
        if std::thread::panicking() {
            let dump = raw::get(process.admin, "/config_dump");
            let dump = dump.map(|response| response.text()).unwrap_or_default();
            eprintln!("--- Envoy's log\n{}\n--- its configuration\n{dump}", process.log());
        } else if let Some(lease) = self.lease.take() {
            shared::give_back(process, lease);
        }
    }
}

/// Whether Envoy takes a configuration file as it is; its log where not.
pub fn validate(arguments: &[&str]) -> Result<(), Refused> {
    build_plugin();
    let environment = environment("sqlite::memory:").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (mut command, _) = Program::wanted().command(&environment.into());
    let output = command
        .current_dir(repository())
        .args(["--mode", "validate"])
        .args(arguments)
        .output()
        .expect("Envoy runs");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(Refused { log })
    }
}

/// Waits until something holds; panics where it does not within 60 s.
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    assert!(
        comes_to_hold(Duration::from_secs(60), holds),
        "not so within 60 s: {what}"
    );
}

/// Whether something comes to hold within this time.
fn comes_to_hold(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Builds the plugin from the present source, once for this process.
fn build_plugin() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let script = repository().join("scripts/build");
        let what = if is_native() { "--native" } else { "--graphql-only" };
        let output = Command::new(script).arg(what).output().expect("scripts/build runs");
        assert!(
            output.status.success(),
            "scripts/build failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    });
}

/// Builds a plugin of the tests; its file.
pub fn build_extra(package: &str) -> PathBuf {
    let output = Command::new(repository().join("scripts/build-extra"))
        .arg(package)
        .output()
        .expect("scripts/build-extra runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    repository().join(format!("target/{package}.wasm"))
}
