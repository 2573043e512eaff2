//! One configuration of the plugin, judged by the plugin's own code.

use tollgate::config::Environment;
use tollgate::gateway::plan::Plan;
use tollgate::gateway::{Config, Settings, decode};
use tollgate::policy::rate_limit::{KeyPart, LimitRef};

use super::shape;
use crate::finding::Findings;
use crate::yaml::{Content, Node, Place, Reader, Style, parse};

/// A configuration that was found.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    /// Its paths begin at the configuration itself, like those of the plugin's own errors.
    pub(crate) document: Node,
    pub(crate) reader: Reader,
    /// As it is handed over, where that is a text.
    pub(crate) text: Option<String>,
}

/// A configuration that the plugin takes.
#[derive(Debug)]
pub(crate) struct Sound {
    pub(crate) config: Config,
    pub(crate) plan: Plan,
}

impl Configuration {
    /// What is written as YAML, or as JSON in a text.
    pub(crate) fn of(node: &Node, reader: Reader, findings: &mut Findings) -> Option<Self> {
        let Content::Scalar(text, style) = &node.content else {
            let mut document = node.clone();
            document.name(String::new());
            return Some(Self {
                document,
                reader,
                text: None,
            });
        };
        let base = node.place.clone();
        let move_to = |place: &mut Place| match style {
            Style::Literal { indent } => {
                place.line = place.line.saturating_add(base.line).saturating_sub(1);
                place.column = place.column.saturating_add(*indent);
            }
            _ => (place.line, place.column) = (base.line, base.column),
        };
        // What is no JSON is refused by the plugin, but may still be read here to say where.
        match parse(&base.file, text) {
            Ok(documents) => {
                let mut document = documents.into_iter().next().unwrap_or_else(|| node.clone());
                document.shift(&move_to);
                Some(Self {
                    document,
                    reader: Reader::Json,
                    text: Some(text.clone()),
                })
            }
            Err(mut finding) => {
                move_to(&mut finding.place);
                findings.add(finding);
                None
            }
        }
    }

    /// Says what the plugin would say, all of it.
    pub(crate) fn judge(&self, findings: &mut Findings) -> Option<Sound> {
        if let Some(text) = &self.text
            && let Err(error) = decode(text.as_bytes())
            && error.path.is_empty()
            && serde_json::from_str::<serde::de::IgnoredAny>(text).is_err()
        {
            findings.error(&self.document.place, error.message);
            return None;
        }
        let decode = |text: &str| decode(text.as_bytes());
        let before = findings.count(crate::finding::Severity::Error);
        let shape::Read {
            value: config,
            incomplete,
        } = shape::read(&self.document, self.reader, decode, findings)?;
        match Plan::compile(&config, &self.stand_ins()) {
            Ok(plan) => {
                for warning in &plan.warnings {
                    let place = shape::find(&self.document, &warning.path).place();
                    findings.warning(&place, self.with_places(&warning.message));
                }
                self.warn(&config, findings);
                let is_sound = findings.count(crate::finding::Severity::Error) == before;
                is_sound.then_some(Sound { config, plan })
            }
            Err(errors) => {
                for error in errors.iter().filter(|error| !follows(&error.path, &incomplete)) {
                    let place = shape::find(&self.document, &error.path).place();
                    findings.error(&place, self.with_places(&error.message));
                }
                None
            }
        }
    }

    /// The variables that it needs in the VM's environment.
    pub(crate) fn variables(&self) -> Vec<&Node> {
        self.all(&ENVIRONMENT)
    }

    /// The clusters that it names.
    pub(crate) fn clusters(&self) -> Vec<&Node> {
        self.all(&CLUSTERS)
    }

    fn all(&self, patterns: &[&str]) -> Vec<&Node> {
        patterns
            .iter()
            .flat_map(|pattern| self.document.select(pattern))
            .filter(|node| node.text().is_some())
            .collect()
    }

    /// Long enough for everything, and each its own.
    fn stand_ins(&self) -> Environment {
        let names = self.variables().into_iter().filter_map(Node::text).enumerate();
        names
            .map(|(index, name)| (name.to_owned(), format!("stand-in-{index}-{}", "x".repeat(64))))
            .collect()
    }

