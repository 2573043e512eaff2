//! Matching of requests by rules.

mod index;

use std::fmt;

use serde::Deserialize;

use crate::config::Report;
use crate::message::target::{check_path, has_parameters, host_of, matched_path};

pub use index::Index;

/// The requests that a rule matches. Every given field must match; at least one is required.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct MatchConfig {
    /// The name of Envoy's route.
    pub route: Option<String>,
    /// A host without port, or `*.example.com` for every host below it.
    pub host: Option<String>,
    /// The whole path, without the query.
    pub path: Option<String>,
    /// The path, or its first segments: `/users` matches `/users` and `/users/1`, not `/users2`.
    pub path_prefix: Option<String>,
    /// The allowed methods. A request that matches except for its method is refused (405); it does not fall through to
    /// the next rule.
    pub methods: Option<Vec<String>>,
}

/// What to do with headers that name another method: many frameworks use it in place of the request's own.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum MethodOverride {
    /// They are removed, so that the upstream uses the method that `methods` allows.
    #[default]
    Remove,
    /// They are passed on.
    Keep,
}

/// The headers that name another method, in lower case.
pub const METHOD_OVERRIDES: [&str; 3] = ["x-http-method", "x-http-method-override", "x-method-override"];

/// A compiled `match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    route: Option<String>,
    host: Option<HostPattern>,
    path: Option<PathPattern>,
    /// The allowed methods; empty for all.
    methods: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Exact(String),
    /// A suffix with its leading dot.
    Below(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PathPattern {
    Exact(String),
    /// A path without a trailing slash, and all below it.
    Prefix(String),
}

impl Matcher {
    /// Compiles a rule's `match`.
    pub fn compile(config: &MatchConfig, report: &mut Report) -> Self {
        let path = match (&config.path, &config.path_prefix) {
            (Some(_), Some(_)) => {
                report.error("has both `path` and `path_prefix`; keep one");
                None
            }
            (Some(path), None) => Some(PathPattern::Exact(checked_path("path", path, report))),
            (None, Some(prefix)) => {
                let prefix = checked_path("path_prefix", prefix, report);
                Some(PathPattern::Prefix(prefix.trim_end_matches('/').to_owned()))
            }
            (None, None) => None,
        };
        if config.route.is_none() && config.host.is_none() && config.path.is_none() && config.path_prefix.is_none() {
            report.error("is empty, so it would match every request; name a `route`, `host`, `path` or `path_prefix` (`/` is every path)");
        }
        let methods = config.methods.clone().unwrap_or_default();
        if config.methods.as_ref().is_some_and(Vec::is_empty) {
            report.error_at("methods", "is empty; leave it out to allow every method");
        }
        for (index, method) in methods.iter().enumerate() {
            if method.is_empty()
                || !method
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_')
            {
                report.error_at(
                    format!("methods[{index}]"),
                    format!("\"{method}\" is not a method; methods are upper case, as in GET"),
                );
            }
        }
        let host = config.host.as_deref().map(|host| host_pattern(host, report));
        Self {
            route: config.route.clone(),
            host,
            path,
            methods,
        }
    }

    /// Whether the rule matches a request, whatever its method: the reference for the [`Index`].
    #[cfg(test)]
    fn matches(&self, request: &crate::message::request::Received) -> bool {
        self.route
            .as_deref()
            .is_none_or(|name| request.route_name() == Some(name))
            && self.host.as_ref().is_none_or(|pattern| pattern.matches(&request.host))
            && self
                .path
                .as_ref()
                .is_none_or(|pattern| pattern.matches(request.matched_path()))
    }

    /// Checks the method; `Err` has the value of `Allow`.
    pub fn check_method(&self, method: &str) -> Result<(), String> {
        if self.methods.is_empty() || self.methods.iter().any(|allowed| allowed == method) {
            Ok(())
        } else {
            Err(self.methods.join(", "))
        }
    }

    /// Whether it matches on Envoy's route name, which costs a host call.
    pub fn needs_route_name(&self) -> bool {
        self.route.is_some()
    }

    /// Whether this matches every request that `other` matches, so that `other` after it would never be reached.
    #[cfg(test)]
    fn covers(&self, other: &Self) -> bool {
        let route = self.route.is_none() || self.route == other.route;
        let host = match (&self.host, &other.host) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own.covers(other),
        };
        let path = match (&self.path, &other.path) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own.covers(other),
        };
        route && host && path
    }
}

#[cfg(test)]
impl HostPattern {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(own) => own == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (own, Self::Exact(host)) => own.matches(host),
            (Self::Below(own), Self::Below(other)) => other.ends_with(own.as_str()),
            (Self::Exact(_), Self::Below(_)) => false,
        }
    }
}

#[cfg(test)]
impl PathPattern {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(own) => own == path,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (own, Self::Exact(path)) => own.matches(path),
            (own @ Self::Prefix(_), Self::Prefix(prefix)) => own.matches(prefix),
            (Self::Exact(_), Self::Prefix(_)) => false,
        }
    }
}

impl fmt::Display for Matcher {
    /// A name for metrics, if the rule has none.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.route, &self.path) {
            (Some(name), _) => formatter.write_str(name),
            (None, Some(PathPattern::Exact(path))) => formatter.write_str(path),
            (None, Some(PathPattern::Prefix(prefix))) => write!(formatter, "{prefix}/*"),
            (None, None) => formatter.write_str("host"),
        }
    }
}

