//! Handling of a request: its rule is found, and the rule's policies decide.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::refusal::{Caller, NO_ROUTE, refuse};
use super::{Deciding, Exchange, Passed, State, Suspended};
use crate::clock::Millis;
use crate::denial::{Denial, DenialKind};
use crate::gateway::plan::{Plan, Route, Selection};
use crate::gateway::route::MethodOverride;
use crate::http::changes::HeaderChanges;
use crate::http::headers::Headers;
use crate::http::piece::{Chunk, Direction};
use crate::message::body::{Body, Fate};
use crate::message::managed_names::cut_connection;
use crate::message::request::{Received, Request, Stop};
use crate::message::target::{PathParameters, has_parameters, invalid};
use crate::seam::{Host, Note, Step, Wait};

impl Exchange {
    pub(super) fn on_request(
        &mut self,
        headers: Rc<Headers>,
        route_name: Option<String>,
        has_body: bool,
        host: &dyn Host,
    ) -> Step {
        let plan = Arc::clone(self.plan());
        let received = match Received::new(Rc::clone(&headers), route_name, has_body, &plan.managed) {
            Ok(received) => received,
            Err(denial) => {
                self.state = State::Over;
                let mut changes = HeaderChanges::default();
                changes.remove_all(plan.managed.found_in(&headers));
                return refuse(&plan, &headers, denial, NO_ROUTE, changes, Vec::new());
            }
        };
        let mut request = Request::new(received);
        // Managed names are removed in every spelling: no client may send them.
        request.changes.remove_all(plan.managed.found_in(&headers));
        cut_connection(&headers, &mut request.changes);
        let route = match select(&plan, &request) {
            Ok(route) => Arc::clone(route),
            Err(refused) => {
                let (name, denial) = *refused;
                self.state = State::Over;
                return refuse(&plan, &headers, denial, name, request.changes, request.notes);
            }
        };
        if route.method_override == MethodOverride::Remove {
            request.changes.remove_all(plan.method_overrides.found_in(&headers));
        }
        let deciding = Deciding {
            request,
            route,
            place: 0,
            has_early_body: false,
            has_gone_on: false,
        };
        self.decide(deciding, host)
    }

    /// Runs the route's policies, beginning with the one that waited.
    pub(super) fn decide(&mut self, mut deciding: Deciding, host: &dyn Host) -> Step {
        let worker = Rc::clone(&self.worker);
        let cx = worker.context(host);
        let route = Arc::clone(&deciding.route);
        let mut has_time = self.patience > Millis::ZERO;
        while let Some(policy) = route.policies.get(deciding.place) {
            let place = policy.needs_place();
            deciding.request.may_wait = place.map_or(has_time, |kind| worker.has_place(kind, host));
            let stop = match policy.on_request(&mut deciding.request, &cx) {
                Ok(()) => {
                    deciding.place = deciding.place.saturating_add(1);
                    continue;
                }
                Err(stop) => stop,
            };
            match stop {
                Stop::Deny(denial) => return self.refuse(deciding, denial, host),
                Stop::Answer(answered) => return self.answer(deciding, *answered, host),
                Stop::Read => return self.begin_reading(deciding, host),
                Stop::Wait(wait) if deciding.request.may_wait => {
                    let until = wait.until.is_none().then(|| self.until(host));
                    if self.hold(wait, deciding.request.client_address(host), host) {
                        self.state = State::Suspended(Box::new(Suspended { deciding, until }));
                        return Step::wait();
                    }
                    // There is no place: the policy must decide now.
                    has_time = false;
                }
                Stop::Wait(_) => {
                    return self.refuse(deciding, Denial::new(DenialKind::Unavailable, "undecided"), host);
                }
            }
        }
        match begin_body(&mut deciding) {
            Ok(()) => self.pass(deciding),
            Err(denial) => self.refuse(deciding, denial, host),
        }
    }

    /// Lets the headers go on, and holds the body.
    fn begin_reading(&mut self, mut deciding: Deciding, host: &dyn Host) -> Step {
        deciding.request.body.read();
        let begun = match deciding.has_gone_on || !deciding.request.has_body {
            true => Err(Denial::new(DenialKind::Unavailable, "undecided")),
            false => begin_body(&mut deciding),
        };
        if let Err(denial) = begun {
            return self.refuse(deciding, denial, host);
        }
        let step = Step {
            // They stay, for what is told of the request later.
            headers: deciding.request.changes.clone(),
            notes: std::mem::take(&mut deciding.request.notes),
            ..Step::default()
        };
        deciding.has_gone_on = true;
        self.state = State::Reading(Box::new(deciding));
        step
    }

