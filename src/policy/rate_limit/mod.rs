//! Rate limits: layers that must all allow a request. Those that look at the request alone run before any credential is
//! looked at, the others once it is known who it is from.

mod config;
mod layer;
mod limits;
mod quota;

use super::{Policy, Registration, RouteContext, Stage, Stop};
use crate::config::Report;
use crate::request::Request;
use crate::world::World;

pub use config::{KeyPart, LimitRef, QuotaHeaders, RateLimitConfig};
use layer::{Layer, Taken};
pub use limits::Limits;
pub use quota::Quota;

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

impl Policy for RateLimit {
    fn on_request(&self, request: &mut Request<'_>, world: &dyn World) -> Result<(), Stop> {
        let mut taken: Vec<(&Layer, Taken)> = Vec::new();
        for layer in &self.layers {
            match layer.take(request, world) {
                Ok(Some(receipt)) => taken.push((layer, receipt)),
                Ok(None) => {}
                Err(denial) => {
                    // Whoever only knocks is counted; who is refused by one layer spends nothing in the others.
                    if !self.before {
                        taken
                            .iter()
                            .for_each(|(layer, receipt)| layer.give_back(receipt, world));
                    }
                    return Err(denial.into());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
