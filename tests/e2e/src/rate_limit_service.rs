//! A real Rate Limit Service: Limitador's library on a real Redis.

use std::env;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Program, built};

/// A Redis of its own, on a socket in a temporary folder. It can be killed and started again; what it held is lost then.
pub struct Redis {
    folder: TempDir,
    program: Option<Program>,
}

impl Redis {
    /// Starts one.
    pub fn start() -> Self {
        let mut redis = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            program: None,
        };
        redis.resume();
        redis
    }

    /// Starts it where it was.
    pub fn resume(&mut self) {
        let mut command = Command::new(program());
        // Debian's package has one file under several names, which does what it is called.
        command.arg0("redis-server").current_dir(self.folder.path()).args([
            "--port",
            "0",
            "--unixsocket",
            "redis",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        let mut program = Program::start("Redis", &mut command);
        program.wait_for("eady to accept connections");
        self.program = Some(program);
    }

    /// Ends it, as a failure would.
    pub fn kill(&mut self) {
        self.program.take().map(Program::kill);
    }

    fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("redis").display())
    }
}

/// A running Rate Limit Service, which ends when this is dropped.
pub struct RateLimitService {
    program: Program,
    /// Where it listens.
    pub address: SocketAddr,
    told: u64,
}

impl RateLimitService {
    /// Starts one whose answers tell what is left where `headers` says so. Limits are as in Limitador's limits file.
    pub fn start(redis: &Redis, headers: bool, limits: &[Value]) -> Self {
        let config = json!({"url": redis.url(), "headers": headers, "limits": limits});
        let mut command = Command::new(built("tollgate-rls", "tollgate-rls"));
        let mut program = Program::start("the Rate Limit Service", command.arg(config.to_string()));
        let address = program.wait_for("listening on ").parse().expect("an address");
        Self {
            program,
            address,
            told: 0,
        }
    }

    /// From when this returns on, it answers so much later.
    pub fn delay(&mut self, delay: Duration) {
        self.program.tell(&delay.as_millis().to_string());
        self.told += 1;
        self.program.wait_for(&format!("line {} taken", self.told));
    }

    /// Ends it, as a failure would.
    pub fn kill(self) {
        self.program.kill();
    }
}

/// Redis' program. `scripts/lib.sh` brings it.
fn program() -> PathBuf {
    env::var_os("TOLLGATE_REDIS_BIN").map_or_else(|| "redis-server".into(), PathBuf::from)
}
