//! Rate limits: layers that must all allow a request. Those that look at the request alone run before any credential is
//! looked at, the others once it is known who it is from.

mod config;
mod descriptor;
mod global;
mod key;
mod layer;
mod limits;
mod protocol;
mod quota;
mod service;

use super::{Policy, Registration, RouteContext, Stage, Stop};
use crate::config::Report;
use crate::denial::Denial;
use crate::remote::Awaited as _;
use crate::request::Request;
use crate::world::World;

pub use config::{KeyPart, LimitRef, QuotaHeaders, RateLimitConfig, RateLimitServiceConfig};
use layer::{Asked, Charge, Layer};
pub use limits::Limits;
pub use quota::Quota;
use service::Answers;
pub use service::RateLimitService;

/// The line in the registry of the layers that need no identity.
pub const BEFORE: Registration = Registration {
    stage: Stage::LimitSource,
    compile: |route, report| compile(route, true, report),
};

/// The line in the registry of the others.
pub const AFTER: Registration = Registration {
    stage: Stage::LimitIdentity,
    compile: |route, report| compile(route, false, report),
};

#[derive(Debug)]
struct RateLimit {
    layers: Vec<Layer>,
    /// Whether they run before it is known who the request is from.
    before: bool,
}

fn compile(route: &RouteContext<'_>, before: bool, report: &mut Report) -> Option<Box<dyn Policy>> {
    let layers: Vec<_> = report.within("rate_limits", |report| {
        let references = route.rate_limits.iter().enumerate();
        let layers = references.filter_map(|(index, reference)| {
            report.within(format!("[{index}]"), |report| {
                let Some(limit) = route.definitions.limits.find(&reference.limit) else {
                    // Said once, although both registrations come here.
                    if before {
                        let names = route.definitions.limits.names();
                        let names = if names.is_empty() {
                            "none is defined".into()
                        } else {
                            format!("there is {names}")
                        };
                        report.error(format!("no limit is called \"{}\"; {names}", reference.limit));
                    }
                    return None;
                };
                (limit.needs_identity() != before).then(|| Layer::new(limit, reference.cost, route.name))
            })
        });
        layers.collect()
    });
    (!layers.is_empty()).then(|| Box::new(RateLimit { layers, before }) as Box<dyn Policy>)
}

/// How far the layers of one policy have come with a request, by their places.
#[derive(Debug, Default)]
pub struct Pending {
    /// Counted by this Envoy.
    counted: Vec<(usize, Charge)>,
    /// To be counted by the Rate Limit Service, and not yet looked at.
    asked: Vec<(usize, Asked)>,
}

impl Pending {
    fn answers(&self) -> Answers {
        let questions = self.asked.iter().filter_map(|(_, asked)| asked.question.clone().ok());
        Answers(questions.collect())
    }
}

impl Policy for RateLimit {
    fn on_request(&self, request: &mut Request<'_>, world: &dyn World) -> Result<(), Stop> {
        let mut pending = match request.pending.take() {
            Some(pending) => pending,
            None => {
                let mut pending = Pending::default();
                self.begin(&mut pending, request, world)
                    .map_err(|denial| self.refuse(denial, &pending, world))?;
                pending
            }
        };
        let answers = pending.answers();
        if request.may_wait && !answers.is_settled(world.store()) {
            request.pending = Some(pending);
            return Err(Stop::Wait(Box::new(answers)));
        }
        self.finish(&mut pending, request, world)
            .map_err(|denial| self.refuse(denial, &pending, world).into())
    }
}

impl RateLimit {
    /// Whoever is refused here costs no call, and whose key is known to be exhausted none for the others.
    fn begin(&self, pending: &mut Pending, request: &mut Request<'_>, world: &dyn World) -> Result<(), Denial> {
        let layers = || self.layers.iter().enumerate();
        for (place, layer) in layers().filter(|(_, layer)| layer.global().is_none()) {
            let charge = layer.take(request, world)?;
            pending.counted.extend(charge.map(|charge| (place, charge)));
        }
        let mut questions = Vec::new();
        for (place, layer) in layers() {
            if let Some(global) = layer.global()
                && let Some((charge, descriptor)) = layer.prepare(global, request, world)?
            {
                questions.push((place, global, charge, descriptor));
            }
        }
        for (place, global, charge, descriptor) in questions {
            let asked = Layer::ask(global, charge, &descriptor, request, world);
            pending.asked.push((place, asked));
        }
        Ok(())
    }

    fn finish(&self, pending: &mut Pending, request: &mut Request<'_>, world: &dyn World) -> Result<(), Denial> {
        for (place, asked) in std::mem::take(&mut pending.asked) {
            if let Some(layer) = self.layers.get(place)
                && let Some(global) = layer.global()
            {
                let charge = layer.settle(global, asked, request, world)?;
                pending.counted.extend(charge.map(|charge| (place, charge)));
            }
        }
        Ok(())
    }

    /// Gives back what a request that is refused here has spent in other layers. Limits that run before authentication keep their charge, so that
    /// refused attempts count too.
    fn refuse(&self, denial: Denial, pending: &Pending, world: &dyn World) -> Denial {
        for (place, charge) in &pending.counted {
            if !self.before
                && let Some(layer) = self.layers.get(*place)
            {
                layer.give_back(charge, world);
            }
        }
        denial
    }
}

#[cfg(test)]
mod tests;
