//! The gateway's own answer in place of an upstream's, as a step.

use std::rc::Rc;
use std::sync::Arc;

use super::refusal::{Caller, refuse_response};
use super::response::reply;
use super::{Deciding, Exchange, State};
use crate::denial::{Denial, DenialKind};
use crate::http::headers::Headers;
use crate::message::request::Answered;
use crate::message::response::{Response, Whole};
use crate::seam::{Host, Note, Step, Then};

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
                then: Then::Respond(reply(whole, format!("tollgate{{answered{}}}", answered.about))),
                ..Step::default()
            },
            Err(denial) => refuse_response(denial, &route.name, notes, caller),
        };
        // Its headers are for the access log. Those of a request that has gone on are as they are to be seen.
        if !has_gone_on {
            step.headers = std::mem::take(&mut request.changes);
        }
        let Then::Respond(own) = &mut step.then else {
            return step;
        };
        let status = own.status.to_string();
        let status = [(&b":status"[..], status.as_bytes())];
        let headers: Rc<Headers> = Rc::new(status.into_iter().chain(own.headers.iter()).collect());
        let mut response = Response::new(Rc::clone(&headers), !own.body.is_empty());
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
        let changed = Whole {
            headers: response.changes.applied_to(&headers).collect(),
            body: std::mem::take(&mut own.body),
        };
        *own = reply(changed, std::mem::take(&mut own.details));
        step.notes.append(&mut response.notes);
        step
    }
}
