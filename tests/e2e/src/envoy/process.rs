//! An Envoy process: started, waited for, asked through its administration, and ended.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::program::Program;
use crate::bootstrap::is_native;
use crate::case::repository;
use crate::container::Container;
use crate::raw::{self, Response};

/// Ends when it is dropped, and when the process of the tests ends.
pub(super) struct Process {
    child: Child,
    container: Option<Container>,
    folder: TempDir,
    /// Where its administration listens.
    pub(super) admin: SocketAddr,
}

/// An Envoy that refused to start.
#[derive(Debug)]
pub struct Refused {
    /// Everything that it logged.
    pub log: String,
}

/// Settings of the process.
#[derive(Debug, Clone)]
pub struct Options {
    /// Worker threads.
    pub concurrency: u32,
    /// Added to the environment.
    pub environment: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: 2,
            environment: BTreeMap::new(),
        }
    }
}

impl Refused {
    pub(super) fn panic(&self) -> ! {
        panic!("Envoy did not start:\n{}", self.log)
    }
}

/// The variables of a process: those of its settings, and those that a module of the bootstrap wants.
fn environment(bootstrap: &Value, options: &Options) -> BTreeMap<String, String> {
    let mut all = options.environment.clone();
    let wanted = bootstrap["node"]["metadata"]["environment"].as_object();
    for (name, value) in wanted.into_iter().flatten() {
        all.insert(name.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    if is_native() {
        let modules = repository().join("target/modules").display().to_string();
        all.insert("ENVOY_DYNAMIC_MODULES_SEARCH_PATH".to_owned(), modules);
    }
    all
}

impl Process {
    /// Starts Envoy and waits until it is ready or has ended.
    pub(super) fn start(bootstrap: &Value, options: &Options) -> Result<Self, Refused> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::start_in(folder, bootstrap, options, &[])
    }

    /// The same in this folder, with these arguments besides.
    pub(super) fn start_in(
        folder: TempDir,
        bootstrap: &Value,
        options: &Options,
        more: &[&str],
    ) -> Result<Self, Refused> {
        let file = |name: &str| folder.path().join(name);
        fs::write(file("envoy.json"), bootstrap.to_string()).expect("a file");
        // Envoy opens its standard output once more for the access log.
        let log = File::options().create(true).append(true).open(file("log"));
        let log = log.expect("a file");
        let (mut command, container) = Program::wanted().command(&environment(bootstrap, options));
        command
            .arg("-c")
            .arg(file("envoy.json"))
            .arg("--admin-address-path")
            .arg(file("admin"))
            .args([
                "--concurrency",
                &options.concurrency.to_string(),
                "--disable-hot-restart",
            ])
            .args([
                "--log-level",
                "warning",
                "--component-log-level",
                "wasm:debug,dynamic_modules:debug",
            ])
            .args(["--file-flush-interval-msec", "100"])
            .args(more);
        let mut command = until_we_end(&command);
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut process = Self {
            child,
            container,
            folder,
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let deadline = Instant::now() + READY_WITHIN;
        while !process.is_ready() {
            let ended = process.child.try_wait().expect("a process").is_some();
            if ended || Instant::now() > deadline {
                return Err(Refused { log: process.log() });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    fn is_ready(&mut self) -> bool {
        let Ok(text) = fs::read_to_string(self.file("admin")) else {
            return false;
        };
        let Ok(admin) = text.trim().parse() else {
            return false;
        };
        self.admin = admin;
        raw::get(admin, "/ready").is_ok_and(|response| response.status == 200)
    }

    /// A file in its folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where its listeners listen, in the order of the bootstrap; without the one that shared processes have besides.
    pub(super) fn listeners(&self) -> Vec<SocketAddr> {
        let listeners = self.ask("/listeners?format=json").json();
        let listeners = listeners["listener_statuses"].as_array().cloned().unwrap_or_default();
        let own = listeners
            .iter()
            .filter(|listener| listener["name"] != super::shared::KEEPER);
        let port = own.map(|listener| &listener["local_address"]["socket_address"]["port_value"]);
        let port = port.map(|port| port.as_u64().and_then(|port| u16::try_from(port).ok()));
        port.map(|port| SocketAddr::from(([127, 0, 0, 1], port.expect("a port"))))
            .collect()
    }

    /// Its number on this machine.
    pub(super) fn number(&self) -> u32 {
        self.container.as_ref().map_or_else(
            || {
                // The shell's only child.
                let own = self.child.id();
                let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
                let children = children.unwrap_or_default();
                let first = children.split(' ').next().and_then(|number| number.parse().ok());
                first.expect("a process")
            },
            Container::process,
        )
    }

    /// Asks its administration.
    pub(super) fn ask(&self, path: &str) -> Response {
        raw::get(self.admin, path).unwrap_or_else(|error| panic!("admin {path}: {error}\n{}", self.log()))
    }

    /// Asks its administration to change something.
    pub(super) fn tell(&self, path: &str) -> Response {
        let bytes = raw::request("POST", path, &[("host", "localhost"), ("content-length", "0")], b"");
        raw::send(self.admin, &bytes).unwrap_or_else(|error| panic!("admin {path}: {error}"))
    }

    /// All that it has logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// All counters and gauges.
    pub(super) fn stats(&self) -> Vec<(String, u64)> {
        let text = self.ask("/stats").text();
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        let mut stats: Vec<_> = lines
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect();
        if is_native() {
            stats.retain(|(name, _)| !name.starts_with("dynamicmodulescustom."));
            let text = self.ask("/stats/prometheus?filter=tollgate_").text();
            stats.extend(text.lines().filter_map(as_of_the_plugin));
        }
        stats
    }
}

/// A counter of the module under the name that it has as one of the plugin: with its labels in it.
fn as_of_the_plugin(line: &str) -> Option<(String, u64)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.rsplit_once("} ")?;
    let labels: String = labels.split("\",").map(|label| label.replace('"', "") + ";").collect();
    let name = name.trim_start_matches("envoy_dynamicmodulescustom_");
    Some((format!("wasmcustom.{name};{labels}"), value.parse().ok()?))
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(container) = &self.container {
            container.remove();
        }
        // The shell ends it when nobody can write to its input any more.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The command under a shell that ends it together with this process, however that ends.
fn until_we_end(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", WATCH, "watched"])
        .arg(Path::new(command.get_program()))
        .args(command.get_args())
        .stdin(Stdio::piped());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Whichever comes first: the program ends by itself, or nobody holds the other end of the input any more.
const WATCH: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
{ read -r _ || true; kill -KILL "$program"; } <&3 2>/dev/null &
wait "$program"
kill "$!"
"#;

const READY_WITHIN: Duration = Duration::from_secs(60);
