//! Compiling parts: every mistake is reported with its path.

use std::sync::Arc;

use super::cache::Cache;
use super::call::Services;
use super::config::{BatchConfig, PartConfig, PartLimitsConfig};
use super::part::{Batch, Metrics, Part, Secret};
use crate::clock::Millis;
use crate::config::values::Duration;
use crate::config::{self, Environment, Report};
use crate::json::Path;
use crate::message::managed_names::ManagedNames;
use crate::message::target::check_path;
use crate::policy::proof::Proof;
use crate::policy::transform::BodyChange;
use crate::template::{Data, Source, Template};

/// All parts of a configuration.
#[derive(Debug)]
pub struct Parts {
    /// The parts, in the order of the file.
    parts: Vec<Arc<Part>>,
    /// Their caller.
    pub services: Arc<Services>,
}

/// What all calls of parts carry.
#[derive(Debug)]
pub struct Sending<'a> {
    /// The headers that tell services who the caller is.
    pub caller: Arc<[String]>,
    /// The proof; `None` without `identity.proof`.
    pub proof: Option<&'a Arc<Proof>>,
    /// The headers that only the gateway may set.
    pub managed: &'a ManagedNames,
    /// Whether an issuer's tokens may be forwarded.
    pub forwards_tokens: bool,
}

impl Parts {
    /// Compiles the `parts` section.
    pub fn compile(
        config: &[(String, PartConfig)],
        limits: PartLimitsConfig,
        sending: &Sending<'_>,
        environment: &Environment,
        report: &mut Report,
    ) -> Self {
        report.within("part_limits", |report| limits.check(report));
        let parts: Vec<_> = config
            .iter()
            .map(|(name, part)| {
                report.within(format!("parts.{name}"), |report| {
                    Arc::new(compile(name, part, sending, environment, report))
                })
            })
            .collect();
        let parts = Self {
            parts,
            services: Arc::new(Services::new(limits)),
        };
        parts.check_references(report);
        parts
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// A part by its name, with its place in the file.
    pub fn get(&self, name: &str) -> Option<(usize, &Arc<Part>)> {
        self.parts.iter().enumerate().find(|(_, part)| part.name == name)
    }

    /// The part at a place in the file.
    pub fn at(&self, place: usize) -> Option<&Arc<Part>> {
        self.parts.get(place)
    }

    /// All parts.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Part>> {
        self.parts.iter()
    }

    /// The names of all parts, for a message.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.parts.iter().map(|part| format!("`{}`", part.name)).collect();
        match names.is_empty() {
            true => "none".into(),
            false => names.join(", "),
        }
    }

    /// The places of these parts and of all those that they refer to, directly or not, in the order of the file.
    pub fn reached<'a>(&'a self, names: impl IntoIterator<Item = &'a str>) -> Vec<usize> {
        let mut is_reached = vec![false; self.parts.len()];
        let mut open: Vec<_> = names.into_iter().collect();
        while let Some(name) = open.pop() {
            if let Some((place, part)) = self.get(name)
                && let Some(own) = is_reached.get_mut(place)
                && !std::mem::replace(own, true)
            {
                open.extend(part.parts());
            }
        }
        let places = is_reached.into_iter().enumerate();
        places
            .filter_map(|(place, is_reached)| is_reached.then_some(place))
            .collect()
    }

    fn check_references(&self, report: &mut Report) {
        for part in &self.parts {
            let at = format!("parts.{}", part.name);
            for name in part.parts() {
                if self.get(name).is_none() {
                    let message = format!("refers to \"{name}\", which is not a part; there is {}", self.names());
                    report.error_at(&at, message);
                }
            }
            if let Some(circle) = self.circle(&part.name) {
                report.error_at(&at, circle);
            }
        }
    }

    /// The sentence about a circle of references that begins with a part, if there is one.
    fn circle(&self, name: &str) -> Option<String> {
        let mut way: Vec<(&str, std::vec::IntoIter<&str>)> = Vec::new();
        let of = |name| {
            let parts = self.get(name).map(|(_, part)| part.parts().collect::<Vec<_>>());
            parts.unwrap_or_default().into_iter()
        };
        let mut seen: Vec<&str> = Vec::new();
        let (_, first) = self.get(name)?;
        way.push((&first.name, of(name)));
        while let Some((_, next)) = way.last_mut() {
            match next.next() {
                Some(next) if next == name => {
                    let between: Vec<_> = way.iter().skip(1).map(|(name, _)| *name).collect();
                    let between = between.iter().map(|name| format!("{name}, which refers to "));
                    return Some(format!("refers to {}{name}: a circle", between.collect::<String>()));
                }
                Some(next) if seen.contains(&next) => {}
                Some(next) => {
                    seen.push(next);
                    way.push((next, of(next)));
                }
                None => drop(way.pop()),
            }
        }
        None
    }
}

