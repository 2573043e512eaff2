//! The body of one message: held until it is complete if a policy checks or changes it, otherwise passed on piece by
//! piece.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use crate::denial::{Denial, DenialKind};
use crate::http::changes::HeaderChanges;
use crate::http::headers::Headers;
use crate::http::piece::{Chunk, Direction};
use crate::json;
use crate::seam::Note;

/// What to do with a body that rules cannot be applied to: it is too large, compressed, or not JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum OnFault {
    /// The message is refused.
    #[default]
    Deny,
    /// The body passes unchanged, and is counted.
    Pass,
}

/// A check of a complete body.
pub trait Check: Send + Sync {
    /// Refuses an invalid body.
    fn check(&self, text: &[u8]) -> Result<(), Denial>;
}

// Not a supertrait: what only `Debug` reaches would be in the plugin.
impl fmt::Debug for dyn Check + '_ {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Check")
    }
}

/// A change of a complete body, for one message.
pub trait Change {
    /// Maximum size of a body, in bytes.
    fn max_bytes(&self) -> usize;

    /// What to do with a body that the change cannot be applied to.
    fn on_fault(&self) -> OnFault;

    /// Whether bodies of this content type are changed. The list has the values of all lines; without any, the body is
    /// tried.
    fn reads(&self, content_types: &[&str]) -> bool;

    /// Whether bodies of this content type pass unchanged.
    fn lets_pass(&self, content_types: &[&str]) -> bool;

    /// Whether there is memory for the change: a parsed document is larger than its text.
    fn has_room(&self, text: &[u8]) -> bool;

    /// The content type of the result, if it differs.
    fn writes(&self) -> Option<&'static str>;

    /// The changed body; an empty body stays empty. `None` if the text cannot be parsed.
    fn apply(&self, text: &[u8]) -> Option<String>;
}

// Not a supertrait: what only `Debug` reaches would be in the plugin.
impl fmt::Debug for dyn Change + '_ {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Change")
    }
}

/// What to do with one message's body.
#[derive(Debug)]
pub struct Body {
    direction: Direction,
    /// Maximum size in bytes; larger bodies are refused.
    limit: Option<usize>,
    check: Option<Arc<dyn Check>>,
    change: Option<Box<dyn Change>>,
    replacement: Option<Vec<u8>>,
    /// Whether a policy reads the complete body.
    is_read: bool,
    /// Bytes so far.
    seen: usize,
}

/// What to do with a piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Pass it on.
    Passes,
    /// Hold it until more comes.
    Held,
    /// Pass on these bytes in place of the complete body.
    Becomes(Vec<u8>),
    /// The complete body, for the policy that reads it.
    Whole(Vec<u8>),
}

/// Why rules cannot be applied to a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    TooLarge,
    Encoded,
    /// The content type is not JSON.
    OtherType,
    NotJson,
}

impl Body {
    /// A body that passes unchanged.
    pub const fn new(direction: Direction) -> Self {
        Self {
            direction,
            limit: None,
            check: None,
            change: None,
            replacement: None,
            is_read: false,
            seen: 0,
        }
    }

    /// Sets the maximum size; the smallest counts.
    pub fn limit(&mut self, bytes: usize) {
        self.limit = Some(self.limit.map_or(bytes, |own| own.min(bytes)));
    }

    /// Sets the check.
    pub fn check(&mut self, check: Arc<dyn Check>) {
        self.check = Some(check);
    }

    /// Sets the change.
    pub fn change(&mut self, change: Box<dyn Change>) {
        self.change = Some(change);
    }

    /// Holds the body for a policy that reads it when it is complete.
    pub fn read(&mut self) {
        self.is_read = true;
    }

    /// Replaces the body, without limit, check or change.
    pub fn replace(&mut self, bytes: Vec<u8>) {
        *self = Self::new(self.direction);
        self.replacement = Some(bytes);
    }

    /// Whether the body must be held until it is complete.
    pub fn is_held(&self) -> bool {
        self.is_read || self.check.is_some() || self.change.is_some() || self.replacement.is_some()
    }

    /// Whether every piece must go to [`on_chunk`](Self::on_chunk).
    pub fn is_watched(&self) -> bool {
        self.is_held() || self.limit.is_some()
    }

