//! Envoy's routes of rules that answer in place of an upstream.

use tollgate::gateway::RouteConfig;
use tollgate::policy::Answers;

use super::configuration::Sound;
use crate::finding::Findings;
use crate::yaml::{Node, Reader};

/// Says what is missing of the routes of such rules, and of the filters behind the plugin.
pub(super) fn check(sound: &Sound, manager: &Node, routes: &[&Node], behind: &[Node], findings: &mut Findings) {
    check_idle_timeout(sound, manager, findings);
    for (rule, answers) in sound.config.routes.iter().zip(sound.plan.answers()) {
        if answers == Answers::No {
            continue;
        }
        // Envoy takes the first route that matches.
        let Some(route) = routes.iter().find(|route| is_of(rule, route)) else {
            continue;
        };
        if route.field("direct_response").is_none() {
            findings.error(
                &route.place,
                "is the route of a rule that answers in place of an upstream: give it `direct_response: { status: 500 }`, so that a \
                 gateway without the plugin answers nothing",
            );
        }
        if answers == Answers::FromBody && !holds_headers(route, behind) {
            findings.error(
                &route.place,
                "is the route of a rule that answers from the request's body, which Envoy shows only after the headers have gone on: its buffer \
                 filter (`envoy.filters.http.buffer`) must stand behind Tollgate and be on here, or the route answers before the body is there",
            );
        }
    }
}

/// Envoy's idle timeout of streams must not end a request that waits for parts.
fn check_idle_timeout(sound: &Sound, manager: &Node, findings: &mut Findings) {
    let Some(timeout) = manager.field("stream_idle_timeout") else {
        return;
    };
    let seconds = timeout
        .text()
        .and_then(|text| text.strip_suffix('s')?.parse::<f64>().ok());
    // 0 switches it off.
    let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0) else {
        return;
    };
    let routes = sound.config.routes.iter();
    let deadlines = routes.flat_map(|rule| {
        let aggregate = rule.aggregate.as_ref().map(|aggregate| aggregate.deadline);
        [aggregate, rule.graphql.as_ref().map(|graphql| graphql.deadline)]
    });
    if let Some(longest) = deadlines
        .flatten()
        .max()
        .filter(|longest| longest.0.as_secs_f64() >= seconds)
    {
        findings.error(
            &timeout.place,
            format!(
                "is not above the longest `deadline` of a rule, {}ms: Envoy would end the request with 408 before its parts have answered",
                longest.millis().get()
            ),
        );
    }
}

/// Whether all requests of a rule that match nothing else are of this route.
fn is_of(rule: &RouteConfig, route: &Node) -> bool {
    if let Some(name) = &rule.r#match.route {
        return route.text_of("name") == Some(name);
    }
    let Some(path) = rule.r#match.path.as_deref().or(rule.r#match.path_prefix.as_deref()) else {
        return false;
    };
    let matched = |key: &str| route.fields(&["match", key]).and_then(Node::text);
    let is_below = |prefix: &str| {
        let rest = path.strip_prefix(prefix.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    matched("path") == Some(path)
        || matched("prefix").is_some_and(|prefix| path.starts_with(prefix))
        || matched("path_separated_prefix").is_some_and(is_below)
}

/// Whether a buffer filter is on for a route, among those behind the plugin.
fn holds_headers(route: &Node, behind: &[Node]) -> bool {
    let is_true = |node: Option<&Node>| node.map(|node| node.to_json(Reader::Envoy)) == Some(true.into());
    behind.iter().any(|filter| {
        let is_buffer = filter
            .field("typed_config")
            .is_some_and(|config| config.is_message(BUFFER));
        let name = filter.text_of("name").unwrap_or_default();
        let own = route.fields(&["typed_per_filter_config", name]);
        let is_on = match own {
            Some(own) => own.field("buffer").is_some(),
            None => !is_true(filter.field("disabled")),
        };
        is_buffer && is_on
    })
}

const BUFFER: &str = "envoy.extensions.filters.http.buffer.v3.Buffer";
