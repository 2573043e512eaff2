//! One base file, the platform's, and a file of each team: together one configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tollgate::config::ConfigError;
use tollgate::gateway::{Config, RouteConfig};
use tollgate::policy::rate_limit::RateLimitConfig;

use crate::check::configuration::Configuration;
use crate::check::filter::Filter;
use crate::check::shape;
use crate::finding::Findings;
use crate::yaml::{Content, Member, Node, Place, Reader};

/// The platform's file: what teams may name, the filter, and everything that is not a team's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BaseFile {
    /// Teams by name. Each has a file of this name, `NAME.yaml`.
    #[serde(default)]
    pub(crate) teams: BTreeMap<String, Team>,
    /// Envoy's `PluginConfig`, without `configuration`.
    #[serde(rename = "filter")]
    _filter: Map<String, Value>,
    /// The plugin's configuration; its routes come before those of the teams.
    #[serde(rename = "policy")]
    #[schemars(with = "Config")]
    _policy: Map<String, Value>,
}

/// What a team may name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Team {
    /// Names of Envoy's routes.
    pub(crate) routes: BTreeSet<String>,
    /// Hosts, as in `match.host`.
    pub(crate) hosts: BTreeSet<String>,
    /// Limits of the base file.
    pub(crate) rate_limits: BTreeSet<String>,
    /// Clusters that may stand in for the team's own.
    pub(crate) clusters: BTreeSet<String>,
}

/// A team's file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(crate) struct TeamFile {
    /// The team's rules.
    #[schemars(with = "Vec<RouteConfig>")]
    pub(crate) routes: Vec<Value>,
    /// Limits of the team's own.
    #[schemars(with = "Vec<RateLimitConfig>")]
    pub(crate) rate_limits: Vec<Value>,
}

/// Policy files as they were read.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) bases: Vec<Node>,
    pub(crate) teams: Vec<Node>,
}

/// All of them merged.
#[derive(Debug)]
pub(crate) struct Policies {
    /// What Envoy asks for by `config_discovery`.
    pub(crate) name: String,
    /// Envoy's `PluginConfig`, without the configuration.
    pub(crate) plugin: Node,
    pub(crate) filter: Filter,
}

impl Files {
    /// Takes a document that is one of them. A base has a `policy`, a team's file nothing but routes and limits.
    pub(crate) fn take(&mut self, document: &Node) -> bool {
        let is = |keys: &[&str]| {
            document
                .members()
                .iter()
                .any(|member| keys.contains(&member.key.as_str()))
        };
        if is(&["policy", "teams"]) {
            self.bases.push(document.clone());
            return true;
        }
        let is_team = is(&["routes", "rate_limits"]) && !is(&["version", "jwt", "api_keys", "defaults", "identity"]);
        if is_team {
            self.teams.push(document.clone());
        }
        is_team
    }

    /// Makes one configuration of them. What is wrong in a team's file is told with the team's name.
    pub(crate) fn merge(&self, findings: &mut Findings) -> Option<Policies> {
        let [base] = self.bases.as_slice() else {
            for other in self.bases.iter().skip(1) {
                findings.error(
                    &other.place,
                    "is a second base file; only one file has `policy`, all others are teams' files",
                );
            }
            for team in self.teams.iter().filter(|_| self.bases.is_empty()) {
                findings.error(
                    &team.place,
                    "is a team's file, which has `routes` and `rate_limits` only: give the base file too; it has `policy` and says what the \
                     team may name",
                );
            }
            return None;
        };
        let file: BaseFile = shape::read(base, Reader::Envoy, decode, findings)?.value;
        let mut policy = base.get("policy")?.clone();
        let mut names = Names::new(base, &file, findings);
        let mut teams: Vec<_> = self
            .teams
            .iter()
            .map(|document| (team_name(document), document))
            .collect();
        teams.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, document) in teams {
            let mut own = Findings::default();
            let is_sound = names.check(&name, document, &file, &mut own);
            findings.extend(own, |message| format!("team {name}: {message}"));
            if is_sound {
                extend(&mut policy, document, "routes");
                extend(&mut policy, document, "rate_limits");
            }
        }
        let plugin = base.get("filter")?.clone();
        if let Some(member) = plugin.member("configuration") {
            findings.error(&member.place, "is built from `policy` and the teams' files; remove it");
        }
        let configuration = Configuration {
            document: policy,
            reader: Reader::Envoy,
            text: None,
        };
        Some(Policies {
            name: plugin.text_of("name").unwrap_or("tollgate").to_owned(),
            filter: Filter::with(&plugin, configuration),
            plugin,
        })
    }

    /// Puts the team's name before what was found in its file. What was said of a place before is not said in other words.
    pub(crate) fn name_teams(&self, found: Findings, findings: &mut Findings) {
        let teams: BTreeMap<Rc<str>, String> = self
            .teams
            .iter()
            .map(|document| (Rc::clone(&document.place.file), team_name(document)))
            .collect();
        let new = found
            .into_iter()
            .filter(|finding| !findings.is_at(&finding.place))
            .collect::<Vec<_>>();
        for mut finding in new {
            if let Some(team) = teams.get(&finding.place.file) {
                finding.message = format!("team {team}: {}", finding.message);
            }
            findings.add(finding);
        }
    }
}

