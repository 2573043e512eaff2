//! What changes of requests: `request-transformer`.

use std::collections::BTreeMap;

use super::node::given;
use super::plugin::Plugin;
use super::tree::{Tree, tree};
use crate::finding::Findings;
use crate::yaml::Node;

/// As a rule's `request` has it.
pub(super) fn request(plugin: &Plugin<'_>, findings: &mut Findings) -> Option<Tree> {
    plugin.leave(
        &["remove", "rename", "replace", "add", "append"],
        &[("dots_in_keys", "true")],
        findings,
    );
    let mut request = tree! {};
    for (theirs, ours) in [("headers", "headers"), ("querystring", "query"), ("body", "body")] {
        let mut rules = tree! {};
        for kind in ["remove", "rename", "replace", "add", "append"] {
            let entries = plugin
                .get(kind)
                .and_then(|node| given(node, theirs))
                .map_or(&[][..], Node::items);
            if kind == "remove" {
                let names: Vec<_> = entries
                    .iter()
                    .filter_map(Node::text)
                    .map(|name| field(name, ours))
                    .collect();
                rules.put_full(kind, names);
                continue;
            }
            let mut values: BTreeMap<String, String> = BTreeMap::new();
            for entry in entries {
                let Some((name, value)) = entry.text().and_then(|text| text.split_once(':')) else {
                    findings.error(&entry.place, "is not `name:value`, and is left out");
                    continue;
                };
                let value = if kind == "rename" {
                    Some(field(value, ours))
                } else {
                    template(value)
                };
                match value {
                    None => findings.error(
                        &entry.place,
                        "has a value that is not carried over: there is `$(headers.x)` and `$(query_params.x)`",
                    ),
                    Some(value) => {
                        values.insert(field(name, ours), value);
                    }
                }
            }
            rules.put_full(
                kind,
                Tree::Map(values.into_iter().map(|(name, value)| (name, value.into())).collect()),
            );
        }
        request.put_full(ours, rules);
    }
    (request != tree! {}).then_some(request)
}

/// `replace.uri`: the path that the service sees, which Envoy puts in when the rules have run.
pub(super) fn uri<'a>(plugin: &'a Plugin<'_>, findings: &mut Findings) -> Option<&'a str> {
    let node = given(plugin.get("replace")?, "uri")?;
    let uri = node.text()?;
    if uri.contains("$(") || !uri.starts_with('/') || uri.contains(['?', '\\']) {
        findings.error(&node.place, "is not carried over: there are plain paths");
        return None;
    }
    Some(uri)
}

fn field(name: &str, kind: &str) -> String {
    let name = name.trim();
    if kind == "headers" {
        name.to_ascii_lowercase()
    } else {
        name.to_owned()
    }
}

/// A value with Kong's places to be filled in, in Tollgate's words.
fn template(value: &str) -> Option<String> {
    let mut rest = value.trim();
    let mut made = String::new();
    while let Some((before, after)) = rest.split_once("$(") {
        let (inner, after) = after.split_once(')')?;
        let (kind, name) = inner.trim().split_once('.')?;
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let place = match kind {
            "headers" => format!("headers.{}", name.to_ascii_lowercase().replace('_', "-")),
            "query_params" => format!("query.{name}"),
            _ => return None,
        };
        if !is_name(name) {
            return None;
        }
        made.push_str(&plain(before));
        made.push_str(&format!("{{{place}}}"));
        rest = after;
    }
    made.push_str(&plain(rest));
    Some(made)
}

fn plain(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_as_kong_does_or_left_out() {
        assert_eq!(template(" v1 ").as_deref(), Some("v1"));
        assert_eq!(template("a {b}").as_deref(), Some("a {{b}}"));
        assert_eq!(
            template("$(headers.X_Tenant)/$(query_params.page)!").as_deref(),
            Some("{headers.x-tenant}/{query.page}!")
        );
        for refused in [
            "$(uri_captures.id)",
            "$(headers.x or 'none')",
            "$(headers.x",
            "$(headers['x'])",
        ] {
            assert_eq!(template(refused), None, "{refused}");
        }
    }
}
