//! What is said about files: each with its place.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write as _;

use crate::yaml::Place;

/// Something that is wrong, or may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) place: Place,
    pub(crate) severity: Severity,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// All of them, each once, by place.
#[derive(Debug, Default)]
pub(crate) struct Findings(BTreeSet<Finding>);

impl Finding {
    pub(crate) fn error(place: &Place, message: impl Into<String>) -> Self {
        Self {
            place: place.clone(),
            severity: Severity::Error,
            message: message.into(),
        }
    }

    pub(crate) fn warning(place: &Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(place, message)
        }
    }
}

/// As editors and compilers have it: `FILE:LINE:COLUMN: PATH: MESSAGE`.
impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place {
            file,
            line,
            column,
            path,
        } = &self.place;
        if self.severity == Severity::Warning {
            formatter.write_str("warning: ")?;
        }
        write!(formatter, "{file}:{line}:{column}: ")?;
        if !path.is_empty() {
            write!(formatter, "{path}: ")?;
        }
        formatter.write_str(&self.message)
    }
}

impl Findings {
    pub(crate) fn add(&mut self, finding: Finding) {
        self.0.insert(finding);
    }

    pub(crate) fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.add(Finding::error(place, message));
    }

    pub(crate) fn warning(&mut self, place: &Place, message: impl Into<String>) {
        self.add(Finding::warning(place, message));
    }

    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Whether something is said about a file.
    pub(crate) fn mention(&self, file: &str) -> bool {
        self.0.iter().any(|finding| &*finding.place.file == file)
    }

    /// Whether something is said of a place.
    pub(crate) fn is_at(&self, place: &Place) -> bool {
        self.0.iter().any(|finding| finding.place == *place)
    }

    /// Takes others over, in other words.
    pub(crate) fn extend(&mut self, others: Self, words: impl Fn(&str) -> String) {
        for mut finding in others {
            finding.message = words(&finding.message);
            self.add(finding);
        }
    }

    #[cfg(test)]
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Writes all of them to standard error.
    pub(crate) fn print(&self) {
        let mut out = std::io::stderr().lock();
        for finding in &self.0 {
            let _ = writeln!(out, "{finding}");
        }
    }
}

/// `1 error`, `2 errors`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Says on standard error why nothing was done.
pub(crate) fn complain(error: &impl fmt::Display) {
    let _ = writeln!(std::io::stderr(), "error: {error}");
}

impl IntoIterator for Findings {
    type Item = Finding;
    type IntoIter = std::collections::btree_set::IntoIter<Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