fn compile(
    name: &str,
    config: &PartConfig,
    sending: &Sending<'_>,
    environment: &Environment,
    report: &mut Report,
) -> Part {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !(1..=LONGEST_NAME).contains(&name.len()) || !name.bytes().all(is_name) {
        report.error(format!(
            "a part's name has 1 to {LONGEST_NAME} letters, digits, `-` and `_`"
        ));
    }
    report.not_empty("cluster", config.cluster.is_empty());
    check_method(config, report);
    check_path_template(&config.path.0, report);
    check_headers(config, sending, report);
    check_numbers(config, report);
    for (at, message) in config.response.as_body().mistakes() {
        report.error_at(format!("response.{at}"), message);
    }
    let token = config
        .token
        .as_ref()
        .map(|token| config::secret(environment, &token.env));
    if let Some(Err(message)) = &token {
        report.error_at("token.env", message);
    }
    let part = Part {
        name: name.to_owned(),
        is_safe: is_safe(&config.method),
        default: config.default.as_ref().map(ToString::to_string),
        batch: config.batch.as_ref().map(|batch| compile_batch(batch, report)),
        kept: kept(config),
        cluster: config.cluster.clone(),
        authority: config.authority.clone().unwrap_or_else(|| config.cluster.clone()),
        method: config.method.clone(),
        path: config.path.0.clone(),
        query: config
            .query
            .0
            .iter()
            .map(|(name, template)| (name.clone(), template.0.clone()))
            .collect(),
        headers: config
            .headers
            .iter()
            .map(|(name, template)| (name.as_str().to_owned(), template.0.clone()))
            .collect(),
        body: config.body.as_ref().map(|body| body.0.clone()),
        authorization: token
            .and_then(Result::ok)
            .map(|token| Secret(format!("Bearer {token}"))),
        timeout: config.timeout.map_or(USUAL_TIMEOUT, Duration::millis),
        has_own_timeout: config.timeout.is_some(),
        max_bytes: usize::try_from(config.max_bytes).unwrap_or(usize::MAX),
        ok: config.statuses.ok.clone(),
        none: config.statuses.none.clone(),
        pass: config.statuses.pass.clone(),
        change: (!config.response.is_empty()).then(|| BodyChange::fixed(&config.response.as_body())),
        cache: config.cache.map(|cache| Cache::new(name, cache.millis(), config)),
        when: config.when.as_ref().map(|when| when.0.clone()),
        caller: (!config.anonymous).then(|| Arc::clone(&sending.caller)),
        proof: sending.proof.cloned(),
        metrics: Metrics::of(name),
    };
    let has_keys = part.data().any(|data| *data == Data::Keys);
    match (&part.batch, has_keys) {
        (None, true) => report.error("uses `{keys}`, which only a part with `batch` has"),
        (Some(_), false) => report.error_at("batch", "has no use: no template of the part has `{keys}`"),
        _ => {}
    }
    part
}

/// The first names of the paths in `keep`, as they are after `rename`.
fn kept(config: &PartConfig) -> Vec<String> {
    let first = |path: &Path| path.split_first().map(|(name, _)| name.to_owned());
    let names = config.response.keep.iter().flatten().filter_map(first);
    let renamed = |name: String| {
        let new = config.response.rename.iter().find(|(path, _)| path.as_ref() == name);
        new.map_or(name, |(_, new)| new.clone())
    };
    names.map(renamed).collect()
}

