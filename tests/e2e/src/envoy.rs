//! A real Envoy process: started, waited for, asked, and ended.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::bundled::environment;
use crate::case::repository;
use crate::container::Container;
use crate::raw::{self, Response};

/// A running Envoy. When a test fails, dropping it prints its log and its configuration.
pub struct Envoy {
    child: Child,
    container: Option<Container>,
    folder: TempDir,
    admin: SocketAddr,
    gateway: SocketAddr,
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

impl Envoy {
    /// Starts Envoy and waits until it is ready; panics where it is not.
    pub fn start(bootstrap: &Value) -> Self {
        Self::start_with(bootstrap, &Options::default())
    }

    /// The same with so many workers.
    pub fn with_workers(concurrency: u32, bootstrap: &Value) -> Self {
        let options = Options {
            concurrency,
            ..Options::default()
        };
        Self::start_with(bootstrap, &options)
    }

    /// The same with these settings.
    pub fn start_with(bootstrap: &Value, options: &Options) -> Self {
        Self::try_start(bootstrap, options).unwrap_or_else(|refused| panic!("Envoy did not start:\n{}", refused.log))
    }

    /// Starts Envoy and waits until it is ready or has ended.
    pub fn try_start(bootstrap: &Value, options: &Options) -> Result<Self, Refused> {
        build_plugin();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| folder.path().join(name);
        fs::write(file("envoy.json"), bootstrap.to_string()).expect("a file");
        // Envoy opens its standard output once more for the access log.
        let log = File::options().create(true).append(true).open(file("log"));
        let log = log.expect("a file");
        let (mut command, container) = Program::wanted().command(&options.environment);
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
            .args(["--log-level", "warning", "--component-log-level", "wasm:debug"])
            .args(["--file-flush-interval-msec", "100"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut envoy = Self {
            child,
            container,
            folder,
            admin: unknown,
            gateway: unknown,
        };
        let deadline = Instant::now() + READY_WITHIN;
        while !envoy.find_addresses() {
            let ended = envoy.child.try_wait().expect("a process").is_some();
            if ended || Instant::now() > deadline {
                return Err(Refused { log: envoy.log() });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(envoy)
    }

    fn find_addresses(&mut self) -> bool {
        let Ok(text) = fs::read_to_string(self.folder.path().join("admin")) else {
            return false;
        };
        let Ok(admin) = text.trim().parse() else {
            return false;
        };
        self.admin = admin;
        if !raw::get(admin, "/ready").is_ok_and(|response| response.status == 200) {
            return false;
        }
        self.gateway = self.listener(0);
        true
    }

    /// Where the listener listens that stands at this place in the bootstrap.
    pub fn listener(&self, place: usize) -> SocketAddr {
        let listeners = self.admin("/listeners?format=json").json();
        let address = &listeners["listener_statuses"][place]["local_address"]["socket_address"];
        let port = address["port_value"].as_u64().and_then(|port| u16::try_from(port).ok());
        SocketAddr::from(([127, 0, 0, 1], port.expect("a listener")))
    }

    /// The processor time that the process has used so far.
    pub fn processor_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process())).expect("a process");
        let nanoseconds = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// The bytes that the process holds in memory.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process())).expect("a process");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a size");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
        kilobytes * 1024
    }

    fn process(&self) -> u32 {
        self.container
            .as_ref()
            .map_or_else(|| self.child.id(), Container::process)
    }

    /// Where requests go.
    pub fn address(&self) -> SocketAddr {
        self.gateway
    }

    /// Where Envoy's administration listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Asks Envoy's administration.
    pub fn admin(&self, path: &str) -> Response {
        raw::get(self.admin, path).unwrap_or_else(|error| panic!("admin {path}: {error}\n{}", self.log()))
    }

    /// Asks Envoy's administration to change something.
    pub fn admin_post(&self, path: &str) -> Response {
        let bytes = raw::request("POST", path, &[("host", "localhost"), ("content-length", "0")], b"");
        raw::send(self.admin, &bytes).unwrap_or_else(|error| panic!("admin {path}: {error}"))
    }

    /// Sends bytes to the gateway.
    pub fn send(&self, bytes: &[u8]) -> Response {
        raw::send(self.gateway, bytes)
            .unwrap_or_else(|error| panic!("{error} after sending {:?}", String::from_utf8_lossy(bytes)))
    }

    /// All that Envoy has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
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
        let text = self.admin("/stats").text();
        text.lines()
            .filter(|line| line.contains(part))
            .filter_map(|line| line.split_once(": "))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
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
        if std::thread::panicking() && self.admin.port() != 0 {
            let dump = raw::get(self.admin, "/config_dump")
                .map(|response| response.text())
                .unwrap_or_default();
            eprintln!("--- Envoy's log\n{}\n--- its configuration\n{dump}", self.log());
        }
        match &self.container {
            Some(container) => container.remove(),
            None => drop(self.child.kill()),
        }
        let _ = self.child.wait();
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

/// Waits until something holds; panics where it does not within 20 s.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not so within 60 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What starts Envoy. `scripts/lib.sh` says what the variables mean.
#[derive(Debug, PartialEq, Eq)]
enum Program {
    Envoy(PathBuf),
    FuncE(PathBuf),
    Image(String),
}

impl Program {
    fn wanted() -> Self {
        Self::of(env::var("TOLLGATE_ENVOY").ok().as_deref(), |name| env::var(name).ok())
    }

    fn of(kind: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Self {
        let wanted = |name| {
            variable(name).unwrap_or_else(|| panic!("{name} names no Envoy: run the tests by scripts/test, or set it"))
        };
        match kind {
            None | Some("" | "wheel" | "path") => Self::Envoy(wanted("ENVOY_BIN").into()),
            Some("func-e") => Self::FuncE(wanted("ENVOY_BIN").into()),
            Some("docker") => Self::Image(wanted("TOLLGATE_ENVOY_IMAGE")),
            Some(other) => panic!("TOLLGATE_ENVOY={other} is unknown here"),
        }
    }

    /// The beginning of a command line that starts it with these variables.
    fn command(&self, environment: &BTreeMap<String, String>) -> (Command, Option<Container>) {
        let on_the_machine = |program: &Path, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).envs(environment);
            (command, None)
        };
        match self {
            Self::Envoy(program) => on_the_machine(program, &[]),
            Self::FuncE(program) => on_the_machine(program, &["run"]),
            Self::Image(image) => {
                let container = Container::named();
                (container.command(image, environment), Some(container))
            }
        }
    }
}

/// Builds the plugin from the present source, once for this process.
fn build_plugin() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let script = repository().join("scripts/build");
        let output = Command::new(script).output().expect("scripts/build runs");
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

const READY_WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn func_e_runs_envoy_by_its_run_command() {
        let program = Program::of(Some("func-e"), |_| Some("/bin/func-e".into()));
        assert_eq!(line(&program), "/bin/func-e run");
        let program = Program::of(None, |_| Some("/bin/envoy".into()));
        assert_eq!(line(&program), "/bin/envoy");
    }

    #[test]
    fn a_container_has_its_variables_by_name() {
        let program = Program::of(Some("docker"), |name| {
            (name == "TOLLGATE_ENVOY_IMAGE").then(|| "image".into())
        });
        let line = line(&program);
        assert!(line.starts_with("docker run --rm --network host "), "{line}");
        assert!(
            line.ends_with(" --env SECRET --entrypoint /usr/local/bin/envoy image"),
            "{line}"
        );
    }

    fn line(program: &Program) -> String {
        let (command, _) = program.command(&[("SECRET".to_owned(), "s3cret".to_owned())].into());
        let words = [command.get_program()].into_iter().chain(command.get_args());
        words
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }
}
