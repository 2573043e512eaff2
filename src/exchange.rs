//! One request's state machine: an event in, effects out.

use std::rc::Rc;

use crate::denial::{Denial, DenialKind};
use crate::effect::Effect;
use crate::event::Event;
use crate::headers::Headers;
use crate::plan::{Plan, Route, Selection, counter};
use crate::policy::Stop;
use crate::policy::identity_headers::connection_effect;
use crate::remote::Awaited;
use crate::request::{Progress, Request};
use crate::store::Store;
use crate::world::World;

/// One request on its way, from its headers to its end.
#[derive(Debug)]
pub struct Exchange {
    plan: Rc<Plan>,
    suspended: Option<Suspended>,
}

/// A request that waits, and how far it has come.
#[derive(Debug)]
struct Suspended {
    awaited: Box<dyn Awaited>,
    route: Rc<Route>,
    /// The place of the policy that waits: those before it are done with the request.
    place: usize,
    progress: Progress,
}

impl Exchange {
    /// Begins an exchange, which keeps this plan to its end whatever is configured meanwhile.
    pub fn new(plan: Rc<Plan>) -> Self {
        Self { plan, suspended: None }
    }

    /// Whether the next event should carry Envoy's route name.
    pub fn needs_route_name(&self) -> bool {
        self.plan.needs_route_name
    }

    /// Whether what the request waits for has come, or will not.
    pub fn is_ready(&self, store: &dyn Store) -> bool {
        self.suspended
            .as_ref()
            .is_none_or(|suspended| suspended.awaited.is_settled(store))
    }

    /// Takes one step. The effects are carried out in order; without a reply among them the request goes on.
    pub fn on(&mut self, event: Event<'_>, world: &dyn World) -> Vec<Effect> {
        match event {
            Event::RequestHeaders {
                headers,
                route_name,
                may_wait,
            } => self.on_request(headers, route_name, may_wait, world),
            Event::RequestTrailers { trailers } => self.strip(trailers).map(Effect::RemoveTrailer).collect(),
        }
    }

    fn on_request(
        &mut self,
        headers: &Headers,
        route_name: Option<&str>,
        may_wait: bool,
        world: &dyn World,
    ) -> Vec<Effect> {
        let plan = Rc::clone(&self.plan);
        let mut request = match Request::new(headers, route_name, &plan.identity.managed) {
            Ok(request) => request,
            Err(denial) => return refuse(denial, NO_ROUTE, Vec::new(), headers),
        };
        let (route, resumed) = match self.suspended.take() {
            Some(Suspended {
                route, place, progress, ..
            }) => {
                request.resume(progress);
                (route, Some(place))
            }
            None => {
                request.effects.extend(self.strip(headers).map(Effect::RemoveHeader));
                request.effects.extend(connection_effect(headers));
                match select(&plan, &request) {
                    Ok(route) => (Rc::clone(route), None),
                    Err((name, denial)) => return refuse(denial, name, request.effects, headers),
                }
            }
        };
        let stopped = run(&route, resumed, may_wait, &mut request, world);
        if let Some((place, Stop::Wait(awaited))) = stopped {
            self.suspended = Some(Suspended {
                awaited,
                route,
                place,
                progress: request.suspend(),
            });
            return vec![Effect::Wait];
        }
        let quota = request.quota.as_ref();
        let quota_headers = quota.map(|quota| quota.headers(plan.quota_headers)).unwrap_or_default();
        if let Some((_, Stop::Deny(mut denial))) = stopped {
            denial.headers.extend(quota_headers);
            return refuse(denial, &route.name, request.effects, headers);
        }
        let mut effects = request.effects;
        effects.push(Effect::Count(Rc::clone(&route.passed)));
        let set = |(name, value)| Effect::SetResponseHeader(name, value);
        effects.extend(quota_headers.into_iter().map(set));
        effects
    }

    /// Every spelling of a managed name; whoever the client is, these are not theirs to send.
    fn strip(&self, headers: &Headers) -> impl Iterator<Item = Vec<u8>> + use<> {
        self.plan.identity.managed.found_in(headers).into_iter()
    }
}

/// The route of a request, or the name that its refusal is counted under.
fn select<'a>(plan: &'a Plan, request: &Request<'_>) -> Result<&'a Rc<Route>, (&'a str, Denial)> {
    match plan.select(request) {
        Selection::Route(route) => Ok(route),
        Selection::MethodNotAllowed(route, allow) => {
            let denial = Denial::new(DenialKind::MethodNotAllowed, "method_not_listed");
            Err((&route.name, denial.with_header("allow", allow)))
        }
        Selection::None => Err((NO_ROUTE, Denial::new(DenialKind::NoPolicy, "no_rule"))),
    }
}

/// Runs the route's policies, from the one that has waited on; which of them stops the request, and why. Who has waited
/// does not wait again.
fn run(
    route: &Route,
    resumed: Option<usize>,
    may_wait: bool,
    request: &mut Request<'_>,
    world: &dyn World,
) -> Option<(usize, Stop)> {
    let policies = route.policies.iter().enumerate().skip(resumed.unwrap_or_default());
    for (place, policy) in policies {
        request.may_wait = may_wait && resumed != Some(place);
        if let Err(stop) = policy.on_request(request, world) {
            return Some((place, stop));
        }
    }
    None
}

/// A refused request reaches no upstream, but access logs read it: what it forged is taken out all the same, and so are
/// credentials.
fn refuse(denial: Denial, route: &str, mut effects: Vec<Effect>, headers: &Headers) -> Vec<Effect> {
    let code = denial.kind.refusal().code;
    let request_id = headers.first("x-request-id");
    let grpc = headers
        .first("content-type")
        .and_then(|value| value.strip_prefix("application/grpc"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']));
    effects.push(Effect::Count(counter(route, "denied", code)));
    effects.push(Effect::Log(
        log::Level::Debug,
        format!("refused: {code} ({}) on route {route}", denial.reason),
    ));
    effects.push(Effect::Reply(denial.reply(request_id, grpc)));
    effects
}

/// The route label of a request that no rule names.
const NO_ROUTE: &str = "none";

#[cfg(test)]
mod tests;