    /// Handles a piece of a body that a policy reads.
    pub(super) fn read(&mut self, chunk: &Chunk<'_>, host: &dyn Host) -> Step {
        let mut deciding = match std::mem::replace(&mut self.state, State::Over) {
            State::Reading(deciding) => deciding,
            other => {
                self.state = other;
                return Step::default();
            }
        };
        let Request { body, notes, .. } = &mut deciding.request;
        match body.on_chunk(&deciding.route.name, chunk, notes) {
            Err(denial) => self.refuse(*deciding, denial, host),
            Ok(Fate::Whole(bytes)) => {
                deciding.request.whole_body = Some(bytes);
                deciding.request.body = Body::new(Direction::Request);
                self.decide(*deciding, host)
            }
            Ok(_) => {
                self.state = State::Reading(deciding);
                Step::hold()
            }
        }
    }

    /// The deadline of all waits together.
    pub(super) fn until(&self, host: &dyn Host) -> Millis {
        host.monotonic().saturating_add(self.patience)
    }

    /// Suspends the message of a client; `false` if there is no place.
    pub(super) fn hold(&self, wait: Wait, client: Option<IpAddr>, host: &dyn Host) -> bool {
        let until = wait.until.unwrap_or_else(|| self.until(host));
        self.worker.hold(self.stream, wait, until, client)
    }

    pub(super) fn refuse(&mut self, deciding: Deciding, mut denial: Denial, host: &dyn Host) -> Step {
        self.state = State::Over;
        let Deciding { mut request, route, .. } = deciding;
        for policy in &route.policies {
            policy.on_refusal(&mut request, &self.worker.context(host));
        }
        denial.headers.append(&mut request.told);
        let headers = Rc::clone(request.headers());
        let step = refuse(
            self.plan(),
            &headers,
            denial,
            &route.name,
            request.changes,
            request.notes,
        );
        match deciding.has_gone_on {
            // Its headers have gone on as they are to be seen.
            true => Step {
                headers: HeaderChanges::default(),
                ..step
            },
            false => step,
        }
    }

    fn pass(&mut self, deciding: Deciding) -> Step {
        let Deciding {
            mut request,
            route,
            has_gone_on,
            ..
        } = deciding;
        if has_gone_on {
            request.changes = HeaderChanges::default();
        }
        // A request that its body may refuse is counted at the end of the body.
        if !request.body.is_watched() {
            request.notes.push(Note::Count(Arc::clone(&route.passed)));
        }
        let judged = request.route_name();
        let judged = judged.filter(|_| !request.changes.is_empty() && !route.reroutes);
        let judged = judged.map(str::to_owned);
        let caller = Caller::of(request.headers());
        let mut hooks = request.hooks;
        // The last policy is nearest to the upstream, and sees the response first.
        hooks.reverse();
        self.state = State::Passed(Box::new(Passed {
            judged,
            route,
            caller,
            request_body: request.body,
            hooks,
            responding: None,
            response_body: Body::new(Direction::Response),
            tap: None,
            told: request.told,
        }));
        Step {
            headers: request.changes,
            notes: request.notes,
            ..Step::default()
        }
    }
}

/// Begins what policies do with the body, if anything.
fn begin_body(deciding: &mut Deciding) -> Result<(), Denial> {
    let headers = Rc::clone(deciding.request.headers());
    let Request {
        body, changes, notes, ..
    } = &mut deciding.request;
    match body.is_watched() {
        true if deciding.has_early_body => Err(Denial::new(DenialKind::Unavailable, "body_came_early")),
        true => body.begin(&deciding.route.name, &headers, changes, notes),
        false => Ok(()),
    }
}

/// The name that a refusal is counted under, and the refusal.
type Refused<'a> = (&'a str, Denial);

/// The route of a request, or the name that its refusal is counted under.
fn select<'a>(plan: &'a Plan, request: &Received) -> Result<&'a Arc<Route>, Box<Refused<'a>>> {
    let selection = plan.select(request);
    let (name, keeps_parameters) = match &selection {
        Selection::Route(route) | Selection::MethodNotAllowed(route, _) => {
            (route.name.as_str(), route.path_parameters == PathParameters::Keep)
        }
        Selection::None => (NO_ROUTE, false),
    };
    if !keeps_parameters && has_parameters(request.path()) {
        return Err(Box::new((name, invalid("path_parameters"))));
    }
    match selection {
        Selection::Route(route) => Ok(route),
        Selection::MethodNotAllowed(route, allow) => {
            let denial = Denial::new(DenialKind::MethodNotAllowed, "method_not_listed");
            Err(Box::new((&route.name, denial.with_header("allow", allow))))
        }
        Selection::None => Err(Box::new((NO_ROUTE, Denial::new(DenialKind::NoPolicy, "no_rule")))),
    }
}
