//! A response as policies see it, and what they have decided about it.

use std::fmt;
use std::rc::Rc;

use crate::http::changes::HeaderChanges;
use crate::http::headers::Headers;
use crate::http::piece::{Chunk, Direction};
use crate::message::body::Body;
use crate::seam::{Context, Note};

/// One response on its way through the policies that asked for it.
#[derive(Debug)]
pub struct Response {
    received: Rc<Headers>,
    headers: Rc<Headers>,
    /// Whether a body followed the headers that were received.
    pub had_body: bool,
    /// Whether there is a body: that one, or that of what replaces the response.
    pub has_body: bool,
    /// Whether it may be held.
    pub may_wait: bool,
    /// What its headers become.
    pub changes: HeaderChanges,
    /// What is to be counted and logged.
    pub notes: Vec<Note>,
    /// What is to be done with its body.
    pub body: Body,
    /// Who is told of its body as the upstream sends it.
    pub tap: Option<Box<dyn Tap>>,
    replacement: Option<Vec<u8>>,
}

/// A response that is there as a whole, and need not come from the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// `:status` among them; nothing that frames it.
    pub headers: Headers,
    /// All of it.
    pub body: Vec<u8>,
}

/// Reads along a response's body.
pub trait Tap: fmt::Debug {
    /// Takes the next piece; `None` where it need not be told of more.
    fn take(self: Box<Self>, chunk: &Chunk<'_>) -> Option<Box<dyn Tap>>;

    /// The body has ended.
    fn finish(self: Box<Self>, cx: &Context<'_>);
}

impl Response {
    /// One with these headers, about which nothing is decided.
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

    /// As the upstream, Envoy or what replaces them has sent them.
    pub fn headers(&self) -> &Rc<Headers> {
        &self.headers
    }

    /// As the upstream or Envoy has sent them, whatever has replaced them.
    pub fn received(&self) -> &Rc<Headers> {
        &self.received
    }

    /// The status, where it is one.
    pub fn status(&self) -> Option<u16> {
        self.headers.first(":status")?.parse().ok()
    }

    /// Puts another response in its place; what was decided before is about that one no more.
    pub fn replace(&mut self, whole: Whole) {
        self.headers = Rc::new(whole.headers);
        self.has_body = !whole.body.is_empty();
        self.changes = HeaderChanges::default();
        self.body = Body::new(Direction::Response);
        self.replacement = Some(whole.body);
    }

    /// The body of what replaces it, if something does.
    pub fn take_replacement(&mut self) -> Option<Vec<u8>> {
        self.replacement.take()
    }
}

impl Whole {
    /// The changes that make a response's headers these.
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
