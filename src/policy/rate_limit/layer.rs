//! A layer: one limit on one route, which counts requests.

use std::hash::Hasher as _;
use std::rc::Rc;
use std::sync::Arc;

use siphasher::sip128::SipHasher13;

use super::config::OnFault;
use super::descriptor::Descriptor;
use super::global::Global;
use super::key;
use super::limits::{Limit, Limits, OTHER_PLAN};
use super::protocol::Told;
use super::quota::Quota;
use super::service::Question;
use crate::clock::{Millis, Seconds};
use crate::denial::{Denial, DenialKind};
use crate::limit::{Algorithm, Rate, Verdict};
use crate::message::request::Request;
use crate::seam::{Context, Note};
use crate::shared::calls::InFlight;
use crate::shared::table::{Entry, Name, Uses};

/// The usage of a table's entries, compared when a request is charged.
struct Counted<'a> {
    algorithm: Algorithm,
    charge: &'a Charge,
}

impl Uses for Counted<'_> {
    fn usage(&self, entry: &Entry) -> u64 {
        self.algorithm.usage(entry)
    }

    fn may_be_forgotten(&self, entry: &Entry) -> bool {
        self.algorithm.is_little(&self.charge.rate, entry, self.charge.at)
    }
}

#[derive(Debug)]
pub(super) struct Layer {
    limit: Arc<Limit>,
    limits: Arc<Limits>,
    /// A factor for the cost of requests.
    factor: u64,
    route: String,
}

/// A request's charge: the key that it counts for, and its cost.
#[derive(Debug)]
pub(super) struct Charge {
    name: Name,
    rate: Rate,
    cost: u64,
    /// When it was charged, by the monotonic clock.
    at: Millis,
}

/// A question to the Rate Limit Service about a request.
#[derive(Debug)]
pub(super) struct Asked {
    charge: Charge,
    /// The call; `Err` is the reason why there is none.
    pub(super) question: Result<Rc<InFlight<Question>>, &'static str>,
}

impl Layer {
    pub(super) fn new(limit: &Arc<Limit>, limits: &Arc<Limits>, factor: u64, route: &str) -> Self {
        Self {
            limit: Arc::clone(limit),
            limits: Arc::clone(limits),
            factor,
            route: route.to_owned(),
        }
    }

    /// The part for `backend: rls`; `None` if this Envoy counts.
    pub(super) fn global(&self) -> Option<&Global> {
        self.limit.global.as_ref()
    }

    /// Counts a request in this Envoy, or refuses it. `None` if there is nothing to give back.
    pub(super) fn take(&self, request: &mut Request, cx: &Context<'_>) -> Result<Option<Charge>, Denial> {
        let Some((rate, cost, _)) = self.price(request, cx) else {
            return Ok(None);
        };
        let Some(values) = self.limit.key.values(&self.route, request, cx)? else {
            return Ok(None);
        };
        let charge = Charge {
            name: values.name(&self.limits.secret(cx)),
            rate,
            cost,
            at: cx.monotonic(),
        };
        self.count(charge, request, cx)
    }

    /// Prepares a question to the Rate Limit Service; `None` if the request is not counted. `Err` if its refusal is
    /// already known.
    pub(super) fn prepare(
        &self,
        global: &Global,
        request: &mut Request,
        cx: &Context<'_>,
    ) -> Result<Option<(Charge, Descriptor)>, Denial> {
        let Some((rate, cost, plan)) = self.price(request, cx) else {
            return Ok(None);
        };
        let Some(values) = self.limit.key.values(&self.route, request, cx)? else {
            return Ok(None);
        };
        // The protocol treats a cost of 0 as 1.
        if cost == 0 {
            return Ok(None);
        }
        let descriptor = values.descriptor(&self.limit.name, plan);
        let charge = Charge {
            name: key::name(&descriptor, &self.limits.secret(cx)),
            rate,
            cost,
            at: cx.monotonic(),
        };
        // A shadow limit always asks, so that the service counts every request as it would without the limit.
        if !self.limit.is_shadow
            && let Some(told) = global.refusal(&charge.name, cost, charge.at, cx.store())
        {
            self.judge(&charge, told.rate.as_ref(), Some(told.verdict), request, cx)?;
        }
        Ok(Some((charge, descriptor)))
    }

    pub(super) fn ask(
        global: &Global,
        charge: Charge,
        descriptor: &Descriptor,
        request: &Request,
        cx: &Context<'_>,
    ) -> Asked {
        let (rate, cost) = (&charge.rate, charge.cost);
        let question = global.service.ask(descriptor, rate, cost, request, cx);
        Asked { charge, question }
    }

    /// Handles the answer of the Rate Limit Service. Without one, `on_fault` applies, which may count here as
    /// [`take`](Self::take) does.
    pub(super) fn settle(
        &self,
        global: &Global,
        asked: Asked,
        request: &mut Request,
        cx: &Context<'_>,
    ) -> Result<Option<Charge>, Denial> {
        let Asked { mut charge, question } = asked;
        charge.at = cx.monotonic();
        if let Ok(Told { verdict, rate }) = question.and_then(|question| question.about.told()) {
            if !verdict.allowed {
                global.remember(
                    &charge.name,
                    charge.cost,
                    &Told { verdict, rate },
                    charge.at,
                    cx.store(),
                );
            }
            self.judge(&charge, rate.as_ref(), Some(verdict), request, cx)?;
            return Ok(None);
        }
        request.notes.push(Note::Count(Arc::clone(&global.faults)));
        match global.on_fault {
            OnFault::Local => self.count(charge, request, cx),
            OnFault::Deny if !self.limit.is_shadow => {
                let pause = global.service.pause(cx);
                let denial = Denial::new(DenialKind::LimitsUnavailable, "limits_unavailable");
                Err(denial.with_header("retry-after", pause.get().to_string()))
            }
            OnFault::Deny | OnFault::Allow => Ok(None),
        }
    }