fn compile_batch(config: &BatchConfig, report: &mut Report) -> Batch {
    report.within("batch", |report| {
        report.not_empty("by", config.by.is_empty());
        if !(1..=MOST_KEYS).contains(&config.max) {
            report.error_at("max", format!("must be from 1 to {MOST_KEYS}"));
        }
    });
    Batch {
        key: config.key.0.clone(),
        by: config.by.clone(),
        max: usize::try_from(config.max).unwrap_or(usize::MAX),
        join: config.join,
    }
}

fn check_method(config: &PartConfig, report: &mut Report) {
    let method = config.method.as_str();
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        report.error_at(
            "method",
            format!("\"{method}\" is not a method; methods are upper case, as in GET"),
        );
    } else if ["HEAD", "CONNECT", "TRACE", "OPTIONS"].contains(&method) {
        report.error_at("method", format!("{method} has no answer that a part could use"));
    }
    if is_safe(method) {
        if config.body.is_some() {
            report.error_at("body", format!("{method} has no body; name another `method`"));
        }
        return;
    }
    for (name, is_there) in [("batch", config.batch.is_some()), ("cache", config.cache.is_some())] {
        if is_there {
            report.error_at(
                name,
                format!("is for GET; {method} may change something with each call"),
            );
        }
    }
}

/// Checks the part of a path that is not made of values.
fn check_path_template(path: &Template, report: &mut Report) {
    let sample = path.with_values("x");
    if !sample.starts_with('/') {
        report.error_at("path", "must begin with `/`");
    } else if sample.contains(['?', '#']) {
        report.error_at("path", "has a query; name its parameters in `query`");
    } else if let Err(denial) = check_path(&sample) {
        report.error_at("path", format!("can be read in two ways ({})", denial.reason));
    }
}

fn check_headers(config: &PartConfig, sending: &Sending<'_>, report: &mut Report) {
    for (name, template) in &config.headers {
        let at = format!("headers.{}", name.as_str());
        let own = name.as_str();
        if sending.managed.contains(own.as_bytes()) {
            report.error_at(&at, "is an identity header; parts get the verified identity always");
        } else if RESERVED.contains(&own) || own.starts_with("x-envoy-") || own.starts_with("x-forwarded-") {
            report.error_at(&at, "is one that the gateway or Envoy sets, or that a part cannot have");
        } else if own == "authorization" && config.token.is_some() {
            report.error_at(&at, "is set by `token`");
        }
        for source in template.0.sources() {
            if let Source::Header(name) = source
                && CREDENTIALS.contains(&name.as_str())
                && !sending.forwards_tokens
            {
                let message = format!(
                    "would pass on the client's `{}`; only an issuer with `forward_token` allows that",
                    name.as_str()
                );
                report.error_at(&at, message);
            }
        }
    }
}

fn check_numbers(config: &PartConfig, report: &mut Report) {
    if let Some(timeout) = config.timeout
        && !(Millis::new(1)..=LONGEST_TIMEOUT).contains(&timeout.millis())
    {
        report.error_at(
            "timeout",
            format!("must be from 1ms to {}s", LONGEST_TIMEOUT.seconds().get()),
        );
    }
    if !(1..=MOST_BYTES).contains(&config.max_bytes) {
        report.error_at("max_bytes", format!("must be from 1 to {MOST_BYTES}"));
    }
    if let Some(cache) = config.cache
        && !(1..=LONGEST_CACHE).contains(&cache.seconds().get())
    {
        report.error_at("cache", format!("must be from 1s to {LONGEST_CACHE}s"));
    }
}

/// Whether a method is safe, so that calls can be shared, kept and made again.
fn is_safe(method: &str) -> bool {
    ["GET", "HEAD", "OPTIONS"].contains(&method)
}

/// Headers that no part sets: those of every call, and those that would change what the answer is.
const RESERVED: [&str; 9] = [
    "accept-encoding",
    "content-type",
    "cookie",
    "proxy-authorization",
    "range",
    "traceparent",
    "tracestate",
    "via",
    "x-request-id",
];

/// Headers that may hold the client's credentials.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

const LONGEST_NAME: usize = 64;
const USUAL_TIMEOUT: Millis = Millis::new(1000);
const LONGEST_TIMEOUT: Millis = Millis::new(10_000);
const MOST_BYTES: u64 = 4 << 20;
const MOST_KEYS: u64 = 200;

/// In seconds.
const LONGEST_CACHE: u64 = 60;
