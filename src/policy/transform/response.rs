//! What becomes of a response.

use std::rc::Rc;

use super::body::BodyChange;
use super::config::StatusPattern;
use crate::body::{Body, Direction};
use crate::fields::{self, Edit, Values};
use crate::headers::Headers;

/// Changes of a response, ready before it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseChange {
    /// Before the edits.
    pub(super) presets: Rc<[Edit]>,
    pub(super) edits: Vec<Edit>,
    /// The most exact ones first.
    pub(super) statuses: Rc<[(StatusPattern, u16)]>,
    /// Of responses with these statuses.
    pub(super) body: Option<(Rc<[StatusPattern]>, BodyChange)>,
}

impl ResponseChange {
    /// Whether it changes nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.presets.is_empty() && self.edits.is_empty() && self.statuses.is_empty() && self.body.is_none()
    }

    /// Whether bodies may change.
    pub fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// What is to be done with the body of a response with these headers.
    pub fn body(&self, headers: &Headers) -> Body {
        let mut body = Body::new(Direction::Response);
        if let (Some((statuses, change)), Some(status)) = (&self.body, status(headers))
            && statuses.iter().any(|pattern| pattern.matches(status))
        {
            body.change(change.clone());
        }
        body
    }

    /// The fields that change, pseudo-headers first.
    pub fn apply(&self, headers: &Headers) -> Vec<(Rc<str>, Values)> {
        let new = status(headers).and_then(|status| {
            let mut statuses = self.statuses.iter();
            statuses.find(|(pattern, _)| pattern.matches(status))
        });
        let status = new.map(|(_, status)| (Rc::from(":status"), vec![status.to_string().into_bytes()]));
        let edits = self.presets.iter().chain(&self.edits).cloned();
        let changed = fields::apply(edits, |name| headers.all(name).collect());
        status.into_iter().chain(changed).collect()
    }
}

fn status(headers: &Headers) -> Option<u16> {
    headers.first(":status")?.parse().ok()
}