    /// `routes[3]` means little where rules come from several files.
    fn with_places(&self, message: &str) -> String {
        let mention = message.split_once("routes[").and_then(|(before, rest)| {
            let (index, after) = rest.split_once(']')?;
            let rule = self.document.get("routes")?.items().get(index.parse::<usize>().ok()?)?;
            Some((before, rule, after))
        });
        match mention {
            Some((before, rule, after)) => {
                let Place { file, line, path, .. } = &rule.place;
                format!("{before}{path} ({file}:{line}){after}")
            }
            None => message.to_owned(),
        }
    }

    fn warn(&self, config: &Config, findings: &mut Findings) {
        for (index, limit) in config.rate_limits.iter().enumerate() {
            for (place, part) in limit.key.iter().enumerate() {
                if let KeyPart::Header(name) = part {
                    let message = format!(
                        "clients choose the value of `{}`, and each value has a count of its own: the limit bounds no client that \
                         changes the value",
                        name.as_str()
                    );
                    let path = format!("rate_limits[{index}].key[{place}]");
                    findings.warning(&shape::find(&self.document, &path).place(), message);
                }
            }
        }
        for (index, route) in config.routes.iter().enumerate() {
            let limits = Settings::new(Some(route), &config.defaults).rate_limits;
            let limits = limits.map(Vec::as_slice).unwrap_or_default();
            if !limits.is_empty() && limits.iter().all(|limit| is_evaded(config, limit)) {
                findings.warning(
                    &shape::find(&self.document, &format!("routes[{index}].rate_limits")).place(),
                    "every limit here is by a header, which clients choose, and each value has a count of its own; add a limit by \
                     `ip`, `user` or `tenant`",
                );
            }
        }
    }
}

/// Whether an error may only tell that a key was not understood, there or one level below.
fn follows(path: &str, incomplete: &[String]) -> bool {
    let below = incomplete.iter().filter_map(|incomplete| incomplete.strip_prefix(path));
    below
        .map(|rest| rest.strip_prefix('.').unwrap_or(rest))
        .any(|rest| !rest.contains(['.', '[']))
}

/// Whether a client begins a new count by another header.
fn is_evaded(config: &Config, limit: &LimitRef) -> bool {
    let limit = config.rate_limits.iter().find(|defined| defined.name == limit.limit);
    limit.is_some_and(|limit| limit.key.iter().any(|part| matches!(part, KeyPart::Header(_))))
}

/// Where a configuration names variables.
const ENVIRONMENT: [&str; 5] = [
    "api_keys.lookup.token.env",
    "api_keys.secrets[].env",
    "identity.proof.secret.env",
    "jwt.issuers[].jwks.secrets[].env",
    "parts.*.token.env",
];

/// Where it names clusters.
const CLUSTERS: [&str; 6] = [
    "api_keys.lookup.cluster",
    "defaults.fallback.cluster.name",
    "jwt.issuers[].jwks.remote.cluster",
    "parts.*.cluster",
    "rate_limit_service.cluster",
    "routes[].fallback.cluster.name",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// A new key of the configuration that names a variable or a cluster must be known here.
    #[test]
    fn every_place_for_a_variable_or_a_cluster_is_known() {
        let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
        let mut found = BTreeSet::new();
        collect(&schema, &schema, "", &mut found);
        let ends = |end: &str| {
            found
                .iter()
                .filter(|path| path.ends_with(end))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(ends(".env"), ENVIRONMENT);
        for path in ends(".cluster").into_iter().chain(ends(".cluster.name")) {
            let is_known = CLUSTERS
                .iter()
                .any(|known| *known == path || known.strip_suffix(".name") == Some(&path));
            assert!(is_known, "{path}");
        }
    }

    fn collect(schema: &Value, root: &Value, path: &str, found: &mut BTreeSet<String>) {
        let schema = match schema["$ref"].as_str() {
            Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
            None => schema,
        };
        for variants in ["oneOf", "anyOf"] {
            for variant in schema[variants].as_array().into_iter().flatten() {
                collect(variant, root, path, found);
            }
        }
        // `allOf` holds neither today.
        if schema["additionalProperties"].is_object() {
            collect(&schema["additionalProperties"], root, &format!("{path}.*"), found);
        }
        if schema["items"].is_object() {
            collect(&schema["items"], root, &format!("{path}[]"), found);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = crate::yaml::join(path, name);
            found.insert(path.clone());
            // JSON Schemas of bodies refer to themselves.
            if !path.contains(".body_schema") && path.matches('.').count() < 8 {
                collect(property, root, &path, found);
            }
        }
    }
}
