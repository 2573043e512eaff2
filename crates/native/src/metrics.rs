//! Counters and histograms: Envoy takes new ones only while it takes a configuration, so that all are defined then.

use tollgate::seam::Note;

use crate::abi::{Configuration, Stream};

/// The metrics of one configuration.
#[derive(Debug)]
pub(crate) struct Metrics(Vec<Metric>);

#[derive(Debug)]
struct Metric {
    name: &'static str,
    labels: &'static [&'static str],
    id: usize,
}

impl Metrics {
    pub(crate) fn define(configuration: Configuration) -> Self {
        let define = |(name, labels): &(&'static str, &'static [&'static str])| {
            let is_histogram = !name.ends_with("_total");
            let id = configuration.define(name, labels, is_histogram)?;
            Some(Metric { name, labels, id })
        };
        Self(ALL.iter().filter_map(define).collect())
    }

    /// Counts, if the note is about a metric. Its name is followed by labels: `name;label=value;`.
    pub(crate) fn note(&self, note: &Note, stream: Stream) {
        let (name, value) = match note {
            Note::Count(name) => (name, None),
            Note::Observe(name, value) => (name, Some(*value)),
            _ => return,
        };
        let mut parts = name.split(';');
        let name = parts.next().unwrap_or_default();
        let Some(metric) = self.0.iter().find(|metric| metric.name == name) else {
            return log::warn!("the metric {name} is not defined: it is not counted");
        };
        let given: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let values: Vec<_> = metric
            .labels
            .iter()
            .map(|label| {
                given
                    .iter()
                    .find(|(own, _)| own == label)
                    .map_or("", |(_, value)| *value)
            })
            .collect();
        match value {
            None => stream.count(metric.id, &values),
            Some(value) => stream.observe(metric.id, &values, value),
        }
    }
}

/// All metrics, with their labels.
const ALL: [(&str, &[&str]); 16] = [
    ("tollgate_auth_failures_total", &["method", "reason"]),
    ("tollgate_bodies_refused_total", &["reason", "route"]),
    ("tollgate_bodies_unchanged_total", &["direction", "reason", "route"]),
    ("tollgate_fallbacks_total", &["failure", "route", "served"]),
    ("tollgate_jwks_fetch_total", &["issuer", "outcome", "reason"]),
    ("tollgate_key_cache_total", &["outcome"]),
    ("tollgate_key_changes_total", &["outcome", "reason"]),
    ("tollgate_key_lookups_total", &["outcome", "reason"]),
    ("tollgate_part_calls_total", &["outcome", "part"]),
    ("tollgate_part_duration_ms", &["part"]),
    ("tollgate_rate_limit_faults_total", &["limit"]),
    ("tollgate_rate_limit_shared_denials_total", &["limit"]),
    ("tollgate_rate_limit_total", &["limit", "outcome"]),
    ("tollgate_requests_total", &["code", "outcome", "route"]),
    ("tollgate_responses_refused_total", &["reason", "route"]),
    ("tollgate_rls_calls_total", &["outcome", "reason"]),
];
