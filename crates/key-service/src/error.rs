//! What can go wrong with keys, by whose fault it is.

use std::fmt;

/// Why something was not done, as one line for whoever asked.
#[derive(Debug)]
pub enum Error {
    /// What was asked for makes no sense.
    Invalid(String),
    /// There is no such key.
    NotFound(String),
    /// It does not fit what is there.
    Conflict(String),
    /// The database, the network or the terminal failed.
    Failed(String),
}

/// The usual result here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What was asked for makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// Something outside failed while doing `what`.
    pub fn failed(what: &str, error: impl fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Invalid(message) | Self::NotFound(message) | Self::Conflict(message) | Self::Failed(message)) = self;
        formatter.write_str(message)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::failed("the database", error)
    }
}
