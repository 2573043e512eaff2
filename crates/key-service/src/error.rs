//! Errors of operations on keys.

use std::fmt;

/// Why an operation failed; displayed as one line for the caller.
#[derive(Debug)]
pub enum Error {
    /// The request is invalid.
    Invalid(String),
    /// No key has the given id.
    NotFound(String),
    /// The request conflicts with stored keys.
    Conflict(String),
    /// The database, the network or the terminal failed.
    Failed(String),
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an [`Error::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// Makes an [`Error::Failed`]: `what` names the operation that failed.
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
