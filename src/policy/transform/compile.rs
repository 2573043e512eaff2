//! From what operators write to the policy of a route, with every mistake.

use std::sync::Arc;

use super::Transform;
use super::body::{BodyConfig, BodyRules};
use super::config::{RequestConfig, ResponseConfig, Rules, StatusPattern};
use super::steps::Steps;
use super::target::PathPattern;
use crate::auth::credential::Source as Place;
use crate::config::Report;
use crate::config::values::FieldName;
use crate::message::media_range::MediaRange;
use crate::message::target::check_path;
use crate::policy::{Policy, Rule};
use crate::template::{Source, Template};

/// The policy of a rule with `request` or `response`.
pub fn compile(
    request: Option<&RequestConfig>,
    response: Option<&ResponseConfig>,
    route: &Rule<'_>,
    report: &mut Report,
) -> Option<Box<dyn Policy>> {
    let request = request.cloned().unwrap_or_default();
    let response = response.cloned().unwrap_or_default();
    let pattern = check(&request, &response, route, report);
    (!changes_nothing(&request, &response))
        .then(|| Box::new(Transform::new(request, response, pattern, route)) as Box<dyn Policy>)
}

/// Every mistake; the pattern of the path.
fn check(
    request: &RequestConfig,
    response: &ResponseConfig,
    route: &Rule<'_>,
    report: &mut Report,
) -> Option<PathPattern> {
    let pattern = report.within("request", |report| {
        let pattern = check_request(request, route, report);
        check_rules("headers", &request.headers, route, pattern.as_ref(), report);
        check_templates("query", &request.query, route, pattern.as_ref(), report);
        check_body(&request.body, route, pattern.as_ref(), report);
        check_content_types(&request.content_types, &request.body, report);
        if request.body.statuses.is_some() {
            report.error_at("body.statuses", "is for responses; requests have none");
        }
        pattern
    });
    report.within("response", |report| {
        check_rules("headers", &response.headers, route, pattern.as_ref(), report);
        check_body(&response.body, route, pattern.as_ref(), report);
        check_content_types(&response.content_types, &response.body, report);
        for (from, to) in &response.status {
            if !(200..=599).contains(to) || BODILESS.contains(to) {
                report.error_at(
                    format!("status.{from}"),
                    format!("{to} is not a status from 200 to 599 that may have a body"),
                );
            }
        }
    });
    pattern
}

fn changes_nothing(request: &RequestConfig, response: &ResponseConfig) -> bool {
    request.is_empty()
        && response.body.is_empty()
        && response.presets.is_empty()
        && response.headers.is_empty()
        && response.status.is_empty()
}

impl Transform {
    fn new(request: RequestConfig, response: ResponseConfig, pattern: Option<PathPattern>, route: &Rule<'_>) -> Self {
        // An exact status stands before a class in the map's own order.
        let statuses = response.status.iter().map(|(from, to)| (*from, *to)).collect();
        let presets = response.presets.iter().flat_map(|preset| preset.edits());
        let rules = |config: &BodyConfig, passing: &[MediaRange]| {
            (!config.is_empty()).then(|| Arc::new(BodyRules::new(config, passing)))
        };
        let of_statuses = response.body.statuses.clone().unwrap_or(vec![StatusPattern::Class(2)]);
        Self {
            route: route.name.to_owned(),
            request_body: rules(&request.body, &request.content_types),
            response_body: rules(&response.body, &response.content_types).map(|rules| (of_statuses.into(), rules)),
            headers: Steps::new(&request.headers),
            query: Steps::new(&request.query),
            path: request.path,
            method: request.method,
            pattern,
            presets: presets.chain(response.body.varies_by()).collect(),
            response: Steps::new(&response.headers),
            statuses,
        }
    }
}

fn check_content_types(passing: &[MediaRange], body: &BodyConfig, report: &mut Report) {
    if !passing.is_empty() && body.is_empty() {
        report.error_at(
            "content_types",
            "says what passes beside changes of `body`, of which there are none: all passes",
        );
    }
}

/// What is said of the path and the method; the pattern of the path.
fn check_request(request: &RequestConfig, route: &Rule<'_>, report: &mut Report) -> Option<PathPattern> {
    let path = &request.path;
    let pattern = path.r#match.as_ref().and_then(|text| {
        let pattern = PathPattern::parse(text);
        pattern
            .map_err(|error| report.error_at("path.match", format!("\"{text}\" {error}")))
            .ok()
    });
    if let Some(rewrite) = &path.rewrite {
        if path.r#match.is_none() {
            report.error_at("path.rewrite", "needs `path.match`, which says what is rewritten");
        }
        check_template("path.rewrite", rewrite, route, pattern.as_ref(), report);
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\\".contains(&byte);
        if !rewrite.texts().all(|text| text.bytes().all(plain))
            || !rewrite.texts().next().is_some_and(|text| text.starts_with('/'))
        {
            report.error_at("path.rewrite", "is not a path, which begins with `/` and has no `?`");
        }
        if path.strip_prefix.is_some() {
            report.error_at("path.strip_prefix", "beside `rewrite`; keep one");
        }
    }
    if let Some(prefix) = &path.strip_prefix
        && check_path(prefix).is_err()
    {
        report.error_at(
            "path.strip_prefix",
            format!("\"{prefix}\" is not the beginning of a path"),
        );
    }
    if let Some(method) = &request.method
        && !["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&method.as_str())
    {
        report.error_at("method", format!("\"{method}\" is not a method such as GET"));
    }
    let rewrites = path.rewrite.is_some() || path.strip_prefix.is_some() || request.method.is_some();
    if rewrites && !request.reroute {
        report.error_at(
            "reroute",
            "must be true where path or method change: Envoy chooses the route again, by the new ones. Its own \
             `prefix_rewrite` and `regex_rewrite` leave the route as it is",
        );
    }
    if request.reroute && route.matches_route_name {
        report.error_at(
            "reroute",
            "with `match.route`: the route may be another one afterwards; match by host, path and methods",
        );
    }
    pattern
}

