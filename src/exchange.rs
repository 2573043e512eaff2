//! One request's state machine: an event in, effects out.

mod response;

use std::rc::Rc;

use crate::body::{Body, Chunk, Direction};
use crate::denial::{Denial, DenialKind};
use crate::effect::Effect;
use crate::event::Event;
use crate::grpc;
use crate::headers::Headers;
use crate::plan::{Plan, Route, Selection, counter};
use crate::policy::Stop;
use crate::policy::fallback::{Recording, StandIn};
use crate::policy::identity_headers::connection_effect;
use crate::policy::transform::ResponseChange;
use crate::remote::{Awaited, Wait};
use crate::request::{Progress, Request};
use crate::route::MethodOverride;
use crate::store::Store;
use crate::target::{PathParameters, has_parameters, invalid};
use crate::world::World;

/// One request on its way, from its headers to its end.
#[derive(Debug)]
pub struct Exchange {
    plan: Rc<Plan>,
    suspended: Option<Suspended>,
    /// Whether a body has come while the request was held, as Envoy's `allow_on_headers_stop_iteration` has it.
    has_early_body: bool,
    passed: Option<Passed>,
}

/// What is left to do for a request that goes on.
#[derive(Debug)]
struct Passed {
    route: Rc<Route>,
    /// Envoy's name of the route that was judged, where Envoy chooses again because headers have changed, and must come to the same.
    judged: Option<String>,
    /// Where it may still be refused.
    caller: Option<Caller>,
    request_body: Body,
    response: Option<ResponseChange>,
    response_body: Body,
    stand_in: Option<StandIn>,
    recording: Option<Recording>,
    early: Option<Early>,
    /// Headers of the response, over whatever else changes.
    told: Vec<(&'static str, String)>,
}

/// A body that came while its response was held, as Envoy's `allow_on_headers_stop_iteration` has it: what is there is not told
/// again.
#[derive(Debug, Clone, Copy)]
struct Early {
    is_whole: bool,
}

/// What a refusal depends on besides its reason.
#[derive(Debug, Default)]
struct Caller {
    request_id: Option<String>,
    speaks_grpc: bool,
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
        Self {
            plan,
            suspended: None,
            has_early_body: false,
            passed: None,
        }
    }

    /// Whether the next event should carry Envoy's route name.
    pub fn needs_route_name(&self) -> bool {
        self.plan.needs_route_name
    }

    /// Whether what the request or its response waits for has come, or will not.
    pub fn is_ready(&self, store: &dyn Store) -> bool {
        let suspended = self.suspended.as_ref();
        suspended.is_none_or(|suspended| suspended.awaited.is_settled(store)) && !self.response_waits()
    }

    /// For what it waits, if it does.
    pub fn waits_for(&self) -> Option<Wait> {
        let suspended = self.suspended.as_ref().map(|suspended| suspended.awaited.kind());
        suspended.or_else(|| self.response_waits().then_some(Wait::Response))
    }

    /// Whether it is to be told, with the response, which route Envoy has taken.
    pub fn needs_taken_route(&self) -> bool {
        self.passed.as_ref().is_some_and(|passed| passed.judged.is_some())
    }

    /// Takes Envoy's name of the route that it has taken; nothing is to be done where it is the one that was judged, or none. Envoy tells the name
    /// only once it has chosen, which is when the request is on its way: what can be kept from the client is the response.
    pub fn on_taken_route(&mut self, taken: Option<&str>) -> Vec<Effect> {
        let judged = self.passed.as_mut().and_then(|passed| passed.judged.take());
        let (Some(judged), Some(taken)) = (judged, taken.filter(|taken| !taken.is_empty())) else {
            return Vec::new();
        };
        if judged == taken {
            return Vec::new();
        }
        let message = format!(
            "Envoy's route {taken}: it matches on what the plugin changes, so it took a request that was judged for route {judged}; the response is withheld (503)"
        );
        let mut effects = vec![Effect::Log(log::Level::Error, message)];
        effects.extend(self.refuse_late(
            Direction::Response,
            Denial::new(DenialKind::Unavailable, "route_changed"),
        ));
        effects
    }

    /// Whether anything is to be done with the response.
    pub fn changes_response(&self) -> bool {
        let passed = self.passed.as_ref();
        self.needs_response_headers() || passed.is_some_and(|passed| !passed.told.is_empty())
    }

    /// Whether the response's headers are to be told.
    pub fn needs_response_headers(&self) -> bool {
        let passed = self.passed.as_ref();
        passed.is_some_and(|passed| passed.response.is_some() || passed.stand_in.is_some())
    }

