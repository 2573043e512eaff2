//! Errors and warnings about a configuration, each with its path.

use std::fmt;

/// An error or a warning: where it is, what is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The path, such as `jwt.issuers[0].jwks`; empty for the whole.
    pub path: String,
    /// The message for the operator.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "{}: {}", self.path, self.message)
        }
    }
}

/// Collects all errors and warnings about a configuration while it is compiled.
#[derive(Debug, Default)]
pub struct Report {
    path: String,
    errors: Vec<ConfigError>,
    warnings: Vec<ConfigError>,
}

impl Report {
    /// Runs `read` one level deeper: `segment` is a key, or an index as `[0]`; an empty one is no level.
    pub fn within<T>(&mut self, segment: impl fmt::Display, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(&self.join(&segment.to_string()));
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Adds an error at the current path.
    pub fn error(&mut self, message: impl Into<String>) {
        self.errors.push(ConfigError {
            path: self.path.clone(),
            message: message.into(),
        });
    }

    /// Adds an error at a key below the current path.
    pub fn error_at(&mut self, segment: impl fmt::Display, message: impl Into<String>) {
        self.within(segment, |report| report.error(message));
    }

    /// Adds an error at a key below the current path if its value is empty.
    pub fn not_empty(&mut self, segment: impl fmt::Display, is_empty: bool) {
        if is_empty {
            self.error_at(segment, "must not be empty");
        }
    }

    /// Adds a warning at a key below the current path: its value is probably a mistake, or not used.
    pub fn warn_at(&mut self, segment: impl fmt::Display, message: impl Into<String>) {
        self.within(segment, |report| {
            report.warnings.push(ConfigError {
                path: report.path.clone(),
                message: message.into(),
            });
        });
    }

    /// All errors; without any, all warnings.
    pub fn finish(self) -> Result<Vec<ConfigError>, Vec<ConfigError>> {
        if self.errors.is_empty() {
            Ok(self.warnings)
        } else {
            Err(self.errors)
        }
    }

    fn join(&self, segment: &str) -> String {
        if self.path.is_empty() || segment.is_empty() || segment.starts_with('[') {
            segment.to_owned()
        } else {
            format!(".{segment}")
        }
    }
}
