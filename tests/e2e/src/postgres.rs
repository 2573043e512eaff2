//! A private PostgreSQL: a cluster of its own in a temporary folder, reached by a socket there, never as root.

use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use std::{env, fs};

use tempfile::TempDir;

/// A running PostgreSQL, which ends when this is dropped.
pub struct Postgres {
    child: Child,
    folder: TempDir,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    databases: AtomicU32,
}

impl Postgres {
    /// The one that all tests of this process share, as long as one of them holds it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    /// Makes a cluster and starts it; panics where that fails.
    pub fn start() -> Self {
        let programs = programs();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).expect("the folder of an unprivileged user");
        }
        let run = |program: &str| command(&programs, program, user, folder.path());
        let data = folder.path().join("data");
        let mut initdb = run("initdb");
        initdb
            .arg("-D")
            .arg(&data)
            .args(["-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        done(initdb);
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let child = run("postgres")
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "full_page_writes=off",
            ])
            .args(["-c", "max_connections=200"])
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("postgres starts");
        let mut postgres = Self {
            child,
            folder,
            programs,
            user,
            databases: AtomicU32::new(0),
        };
        postgres.wait();
        postgres
    }

    fn wait(&mut self) {
        let socket = self.folder.path().join(".s.PGSQL.5432");
        let deadline = Instant::now() + READY_WITHIN;
        let ready = || UnixStream::connect(&socket).is_ok() && self.log().contains("ready to accept connections");
        while !ready() {
            assert!(Instant::now() < deadline, "PostgreSQL did not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The URL of a new, empty database.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        done(self.tool("createdb", &[&name]));
        self.url(&name)
    }

    /// Everything that a database holds, as SQL.
    pub fn dump(&self, url: &str) -> String {
        let path = url.split('?').next().unwrap_or_default();
        done(self.tool("pg_dump", &[path.rsplit('/').next().unwrap_or_default()]))
    }

    /// Ends it, as a failure would.
    pub fn stop(&self) {
        let _ = command(&self.programs, "pg_ctl", self.user, self.folder.path())
            .args(["stop", "-m", "immediate", "-D"])
            .arg(self.folder.path().join("data"))
            .output();
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = command(&self.programs, program, self.user, self.folder.path());
        command.args(["-U", USER, "-h"]).arg(self.folder.path()).args(arguments);
        command
    }

    fn url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}@localhost/{database}?host={}",
            self.folder.path().display()
        )
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(programs: &Path, program: &str, user: Option<(u32, u32)>, folder: &Path) -> Command {
    let mut command = Command::new(programs.join(program));
    command
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/bin:/bin")
        .current_dir(folder)
        .stdin(Stdio::null());
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// Runs a command; what it printed.
fn done(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Where initdb and postgres are. `scripts/lib.sh` brings them.
fn programs() -> PathBuf {
    if let Some(named) = env::var_os("TOLLGATE_POSTGRES_BIN") {
        return named.into();
    }
    let mut found: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").is_file())
        .collect();
    found.sort();
    found
        .pop()
        .expect("TOLLGATE_POSTGRES_BIN names no PostgreSQL: run the tests by scripts/test, or set it")
}

/// Whom to become where this is root: PostgreSQL refuses to run as root.
fn unprivileged() -> Option<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let own = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    if own.split_whitespace().nth(1) != Some("0") {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("users");
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(str::parse);
        Some((ids.next()?.ok()?, ids.next()?.ok()?))
    };
    Some(
        find("postgres")
            .or_else(|| find("nobody"))
            .expect("a user that is not root"),
    )
}

const USER: &str = "tollgate";

const READY_WITHIN: Duration = Duration::from_secs(60);
