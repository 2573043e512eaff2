//! Counters and histograms. Each worker sums up its counters, since Envoy looks a counter up by its labels every time; the main thread passes the
//! sums on every second, and with an Envoy that cannot count there (before 1.39), the requests do.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::abi::{Configuration, Failed, Stream, counts_on_main};
use crate::crew::Via;

/// The metrics of one configuration: Envoy takes new ones only while it takes a configuration, so that all are defined then.
#[derive(Debug)]
pub(crate) struct Metrics {
    defined: Vec<Metric>,
    /// The sums of all workers that are not passed on yet.
    sums: Mutex<Vec<(Arc<str>, Arc<AtomicU64>)>>,
}

#[derive(Debug)]
struct Metric {
    name: &'static str,
    labels: &'static [&'static str],
    id: usize,
}

/// The counters that one worker has counted, by name with labels: `name;label=value;`.
#[derive(Debug, Default)]
pub(crate) struct Tally(RefCell<HashMap<Arc<str>, Arc<AtomicU64>>>);

impl Tally {
    /// Adds one. A lock is taken only for a name that this worker has not counted before.
    pub(crate) fn count(&self, name: &Arc<str>, metrics: &Metrics) {
        let mut own = self.0.borrow_mut();
        if let Some(sum) = own.get(name) {
            sum.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let sum = Arc::new(AtomicU64::new(1));
        own.insert(Arc::clone(name), Arc::clone(&sum));
        let mut sums = metrics.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.push((Arc::clone(name), sum));
    }
}

impl Metrics {
    pub(crate) fn define(configuration: Configuration) -> Self {
        let define = |(name, labels): &(&'static str, &'static [&'static str])| {
            let is_histogram = !name.ends_with("_total");
            let id = configuration.define(name, labels, is_histogram)?;
            Some(Metric { name, labels, id })
        };
        Self {
            defined: ALL.iter().filter_map(define).collect(),
            sums: Mutex::default(),
        }
    }

    /// Passes the sums on to Envoy.
    pub(crate) fn flush(&self, via: Via) {
        if let Via::Stream(..) = via
            && counts_on_main()
        {
            return;
        }
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, sum) in sums.iter() {
            let by = sum.swap(0, Ordering::Relaxed);
            if by == 0 {
                continue;
            }
            let counted = self.with(name, |id, labels| match via {
                Via::Main(configuration) => configuration.count(id, labels, by),
                Via::Stream(_, stream) => stream.count(id, labels, by),
            });
            if counted == Some(Err(Failed)) {
                // The next flush tries again.
                sum.fetch_add(by, Ordering::Relaxed);
            }
        }
    }

    /// Adds a value to a histogram.
    pub(crate) fn observe(&self, name: &str, value: u64, stream: Stream) {
        self.with(name, |id, labels| stream.observe(id, labels, value));
    }

    /// Acts on a metric and the values of its labels.
    fn with<T>(&self, name: &str, act: impl FnOnce(usize, &[&str]) -> T) -> Option<T> {
        let mut parts = name.split(';');
        let name = parts.next().unwrap_or_default();
        let Some(metric) = self.defined.iter().find(|metric| metric.name == name) else {
            log::warn!("the metric {name} is not defined: it is not counted");
            return None;
        };
        let given: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let value = |label: &&str| {
            let found = given.iter().find(|(own, _)| own == label);
            found.map_or("", |(_, value)| *value)
        };
        let values: Vec<_> = metric.labels.iter().map(value).collect();
        Some(act(metric.id, &values))
    }
}

/// All metrics, with their labels in the order in which the core names them.
const ALL: [(&str, &[&str]); 16] = [
    ("tollgate_auth_failures_total", &["method", "reason"]),
    ("tollgate_bodies_refused_total", &["route", "reason"]),
    ("tollgate_bodies_unchanged_total", &["route", "direction", "reason"]),
    ("tollgate_fallbacks_total", &["route", "failure", "served"]),
    ("tollgate_jwks_fetch_total", &["issuer", "outcome", "reason"]),
    ("tollgate_key_cache_total", &["outcome"]),
    ("tollgate_key_changes_total", &["outcome", "reason"]),
    ("tollgate_key_lookups_total", &["outcome", "reason"]),
    ("tollgate_part_calls_total", &["part", "outcome"]),
    ("tollgate_part_duration_ms", &["part"]),
    ("tollgate_rate_limit_faults_total", &["limit"]),
    ("tollgate_rate_limit_shared_denials_total", &["limit"]),
    ("tollgate_rate_limit_total", &["limit", "outcome"]),
    ("tollgate_requests_total", &["route", "outcome", "code"]),
    ("tollgate_responses_refused_total", &["route", "reason"]),
    ("tollgate_rls_calls_total", &["outcome", "reason"]),
];
