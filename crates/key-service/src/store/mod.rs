//! The database: SQLite or PostgreSQL, with the same SQL for both.

mod events;
mod keys;

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Any, AnyPool, ConnectOptions as _, Row as _, Transaction};
use tollgate::config::values::Timestamp;

use crate::error::{Error, Result};

pub use events::Event;
pub(crate) use events::{Claim, EventKind};
pub use keys::Filter;

/// The database of keys and events.
#[derive(Clone)]
pub struct Store {
    pool: AnyPool,
    engine: Engine,
}

/// A transaction that changes something. Only one runs at a time.
pub(crate) struct Change {
    transaction: Transaction<'static, Any>,
    version: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Engine {
    Sqlite,
    Postgres,
}

impl Store {
    /// Connects to the database and migrates its tables.
    pub async fn open(url: &str) -> Result<Self> {
        sqlx::any::install_default_drivers();
        // Errors do not repeat the URL, which may contain a password.
        let (engine, url) = if url.starts_with("sqlite:") {
            (Engine::Sqlite, create_if_missing(url))
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            (Engine::Postgres, url.to_owned())
        } else {
            return Err(Error::invalid(
                "--database is a URL such as `sqlite:tollgate-keys.db` or `postgres://user@host/database`",
            ));
        };
        if engine == Engine::Sqlite {
            create_private(&url)?;
        }
        let options = AnyConnectOptions::from_str(&url)
            .map_err(|_| Error::invalid("--database cannot be read as a URL"))?
            .disable_statement_logging();
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE_WITHIN)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if engine == Engine::Sqlite {
                        for pragma in PRAGMAS {
                            sqlx::query(pragma).execute(&mut *connection).await?;
                        }
                    }
                    Ok(())
                })
            })
            .connect_with(options)
            .await
            .map_err(|error| Error::failed("cannot open the database", error))?;
        let store = Self { pool, engine };
        store
            .migrate()
            .await
            .map_err(|error| Error::failed("cannot migrate the tables of the database", error))?;
        Ok(store)
    }

    async fn migrate(&self) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let migrator = Migrator {
            migrations: Cow::Owned(vec![Migration::new(
                1,
                "keys".into(),
                MigrationType::Simple,
                include_str!("../../migrations/0001_keys.sql").into(),
                false,
            )]),
            ..Migrator::DEFAULT
        };
        match self.engine {
            // The migrator takes a lock itself.
            Engine::Postgres => migrator.run(&self.pool).await?,
            Engine::Sqlite => {
                self.use_wal().await?;
                let mut transaction = self.pool.begin_with(WRITE_SQLITE).await?;
                migrator.run_direct(&mut *transaction).await?;
                transaction.commit().await?;
            }
        }
        Ok(())
    }

    /// Sets the journal mode WAL in the file. SQLite does not wait when another process does the same, so this retries.
    async fn use_wal(&self) -> sqlx::Result<()> {
        let mut tries = 0_u32;
        loop {
            match sqlx::query("PRAGMA journal_mode = WAL").execute(&self.pool).await {
                Err(sqlx::Error::Database(error)) if tries < 200 && error.message().contains("locked") => {
                    tries = tries.saturating_add(1);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                other => return other.map(|_| ()),
            }
        }
    }

    /// The number of changes so far.
    pub(crate) async fn version(&self) -> Result<u64> {
        let row = sqlx::query("SELECT version FROM state WHERE id = 1")
            .fetch_one(&self.pool)
            .await?;
        unsigned(row.try_get("version")?)
    }

    /// Begins a change. Dropping it without [`Change::commit`] rolls it back.
    pub(crate) async fn change(&self) -> Result<Change> {
        let begin = match self.engine {
            Engine::Sqlite => WRITE_SQLITE,
            Engine::Postgres => "BEGIN",
        };
        let mut transaction = self.pool.begin_with(begin).await?;
        // Locks the row in PostgreSQL: a second change waits, and then sees the first one.
        let row = sqlx::query("UPDATE state SET version = version WHERE id = 1 RETURNING version")
            .fetch_one(&mut *transaction)
            .await?;
        let version = row.try_get("version")?;
        Ok(Change { transaction, version })
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

impl Change {
    /// Commits the transaction and returns its version.
    pub(crate) async fn commit(self) -> Result<u64> {
        self.transaction.commit().await?;
        unsigned(self.version)
    }
}

/// Creates a missing database file with mode 0600; SQLite alone would make it world-readable. Its other files take the
/// same mode.
fn create_private(url: &str) -> Result<()> {
    let Ok(options) = SqliteConnectOptions::from_str(url) else {
        return Ok(());
    };
    let path = options.get_filename();
    if !url.contains("mode=rwc") || path.as_os_str().is_empty() || path == Path::new(":memory:") {
        return Ok(());
    }
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::failed("--database", error)),
    }
}

/// Adds `mode=rwc` to a URL without a mode: otherwise sqlx fails if the file is missing.
fn create_if_missing(url: &str) -> String {
    match url.split_once('?') {
        None => format!("{url}?mode=rwc"),
        Some((_, parameters)) if !parameters.contains("mode=") => format!("{url}&mode=rwc"),
        Some(_) => url.to_owned(),
    }
}

fn unsigned(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| Error::Failed("the database contains a negative number".into()))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A moment as the tables have it: seconds since the epoch.
fn column(Timestamp(seconds): Timestamp) -> i64 {
    signed(seconds.get())
}

/// Takes the write lock at once: a transaction that reads before it writes would fail instead of waiting.
const WRITE_SQLITE: &str = "BEGIN IMMEDIATE";

const PRAGMAS: [&str; 2] = ["PRAGMA busy_timeout = 10000", "PRAGMA foreign_keys = ON"];

const CONNECTIONS: u32 = 8;

const ACQUIRE_WITHIN: Duration = Duration::from_secs(5);