fn host_pattern(host: &str, report: &mut Report) -> HostPattern {
    let lower = host.to_ascii_lowercase();
    let (is_below, name) = match lower.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, lower.as_str()),
    };
    let is_plain =
        !(name.ends_with('.') || name.contains(':') && !name.ends_with(']') || is_below && name.starts_with('['));
    let plain = host_of(name).ok().filter(|_| is_plain);
    if plain.is_none() {
        report.error_at(
            "host",
            format!("\"{host}\" is not a host name without port and without a dot at its end, or `*.` and one"),
        );
    }
    let name = plain.unwrap_or_else(|| name.to_owned());
    match is_below {
        true => HostPattern::Below(format!(".{name}")),
        false => HostPattern::Exact(name),
    }
}

/// A rule's path in the normalized form in which requests are matched. A path that no request can have is an error: the
/// rule would never apply, and its requests would fall to a wider rule.
fn checked_path(key: &str, path: &str, report: &mut Report) -> String {
    let means_more = |segment: &str| segment.starts_with(':') || segment.contains(['*', '{', '}']);
    if let Err(denial) = check_path(path) {
        report.error_at(
            key,
            format!("\"{path}\" can never match: such a path is refused ({})", denial.reason),
        );
    } else if path.contains('?') {
        report.error_at(key, "has a query; rules match the path alone");
    } else if has_parameters(path) {
        report.error_at(key, "has a path parameter (`;`); rules match segments without them");
    } else if let Some(segment) = path.split('/').find(|segment| means_more(segment)) {
        let part = match path.split_once(segment) {
            Some((before, _)) if !before.trim_end_matches('/').is_empty() => before.trim_end_matches('/'),
            _ => "/",
        };
        report.error_at(
            key,
            format!(
                "\"{segment}\" stands for itself, as paths have no wildcards and no variables; `path_prefix: {part}` is {part} and \
                 everything below it"
            ),
        );
    }
    matched_path(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(change: impl FnOnce(&mut MatchConfig)) -> Matcher {
        let mut config = MatchConfig::default();
        change(&mut config);
        let mut report = Report::default();
        let matcher = Matcher::compile(&config, &mut report);
        report.finish().unwrap();
        matcher
    }

    fn prefix(prefix: &str) -> Matcher {
        matcher(|config| config.path_prefix = Some(prefix.into()))
    }

    fn exact(path: &str) -> Matcher {
        matcher(|config| config.path = Some(path.into()))
    }

    fn host(host: &str) -> Matcher {
        matcher(|config| config.host = Some(host.into()))
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        let users = prefix("/users").path.unwrap();
        assert!(users.matches("/users") && users.matches("/users/") && users.matches("/users/1"));
        assert!(!users.matches("/users2") && !users.matches("/user") && !users.matches("/"));
        assert_eq!(prefix("/users/"), prefix("/users"));
        let all = prefix("/").path.unwrap();
        assert!(all.matches("/") && all.matches("/a"));
    }

    #[test]
    fn a_wildcard_is_below_and_not_beside() {
        let pattern = host("*.Example.com").host.unwrap();
        assert!(pattern.matches("a.example.com") && pattern.matches("a.b.example.com"));
        assert!(
            !pattern.matches("example.com") && !pattern.matches("badexample.com") && !pattern.matches(".example.com")
        );
    }

    #[test]
    fn covering_finds_rules_that_are_never_asked() {
        assert!(
            prefix("/").covers(&exact("/a"))
                && prefix("/a").covers(&prefix("/a/b"))
                && prefix("/a").covers(&prefix("/a"))
        );
        assert!(
            !prefix("/a").covers(&prefix("/"))
                && !exact("/a").covers(&prefix("/a"))
                && !prefix("/a").covers(&exact("/ab"))
        );
        assert!(prefix("/").covers(&matcher(|config| {
            config.path = Some("/a".into());
            config.route = Some("r".into());
        })));
        assert!(
            host("*.a.b").covers(&host("x.a.b"))
                && host("*.b").covers(&host("*.a.b"))
                && !host("x.b").covers(&host("*.b"))
        );
        assert!(!host("a").covers(&exact("/a")) && !exact("/a").covers(&host("a")));
    }

    #[test]
    fn other_methods_are_named() {
        let rule = matcher(|config| {
            config.path = Some("/".into());
            config.methods = Some(vec!["GET".into(), "HEAD".into()]);
        });
        assert_eq!(rule.check_method("GET"), Ok(()));
        assert_eq!(rule.check_method("POST"), Err("GET, HEAD".into()));
        assert_eq!(rule.check_method("get"), Err("GET, HEAD".into()));
        assert_eq!(prefix("/").check_method("ANY"), Ok(()));
    }

    #[test]
    fn rules_that_cannot_match_are_errors() {
        let errors = |change: fn(&mut MatchConfig)| {
            let mut config = MatchConfig::default();
            change(&mut config);
            let mut report = Report::default();
            Matcher::compile(&config, &mut report);
            report
                .finish()
                .unwrap_err()
                .into_iter()
                .map(|error| error.to_string())
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert!(errors(|_| {}).contains("is empty, so it would match every request"));
        assert!(errors(|config| config.path = Some("users".into())).starts_with("path: \"users\" can never match"));
        assert!(errors(|config| config.path_prefix = Some("/a/../b".into())).contains("path_not_normalized"));
        assert!(errors(|config| config.path = Some("/a?b".into())).contains("query"));
        assert!(errors(|config| config.host = Some("a:80".into())).starts_with("host:"));
        assert!(errors(|config| config.host = Some("*".into())).starts_with("host:"));
        assert!(
            errors(|config| (config.path, config.path_prefix) = (Some("/".into()), Some("/".into()))).contains("both")
        );
        assert!(
            errors(|config| (config.path, config.methods) = (Some("/".into()), Some(vec![])))
                .contains("methods: is empty")
        );
        assert!(
            errors(|config| (config.path, config.methods) = (Some("/".into()), Some(vec!["get".into()])))
                .contains("methods[0]")
        );
    }
}
