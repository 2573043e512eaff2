//! Handling of a request: its rule is found, and the rule's policies decide.

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
use crate::http::piece::Direction;
use crate::message::body::Body;
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
        };
        self.decide(deciding, false, host)
    }

    /// Runs the route's policies, beginning with the one that waited.
    pub(super) fn decide(&mut self, mut deciding: Deciding, has_early_body: bool, host: &dyn Host) -> Step {
        let worker = Rc::clone(&self.worker);
        let cx = worker.context(host);
        let route = Arc::clone(&deciding.route);
        let mut may_wait = self.patience > Millis::ZERO && worker.has_room();
        while let Some(policy) = route.policies.get(deciding.place) {
            deciding.request.may_wait = may_wait;
            match policy.on_request(&mut deciding.request, &cx) {
                Ok(()) => deciding.place = deciding.place.saturating_add(1),
                Err(Stop::Deny(denial)) => return self.refuse(deciding, denial, host),
                Err(Stop::Wait(wait)) if may_wait => match self.hold(wait, host) {
                    Some(until) => {
                        self.state = State::Suspended(Box::new(Suspended {
                            deciding,
                            until,
                            has_early_body,
                        }));
                        return Step::wait();
                    }
                    // There is no place: the policy must decide now.
                    None => may_wait = false,
                },
                Err(Stop::Wait(_)) => {
                    return self.refuse(deciding, Denial::new(DenialKind::Unavailable, "undecided"), host);
                }
            }
        }
        let Deciding { request, .. } = &mut deciding;
        let begun = match request.body.is_watched() {
            // Envoy does not repeat the event for the held body.
            true if has_early_body => Err(Denial::new(DenialKind::Unavailable, "body_came_early")),
            true => {
                let headers = Rc::clone(request.headers());
                let Request {
                    body, changes, notes, ..
                } = request;
                body.begin(&route.name, &headers, changes, notes)
            }
            false => Ok(()),
        };
        match begun {
            Ok(()) => self.pass(deciding),
            Err(denial) => self.refuse(deciding, denial, host),
        }
    }

    /// Suspends the message for the rest of its time; returns the deadline.
    pub(super) fn hold(&self, wait: Wait, host: &dyn Host) -> Option<Millis> {
        let until = host.monotonic().saturating_add(self.patience);
        self.worker.hold(self.stream, wait, until, host).then_some(until)
    }

    pub(super) fn refuse(&mut self, deciding: Deciding, mut denial: Denial, host: &dyn Host) -> Step {
        self.state = State::Over;
        let Deciding { mut request, route, .. } = deciding;
        for policy in &route.policies {
            policy.on_refusal(&mut request, &self.worker.context(host));
        }
        denial.headers.append(&mut request.told);
        let headers = Rc::clone(request.headers());
        refuse(
            self.plan(),
            &headers,
            denial,
            &route.name,
            request.changes,
            request.notes,
        )
    }

    fn pass(&mut self, deciding: Deciding) -> Step {
        let Deciding { mut request, route, .. } = deciding;
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
