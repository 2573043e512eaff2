//! The limits of a configuration, by name.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::{Backend, KeyPart, Mode, OnFault, QuotaHeaders, RateLimitConfig};
use super::global::{Global, REFUSAL_SIZE};
use super::key::Key;
use super::service::RateLimitService;
use crate::clock::Millis;
use crate::config::Report;
use crate::config::network::Network;
use crate::limit::{Algorithm, MOST_EXACT, Rate};
use crate::seam::{Context, Local};
use crate::shared::table::Table;

/// All limits of a configuration.
#[derive(Debug)]
pub struct Limits {
    all: Vec<Arc<Limit>>,
    tells: QuotaHeaders,
    /// The secret for hashing keys, so that clients cannot choose keys that share a slot. The same in all workers.
    secret: Local<Cell<[u8; 16]>>,
}

#[derive(Debug)]
pub(super) struct Limit {
    pub(super) name: Arc<str>,
    pub(super) key: Key,
    pub(super) algorithm: Algorithm,
    pub(super) rate: Rate,
    pub(super) plans: BTreeMap<String, Rate>,
    pub(super) costs: BTreeMap<String, u64>,
    pub(super) exempt: Vec<Network>,
    pub(super) is_shadow: bool,
    /// Maximum random addition to `Retry-After`.
    pub(super) jitter: Millis,
    pub(super) table: Table,
    /// The part for `backend: rls`; `None` if this Envoy counts.
    pub(super) global: Option<Global>,
    pub(super) counters: Counters,
}

/// The names of a limit's metrics, built once.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) allowed: Arc<str>,
    pub(super) denied: Arc<str>,
    /// Denials by an entry that several keys share; these count as `denied` too.
    pub(super) shared: Arc<str>,
    pub(super) shadow: Arc<str>,
    pub(super) contended: Arc<str>,
}

impl Limits {
    /// Compiles a `rate_limits` section. `service` is the Rate Limit Service, if there is one.
    pub fn compile(
        config: &[RateLimitConfig],
        service: Option<&Arc<RateLimitService>>,
        tells: QuotaHeaders,
        report: &mut Report,
    ) -> Self {
        let mut limits: Vec<Arc<Limit>> = Vec::new();
        for (index, limit) in config.iter().enumerate() {
            report.within(format!("[{index}]"), |report| {
                if limits.iter().any(|earlier| *earlier.name == *limit.name) {
                    report.error_at("name", format!("\"{}\" is there twice", limit.name));
                }
                limits.push(Arc::new(Limit::compile(limit, service, report)));
            });
        }
        Self {
            all: limits,
            tells,
            secret: Local::default(),
        }
    }

    /// The response headers with the remaining quota.
    pub(super) fn tells(&self) -> QuotaHeaders {
        self.tells
    }

    /// The secret for hashing keys.
    pub(super) fn secret(&self, cx: &Context<'_>) -> [u8; 16] {
        cx.local(&self.secret).get()
    }

    pub(super) fn find(&self, name: &str) -> Option<&Arc<Limit>> {
        self.all.iter().find(|limit| *limit.name == *name)
    }

    pub(super) fn names(&self) -> String {
        self.all.iter().map(|limit| &*limit.name).collect::<Vec<_>>().join(", ")
    }

    /// Creates what workers share, before there is traffic. `seed` must be unpredictable; all workers use the first
    /// one.
    pub fn prepare(&self, seed: [u8; 16], cx: &Context<'_>) {
        let store = cx.store();
        if self.all.is_empty() {
            return;
        }
        if store.read(SECRET).is_none() {
            store.write(SECRET, &seed, 0);
        }
        let secret = store
            .read(SECRET)
            .and_then(|(bytes, _)| bytes.try_into().ok())
            .unwrap_or(seed);
        cx.local(&self.secret).set(secret);
        for limit in &self.all {
            limit.table.prepare(store);
            if let Some(global) = &limit.global {
                global.exhausted.prepare(store);
            }
        }
    }
}

