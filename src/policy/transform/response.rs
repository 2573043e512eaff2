//! Changes of a response.

use std::rc::Rc;
use std::sync::Arc;

use super::body::BodyChange;
use super::config::StatusPattern;
use crate::http::edits::{self, Edit};
use crate::message::request::{OnResponse, Stop};
use crate::message::response::Response;
use crate::seam::Context;

/// The changes of one response, with the request's values filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseChange {
    /// The edits of presets, which run first.
    pub(super) presets: Arc<[Edit]>,
    pub(super) edits: Vec<Edit>,
    /// New statuses, exact patterns first.
    pub(super) statuses: Arc<[(StatusPattern, u16)]>,
    /// For responses with these statuses.
    pub(super) body: Option<(Arc<[StatusPattern]>, BodyChange)>,
}

impl ResponseChange {
    pub(super) fn is_empty(&self) -> bool {
        self.presets.is_empty() && self.edits.is_empty() && self.statuses.is_empty() && self.body.is_none()
    }

    /// Whether bodies may change.
    pub fn has_body(&self) -> bool {
        self.body.is_some()
    }
}

impl OnResponse for ResponseChange {
    fn on_response(&mut self, response: &mut Response, _: &Context<'_>) -> Result<(), Stop> {
        let status = response.status();
        let new = status.and_then(|status| {
            let mut statuses = self.statuses.iter();
            statuses.find(|(pattern, _)| pattern.matches(status))
        });
        if let Some((_, status)) = new {
            response.changes.set_one(":status", status.to_string());
        }
        let edits = self.presets.iter().chain(&self.edits).cloned();
        let headers = Rc::clone(response.headers());
        for (name, values) in edits::apply(edits, |name| headers.all(name).collect()) {
            response.changes.set(name, values);
        }
        if let (Some((statuses, change)), Some(status)) = (self.body.take(), status)
            && statuses.iter().any(|pattern| pattern.matches(status))
        {
            response.body.change(Box::new(change));
        }
        Ok(())
    }
}