/// Rules of headers: what the gateway manages is not theirs.
fn check_rules(
    key: &str,
    rules: &Rules<FieldName>,
    route: &Rule<'_>,
    pattern: Option<&PathPattern>,
    report: &mut Report,
) {
    report.within(key, |report| {
        for (path, name) in rules.names() {
            if route.managed.contains(name.as_str().as_bytes()) {
                report.error_at(
                    path,
                    format!("`{}` is an identity header, which only the gateway sets", name.as_str()),
                );
            }
        }
    });
    check_templates(key, rules, route, pattern, report);
}

fn check_templates<Name: Ord + AsRef<str>>(
    key: &str,
    rules: &Rules<Name>,
    route: &Rule<'_>,
    pattern: Option<&PathPattern>,
    report: &mut Report,
) {
    report.within(key, |report| {
        for (kind, name, template) in rules.templates() {
            check_template(format!("{kind}.{}", name.as_ref()), template, route, pattern, report);
        }
    });
}

fn check_body(body: &BodyConfig, route: &Rule<'_>, pattern: Option<&PathPattern>, report: &mut Report) {
    report.within("body", |report| {
        for (at, what) in body.mistakes() {
            report.error_at(at, what);
        }
        for (at, template) in body.templates() {
            check_template(at, template, route, pattern, report);
        }
    });
}

/// What a template names must be there.
fn check_template(
    key: impl Into<String>,
    template: &Template,
    route: &Rule<'_>,
    pattern: Option<&PathPattern>,
    report: &mut Report,
) {
    let key = key.into();
    if let Some(spelling) = template.texts().find_map(foreign_spelling) {
        report.warn_at(
            key.clone(),
            format!("has `{spelling}`, which is written as it is: values are `{{headers.x}}`, `{{query.x}}`, `{{identity.user_id}}`, `{{claims.x}}`"),
        );
    }
    for source in template.sources() {
        if let Some(name) = credential(source, route) {
            report.warn_at(
                key.clone(),
                format!("reads `{name}`, where this rule looks for credentials: whoever gets this value gets the caller's credential"),
            );
        }
        match source {
            Source::Claim(name) if !route.attributes.contains(name) => report.error_at(
                key.clone(),
                format!("nothing defines \"{name}\"; name its header in `identity.headers.attributes`"),
            ),
            Source::Path(name) if !pattern.iter().any(|pattern| pattern.names().any(|own| own == name)) => report
                .error_at(
                    key.clone(),
                    format!("nothing names \"{name}\"; name it in `request.path.match`"),
                ),
            _ => {}
        }
    }
}

/// The name of a value that may be a credential of this rule.
fn credential<'a>(source: &'a Source, route: &Rule<'_>) -> Option<&'a str> {
    let mut places = route.credentials.iter();
    let (name, is_credential) = match source {
        Source::Header(name) => {
            let name = name.as_str();
            let is_there = places.any(|place| match place {
                Place::Header { name: own, .. } => own.as_str() == name,
                Place::Cookie(_) => name == "cookie",
                Place::Query(_) => false,
            });
            (name, is_there)
        }
        Source::Query(name) => (
            name.as_str(),
            places.any(|place| matches!(place, Place::Query(own) if own == name)),
        ),
        _ => return None,
    };
    is_credential.then_some(name)
}

/// How Kong, Envoy and Handlebars write values, as it is left of a template.
fn foreign_spelling(text: &str) -> Option<&str> {
    let between = |open: &str, close: char| {
        let begin = text.find(open)?;
        let rest = text.get(begin..)?;
        let end = rest.find(close)?;
        let inner = rest.get(open.len()..end)?;
        let is_name = !inner.trim().is_empty()
            && inner
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:? ".contains(&byte));
        is_name.then(|| rest.get(..=end)).flatten()
    };
    let command = || {
        let name = text.split('%').nth(1)?;
        let is_command =
            name.ends_with(')') && name.contains('(') && name.starts_with(|first: char| first.is_ascii_uppercase());
        is_command.then_some(text)
    };
    between("$(", ')').or_else(|| between("{", '}')).or_else(command)
}

/// Statuses of responses without a body.
const BODILESS: [u16; 3] = [204, 205, 304];