    /// Checks and changes the message's headers before its body; finds bodies that cannot be changed early. `route` is
    /// the rule's name in metrics.
    pub fn begin(
        &mut self,
        route: &str,
        headers: &Headers,
        changes: &mut HeaderChanges,
        notes: &mut Vec<Note>,
    ) -> Result<(), Denial> {
        let declared = headers.first("content-length").and_then(|length| length.parse().ok());
        let declared: usize = declared.unwrap_or_default();
        self.check_limit(declared)?;
        self.check_type(route, headers, notes)?;
        let mut encodings = headers.all("content-encoding");
        if self.is_held()
            && encodings.any(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity"))
        {
            self.fault(route, Fault::Encoded, notes)?;
        }
        self.check_size(route, declared, notes)?;
        if let Some(change) = &self.change {
            self.unframe(headers, changes);
            if let Some(media_type) = change.writes() {
                changes.set_one("content-type", media_type);
            }
        }
        Ok(())
    }

    /// Handles a piece, or the whole held body.
    pub fn on_chunk(&mut self, route: &str, chunk: &Chunk<'_>, notes: &mut Vec<Note>) -> Result<Fate, Denial> {
        self.seen = if self.is_held() {
            chunk.size
        } else {
            self.seen.saturating_add(chunk.size)
        };
        self.check_limit(self.seen)?;
        self.check_size(route, self.seen, notes)?;
        if !self.is_held() {
            return Ok(Fate::Passes);
        }
        if !chunk.ends {
            return Ok(Fate::Held);
        }
        if let Some(bytes) = self.replacement.take() {
            return Ok(Fate::Becomes(bytes));
        }
        let text = (chunk.read)().ok_or(Denial::new(DenialKind::Unavailable, "body_unreadable"))?;
        if let Some(check) = self.check.take() {
            check.check(&text)?;
        }
        if self.is_read {
            return Ok(Fate::Whole(text));
        }
        // Only in responses: an upstream might not ignore a byte order mark.
        let text = match self.direction {
            Direction::Request => text.as_slice(),
            Direction::Response => json::without_byte_order_mark(&text),
        };
        let Some(change) = &self.change else {
            return Ok(Fate::Passes);
        };
        let changed = if change.has_room(text) {
            change.apply(text).ok_or(Fault::NotJson)
        } else {
            Err(Fault::TooLarge)
        };
        match changed {
            // For an empty body, Envoy has no buffer to write to.
            Ok(changed) if changed.is_empty() && chunk.size == 0 => {}
            Ok(changed) => return Ok(Fate::Becomes(changed.into_bytes())),
            Err(fault) => self.fault(route, fault, notes)?,
        }
        Ok(Fate::Passes)
    }

    /// Decides by the content type: the body is changed, passes unchanged, or is a fault.
    fn check_type(&mut self, route: &str, headers: &Headers, notes: &mut Vec<Note>) -> Result<(), Denial> {
        let Some(change) = &self.change else {
            return Ok(());
        };
        let content_types = headers.all("content-type");
        let content_types: Vec<_> = content_types
            .map(|value| std::str::from_utf8(value).unwrap_or(NO_TYPE))
            .collect();
        if change.lets_pass(&content_types) {
            self.change = None;
        } else if !change.reads(&content_types) {
            return self.fault(route, Fault::OtherType, notes);
        }
        Ok(())
    }

    /// Refuses a body over the limit.
    fn check_limit(&self, bytes: usize) -> Result<(), Denial> {
        match self.limit {
            Some(limit) if bytes > limit => Err(self.denial(Fault::TooLarge)),
            _ => Ok(()),
        }
    }

    /// Reports a fault if the body is too large for the change.
    fn check_size(&mut self, route: &str, bytes: usize, notes: &mut Vec<Note>) -> Result<(), Denial> {
        match &self.change {
            Some(change) if bytes > change.max_bytes() => self.fault(route, Fault::TooLarge, notes),
            _ => Ok(()),
        }
    }

    /// Handles a body that rules cannot be applied to. With a check, it is always refused.
    fn fault(&mut self, route: &str, fault: Fault, notes: &mut Vec<Note>) -> Result<(), Denial> {
        let passes = self
            .change
            .as_ref()
            .is_some_and(|change| change.on_fault() == OnFault::Pass);
        if self.check.is_some() || !passes {
            return Err(self.denial(fault));
        }
        self.change = None;
        let direction = match self.direction {
            Direction::Request => "request",
            Direction::Response => "response",
        };
        let reason = fault.reason();
        let name = format!("tollgate_bodies_unchanged_total;route={route};direction={direction};reason={reason};");
        notes.push(Note::Count(name.into()));
        Ok(())
    }

    fn denial(&self, fault: Fault) -> Denial {
        let kind = match (self.direction, fault) {
            (Direction::Response, _) => DenialKind::UpstreamBodyUnusable,
            (Direction::Request, Fault::TooLarge) => DenialKind::PayloadTooLarge,
            (Direction::Request, Fault::Encoded | Fault::OtherType) => DenialKind::UnsupportedMediaType,
            (Direction::Request, Fault::NotJson) => DenialKind::InvalidBody,
        };
        Denial::new(kind, fault.reason())
    }

    /// Removes headers that describe the original body, and weakens the `etag` of a response.
    fn unframe(&self, headers: &Headers, changes: &mut HeaderChanges) {
        changes.remove_all(STALE.into_iter().filter(|name| headers.all(name).next().is_some()));
        // The client gets other bytes, but the tag still distinguishes versions.
        if self.direction == Direction::Response
            && let Some(etag) = headers.all("etag").next()
            && !etag.starts_with(b"W/")
        {
            changes.set_one("etag", [b"W/", etag].concat());
        }
    }
}

impl Fault {
    fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "body_too_large",
            Self::Encoded => "body_encoded",
            Self::OtherType => "body_of_other_type",
            Self::NotJson => "body_not_json",
        }
    }
}

/// Default maximum size of a held body, in bytes: Envoy's default buffer.
pub const DEFAULT_MAX_BYTES: u64 = 1 << 20;

/// Highest maximum size of a held body, in bytes: a worker can hold a few of them.
pub const MOST_HELD: u64 = 64 << 20;

/// Stands for a content type that is not UTF-8.
const NO_TYPE: &str = "?";

/// Headers that describe the original bytes.
const STALE: [&str; 6] = [
    "accept-ranges",
    "content-digest",
    "content-length",
    "content-md5",
    "digest",
    "repr-digest",
];

#[cfg(test)]
mod tests;
