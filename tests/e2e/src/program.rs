//! Programs that run beside the tests: built from the present source or found on the machine, watched by their log.

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::case::repository;

/// A running program, which ends when this is dropped.
pub struct Program {
    name: &'static str,
    child: Child,
    folder: TempDir,
}

impl Program {
    /// Starts it, its input ready to be written to and its output in a log.
    pub fn start(name: &'static str, command: &mut Command) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("log")).expect("a file");
        let child = command
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name, child, folder }
    }

    /// Waits for a line with this in it; the rest of the line.
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let log = self.log();
            if let Some((_, rest)) = log.lines().find_map(|line| line.split_once(text)) {
                return rest.trim().to_owned();
            }
            let ended = self.child.try_wait().expect("a process").is_some();
            assert!(
                !ended && Instant::now() < deadline,
                "{} did not start:\n{log}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// All that it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Gives it a line to read.
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("its input");
        writeln!(input, "{line}").expect("a program that reads");
    }

    /// Asks it to end, waits, and says whether it ended well; its log.
    pub fn stop(mut self) -> (bool, String) {
        // The shell has it built in, wherever there is one.
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.child.id())])
            .status();
        assert!(sent.expect("a shell").success(), "no signal could be sent");
        let deadline = Instant::now() + READY_WITHIN;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a process") {
                break status;
            }
            assert!(Instant::now() < deadline, "{} does not end:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(10));
        };
        (status.success(), self.log())
    }

    /// Ends it without a chance to clean up; its log.
    pub fn kill(mut self) -> String {
        self.end();
        self.log()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the log of {}\n{}", self.name, self.log());
        }
        self.end();
    }
}

/// A program of this workspace: that of the folder `TOLLGATE_PROGRAMS`, where `scripts/test` has built all of them, or one built once for
/// this process.
pub fn built(package: &str, program: &str) -> PathBuf {
    if let Some(folder) = env::var_os("TOLLGATE_PROGRAMS") {
        return PathBuf::from(folder).join(program);
    }
    static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut done = BUILT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !done.iter().any(|earlier| earlier == program) {
        let output = Command::new(env!("CARGO"))
            .current_dir(repository())
            .args(["build", "--quiet", "--locked", "--package", package, "--bin", program])
            .args(["--target-dir", "target"])
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "cargo build failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        done.push(program.to_owned());
    }
    repository().join("target/debug").join(program)
}

const READY_WITHIN: Duration = Duration::from_secs(60);
