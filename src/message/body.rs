//! One message's body: held until it is whole where something looks at it, else let through piece by piece.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use crate::denial::{Denial, DenialKind};
use crate::http::changes::HeaderChanges;
use crate::http::headers::Headers;
use crate::http::piece::{Chunk, Direction};
use crate::json;
use crate::seam::Note;

/// What becomes of a body that rules cannot be applied to: it is too large, compressed, or not JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum OnFault {
    /// It is refused.
    #[default]
    Deny,
    /// It passes as it is, and is counted.
    Pass,
}

/// A condition on a whole body.
pub trait Check: fmt::Debug + Send + Sync {
    /// Refuses a body that is not as it must be.
    fn check(&self, text: &[u8]) -> Result<(), Denial>;
}

/// A change of a whole body, made for one message.
pub trait Change: fmt::Debug {
    /// Bytes that are held at most.
    fn max_bytes(&self) -> usize;

    /// What becomes of a body that it cannot be applied to.
    fn on_fault(&self) -> OnFault;

    /// Whether bodies of this content type, the values of all its lines, are read; those without one are, to see.
    fn reads(&self, content_types: &[&str]) -> bool;

    /// Whether bodies of this content type pass as they are.
    fn lets_pass(&self, content_types: &[&str]) -> bool;

    /// Whether there is memory for the change: what is taken apart takes more than its text.
    fn has_room(&self, text: &[u8]) -> bool;

    /// The type of what comes of it, if that is another one.
    fn writes(&self) -> Option<&'static str>;

    /// The body after the change; nothing stays nothing. `None` where it is not what it should be.
    fn apply(&self, text: &[u8]) -> Option<String>;
}

/// What is to be done with a body.
#[derive(Debug)]
pub struct Body {
    direction: Direction,
    /// Bytes; more are refused.
    limit: Option<usize>,
    /// What it must be.
    check: Option<Arc<dyn Check>>,
    /// What changes.
    change: Option<Box<dyn Change>>,
    /// What comes in its place.
    replacement: Option<Vec<u8>>,
    /// Bytes that have come.
    seen: usize,
}

/// What becomes of a piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Passes,
    /// It is held until there is more of it.
    Held,
    /// The body is whole, and these bytes go on in its place.
    Becomes(Vec<u8>),
}

/// Why rules cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    TooLarge,
    Encoded,
    /// Its type says so.
    OtherType,
    NotJson,
}

impl Body {
    /// Nothing is to be done.
    pub const fn new(direction: Direction) -> Self {
        Self {
            direction,
            limit: None,
            check: None,
            change: None,
            replacement: None,
            seen: 0,
        }
    }

    /// More bytes are refused.
    pub fn limit(&mut self, bytes: usize) {
        self.limit = Some(bytes);
    }

    /// It must pass this check.
    pub fn check(&mut self, check: Arc<dyn Check>) {
        self.check = Some(check);
    }

    /// It changes, where the change can be applied to it.
    pub fn change(&mut self, change: Box<dyn Change>) {
        self.change = Some(change);
    }

    /// Something else comes in its place, whatever it is.
    pub fn replace(&mut self, bytes: Vec<u8>) {
        *self = Self::new(self.direction);
        self.replacement = Some(bytes);
    }

    /// Whether something waits for the whole of it.
    pub fn is_held(&self) -> bool {
        self.check.is_some() || self.change.is_some() || self.replacement.is_some()
    }

    /// Whether it must be told of every piece.
    pub fn is_watched(&self) -> bool {
        self.is_held() || self.limit.is_some()
    }

    /// Looks at the message's headers, before its body: what they show cannot be done is not begun. `route` is the rule's name in metrics.
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

    /// Takes a piece, or all that is held.
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
        // What a request begins with is the upstream's to read.
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
            // Envoy has no buffer for a body without bytes, nor is anything to be put into it.
            Ok(changed) if changed.is_empty() && chunk.size == 0 => {}
            Ok(changed) => return Ok(Fate::Becomes(changed.into_bytes())),
            Err(fault) => self.fault(route, fault, notes)?,
        }
        Ok(Fate::Passes)
    }

    /// Whether a body of this type is changed, passes as it is, or is one that the rules cannot be applied to.
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

    /// Whether so many bytes may come at all.
    fn check_limit(&self, bytes: usize) -> Result<(), Denial> {
        match self.limit {
            Some(limit) if bytes > limit => Err(self.denial(Fault::TooLarge)),
            _ => Ok(()),
        }
    }

    /// Whether so many bytes can be held to be changed.
    fn check_size(&mut self, route: &str, bytes: usize, notes: &mut Vec<Note>) -> Result<(), Denial> {
        match &self.change {
            Some(change) if bytes > change.max_bytes() => self.fault(route, Fault::TooLarge, notes),
            _ => Ok(()),
        }
    }

    /// The rules cannot be applied. What checks a body is never skipped.
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

    /// Takes out what is no longer true of a message whose body changes.
    fn unframe(&self, headers: &Headers, changes: &mut HeaderChanges) {
        changes.remove_all(STALE.into_iter().filter(|name| headers.all(name).next().is_some()));
        // It names other bytes than those that the client gets, but still tells one version from another.
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

/// Bytes of a body that is held, where a rule does not say: the buffer that Envoy has by default.
pub const DEFAULT_MAX_BYTES: u64 = 1 << 20;

/// Bytes of a body that a rule may hold: what a worker could hold of a few requests.
pub const MOST_HELD: u64 = 64 << 20;

/// In place of a content type that is no text.
const NO_TYPE: &str = "?";

/// Of other bytes than those that are sent on.
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
