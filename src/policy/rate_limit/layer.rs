//! A limit on a route: finds what to count a request for, and counts it.

use std::hash::Hasher as _;
use std::rc::Rc;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::config::{KeyPart, OnMissing};
use super::limits::Limit;
use super::quota::Quota;
use crate::denial::{Denial, DenialKind};
use crate::effect::Effect;
use crate::limit::Rate;
use crate::origin::Origin;
use crate::request::Request;
use crate::slots::Name;
use crate::world::World;

#[derive(Debug)]
pub(super) struct Layer {
    limit: Rc<Limit>,
    /// By what the cost of a request is multiplied here.
    factor: u64,
    route: String,
}

/// What was counted, to be given back.
#[derive(Debug)]
pub(super) struct Taken {
    name: Name,
    rate: Rate,
    cost: u64,
    at: u64,
}

impl Layer {
    pub(super) fn new(limit: &Rc<Limit>, factor: u64, route: &str) -> Self {
        Self {
            limit: Rc::clone(limit),
            factor,
            route: route.to_owned(),
        }
    }

    /// Counts a request, or refuses it. `None` where it is not counted here.
    pub(super) fn take(&self, request: &mut Request<'_>, world: &dyn World) -> Result<Option<Taken>, Denial> {
        let limit = &*self.limit;
        let is_exempt = !limit.exempt.is_empty()
            && request.client_address(world).is_some_and(|address| {
                limit
                    .exempt
                    .iter()
                    .any(|network| network.0.contains(&address.to_canonical()))
            });
        if is_exempt {
            return Ok(None);
        }
        let Some(name) = self.name(request, world)? else {
            return Ok(None);
        };
        let plan = request.identity.as_ref().and_then(|identity| identity.plan.as_deref());
        let rate = plan.and_then(|plan| limit.plans.get(plan)).unwrap_or(&limit.rate);
        let cost = limit
            .costs
            .get(request.method)
            .copied()
            .unwrap_or(1)
            .saturating_mul(self.factor);
        let at = world.monotonic_millis();
        let verdict = limit.table.share(
            &name,
            at,
            world.store(),
            |entry| limit.algorithm.usage(entry),
            |state| {
                let (verdict, state) = limit.algorithm.take(rate, state, cost, at);
                (state, verdict)
            },
        );
        // Who loses the race for a slot too often is refused: nobody passes uncounted.
        let is_refused = verdict.is_none_or(|verdict| !verdict.allowed);
        let counters = &limit.counters;
        let counter = match verdict {
            None => &counters.contended,
            Some(_) if !is_refused => &counters.allowed,
            Some(_) if limit.is_shadow => &counters.shadow,
            Some(_) => &counters.denied,
        };
        request.effects.push(Effect::Count(Rc::clone(counter)));
        if limit.is_shadow {
            return Ok(None);
        }
        if let Some(verdict) = &verdict {
            let quota = Quota::new(&limit.name, rate, verdict);
            // A refusal is about the limit that refuses.
            let other = if is_refused { None } else { request.quota.take() };
            request.quota = Some(quota.tighter(other));
        }
        if is_refused {
            let wait = verdict.map_or(0, |verdict| verdict.retry_after);
            let seconds = wait.saturating_add(self.jitter(&name, at)).div_ceil(1000).max(1);
            let denial = Denial::new(DenialKind::RateLimited, "rate_limited");
            return Err(denial.with_header("retry-after", seconds.to_string()));
        }
        Ok(Some(Taken {
            name,
            rate: *rate,
            cost,
            at,
        }))
    }

    /// As if the request had not come.
    pub(super) fn give_back(&self, taken: &Taken, world: &dyn World) {
        let algorithm = self.limit.algorithm;
        self.limit.table.share(
            &taken.name,
            taken.at,
            world.store(),
            |entry| algorithm.usage(entry),
            |state| {
                let state = state.and_then(|state| algorithm.give_back(&taken.rate, state, taken.cost, taken.at));
                (state, ())
            },
        );
    }

    /// Milliseconds that differ from client to client and from time to time.
    fn jitter(&self, name: &Name, at: u64) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.limit.secret.get());
        hasher.write(name);
        hasher.write_u64(at);
        hasher
            .finish()
            .checked_rem(self.limit.jitter.saturating_add(1))
            .unwrap_or_default()
    }

    /// What is counted for a request, hashed.
    fn name(&self, request: &Request<'_>, world: &dyn World) -> Result<Option<Name>, Denial> {
        let limit = &*self.limit;
        let mut hasher = SipHasher13::new_with_key(&limit.secret.get());
        let identity = request.identity.as_ref();
        let issuer = identity
            .and_then(|identity| identity.issuer.as_deref())
            .unwrap_or_default();
        for part in &limit.key {
            let mut one = |value: Option<&str>| {
                value.map(|value| write(&mut hasher, part, &[issuer.as_bytes(), value.as_bytes()]))
            };
            let written = match part {
                KeyPart::Ip => None,
                KeyPart::User => one(identity.map(|identity| identity.user_id.as_str())),
                KeyPart::Tenant => one(identity.and_then(|identity| identity.tenant_id.as_deref())),
                KeyPart::Plan => one(identity.and_then(|identity| identity.plan.as_deref())),
                KeyPart::ApiKey => one(identity.and_then(|identity| identity.key_id.as_deref())),
                KeyPart::Route => one(Some(&self.route)),
                KeyPart::Header(name) => {
                    let values: Vec<_> = request.header(name.as_str()).collect();
                    (!values.is_empty()).then(|| write(&mut hasher, part, &values))
                }
                KeyPart::Claim(name) => {
                    let attributes = identity
                        .map(|identity| identity.attributes.as_slice())
                        .unwrap_or_default();
                    let values = attributes
                        .iter()
                        .filter(|(own, _)| own == name)
                        .flat_map(|(_, values)| values);
                    let values: Vec<_> = [issuer]
                        .into_iter()
                        .chain(values.map(String::as_str))
                        .map(str::as_bytes)
                        .collect();
                    (values.len() > 1).then(|| write(&mut hasher, part, &values))
                }
            };
            match (written, part, limit.on_missing) {
                (Some(()), ..) => {}
                (None, KeyPart::Ip, _) | (None, _, OnMissing::Ip) => {
                    let address = Origin::from(request.client_address(world)).bytes();
                    write(&mut hasher, &KeyPart::Ip, &[&address]);
                }
                (None, _, OnMissing::Skip) => return Ok(None),
                (None, _, OnMissing::Deny) => return Err(Denial::new(DenialKind::Forbidden, "limit_key_missing")),
            }
        }
        let hash = hasher.finish128().as_bytes();
        let mut name = Name::default();
        name.iter_mut()
            .zip(hash.iter().chain(&hash))
            .for_each(|(byte, &hashed)| *byte = hashed);
        Ok(Some(name))
    }
}

/// With its kind, its number and its lengths: no two keys look alike.
fn write(hasher: &mut SipHasher13, part: &KeyPart, values: &[&[u8]]) {
    hasher.write_u8(kind(part));
    hasher.write_usize(values.len());
    for value in values {
        hasher.write_usize(value.len());
        hasher.write(value);
    }
}

fn kind(part: &KeyPart) -> u8 {
    match part {
        KeyPart::Ip => 0,
        KeyPart::User => 1,
        KeyPart::Tenant => 2,
        KeyPart::ApiKey => 3,
        KeyPart::Plan => 4,
        KeyPart::Route => 5,
        KeyPart::Header(_) => 6,
        KeyPart::Claim(_) => 7,
    }
}
