//! What the members of a decK file mean: nothing, a switch, a number, a name, a placeholder.

use serde_json::Value;

use crate::finding::Findings;
use crate::yaml::{Content, Node, Reader, Style};

/// Letters, digits, `-` and `_`.
pub(super) fn plain(name: &str) -> String {
    let kept = name.chars().map(|character| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => character,
        _ => '-',
    });
    kept.collect()
}

/// A member that says something: decK writes `null` where nothing is meant.
pub(super) fn given<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    node.get(key).filter(|value| !is_nothing(value))
}

pub(super) fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    given(node, key)?.text()
}

/// A whole number, as decK reads YAML: `010` is octal, `5.0` is 5.
pub(super) fn number(node: &Node, key: &str) -> Option<u64> {
    match given(node, key)?.to_json(Reader::Kubernetes) {
        Value::Number(number) => number
            .as_u64()
            .or_else(|| number.to_string().strip_suffix(".0")?.parse().ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

pub(super) fn list<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    node.get(key).map_or(&[], Node::items)
}

/// Says of every member that is not carried over that it is not; what says nothing, or Kong's default, needs no word.
pub(super) fn leave(node: &Node, carried: &[&str], defaults: &[(&str, &str)], findings: &mut Findings) {
    for member in node.members() {
        let key = member.key.as_str();
        let is_default = |(name, default): &(&str, &str)| {
            let is_same = member.value.text() == Some(default)
                || *default == "true" && is_true(&member.value)
                || *default == "false" && is_false(&member.value);
            *name == key && (default == &ANYTHING || is_same)
        };
        let is_empty = match &member.value.content {
            Content::Scalar(..) => is_nothing(&member.value),
            Content::List(items) => items.is_empty(),
            Content::Map(members) => members.is_empty(),
        };
        if !carried.contains(&key) && !is_empty && !defaults.iter().any(is_default) {
            findings.error(&member.place, "is not carried over");
        }
    }
}

/// As a default: whatever it is.
pub(super) const ANYTHING: &str = "*";

/// What entities of Kong have that means nothing here.
pub(super) const META: &[(&str, &str)] = &[
    ("_format_version", ANYTHING),
    ("_info", ANYTHING),
    ("_konnect", ANYTHING),
    ("_plugin_configs", ANYTHING),
    ("_transform", ANYTHING),
    ("_workspace", ANYTHING),
    ("created_at", ANYTHING),
    ("id", ANYTHING),
    ("instance_name", ANYTHING),
    ("name", ANYTHING),
    ("protocols", ANYTHING),
    ("tags", ANYTHING),
    ("updated_at", ANYTHING),
];

fn is_nothing(node: &Node) -> bool {
    matches!(&node.content, Content::Scalar(text, Style::Plain) if matches!(text.as_str(), "" | "~" | "null"))
}

pub(super) fn is_off(node: &Node) -> bool {
    !is(node, "enabled", true)
}

/// A switch, with Kong's default. Its reader has YAML 1.1's words: `no`, `False`, `off`.
pub(super) fn is(node: &Node, key: &str, default: bool) -> bool {
    given(node, key).map_or(default, is_true)
}

pub(super) fn is_true(node: &Node) -> bool {
    Some(node.to_json(Reader::Kubernetes)) == Some(true.into())
}

fn is_false(node: &Node) -> bool {
    Some(node.to_json(Reader::Kubernetes)) == Some(false.into())
}

/// `service: NAME`, `service: ID`, or a map with one of them.
pub(super) fn reference<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    let value = given(node, key)?;
    let members = ["name", "username", "custom_id", "id"];
    value
        .text()
        .or_else(|| members.iter().find_map(|member| text(value, member)))
}

/// A UUID (RFC 9562), as Kong's ids are.
pub(super) fn is_id(text: &str) -> bool {
    let mut parts = text.split('-').map(str::len);
    let lengths = [8, 4, 4, 4, 12];
    lengths.iter().all(|length| parts.next() == Some(*length)) && parts.next().is_none()
}

/// What decK takes from the environment (`${{ env "X" }}`, `${X}`, `$X`) or Kong from a vault (`{vault://env/x}`).
pub(super) fn is_placeholder(node: &Node) -> bool {
    let Some(text) = node.text() else { return false };
    let is_variable = text.strip_prefix('$').is_some_and(|name| {
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        name.starts_with(|first: char| first.is_ascii_uppercase()) && name.bytes().all(plain)
    });
    is_variable || text.contains("${") || text.contains("{vault://")
}

/// Whether anything of it is a placeholder.
pub(super) fn has_placeholder(node: &Node) -> bool {
    let mut found = false;
    node.visit(&mut |node| found |= is_placeholder(node));
    found
}
