//! Handling of a response: the upstream's own, or its replacement.

use std::rc::Rc;

use super::{Early, Exchange, Passed, Responding, State};
use crate::clock::Millis;
use crate::denial::{Denial, DenialKind};
use crate::http::headers::Headers;
use crate::http::piece::{Chunk, Direction};
use crate::message::body::{Body, Fate};
use crate::message::request::Stop;
use crate::message::response::{Response, Whole};
use crate::seam::{Host, Reply, Step, Then, WaitKind};

impl Exchange {
    pub(super) fn on_response(&mut self, headers: Rc<Headers>, has_body: bool, host: &dyn Host) -> Step {
        self.respond(Response::new(headers, has_body), 0, None, host)
    }

    /// Runs the policies' hooks for the response, beginning with the one that waited.
    pub(super) fn respond(
        &mut self,
        mut response: Response,
        mut place: usize,
        early: Option<Early>,
        host: &dyn Host,
    ) -> Step {
        let worker = Rc::clone(&self.worker);
        let cx = worker.context(host);
        // Without a place to wait, policies make no call.
        let mut may_wait = self.patience > Millis::ZERO && worker.has_place(WaitKind::Response, host);
        loop {
            let State::Passed(passed) = &mut self.state else {
                return Step::default();
            };
            let Some(hook) = passed.hooks.get_mut(place) else {
                break;
            };
            response.may_wait = may_wait;
            match hook.on_response(&mut response, &cx) {
                Ok(()) => place = place.saturating_add(1),
                Err(Stop::Deny(denial)) => return self.refuse_late(Direction::Response, denial, response.notes),
                Err(Stop::Wait(wait)) if may_wait => {
                    let until = self.until(host);
                    if !self.hold(wait, host.client_address(), host) {
                        may_wait = false;
                        continue;
                    }
                    if let State::Passed(passed) = &mut self.state {
                        passed.responding = Some(Responding {
                            response,
                            place,
                            until,
                            early,
                        });
                    }
                    return Step::wait();
                }
                Err(Stop::Wait(_) | Stop::Read | Stop::Answer(_)) => {
                    let denial = Denial::new(DenialKind::Unavailable, "undecided");
                    return self.refuse_late(Direction::Response, denial, response.notes);
                }
            }
        }
        let State::Passed(passed) = &mut self.state else {
            return Step::default();
        };
        // The hooks run once.
        passed.hooks.clear();
        let finished = match response.take_replacement() {
            None => pass(passed, &mut response, early),
            Some(body) => replace(passed, &mut response, body, early),
        };
        let notes = response.notes;
        match finished {
            Ok(step) => Step { notes, ..step },
            Err(denial) => self.refuse_late(Direction::Response, denial, notes),
        }
    }
}

/// Passes on the upstream's own response with the changes of the rules.
fn pass(passed: &mut Passed, response: &mut Response, early: Option<Early>) -> Result<Step, Denial> {
    begin(passed, response)?;
    if response.has_body {
        passed.response_body = std::mem::replace(&mut response.body, Body::new(Direction::Response));
        passed.tap = response.tap.take();
    }
    // Envoy does not repeat the event for it.
    if early.is_some() && (passed.response_body.is_watched() || passed.tap.is_some()) {
        return Err(Denial::new(DenialKind::UpstreamBodyUnusable, "body_came_early"));
    }
    Ok(Step {
        headers: std::mem::take(&mut response.changes),
        ..Step::default()
    })
}

/// Begins the changes before the body: checks whether the body can be changed, and sets the headers for the client.
fn begin(passed: &mut Passed, response: &mut Response) -> Result<(), Denial> {
    let headers = Rc::clone(response.headers());
    let begun = response
        .body
        .begin(&passed.route.name, &headers, &mut response.changes, &mut response.notes);
    match begun {
        Ok(()) => {}
        // Without a body there is nothing to change.
        Err(_) if !response.has_body => {}
        Err(denial) => return Err(denial),
    }
    for (name, value) in std::mem::take(&mut passed.told) {
        response.changes.set_one(name, value);
    }
    Ok(())
}

/// Replaces the response. The rules change the replacement like an upstream's response.
fn replace(
    passed: &mut Passed,
    response: &mut Response,
    mut body: Vec<u8>,
    early: Option<Early>,
) -> Result<Step, Denial> {
    begin(passed, response)?;
    if response.body.is_held() && response.has_body {
        let chunk = Chunk {
            size: body.len(),
            ends: true,
            read: &|| Some(body.clone()),
        };
        let fate = response
            .body
            .on_chunk(&passed.route.name, &chunk, &mut response.notes)?;
        if let Fate::Becomes(changed) = fate {
            body = changed;
        }
    }
    let whole = Whole {
        headers: response.changes.applied_to(response.headers()).collect(),
        body,
    };
    let (actual, had_body) = (response.received(), response.had_body);
    if !had_body && !whole.body.is_empty() {
        // There is no body to replace.
        return Ok(Step {
            then: Then::Respond(reply(whole, "tollgate{fallback}".into())),
            ..Step::default()
        });
    }
    let mut step = Step {
        headers: whole.replaces(actual, had_body),
        ..Step::default()
    };
    if had_body {
        match early {
            None => passed.response_body.replace(whole.body),
            Some(Early { is_whole }) => {
                step.body = Some(whole.body);
                if !is_whole {
                    passed.response_body.replace(Vec::new());
                }
            }
        }
    }
    Ok(step)
}

/// A local reply with a whole response.
pub(super) fn reply(whole: Whole, details: String) -> Reply {
    let status = whole.headers.first(":status").and_then(|status| status.parse().ok());
    let headers = whole.headers.iter();
    Reply {
        status: status.unwrap_or(UNUSABLE),
        headers: headers.filter(|(name, _)| !name.starts_with(b":")).collect(),
        body: whole.body,
        grpc_status: None,
        details,
    }
}

/// The status if the response has none.
const UNUSABLE: u16 = 503;
