//! Compiles `fallback` to a policy.

use std::sync::Arc;

use super::answer::Answer;
use super::cluster::Cluster;
use super::config::{Cause, FallbackConfig};
use super::last_good::LastGood;
use super::{Fallback, Rules};
use crate::auth::credential::Source;
use crate::clock::Millis;
use crate::config::Report;
use crate::policy::{Access, Policy, Rule};

/// Compiles the policy of a rule with `fallback`. `sources` are the credential sources of the whole configuration.
pub fn compile(
    config: &FallbackConfig,
    sources: &Arc<[Source]>,
    route: &Rule<'_>,
    report: &mut Report,
) -> Option<Box<dyn Policy>> {
    let has_any = !config.is_empty();
    report.within("fallback", |report| {
        check(config, has_any, report);
        let is_unsaid = config.last_good.as_ref().is_some_and(|kept| kept.anonymous.is_none());
        if is_unsaid && route.access != Access::Authenticated {
            report.warn_at("last_good", ANONYMOUS);
        }
        let cluster = config.cluster.as_ref();
        let cluster = cluster.map(|cluster| report.within("cluster", |report| Cluster::compile(cluster, report)));
        let answer = config.answer.as_ref();
        let answer = answer.map(|answer| report.within("answer", |report| Answer::compile(answer, report)));
        let methods = config.methods.clone();
        has_any.then(|| {
            Box::new(Fallback(Arc::new(Rules {
                route: route.name.to_owned(),
                when: config.when.clone().unwrap_or(Cause::ALL.into()),
                statuses: config.statuses.clone(),
                methods: methods.unwrap_or(READING.map(Into::into).into()),
                cluster: cluster.map(Arc::new),
                last_good: config.last_good.as_ref().map(|kept| LastGood::new(route.name, kept)),
                sources: Arc::clone(sources),
                answer,
            }))) as Box<dyn Policy>
        })
    })
}

fn check(config: &FallbackConfig, has_any: bool, report: &mut Report) {
    let says_more = config.when.is_some() || !config.statuses.is_empty() || config.methods.is_some();
    if !has_any && says_more {
        report.error("has no replacement: name `cluster`, `last_good` or `answer`");
    }
    if config.when.as_ref().is_some_and(Vec::is_empty) && config.statuses.is_empty() {
        report.error_at(
            "when",
            "is empty, and so is `statuses`: nothing would count as a failure",
        );
    }
    for (index, status) in config.statuses.iter().enumerate() {
        if !(400..=599).any(|code| status.matches(code)) {
            report.error_at(
                format!("statuses[{index}]"),
                format!("{status} is not a status of a failure, from 400 to 599"),
            );
        }
    }
    for (index, method) in config.methods.iter().flatten().enumerate() {
        if !METHODS.contains(&method.as_str()) {
            report.error_at(
                format!("methods[{index}]"),
                format!("\"{method}\" is not a method such as GET"),
            );
        } else if !READING.contains(&method.as_str()) && config.answer.is_none() {
            report.error_at(
                format!("methods[{index}]"),
                format!("{method} needs `answer`, which is absent"),
            );
        }
    }
    if let Some(kept) = &config.last_good {
        let most = u64::from(kept.entries).saturating_mul(kept.max_bytes.into());
        if kept.entries == 0 || kept.max_bytes == 0 || kept.max_age.millis() == Millis::ZERO {
            report.error_at(
                "last_good",
                "keeps nothing: `entries`, `max_bytes` and `max_age` must be more than 0",
            );
        } else if most > MOST_KEPT {
            report.error_at(
                "last_good",
                format!("`entries` times `max_bytes` is {most}, over {MOST_KEPT} bytes of memory for one rule"),
            );
        }
    }
}

const ANONYMOUS: &str = "stands on a rule that takes anonymous callers, to whom the upstream may answer by anything that they send: of theirs, only \
                         responses with `Cache-Control: public` are kept; say `anonymous: public` if the upstream sends that, or `anonymous: none`";

const READING: [&str; 2] = ["GET", "HEAD"];

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Maximum memory for one rule's kept responses, in bytes.
const MOST_KEPT: u64 = 256 << 20;
