//! Refusals as steps: the answer, what is counted, and what is logged.

use std::sync::Arc;

use super::{Exchange, State};
use crate::auth::credential;
use crate::denial::Denial;
use crate::gateway::plan::{Plan, counter};
use crate::http::changes::HeaderChanges;
use crate::http::headers::Headers;
use crate::http::piece::Direction;
use crate::message::grpc;
use crate::seam::{Note, Step, Then};

/// What a refusal depends on besides its reason.
#[derive(Debug)]
pub(super) struct Caller {
    request_id: Option<String>,
    speaks_grpc: bool,
}

impl Caller {
    pub(super) fn of(headers: &Headers) -> Self {
        Self {
            request_id: headers.first("x-request-id").map(ToOwned::to_owned),
            speaks_grpc: grpc::is_spoken(headers),
        }
    }
}

/// Refuses a request before it has passed. It reaches no upstream, but access logs and traces read it: `changes` take out what it forged, and its
/// credentials go with that, whoever refuses it.
pub(super) fn refuse(
    plan: &Plan,
    headers: &Headers,
    denial: Denial,
    route: &str,
    mut changes: HeaderChanges,
    notes: Vec<Note>,
) -> Step {
    credential::remove(plan.credentials.iter(), headers, &mut changes);
    let counted = counter(route, "denied", denial.kind.refusal().code);
    let mut step = reply(denial, route, counted, notes, Caller::of(headers));
    step.headers = changes;
    step
}

fn reply(denial: Denial, route: &str, counted: Arc<str>, mut notes: Vec<Note>, caller: Caller) -> Step {
    let code = denial.kind.refusal().code;
    notes.push(Note::Count(counted));
    let about = denial.detail.as_ref();
    let about = about.map(|detail| format!(": {detail}")).unwrap_or_default();
    let message = format!("refused: {code} ({}{about}) on route {route}", denial.reason);
    notes.push(Note::Log(log::Level::Debug, message));
    Step {
        notes,
        then: Then::Respond(denial.reply(caller.request_id.as_deref(), caller.speaks_grpc)),
        ..Step::default()
    }
}

impl Exchange {
    /// Refuses what has passed already. What would become of the upstream's response is not for this one.
    pub(super) fn refuse_late(&mut self, direction: Direction, mut denial: Denial, mut notes: Vec<Note>) -> Step {
        let passed = match std::mem::replace(&mut self.state, State::Over) {
            State::Passed(passed) => passed,
            other => {
                self.state = other;
                return Step::default();
            }
        };
        denial.headers.extend(passed.told);
        let (route, reason) = (&passed.route.name, denial.reason);
        match direction {
            Direction::Request => {
                let why = format!("tollgate_bodies_refused_total;route={route};reason={reason};");
                notes.push(Note::Count(why.into()));
                let counted = counter(route, "denied", denial.kind.refusal().code);
                reply(denial, route, counted, notes, passed.caller)
            }
            Direction::Response => refuse_response(denial, route, notes, passed.caller),
        }
    }
}

/// Refuses the response to a request that has been counted as allowed.
pub(super) fn refuse_response(denial: Denial, route: &str, notes: Vec<Note>, caller: Caller) -> Step {
    let reason = denial.reason;
    let counted = format!("tollgate_responses_refused_total;route={route};reason={reason};");
    reply(denial, route, counted.into(), notes, caller)
}

/// The route label of a request that no rule names.
pub(super) const NO_ROUTE: &str = "none";

#[cfg(test)]
mod tests;
