//! What becomes of a part: its outcome, and its value.

use std::rc::Rc;

use super::budget::Charge;
use super::call::Received;
use super::outcome::Outcome;
use super::part::Part;
use crate::json::{self, Node};
use crate::message::body::Change as _;
use crate::policy::transform::StatusPattern;

/// The JSON of a part, with its share of the worker's memory.
#[derive(Debug, Clone)]
pub struct Text {
    text: Rc<str>,
    _charge: Rc<Charge>,
}

/// An outcome with its value.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The outcome.
    pub outcome: Outcome,
    /// The service's status, for [`Outcome::Status`].
    pub status: Option<u16>,
    /// Whether the part passes this status on.
    pub passes: bool,
    /// The value; `None` for `null`.
    pub value: Option<Text>,
}

impl Text {
    /// A value in this one.
    pub(super) fn part(&self, text: &str) -> Self {
        Self {
            text: text.into(),
            _charge: Rc::clone(&self._charge),
        }
    }

    /// The JSON.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Settled {
    /// An outcome without a value.
    pub(super) fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            status: None,
            passes: false,
            value: None,
        }
    }

    /// What a part makes of an answer.
    pub(super) fn read(part: &Part, received: &Received) -> Self {
        let status = received.headers.first(":status").and_then(|status| status.parse().ok());
        let Some(status) = status else {
            return Self::of(Outcome::Reset);
        };
        let has = |patterns: &[StatusPattern]| patterns.iter().any(|pattern| pattern.matches(status));
        if has(&part.none) || status == NO_CONTENT && has(&part.ok) {
            return Self::of(Outcome::None);
        }
        if !has(&part.ok) {
            return match status {
                GATEWAY_TIMEOUT if !has(&part.pass) => Self::of(Outcome::Timeout),
                _ => Self {
                    status: Some(status),
                    passes: has(&part.pass),
                    ..Self::of(Outcome::Status)
                },
            };
        }
        let mut encodings = received.headers.all("content-encoding");
        if encodings.any(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity")) {
            return Self::of(Outcome::Encoded);
        }
        match json_of(part, &received.body) {
            Ok(text) => Self {
                value: Some(Text {
                    text,
                    _charge: Rc::clone(&received.charge),
                }),
                ..Self::of(Outcome::Ok)
            },
            Err(outcome) => Self::of(outcome),
        }
    }
}

/// The JSON of an answer after the part's changes.
fn json_of(part: &Part, body: &[u8]) -> Result<Rc<str>, Outcome> {
    let text = json::without_byte_order_mark(body);
    let Some(change) = &part.change else {
        let parsed = Node::parse(text).map_err(|_| Outcome::NotJson)?;
        return Ok(parsed.text().unwrap_or_default().into());
    };
    if !change.has_room(text) {
        return Err(Outcome::TooLarge);
    }
    // An empty text is no JSON, though changes leave it as it is.
    let changed = change.apply(text).filter(|_| !text.is_empty());
    changed.map(Rc::from).ok_or(Outcome::NotJson)
}

const NO_CONTENT: u16 = 204;
const GATEWAY_TIMEOUT: u16 = 504;