    /// Whether it is to be told of a message's body.
    pub fn watches(&self, direction: Direction) -> bool {
        let is_early = match direction {
            Direction::Request => self.suspended.is_some(),
            Direction::Response => self.response_waits() || self.is_recording(),
        };
        is_early || self.body(direction).is_some_and(Body::is_watched)
    }

    fn response_waits(&self) -> bool {
        let stand_in = self.passed.as_ref().and_then(|passed| passed.stand_in.as_ref());
        stand_in.is_some_and(StandIn::is_waiting)
    }

    fn is_recording(&self) -> bool {
        self.passed.as_ref().is_some_and(|passed| passed.recording.is_some())
    }

    /// Whether a message's body is held until it is whole.
    pub fn holds(&self, direction: Direction) -> bool {
        self.body(direction).is_some_and(Body::is_held)
    }

    fn body(&self, direction: Direction) -> Option<&Body> {
        self.passed.as_ref().map(|passed| match direction {
            Direction::Request => &passed.request_body,
            Direction::Response => &passed.response_body,
        })
    }

    /// Takes one step. The effects are carried out in order; without a reply among them the message goes on.
    pub fn on(&mut self, event: Event<'_>, world: &dyn World) -> Vec<Effect> {
        match event {
            Event::RequestHeaders {
                headers,
                route_name,
                may_wait,
                has_body,
            } => self.on_request(headers, route_name, may_wait, has_body, world),
            Event::RequestTrailers { trailers, body } => self.on_trailers(trailers, &body, world),
            Event::ResponseHeaders {
                headers,
                may_wait,
                has_body,
            } => self.on_response(headers, may_wait, has_body, world),
            Event::RequestBody(chunk) => self.on_body(Direction::Request, &chunk, world),
            Event::ResponseBody(chunk) => self.on_body(Direction::Response, &chunk, world),
        }
    }

    /// Trailers are stripped whatever becomes of the request: one that is held goes on without their being told again.
    fn on_trailers(&mut self, trailers: &Headers, body: &Chunk<'_>, world: &dyn World) -> Vec<Effect> {
        let overrides = self.plan.method_overrides.found_in(trailers).into_iter();
        let mut effects: Vec<_> = self
            .strip(trailers)
            .chain(overrides)
            .map(Effect::RemoveHeader)
            .collect();
        if self.watches(Direction::Request) {
            effects.extend(self.on_body(Direction::Request, body, world));
        }
        effects
    }

    fn on_body(&mut self, direction: Direction, chunk: &Chunk<'_>, world: &dyn World) -> Vec<Effect> {
        // Going on would take the headers along, which nobody has decided about.
        if direction == Direction::Request && self.suspended.is_some() {
            self.has_early_body = true;
            return vec![Effect::Hold];
        }
        if direction == Direction::Response {
            if self.response_waits() {
                let early = Early { is_whole: chunk.ends };
                self.passed.iter_mut().for_each(|passed| passed.early = Some(early));
                return vec![Effect::Hold];
            }
            self.record(chunk, world);
        }
        let Some(passed) = &mut self.passed else {
            return Vec::new();
        };
        let body = match direction {
            Direction::Request => &mut passed.request_body,
            Direction::Response => &mut passed.response_body,
        };
        let taken = body.on_chunk(&passed.route.name, chunk);
        if chunk.ends {
            *body = Body::new(direction);
        }
        match taken {
            Ok(mut effects) => {
                if chunk.ends && direction == Direction::Request {
                    effects.push(Effect::Count(Rc::clone(&passed.route.passed)));
                }
                effects
            }
            Err(denial) => self.refuse_late(direction, denial),
        }
    }

    /// Refuses what has passed already. What would become of the upstream's response is not for this one.
    fn refuse_late(&mut self, direction: Direction, mut denial: Denial) -> Vec<Effect> {
        let Some(passed) = self.passed.take() else {
            return Vec::new();
        };
        denial.headers.extend(passed.told);
        let (route, reason) = (&passed.route.name, denial.reason);
        let mut effects = Vec::new();
        let counted = match direction {
            Direction::Request => {
                let why = format!("tollgate_bodies_refused_total;route={route};reason={reason};");
                effects.push(Effect::Count(why.into()));
                counter(route, "denied", denial.kind.refusal().code)
            }
            // The request itself has been counted.
            Direction::Response => format!("tollgate_responses_refused_total;route={route};reason={reason};").into(),
        };
        reply(denial, route, counted, effects, passed.caller.unwrap_or_default())
    }

