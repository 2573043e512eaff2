//! Envoy in a container of the machine's own Docker engine.

use std::collections::BTreeMap;
use std::env;
use std::process::{Child, Command, Stdio, id};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::case::repository;

/// A container by its name, which no other test on this machine has.
pub(crate) struct Container(String);

impl Container {
    /// A name. Nothing runs yet.
    pub(crate) fn named() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static UNDERTAKER: OnceLock<Child> = OnceLock::new();
        UNDERTAKER.get_or_init(undertaker);
        Self(format!("tollgate-{}-{}", id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The beginning of a command line that runs Envoy of this image in it, with these variables. Everything is where it is for the tests:
    /// the network, the repository and temporary files, by the same user.
    pub(crate) fn command(&self, image: &str, environment: &BTreeMap<String, String>) -> Command {
        let mut command = Command::new("docker");
        command.args(["run", "--rm", "--network", "host", "--pull", "never", "--name", &self.0]);

        command.args(["--user", &user()]);
        for folder in [repository(), env::temp_dir()] {
            let folder = folder.display();
            command.arg("--volume").arg(format!("{folder}:{folder}"));
        }
        command.arg("--workdir").arg(repository());
        for (name, value) in environment {
            // By name, so that no secret shows in the list of processes.
            command.args(["--env", name]).env(name, value);
        }
        command.args(["--entrypoint", "/usr/local/bin/envoy", image]);
        command
    }

    /// The number of its process on this machine.
    pub(crate) fn process(&self) -> u32 {
        let output = Command::new("docker")
            .args(["inspect", "--format", "{{.State.Pid}}", &self.0])
            .output();
        let output = output.expect("docker runs");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.parse()
            .unwrap_or_else(|_| panic!("no process of {}: {text:?}", self.0))
    }

    /// Ends it, if it is there.
    pub(crate) fn remove(&self) {
        let _ = Command::new("docker")
            .args(["rm", "--force", &self.0])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// A process that removes this one's containers when this one ends, however it ends: an engine's containers do not end with who started them,
/// and nobody removes those that tests share. The end of its input tells it.
fn undertaker() -> Child {
    let script = format!(
        "trap '' INT TERM; cat; docker ps --quiet --all --filter 'name=^tollgate-{}-' | xargs --no-run-if-empty docker rm --force",
        id()
    );
    Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh runs")
}

/// Whose process this is, as Docker wants it.
fn user() -> String {
    use std::os::unix::fs::MetadataExt as _;
    let owner = std::fs::metadata("/proc/self").expect("a process");
    format!("{}:{}", owner.uid(), owner.gid())
}
