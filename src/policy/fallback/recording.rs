//! The recording of a good response while it passes, to keep it when it is complete.

use super::last_good::{LastGood, Varies, varies};
use super::response::passed_on;
use crate::http::cache_control;
use crate::http::headers::Headers;
use crate::http::piece::Chunk;
use crate::message::response::Whole;
use crate::seam::Context;
use crate::shared::kept::Owner;

#[derive(Debug)]
pub(super) struct Recording {
    owner: Owner,
    varies: Varies,
    response: Whole,
    max_bytes: usize,
}

impl Recording {
    /// Begins a recording; `None` for a response that must not be kept, or is too large. Responses to anonymous
    /// requests need `Cache-Control: public`, as the upstream may use anything in the request.
    pub(super) fn begin(
        owner: Owner,
        is_anonymous: bool,
        request: &Headers,
        response: &Headers,
        max_bytes: usize,
    ) -> Option<Self> {
        let length = response.first("content-length").and_then(|length| length.parse().ok());
        if !may_be_kept(response, is_anonymous) || length.is_some_and(|length: usize| length > max_bytes) {
            return None;
        }
        let headers = response.iter().filter(|(name, _)| *name != b"content-length").collect();
        Some(Self {
            owner,
            varies: varies(response, request)?,
            response: passed_on(&headers, Vec::new()),
            max_bytes,
        })
    }

    /// Appends the next piece; `None` if the response has become too large, or the piece cannot be read.
    pub(super) fn take(mut self, chunk: &Chunk<'_>) -> Option<Self> {
        let body = &mut self.response.body;
        if body.len().saturating_add(chunk.size) > self.max_bytes {
            return None;
        }
        if chunk.size > 0 {
            body.extend((chunk.read)()?);
        }
        Some(self)
    }

    pub(super) fn keep(&self, kept: &LastGood, cx: &Context<'_>) {
        kept.keep(self.owner, &self.varies, &self.response, cx);
    }
}

/// Whether a response may be stored (RFC 9111 section 5.2.2): without cookies, and if anonymous, `public`.
fn may_be_kept(response: &Headers, is_anonymous: bool) -> bool {
    let says = |directive| cache_control::has(response, directive);
    let is_forbidden = says("no-store") || says("private") || response.all("set-cookie").next().is_some();
    !is_forbidden && (!is_anonymous || says("public"))
}
