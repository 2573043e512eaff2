//! One request's state machine: an event in, effects out.

use std::rc::Rc;

use crate::denial::{Denial, DenialKind};
use crate::effect::Effect;
use crate::event::Event;
use crate::headers::Headers;
use crate::plan::{Plan, Selection, counter};
use crate::policy::Stop;
use crate::policy::identity_headers::connection_effect;
use crate::policy::rate_limit::Quota;
use crate::remote::Awaited;
use crate::request::Request;
use crate::store::Store;
use crate::world::World;

/// One request on its way, from its headers to its end.
#[derive(Debug)]
pub struct Exchange {
    plan: Rc<Plan>,
    /// What the request waits for, or has waited for.
    awaited: Option<Box<dyn Awaited>>,
    /// What was left to the client when the request began to wait.
    quota: Option<Quota>,
}

impl Exchange {
    /// Begins an exchange, which keeps this plan to its end whatever is configured meanwhile.
    pub fn new(plan: Rc<Plan>) -> Self {
        Self {
            plan,
            awaited: None,
            quota: None,
        }
    }

    /// Whether the next event should carry Envoy's route name.
    pub fn needs_route_name(&self) -> bool {
        self.plan.needs_route_name
    }

    /// Whether what the request waits for has come, or will not.
    pub fn is_ready(&self, store: &dyn Store) -> bool {
        self.awaited.as_ref().is_none_or(|awaited| awaited.is_settled(store))
    }

    /// Takes one step. The effects are carried out in order; without a reply among them the request goes on.
    pub fn on(&mut self, event: Event<'_>, world: &dyn World) -> Vec<Effect> {
        match event {
            Event::RequestHeaders {
                headers,
                route_name,
                may_wait,
            } => {
                // A credential has one issuer: who has waited for its keys once does not wait again.
                let may_wait = may_wait && self.awaited.is_none();
                self.on_request(headers, route_name, may_wait, world)
            }
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
        request.may_wait = may_wait;
        request.is_resumed = self.awaited.is_some();
        request.quota = self.quota.take();
        request.effects.extend(self.strip(headers).map(Effect::RemoveHeader));
        request.effects.extend(connection_effect(headers));
        let (name, outcome) = decide(&plan, &mut request, world);
        let mut effects = request.effects;
        let quota = request.quota.as_ref();
        let quota_headers = quota.map(|quota| quota.headers(plan.quota_headers)).unwrap_or_default();
        match outcome {
            Ok(()) => {
                let set = |(name, value)| Effect::SetResponseHeader(name, value);
                effects.extend(quota_headers.into_iter().map(set));
                effects
            }
            Err(Stop::Deny(mut denial)) => {
                denial.headers.extend(quota_headers);
                refuse(denial, name, effects, headers)
            }
            Err(Stop::Wait(awaited)) => {
                self.awaited = Some(awaited);
                self.quota = request.quota;
                // What was counted stays counted.
                effects.retain(|effect| matches!(effect, Effect::Count(_)));
                effects.push(Effect::Wait);
                effects
            }
        }
    }

    /// Every spelling of a managed name; whoever the client is, these are not theirs to send.
    fn strip(&self, headers: &Headers) -> impl Iterator<Item = Vec<u8>> + use<> {
        self.plan.identity.managed.found_in(headers).into_iter()
    }
}

/// The name of the route, and whether the request may go on.
fn decide<'a>(plan: &'a Plan, request: &mut Request<'_>, world: &dyn World) -> (&'a str, Result<(), Stop>) {
    let route = match plan.select(request) {
        Selection::Route(route) => route,
        Selection::MethodNotAllowed(route, allow) => {
            let denial = Denial::new(DenialKind::MethodNotAllowed, "method_not_listed");
            return (&route.name, Err(denial.with_header("allow", allow).into()));
        }
        Selection::None => return (NO_ROUTE, Err(Denial::new(DenialKind::NoPolicy, "no_rule").into())),
    };
    let mut policies = route.policies.iter();
    let outcome = policies.try_for_each(|policy| policy.on_request(request, world));
    if outcome.is_ok() {
        request.effects.push(Effect::Count(Rc::clone(&route.passed)));
    }
    (&route.name, outcome)
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
