//! The real `tollgate` program: its commands, and its key service as a process.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::case::repository;
use crate::raw::{self, Response};

/// A running key service, which ends when this is dropped.
pub struct KeyService {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
}

impl KeyService {
    /// Starts `tollgate keys serve` with a port of its own, and waits until it accepts connections.
    pub fn start(environment: &[(impl AsRef<OsStr>, impl AsRef<OsStr>)], arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("log")).expect("a file");
        let child = tollgate(environment)
            .env("TOLLGATE_KEYS_LISTEN", "127.0.0.1:0")
            .args(["keys", "serve"])
            .args(arguments)
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("tollgate starts");
        let mut service = Self {
            child,
            folder,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let log = service.log();
            let line = log.lines().find_map(|line| line.split_once("listening on http://"));
            if let Some((_, address)) = line {
                service.address = address.trim().parse().expect("an address");
                return service;
            }
            let ended = service.child.try_wait().expect("a process").is_some();
            assert!(!ended && Instant::now() < deadline, "it did not start:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
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
    pub fn stop(mut self) -> (bool, String) {
        signal(&self.child, "TERM");
        let deadline = Instant::now() + READY_WITHIN;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a process") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        };
        (status.success(), self.log())
    }

    /// Ends it without a chance to clean up; its log.
    pub fn kill(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log()
    }
}

impl Drop for KeyService {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the key service's log\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
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
fn program() -> PathBuf {
    if let Some(named) = env::var_os("TOLLGATE_BIN") {
        return named.into();
    }
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let output = Command::new(env!("CARGO"))
            .current_dir(repository())
            .args(["build", "--quiet", "--locked", "--package", "tollgate"])
            .args(["--features", "service", "--bin", "tollgate", "--target-dir", "target"])
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "cargo build failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    });
    repository().join("target/debug/tollgate")
}

/// The shell has it built in, wherever there is one.
fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{name} {}", child.id())])
        .status();
    assert!(sent.expect("a shell").success(), "no signal could be sent");
}

const READY_WITHIN: Duration = Duration::from_secs(60);