/// Who has defined which limit.
struct Names(BTreeMap<String, String>);

impl Names {
    fn new(base: &Node, file: &BaseFile, findings: &mut Findings) -> Self {
        let own = base.select("policy.rate_limits[].name");
        let own: BTreeMap<_, _> = own
            .into_iter()
            .filter_map(|name| Some((name.text()?.to_owned(), "the base file".to_owned())))
            .collect();
        for team in file.teams.keys() {
            for name in base.select(&format!("teams.{team}.rate_limits[]")) {
                let written = name.text().unwrap_or_default();
                if !own.contains_key(written) {
                    findings.error(
                        &name.place,
                        format!("`policy.rate_limits` has no limit `{written}`{}", there_is(own.keys())),
                    );
                }
            }
        }
        Self(own)
    }

    /// Whether a team's file can be read; says where it names what it may not.
    fn check(&mut self, name: &str, document: &Node, base: &BaseFile, findings: &mut Findings) -> bool {
        let Some(team) = base.teams.get(name) else {
            findings.error(
                &document.place,
                format!(
                    "`teams` of the base file does not declare it{}",
                    there_is(base.teams.keys())
                ),
            );
            return false;
        };
        if shape::read::<TeamFile>(document, Reader::Envoy, decode, findings).is_none() {
            return false;
        }
        let mut limits = team.rate_limits.clone();
        for limit in document.select("rate_limits[].name") {
            let written = limit.text().unwrap_or_default().to_owned();
            match self.0.get(&written) {
                Some(owner) if owner != &format!("team {name}") => findings.error(
                    &limit.place,
                    format!("the limit `{written}` is defined by {owner}; choose another name"),
                ),
                _ => {
                    self.0.insert(written.clone(), format!("team {name}"));
                }
            }
            limits.insert(written);
        }
        for rule in document.get("routes").map_or(&[][..], Node::items) {
            let host = rule.fields(&["match", "host"]);
            let route = rule.fields(&["match", "route"]);
            if host.is_none() && route.is_none() {
                let place = rule.member("match").map_or(&rule.place, |member| &member.place);
                findings.error(
                    place,
                    format!(
                        "names neither a `route` nor a `host` of its own, so it would decide about other teams' requests{}",
                        there_is(team.routes.iter().chain(&team.hosts))
                    ),
                );
            }
            may(route, "Envoy's route", &team.routes, findings);
            may(host, "the host", &team.hosts, findings);
            may(
                rule.fields(&["fallback", "cluster", "name"]),
                "the cluster",
                &team.clusters,
                findings,
            );
            for limit in rule.get("rate_limits").map_or(&[][..], Node::items) {
                let name = limit.get("limit").unwrap_or(limit).text();
                may_name(&limit.place, name, "the limit", &limits, findings);
            }
        }
        true
    }
}

/// A team names only what is declared for it.
fn may(node: Option<&Node>, what: &str, declared: &BTreeSet<String>, findings: &mut Findings) {
    if let Some(node) = node {
        may_name(&node.place, node.text(), what, declared, findings);
    }
}

fn may_name(place: &Place, name: Option<&str>, what: &str, declared: &BTreeSet<String>, findings: &mut Findings) {
    if let Some(name) = name.filter(|name| !declared.contains(*name)) {
        findings.error(
            place,
            format!("may not name {what} `{name}`{}", there_is(declared.iter())),
        );
    }
}

fn there_is<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() {
        "; none is declared".into()
    } else {
        format!("; there is {}", names.join(", "))
    }
}

/// The file's name without its end.
fn team_name(document: &Node) -> String {
    let stem = Path::new(&*document.place.file).file_stem();
    stem.map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Adds a team's list to the one of the base.
fn extend(policy: &mut Node, document: &Node, key: &str) {
    let Some(member) = document.member(key) else { return };
    let Content::Map(members) = &mut policy.content else {
        return;
    };
    if !members.iter().any(|own| own.key == key) {
        let place = policy.place.clone();
        members.push(Member {
            key: key.to_owned(),
            place: place.clone(),
            value: Node {
                place,
                content: Content::List(Vec::new()),
            },
        });
    }
    let list = members.iter_mut().find(|own| own.key == key);
    if let Some(Content::List(items)) = list.map(|own| &mut own.value.content) {
        items.extend(member.value.items().iter().cloned());
    }
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    let failed = |path: String, message: String| ConfigError {
        path: if path == "." { String::new() } else { path },
        message,
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error: serde_path_to_error::Error<serde_json::Error>| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        // The text was made a moment ago; where it stands there means nothing.
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        failed(path, message)
    })
}
