//! The index of rules, which finds the first match without trying each rule.
//!
//! Rules are indexed by route name, by host and by the segments of their paths. The result is the same as trying all
//! rules in order: of all matches that a lookup finds, the one with the lowest place in the configuration.

use std::collections::BTreeMap;

use super::{HostPattern, Matcher, PathPattern};
use crate::message::request::Received;

/// An index from matchers to the rules' places in the configuration.
#[derive(Debug, Default)]
pub struct Index {
    any_route: Hosts,
    by_route: BTreeMap<String, Hosts>,
}

/// The rules with one route name, or those without.
#[derive(Debug, Default)]
struct Hosts {
    any: Paths,
    exact: BTreeMap<String, Paths>,
    /// By suffix, which begins with a dot.
    below: BTreeMap<String, Paths>,
}

/// The rules with one host, or those without.
#[derive(Debug, Default)]
struct Paths {
    any: Option<usize>,
    root: Node,
}

/// The rules whose paths begin with the segments to here.
#[derive(Debug, Default)]
struct Node {
    /// The first rule for exactly this path.
    exact: Option<usize>,
    /// The first rule for this path and everything below it.
    prefix: Option<usize>,
    children: BTreeMap<String, Self>,
}

/// A lookup in the index.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    route: Option<&'a str>,
    host: HostOf<'a>,
    path: PathOf<'a>,
}