    fn on_request(
        &mut self,
        headers: &Headers,
        route_name: Option<&str>,
        may_wait: bool,
        has_body: bool,
        world: &dyn World,
    ) -> Vec<Effect> {
        let plan = Rc::clone(&self.plan);
        let mut request = match Request::new(headers, route_name, &plan.identity.managed) {
            Ok(request) => request,
            Err(denial) => {
                let stripped = self.strip(headers).map(Effect::RemoveHeader).collect();
                return refuse(denial, NO_ROUTE, stripped, Caller::of(headers));
            }
        };
        request.has_body = has_body;
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
                    Ok(route) => {
                        if route.method_override == MethodOverride::Remove {
                            let overrides = plan.method_overrides.found_in(headers).into_iter();
                            request.effects.extend(overrides.map(Effect::RemoveHeader));
                        }
                        (Rc::clone(route), None)
                    }
                    Err((name, denial)) => return refuse(denial, name, request.effects, Caller::of(headers)),
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
        let begun = match stopped {
            Some((_, Stop::Deny(denial))) => {
                // No upstream sees it, but the access log does.
                let known = request.identity.iter();
                request
                    .effects
                    .extend(known.flat_map(|identity| plan.identity.describe(identity)));
                Err(denial)
            }
            // What has been held goes on without being told of again.
            _ if self.has_early_body && request.body.is_watched() => {
                Err(Denial::new(DenialKind::Unavailable, "body_came_early"))
            }
            _ if request.body.is_watched() => request.body.begin(&route.name, headers),
            _ => Ok(Vec::new()),
        };
        let begun = match begun {
            Ok(effects) => effects,
            Err(mut denial) => {
                denial.headers.extend(quota_headers);
                return refuse(denial, &route.name, request.effects, Caller::of(headers));
            }
        };
        let mut effects = request.effects;
        effects.extend(begun);
        // Who may still be refused is counted when the body has come.
        let is_watched = request.body.is_watched();
        if !is_watched {
            effects.push(Effect::Count(Rc::clone(&route.passed)));
        }
        let is_open =
            plan.needs_route_name || is_watched || request.response.as_ref().is_some_and(ResponseChange::has_body);
        let is_changed = effects.iter().any(Effect::changes_headers);
        let judged = request.route_name.filter(|_| is_changed && !route.reroutes);
        self.passed = Some(Passed {
            judged: judged.map(str::to_owned),
            route,
            caller: is_open.then(|| Caller::of(headers)),
            request_body: request.body,
            response: request.response,
            response_body: Body::new(Direction::Response),
            stand_in: request.stand_in,
            recording: None,
            early: None,
            told: quota_headers,
        });
        effects
    }

    /// Every spelling of a managed name; whoever the client is, these are not theirs to send.
    fn strip(&self, headers: &Headers) -> impl Iterator<Item = Vec<u8>> + use<> {
        self.plan.identity.managed.found_in(headers).into_iter()
    }
}

/// The route of a request, or the name that its refusal is counted under.
fn select<'a>(plan: &'a Plan, request: &Request<'_>) -> Result<&'a Rc<Route>, (&'a str, Denial)> {
    let selection = plan.select(request);
    let (name, keeps_parameters) = match &selection {
        Selection::Route(route) | Selection::MethodNotAllowed(route, _) => {
            (route.name.as_str(), route.path_parameters == PathParameters::Keep)
        }
        Selection::None => (NO_ROUTE, false),
    };
    if !keeps_parameters && has_parameters(request.path) {
        return Err((name, invalid("path_parameters")));
    }
    match selection {
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
fn refuse(denial: Denial, route: &str, effects: Vec<Effect>, caller: Caller) -> Vec<Effect> {
    let counted = counter(route, "denied", denial.kind.refusal().code);
    reply(denial, route, counted, effects, caller)
}

fn reply(denial: Denial, route: &str, counted: Rc<str>, mut effects: Vec<Effect>, caller: Caller) -> Vec<Effect> {
    let code = denial.kind.refusal().code;
    effects.push(Effect::Count(counted));
    let about = denial
        .detail
        .as_ref()
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    effects.push(Effect::Log(
        log::Level::Debug,
        format!("refused: {code} ({}{about}) on route {route}", denial.reason),
    ));
    effects.push(Effect::Reply(
        denial.reply(caller.request_id.as_deref(), caller.speaks_grpc),
    ));
    effects
}

impl Caller {
    fn of(headers: &Headers) -> Self {
        Self {
            request_id: headers.first("x-request-id").map(ToOwned::to_owned),
            speaks_grpc: grpc::is_spoken(headers),
        }
    }
}

/// The route label of a request that no rule names.
const NO_ROUTE: &str = "none";

#[cfg(test)]
mod tests;