    /// Undoes a charge.
    pub(super) fn give_back(&self, charge: &Charge, cx: &Context<'_>) {
        let algorithm = self.limit.algorithm;
        self.limit
            .table
            .share(&charge.name, charge.at, cx.store(), &self.uses(charge), |state, _| {
                let state = state.and_then(|state| algorithm.give_back(&charge.rate, state, charge.cost, charge.at));
                (state, ())
            });
    }

    /// The rate, the cost, and the rate's plan if the limit has plans. `None` if the request is exempt.
    fn price(&self, request: &Request, cx: &Context<'_>) -> Option<(Rate, u64, Option<&str>)> {
        let limit = &*self.limit;
        let is_exempt = !limit.exempt.is_empty()
            && request
                .client_address(cx.host)
                .is_some_and(|address| limit.exempt.iter().any(|network| network.contains(address)));
        if is_exempt {
            return None;
        }
        let plan = request.identity.as_ref().and_then(|identity| identity.plan.as_deref());
        let plan = plan.and_then(|plan| limit.plans.get_key_value(plan));
        let rate = plan.map_or(&limit.rate, |(_, rate)| rate);
        let cost = limit
            .costs
            .get(request.method())
            .copied()
            .unwrap_or(1)
            .saturating_mul(self.factor);
        let name = (!limit.plans.is_empty()).then(|| plan.map_or(OTHER_PLAN, |(name, _)| name));
        Some((*rate, cost, name))
    }

    fn count(&self, charge: Charge, request: &mut Request, cx: &Context<'_>) -> Result<Option<Charge>, Denial> {
        let limit = &*self.limit;
        let verdict = limit.table.share(
            &charge.name,
            charge.at,
            cx.store(),
            &self.uses(&charge),
            |state, is_shared| {
                let (verdict, state) = limit.algorithm.take(&charge.rate, state, charge.cost, charge.at);
                (state, (verdict, is_shared))
            },
        );
        if verdict.is_some_and(|(verdict, is_shared)| is_shared && !verdict.allowed) {
            request.notes.push(Note::Count(Arc::clone(&limit.counters.shared)));
        }
        let verdict = verdict.map(|(verdict, _)| verdict);
        self.judge(&charge, Some(&charge.rate), verdict, request, cx)?;
        Ok((!limit.is_shadow).then_some(charge))
    }

    fn uses<'a>(&self, charge: &'a Charge) -> Counted<'a> {
        Counted {
            algorithm: self.limit.algorithm,
            charge,
        }
    }

    /// Refuses a request over the limit. `rate` is what the client is told, if anything. Without a verdict, after too
    /// many conflicts over a slot, the request is refused: none may pass uncounted.
    fn judge(
        &self,
        charge: &Charge,
        rate: Option<&Rate>,
        verdict: Option<Verdict>,
        request: &mut Request,
        cx: &Context<'_>,
    ) -> Result<(), Denial> {
        let limit = &*self.limit;
        let is_refused = verdict.is_none_or(|verdict| !verdict.allowed);
        let counters = &limit.counters;
        let counter = match verdict {
            None => &counters.contended,
            Some(_) if !is_refused => &counters.allowed,
            Some(_) if limit.is_shadow => &counters.shadow,
            Some(_) => &counters.denied,
        };
        request.notes.push(Note::Count(Arc::clone(counter)));
        if limit.is_shadow {
            return Ok(());
        }
        let quota = rate.zip(verdict.as_ref());
        let quota = quota.map(|(rate, verdict)| Quota::new(&limit.name, rate, verdict));
        // A refusal tells the quota of the refusing limit only.
        let other = if is_refused {
            None
        } else {
            request.memory.take::<Quota>()
        };
        match quota.map_or(other.clone(), |quota| Some(quota.tighter(other))) {
            Some(quota) => request.memory.put(quota),
            None => drop(request.memory.take::<Quota>()),
        }
        if is_refused {
            let wait = verdict.map_or(Millis::ZERO, |verdict| verdict.retry_after);
            let pause = wait.saturating_add(self.jitter(charge, cx)).seconds_up();
            let pause = pause.max(Seconds::new(1));
            let denial = Denial::new(DenialKind::RateLimited, "rate_limited").by(Arc::clone(&limit.name));
            return Err(denial.with_header("retry-after", pause.get().to_string()));
        }
        Ok(())
    }

    /// The time to add to `Retry-After`, different by client and time.
    fn jitter(&self, charge: &Charge, cx: &Context<'_>) -> Millis {
        let mut hasher = SipHasher13::new_with_key(&self.limits.secret(cx));
        hasher.write(&charge.name);
        hasher.write_u64(charge.at.get());
        let jitter = self.limit.jitter.get().saturating_add(1);
        Millis::new(hasher.finish().checked_rem(jitter).unwrap_or_default())
    }
}
