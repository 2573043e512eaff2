//! Errors in a configuration, each with its path.

use std::fmt;

/// What is wrong with a configuration, where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Such as `jwt.issuers[0].jwks`; empty for the whole.
    pub path: String,
    /// For the operator.
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

/// Collects every meaning error of a configuration while a plan is made, and what looks like a mistake without being one.
#[derive(Debug, Default)]
pub struct Report {
    path: String,
    errors: Vec<ConfigError>,
    warnings: Vec<ConfigError>,
}

impl Report {
    /// Runs `read` one level deeper: `segment` is a key, or an index as `[0]`.
    pub fn within<T>(&mut self, segment: impl fmt::Display, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(&self.join(&segment.to_string()));
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Something is wrong here.
    pub fn error(&mut self, message: impl Into<String>) {
        self.errors.push(ConfigError {
            path: self.path.clone(),
            message: message.into(),
        });
    }

    /// Something is wrong with one key of this place.
    pub fn error_at(&mut self, segment: impl fmt::Display, message: impl Into<String>) {
        self.within(segment, |report| report.error(message));
    }

    /// One key of this place is allowed, but is hardly what was meant, or is not used.
    pub fn warn_at(&mut self, segment: impl fmt::Display, message: impl Into<String>) {
        self.within(segment, |report| {
            report.warnings.push(ConfigError {
                path: report.path.clone(),
                message: message.into(),
            });
        });
    }

    /// All errors, or all warnings.
    pub fn finish(self) -> Result<Vec<ConfigError>, Vec<ConfigError>> {
        if self.errors.is_empty() {
            Ok(self.warnings)
        } else {
            Err(self.errors)
        }
    }

    fn join(&self, segment: &str) -> String {
        if self.path.is_empty() || segment.starts_with('[') {
            segment.to_owned()
        } else {
            format!(".{segment}")
        }
    }
}
