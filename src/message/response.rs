//! A response as policies see it, with their decisions.

use std::fmt;
use std::rc::Rc;

use crate::http::changes::HeaderChanges;
use crate::http::headers::Headers;
use crate::http::piece::{Chunk, Direction};
use crate::message::body::Body;
use crate::seam::{Context, Note};

/// A response in the policies' hooks, with their decisions so far.
#[derive(Debug)]
pub struct Response {
    received: Rc<Headers>,
    headers: Rc<Headers>,
    /// Whether the received response has a body.
    pub had_body: bool,
    /// Whether the response or its replacement has a body.
    pub has_body: bool,
    /// Whether the response may be suspended.
    pub may_wait: bool,
    /// Changes of its headers.
    pub changes: HeaderChanges,
    /// Counters and log lines.
    pub notes: Vec<Note>,
    /// What to do with its body.
    pub body: Body,
    /// The reader of the body as the upstream sends it.
    pub tap: Option<Box<dyn Tap>>,
    replacement: Option<Vec<u8>>,
}

/// A complete response, as a replacement or from a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// The headers, including `:status`, without those for framing.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

/// A passive reader of a response's body.
pub trait Tap {
    /// Reads the next piece; `None` if no more pieces are needed.
    fn take(self: Box<Self>, chunk: &Chunk<'_>) -> Option<Box<dyn Tap>>;

    /// Handles the end of the body.
    fn finish(self: Box<Self>, cx: &Context<'_>);
}

// Not a supertrait: what only `Debug` reaches would be in the plugin.
impl fmt::Debug for dyn Tap + '_ {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tap")
    }
}

impl Response {
    /// A response with these headers, without decisions.
    pub fn new(headers: Rc<Headers>, has_body: bool) -> Self {
        Self {
            received: Rc::clone(&headers),
            headers,
            had_body: has_body,
            has_body,
            may_wait: false,
            changes: HeaderChanges::default(),
            notes: Vec::new(),
            body: Body::new(Direction::Response),
            tap: None,
            replacement: None,
        }
    }

    /// The headers of the response or of its replacement.
    pub fn headers(&self) -> &Rc<Headers> {
        &self.headers
    }

    /// The headers as received from the upstream or Envoy.
    pub fn received(&self) -> &Rc<Headers> {
        &self.received
    }

    /// The status; `None` if it is malformed.
    pub fn status(&self) -> Option<u16> {
        self.headers.first(":status")?.parse().ok()
    }

    /// Replaces the response. Decisions so far are dropped.
    pub fn replace(&mut self, whole: Whole) {
        self.headers = Rc::new(whole.headers);
        self.has_body = !whole.body.is_empty();
        self.changes = HeaderChanges::default();
        self.body = Body::new(Direction::Response);
        self.replacement = Some(whole.body);
    }

    /// Takes the body of the replacement, if there is one.
    pub fn take_replacement(&mut self) -> Option<Vec<u8>> {
        self.replacement.take()
    }
}

impl Whole {
    /// The changes that turn the actual headers into these.
    pub fn replaces(&self, actual: &Headers, has_body: bool) -> HeaderChanges {
        let mut changes = HeaderChanges::default();
        for (name, _) in self.headers.iter() {
            if changes.get(name).is_none() {
                changes.set(
                    name.to_vec(),
                    self.headers.all_bytes(name).map(<[u8]>::to_vec).collect(),
                );
            }
        }
        for (name, _) in actual.iter() {
            if changes.get(name).is_none() && !name.starts_with(b":") {
                changes.remove(name.to_vec());
            }
        }
        if has_body {
            changes.set_one("content-length", self.body.len().to_string());
        }
        changes
    }
}
