//! Rate limits: layers that must all allow a request. Those that need no identity run before authentication, the others
//! after it.

mod config;
mod descriptor;
mod global;
mod key;
mod layer;
mod limits;
mod protocol;
mod quota;
mod service;

use std::sync::Arc;

use super::{Policy, Rule, Stop};
use crate::config::Report;
use crate::denial::Denial;
use crate::message::request::Request;
use crate::seam::{Context, Wait, WaitKind};

pub use config::{KeyPart, LimitRef, QuotaHeaders, RateLimitConfig, RateLimitServiceConfig};
use layer::{Asked, Charge, Layer};
pub use limits::Limits;
pub use quota::Quota;
pub use service::RateLimitService;

#[derive(Debug)]
struct RateLimit {
    layers: Vec<Layer>,
    /// Whether these layers run before authentication.
    before: bool,
    tells: QuotaHeaders,
}

/// Compiles the policy of a rule with `rate_limits`: with `before`, of the limits that need no identity, otherwise of
/// the others.
pub fn compile(
    references: &[LimitRef],
    limits: &Arc<Limits>,
    before: bool,
    rule: &Rule<'_>,
    report: &mut Report,
) -> Option<Box<dyn Policy>> {
    let layers: Vec<_> = report.within("rate_limits", |report| {
        let references = references.iter().enumerate();
        let layers = references.filter_map(|(index, reference)| {
            report.within(format!("[{index}]"), |report| {
                let Some(limit) = limits.find(&reference.limit) else {
                    // Reported once, although both registrations compile the same list.
                    if before {
                        let names = limits.names();
                        let names = if names.is_empty() {
                            "none is defined".into()
                        } else {
                            format!("there is {names}")
                        };
                        report.error(format!("no limit is called \"{}\"; {names}", reference.limit));
                    }
                    return None;
                };
                (limit.needs_identity() != before).then(|| Layer::new(limit, limits, reference.cost, rule.name))
            })
        });
        layers.collect()
    });
    (!layers.is_empty()).then(|| {
        Box::new(RateLimit {
            layers,
            before,
            tells: limits.tells(),
        }) as Box<dyn Policy>
    })
}

/// The progress of one policy's layers with a request, by their indexes.
#[derive(Debug, Default)]
pub struct Pending {
    /// Charges in this Envoy.
    counted: Vec<(usize, Charge)>,
    /// Questions to the Rate Limit Service whose answers are not handled yet.
    asked: Vec<(usize, Asked)>,
}

impl Pending {
    /// A wait for all missing answers.
    fn wait(&self) -> Option<Wait> {
        let questions = self.asked.iter().filter_map(|(_, asked)| asked.question.as_ref().ok());
        let open = questions.filter(|question| !question.about.is_answered());
        let tickets: Vec<_> = open.map(|question| question.ticket).collect();
        (!tickets.is_empty()).then_some(Wait {
            kind: WaitKind::Limit,
            tickets,
            until: None,
        })
    }
}

impl Policy for RateLimit {
    fn on_request(&self, request: &mut Request, cx: &Context<'_>) -> Result<(), Stop> {
        let decided = self.decide(request, cx);
        // A refusal may have no quota to tell; then that of an earlier limit must go.
        let quota = request.memory.get::<Quota>();
        request.told = quota.map(|quota| quota.headers(self.tells)).unwrap_or_default();
        decided
    }
}

impl RateLimit {
    fn decide(&self, request: &mut Request, cx: &Context<'_>) -> Result<(), Stop> {
        let mut pending = match request.memory.take::<Pending>() {
            Some(pending) => pending,
            None => {
                let mut pending = Pending::default();
                self.begin(&mut pending, request, cx)
                    .map_err(|denial| self.refuse(denial, &pending, cx))?;
                pending
            }
        };
        if let Some(wait) = pending.wait().filter(|_| request.may_wait) {
            request.memory.put(pending);
            return Err(Stop::Wait(wait));
        }
        self.finish(&mut pending, request, cx)
            .map_err(|denial| self.refuse(denial, &pending, cx).into())
    }

    /// Counts local layers first, whose refusals cost no call; then asks for the others, unless a key is known to be
    /// exhausted.
    fn begin(&self, pending: &mut Pending, request: &mut Request, cx: &Context<'_>) -> Result<(), Denial> {
        let layers = || self.layers.iter().enumerate();
        for (place, layer) in layers().filter(|(_, layer)| layer.global().is_none()) {
            let charge = layer.take(request, cx)?;
            pending.counted.extend(charge.map(|charge| (place, charge)));
        }
        let mut questions = Vec::new();
        for (place, layer) in layers() {
            if let Some(global) = layer.global()
                && let Some((charge, descriptor)) = layer.prepare(global, request, cx)?
            {
                questions.push((place, global, charge, descriptor));
            }
        }
        for (place, global, charge, descriptor) in questions {
            let asked = Layer::ask(global, charge, &descriptor, request, cx);
            pending.asked.push((place, asked));
        }
        Ok(())
    }

    fn finish(&self, pending: &mut Pending, request: &mut Request, cx: &Context<'_>) -> Result<(), Denial> {
        for (place, asked) in std::mem::take(&mut pending.asked) {
            if let Some(layer) = self.layers.get(place)
                && let Some(global) = layer.global()
            {
                let charge = layer.settle(global, asked, request, cx)?;
                pending.counted.extend(charge.map(|charge| (place, charge)));
            }
        }
        Ok(())
    }

    /// Gives back the charges of a refused request in other layers. Limits before authentication keep their charges, so
    /// that refused attempts count too.
    fn refuse(&self, denial: Denial, pending: &Pending, cx: &Context<'_>) -> Denial {
        for (place, charge) in &pending.counted {
            if !self.before
                && let Some(layer) = self.layers.get(*place)
            {
                layer.give_back(charge, cx);
            }
        }
        denial
    }
}

#[cfg(test)]
mod tests;
