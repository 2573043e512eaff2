//! Errors of GraphQL: those of a request, with which nothing is executed, and those of positions in the data.

use serde_json::{Value, json};

use crate::policy::parts::{Outcome, Settled};

/// Why a request is not executed. There is no `data`.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) errors: Vec<Message>,
    /// The bound that the request is over.
    pub(super) limit: Option<&'static str>,
    /// The status, of those that depend on the media type or are the same for all.
    pub(super) kind: Kind,
}

/// A message with the places in the document that it is about: line and column, from 1.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) text: String,
    pub(super) locations: Vec<(usize, usize)>,
}

/// What a refusal is about, which decides the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The HTTP request is no GraphQL request.
    Malformed,
    /// The GraphQL request cannot be executed.
    Request,
}

/// An error at a position.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) part: Option<String>,
    pub(super) status: Option<u16>,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            errors: vec![Message {
                text: message.into(),
                locations: Vec::new(),
            }],
            limit: None,
            kind: Kind::Request,
        }
    }

    /// A document that is wrong at a place.
    pub(super) fn at(code: &'static str, message: impl Into<String>, locations: Vec<(usize, usize)>) -> Self {
        Self {
            errors: vec![Message {
                text: message.into(),
                locations,
            }],
            ..Self::new(code, "")
        }
    }

    /// The HTTP request is no GraphQL request.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Malformed,
            ..Self::new(BAD_REQUEST, message)
        }
    }

    /// The request is over a bound.
    pub(super) fn over(limit: &'static str, most: u64) -> Self {
        Self {
            limit: Some(limit),
            ..Self::new(
                "LIMIT_EXCEEDED",
                format!("The operation is over the limit of {most} for {limit}."),
            )
        }
    }

    /// The errors as members of `errors`.
    pub(super) fn listed(&self) -> Vec<Value> {
        let errors = self.errors.iter().map(|error| {
            let mut extensions = json!({"code": self.code});
            if let (Some(limit), Some(members)) = (self.limit, extensions.as_object_mut()) {
                members.insert("limit".into(), limit.into());
            }
            let mut listed = json!({"message": error.text});
            if let Some(members) = listed.as_object_mut() {
                if !error.locations.is_empty() {
                    members.insert("locations".into(), locations(&error.locations));
                }
                members.insert("extensions".into(), extensions);
            }
            listed
        });
        errors.collect()
    }
}

/// Places in a document as GraphQL lists them.
pub(super) fn locations(places: &[(usize, usize)]) -> Value {
    let places = places
        .iter()
        .map(|(line, column)| json!({"line": line, "column": column}));
    Value::Array(places.collect())
}

impl Fault {
    /// A value that does not fit to the schema.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self {
            code: "PART_INVALID",
            message: message.into(),
            part: None,
            status: None,
        }
    }

    /// The caller may not have this field.
    pub(super) fn forbidden() -> Self {
        Self {
            code: "FORBIDDEN",
            message: "The caller may not have this field.".into(),
            part: None,
            status: None,
        }
    }

    /// An argument that cannot be used, found where the field is executed.
    pub(super) fn argument(message: String) -> Self {
        Self {
            code: BAD_INPUT,
            message,
            part: None,
            status: None,
        }
    }

    /// The failure of a part.
    pub(super) fn of(part: &str, settled: &Settled) -> Self {
        let (code, what) = match settled.outcome {
            Outcome::Timeout | Outcome::Deadline => ("PART_TIMEOUT", "did not answer in time"),
            Outcome::Unavailable => ("PART_UNAVAILABLE", "is not available"),
            Outcome::NotJson | Outcome::Encoded | Outcome::Shape => {
                ("PART_INVALID", "gave an answer that cannot be used")
            }
            _ => ("PART_FAILED", "failed"),
        };
        Self {
            code,
            message: format!("Part \"{part}\" {what}."),
            part: Some(part.to_owned()),
            status: settled.status,
        }
    }

    /// The error as a member of `errors`.
    pub(super) fn listed(&self, path: &[Step<'_>], places: &[(usize, usize)]) -> Value {
        let mut extensions = serde_json::Map::new();
        extensions.insert("code".into(), self.code.into());
        if let Some(part) = &self.part {
            extensions.insert("part".into(), part.as_str().into());
        }
        if let Some(status) = self.status {
            extensions.insert("status".into(), status.into());
        }
        let path: Vec<Value> = path
            .iter()
            .map(|step| match step {
                Step::Name(name) => (*name).into(),
                Step::Item(place) => (*place).into(),
            })
            .collect();
        json!({"message": self.message, "locations": locations(places), "path": path, "extensions": extensions})
    }
}

/// A step of a path in the data.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    Name(&'a str),
    Item(usize),
}

pub(super) const BAD_REQUEST: &str = "BAD_REQUEST";
pub(super) const BAD_INPUT: &str = "BAD_USER_INPUT";