#[derive(Debug, Clone, Copy)]
enum HostOf<'a> {
    /// A request's host, or that of a rule.
    Host(&'a str),
    /// All hosts with this suffix, which begins with a dot.
    Below(&'a str),
    All,
}

#[derive(Debug, Clone, Copy)]
enum PathOf<'a> {
    /// A request's path, or that of a rule.
    Path(&'a str),
    /// This path, which does not end with a slash, and everything below it.
    Below(&'a str),
    All,
}

impl Index {
    /// Adds a rule. Rules must be added in the order of their places.
    pub fn add(&mut self, place: usize, matcher: &Matcher) {
        let hosts = match &matcher.route {
            None => &mut self.any_route,
            Some(route) => self.by_route.entry(route.clone()).or_default(),
        };
        let paths = match &matcher.host {
            None => &mut hosts.any,
            Some(HostPattern::Exact(host)) => hosts.exact.entry(host.clone()).or_default(),
            Some(HostPattern::Below(suffix)) => hosts.below.entry(suffix.clone()).or_default(),
        };
        let found = match &matcher.path {
            None => &mut paths.any,
            Some(PathPattern::Exact(path)) => &mut paths.root.at(path).exact,
            Some(PathPattern::Prefix(path)) => &mut paths.root.at(path).prefix,
        };
        found.get_or_insert(place);
    }

    /// The place of the first rule that matches a request, whatever its method.
    pub fn first(&self, request: &Received) -> Option<usize> {
        self.find(Wanted {
            route: request.route_name(),
            host: HostOf::Host(&request.host),
            path: PathOf::Path(request.matched_path()),
        })
    }

    /// The place of the first rule that matches all requests that this one matches.
    pub fn covering(&self, matcher: &Matcher) -> Option<usize> {
        self.find(Wanted {
            route: matcher.route.as_deref(),
            host: match &matcher.host {
                None => HostOf::All,
                Some(HostPattern::Exact(host)) => HostOf::Host(host),
                Some(HostPattern::Below(suffix)) => HostOf::Below(suffix),
            },
            path: match &matcher.path {
                None => PathOf::All,
                Some(PathPattern::Exact(path)) => PathOf::Path(path),
                Some(PathPattern::Prefix(path)) => PathOf::Below(path),
            },
        })
    }

    fn find(&self, wanted: Wanted<'_>) -> Option<usize> {
        let named = wanted.route.and_then(|route| self.by_route.get(route));
        let mut first = None;
        for hosts in [Some(&self.any_route), named].into_iter().flatten() {
            hosts.find(wanted, &mut first);
        }
        first
    }
}

impl Hosts {
    fn find(&self, wanted: Wanted<'_>, first: &mut Option<usize>) {
        self.any.find(wanted.path, first);
        let (host, shortest) = match wanted.host {
            HostOf::All => return,
            HostOf::Host(host) => {
                if let Some(paths) = self.exact.get(host) {
                    paths.find(wanted.path, first);
                }
                // A host is not below itself.
                (host, 1)
            }
            HostOf::Below(suffix) => (suffix, 0),
        };
        if self.below.is_empty() {
            return;
        }
        for (dot, _) in host.match_indices('.').filter(|(dot, _)| *dot >= shortest) {
            if let Some(paths) = host.get(dot..).and_then(|suffix| self.below.get(suffix)) {
                paths.find(wanted.path, first);
            }
        }
    }
}

impl Paths {
    fn find(&self, wanted: PathOf<'_>, first: &mut Option<usize>) {
        take(first, self.any);
        let (path, is_whole) = match wanted {
            PathOf::All => return,
            PathOf::Path(path) => (path, true),
            PathOf::Below(path) => (path, false),
        };
        if !(path.is_empty() || path.starts_with('/')) {
            return;
        }
        let mut node = &self.root;
        take(first, node.prefix);
        for segment in segments(path) {
            match node.children.get(segment) {
                Some(child) => node = child,
                None => return,
            }
            take(first, node.prefix);
        }
        if is_whole {
            take(first, node.exact);
        }
    }
}

impl Node {
    fn at(&mut self, path: &str) -> &mut Self {
        segments(path).fold(self, |node, segment| {
            node.children.entry(segment.to_owned()).or_default()
        })
    }
}

/// The segments of a path, each after its slash.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').skip(1)
}

fn take(first: &mut Option<usize>, place: Option<usize>) {
    if let Some(place) = place {
        *first = Some(first.map_or(place, |other| other.min(place)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Report;
    use crate::http::headers::Headers;
    use std::rc::Rc;
    use std::sync::Arc;

    use crate::gateway::route::MatchConfig;

    /// Rules from few words, so that they overlap.
    fn config() -> impl Strategy<Value = MatchConfig> {
        let word = || prop::sample::select(vec!["a", "b", "ab"]);
        let path = prop::collection::vec(word(), 0..4).prop_map(|words| format!("/{}", words.join("/")));
        let path = (path, any::<bool>()).prop_map(|(path, ends)| {
            if ends {
                format!("{path}/").replace("//", "/")
            } else {
                path
            }
        });
        let host = prop::collection::vec(word(), 1..4).prop_map(|words| words.join("."));
        let host = (host, any::<bool>()).prop_map(|(host, is_below)| if is_below { format!("*.{host}") } else { host });
        (prop::option::of(word()), prop::option::of(host), 0..3, path).prop_map(|(route, host, kind, path)| {
            MatchConfig {
                route: route.map(str::to_owned),
                host,
                path: (kind == 0).then(|| path.clone()),
                path_prefix: (kind == 1).then_some(path),
                methods: None,
            }
        })
    }

    fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
        prop::collection::vec(config(), 1..20).prop_map(|configs| {
            let compiled = configs
                .iter()
                .map(|config| Matcher::compile(config, &mut Report::default()));
            compiled.collect()
        })
    }

    proptest! {
        #[test]
        fn the_index_finds_what_asking_each_rule_in_order_finds(
            rules in matchers(),
            route in prop::option::of(prop::sample::select(vec!["a", "b", "c"])),
            host in "(a|b|ab|c)(\\.(a|b|ab)){0,3}",
            path in "/((a|b|ab|c)/){0,4}(a|b|ab|c)?",
        ) {
            let mut index = Index::default();
            for (place, rule) in rules.iter().enumerate() {
                index.add(place, rule);
            }
            let headers: Headers = [(":method", "GET"), (":authority", host.as_str()), (":path", path.as_str())].into_iter().collect();
            let request = Received::new(Rc::new(headers), route.map(str::to_owned), false, &Arc::default()).unwrap();
            prop_assert_eq!(index.first(&request), rules.iter().position(|rule| rule.matches(&request)));
        }

        #[test]
        fn the_index_finds_the_rule_that_comes_before_another(rules in matchers()) {
            let mut index = Index::default();
            for (place, rule) in rules.iter().enumerate() {
                prop_assert_eq!(index.covering(rule), rules.iter().take(place).position(|earlier| earlier.covers(rule)));
                index.add(place, rule);
            }
        }
    }
}
