//! The gateway's own answer in place of an upstream's, as a step.

use std::rc::Rc;
use std::sync::Arc;

use super::refusal::{Caller, refuse_response};
use super::{Deciding, Exchange, State};
use crate::denial::{Denial, DenialKind};
use crate::http::headers::Headers;
use crate::message::request::Answered;
use crate::message::response::{Response, Whole};
use crate::seam::{Host, Note, Reply, Step, Then};

impl Exchange {
    /// Answers a request that all policies have allowed. The rule's changes of responses apply to the answer, also if it
    /// is a refusal.
    pub(super) fn answer(&mut self, deciding: Deciding, answered: Answered, host: &dyn Host) -> Step {
        self.state = State::Over;
        let Deciding {
            mut request,
            route,
            has_gone_on,
            ..
        } = deciding;
        let mut notes = std::mem::take(&mut request.notes);
        notes.push(Note::Count(Arc::clone(&route.passed)));
        let caller = Caller::of(request.headers());
        let mut step = match answered.response {
            Ok(whole) => Step {
                notes,
                then: Then::Respond(reply(whole, &answered.about)),
                ..Step::default()
            },
            Err(denial) => refuse_response(denial, &route.name, notes, caller),
        };
        // Its headers are for the access log. Those of a request that has gone on are as they are to be seen.
        if !has_gone_on {
            step.headers = std::mem::take(&mut request.changes);
        }
        let Then::Respond(reply) = &mut step.then else {
            return step;
        };
        let status = reply.status.to_string();
        let status = [(&b":status"[..], status.as_bytes())];
        let headers: Rc<Headers> = Rc::new(status.into_iter().chain(reply.headers.iter()).collect());
        let mut response = Response::new(Rc::clone(&headers), !reply.body.is_empty());
        let cx = self.worker.context(host);
        for hook in request.hooks.iter_mut().rev() {
            if hook.on_response(&mut response, &cx).is_err() {
                let denial = Denial::new(DenialKind::Unavailable, "undecided");
                let caller = Caller::of(request.headers());
                return Step {
                    headers: step.headers,
                    ..refuse_response(denial, &route.name, step.notes, caller)
                };
            }
        }
        for (name, value) in request.told.into_iter().chain(answered.told) {
            response.changes.set_one(name, value);
        }
        let changed: Headers = response.changes.applied_to(&headers).collect();
        let status = changed.first(":status").and_then(|status| status.parse().ok());
        reply.status = status.unwrap_or(reply.status);
        reply.headers = changed.iter().filter(|(name, _)| !name.starts_with(b":")).collect();
        step.notes.append(&mut response.notes);
        step
    }
}

fn reply(whole: Whole, about: &str) -> Reply {
    let status = whole.headers.first(":status").and_then(|status| status.parse().ok());
    let fields = whole.headers.iter().filter(|(name, _)| !name.starts_with(b":"));
    Reply {
        status: status.unwrap_or(200),
        headers: fields.collect(),
        body: whole.body,
        grpc_status: None,
        details: format!("tollgate{{answered{about}}}"),
    }
}