impl Limit {
    fn compile(config: &RateLimitConfig, service: Option<&Arc<RateLimitService>>, report: &mut Report) -> Self {
        check(config, report);
        let default = rate(config, config.limit, config.burst, report);
        let plans = config.plans.iter().map(|(name, plan)| {
            let rate = report.within(format!("plans.{name}"), |report| {
                rate(config, plan.limit, plan.burst, report)
            });
            (name.clone(), rate)
        });
        let plans: BTreeMap<_, _> = plans.collect();
        let highest = plans
            .values()
            .map(|rate| rate.limit)
            .chain([default.limit])
            .max()
            .unwrap_or_default();
        // If a limit counts in another way, it begins with an empty table.
        let prefix = format!(
            "tollgate.limit.{}.{:?}.{}.{}",
            config.name,
            config.algorithm,
            config.window.millis().get(),
            config.entries
        );
        let size = config.algorithm.state_size(highest);
        let entries = config.entries.min(MOST_ENTRIES);
        let global = compile_global(config, service, report).map(|(service, on_fault)| Global {
            service: Arc::clone(service),
            on_fault,
            faults: format!("tollgate_rate_limit_faults_total;limit={};", config.name).into(),
            exhausted: Table::new(format!("{prefix}.exhausted"), entries, WAYS, REFUSAL_SIZE),
        });
        Self {
            name: config.name.as_str().into(),
            key: Key {
                parts: config.key.clone(),
                on_missing: config.on_missing,
            },
            algorithm: config.algorithm,
            rate: default,
            plans,
            costs: config
                .costs
                .iter()
                .map(|(method, cost)| (method.clone(), cost.0))
                .collect(),
            exempt: config.exempt.clone(),
            is_shadow: config.mode == Mode::Shadow,
            jitter: config.retry_after_jitter.millis(),
            table: Table::new(prefix, entries, WAYS, size),
            global,
            counters: Counters::new(&config.name),
        }
    }

    /// Whether the limit needs an identity.
    pub(super) fn needs_identity(&self) -> bool {
        self.key.is_of_identity() || !self.plans.is_empty()
    }
}

impl Counters {
    fn new(limit: &str) -> Self {
        let counter = |outcome: &str| -> Arc<str> {
            format!("tollgate_rate_limit_total;limit={limit};outcome={outcome};").into()
        };
        Self {
            allowed: counter("allowed"),
            denied: counter("denied"),
            shared: format!("tollgate_rate_limit_shared_denials_total;limit={limit};").into(),
            shadow: counter("shadow"),
            contended: counter("contended"),
        }
    }
}

/// Checks the settings of a limit except its rates.
fn check(config: &RateLimitConfig, report: &mut Report) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if config.name.is_empty() || config.name.len() > 64 || !config.name.bytes().all(plain) {
        report.error_at("name", "must be 1 to 64 letters, digits, `-` or `_`");
    }
    if config.key.is_empty() {
        report.error_at("key", "is empty; name what is counted apart, such as `ip` or `user`");
    }
    if config.window.millis() == Millis::ZERO {
        report.error_at("window", "must be at least 1ms");
    }
    if config.entries == 0 || config.entries > MOST_ENTRIES {
        report.error_at("entries", format!("must be from 1 to {MOST_ENTRIES}"));
    }
}

/// Compiles a rate of a limit: its own, or that of a plan.
fn rate(config: &RateLimitConfig, limit: u64, burst: Option<u64>, report: &mut Report) -> Rate {
    if limit == 0 {
        report.error_at("limit", "must be at least 1");
    }
    if config.algorithm == Algorithm::ExactWindow && limit > MOST_EXACT {
        report.error_at("limit", format!("is above {MOST_EXACT}, the most for `exact_window`"));
    }
    match burst {
        Some(_) if config.algorithm != Algorithm::TokenBucket => {
            report.error_at("burst", "is only for `token_bucket`");
        }
        Some(0) => report.error_at("burst", "must be at least 1"),
        _ => {}
    }
    Rate {
        limit: limit.max(1),
        window: config.window.millis().max(Millis::new(1)),
        burst: burst.unwrap_or(limit).max(1),
    }
}

/// The service that counts instead of this Envoy, and what to do without its answer.
fn compile_global<'a>(
    config: &RateLimitConfig,
    service: Option<&'a Arc<RateLimitService>>,
    report: &mut Report,
) -> Option<(&'a Arc<RateLimitService>, OnFault)> {
    if config.backend == Backend::Local {
        if config.on_fault.is_some() {
            report.error_at("on_fault", "is only for `backend: rls`");
        }
        return None;
    }
    if config.plans.contains_key(OTHER_PLAN) && !config.key.contains(&KeyPart::Plan) {
        report.error_at(
            format!("plans.{OTHER_PLAN}"),
            "is what the rate limit service is told of callers with a plan that is not listed; rename it",
        );
    }
    if service.is_none() {
        report.error_at("backend", "is `rls`, and there is no `rate_limit_service`");
    }
    Some((service?, config.on_fault.unwrap_or_default()))
}

/// The plan that a Rate Limit Service is told for callers whose plan has no rate of its own.
pub(super) const OTHER_PLAN: &str = "default";

/// The secret's key in the store.
const SECRET: &str = "tollgate.limit.secret";

/// Entries in a slot of the tables.
const WAYS: u16 = 8;

const MOST_ENTRIES: u32 = 1 << 22;
