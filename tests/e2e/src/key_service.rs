//! The real `tollgate` program: its commands, and its key service as a process.

use std::env;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::{Program, built};
use crate::raw::{self, Response};

/// A running key service, which ends when this is dropped.
pub struct KeyService {
    program: Program,
    address: SocketAddr,
}

impl KeyService {
    /// Starts `tollgate keys serve` with a port of its own, and waits until it accepts connections.
    pub fn start(environment: &[(impl AsRef<OsStr>, impl AsRef<OsStr>)], arguments: &[&str]) -> Self {
        let mut command = tollgate(environment);
        command
            .env("TOLLGATE_KEYS_LISTEN", "127.0.0.1:0")
            .args(["keys", "serve"])
            .args(arguments);
        let mut program = Program::start("the key service", &mut command);
        let address = program.wait_for("listening on http://").parse().expect("an address");
        Self { program, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// Sends a request; `token` is a bearer's.
    pub fn request(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Response {
        let body = body.map(Value::to_string).unwrap_or_default();
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("host", "localhost"), ("content-type", "application/json")];
        if body.is_empty() {
            headers.push(("content-length", "0"));
        }
        if let Some(bearer) = &bearer {
            headers.push(("authorization", bearer));
        }
        let bytes = raw::request(method, path, &headers, body.as_bytes());
        raw::send(self.address, &bytes).unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()))
    }

    /// Asks it to end, waits, and says whether it ended well; its log.
    pub fn stop(self) -> (bool, String) {
        self.program.stop()
    }

    /// Ends it without a chance to clean up; its log.
    pub fn kill(self) -> String {
        self.program.kill()
    }
}

/// The program, with nothing but this in its environment.
pub fn tollgate(environment: &[(impl AsRef<OsStr>, impl AsRef<OsStr>)]) -> Command {
    let mut command = Command::new(program());
    command
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null());
    command
}

/// `TOLLGATE_BIN`, or the program built from the present source, once for this process.
pub fn program() -> PathBuf {
    if let Some(named) = env::var_os("TOLLGATE_BIN") {
        return named.into();
    }
    built("tollgate-cli", "tollgate")
}
