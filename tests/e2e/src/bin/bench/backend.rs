//! A service written by hand, as a process of its own that stands behind the same Envoy.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tollgate_e2e::envoy::processor_time;

pub(crate) struct Backend {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Backend {
    /// Starts a program that is built beside the bench; it asks the services at this address.
    pub(crate) fn start(program: &str, services: SocketAddr) -> Self {
        let path = std::env::current_exe().expect("this program").with_file_name(program);
        let mut process = Command::new(path)
            .arg(services.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} is built beside the bench: {error}"));
        let output = process.stdout.take().expect("its output");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("its address");
        Self {
            process,
            address: line.trim().parse().expect("an address"),
        }
    }

    /// Microseconds of processor time per request that the service itself takes while `send` sends so many.
    pub(crate) fn cost(&self, requests: usize, send: impl FnOnce() -> f64) -> [f64; 2] {
        let before = self.processor_time();
        let front = send();
        let own = (self.processor_time() - before).as_secs_f64() * 1e6 / requests as f64;
        [front, own]
    }

    fn processor_time(&self) -> Duration {
        processor_time(self.process.id())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
