//! Every mistake of shape, not the first one alone: what is wrong is taken out, and the rest is read again.

use crate::finding::Findings;
use crate::yaml::{Content, Member, Node, Place, Reader, Style, join};
use tollgate::config::ConfigError;

/// What could be read of a document.
pub(crate) struct Read<T> {
    pub(crate) value: T,
    /// The paths of what has keys that nobody knows. What they were meant to say is not there.
    pub(crate) incomplete: Vec<String>,
}

/// Reads a document with `decode`, which tells its first mistake. `None` where anything but unknown keys was wrong, so that
/// what it means cannot be told.
pub(crate) fn read<T>(
    document: &Node,
    reader: Reader,
    decode: impl Fn(&str) -> Result<T, ConfigError>,
    findings: &mut Findings,
) -> Option<Read<T>> {
    let mut rest = document.clone();
    let mut sound = true;
    // A key that was taken out is missing afterwards; that is not another mistake.
    let mut taken: Vec<(String, String)> = Vec::new();
    for _ in 0..MOST_MISTAKES {
        let error = match decode(&rest.to_json(reader).to_string()) {
            Ok(value) => {
                let incomplete = taken.into_iter().map(|(parent, _)| parent).collect();
                return sound.then_some(Read { value, incomplete });
            }
            Err(error) => error,
        };
        let missing = quoted(&error.message, "missing field ");
        let is_emptied =
            || error.message.contains("expected one of ") && taken.iter().any(|(parent, _)| *parent == error.path);
        let follows = missing.is_some_and(|key| taken.contains(&(error.path.clone(), key.to_owned()))) || is_emptied();
        let is_unknown = quoted(&error.message, "unknown field ").is_some();
        if !follows {
            let found = find(&rest, &error.path);
            let place = found.member.filter(|_| is_unknown).map(|member| member.place.clone());
            findings.error(&place.unwrap_or_else(|| found.place()), explain(&error.message));
        }
        sound &= is_unknown;
        let removed = match (missing, error.path.as_str()) {
            // Without its version the whole could not be read at all.
            (Some("version"), "") => insert_version(&mut rest),
            (_, path) => remove(&mut rest, path),
        };
        taken.push(removed?);
    }
    None
}

/// What a path leads to.
pub(crate) struct Found<'a> {
    node: &'a Node,
    member: Option<&'a Member>,
    /// What is not there.
    rest: &'a str,
}

/// Follows a path of the plugin's errors, such as `routes[1].auth.any[0]`, as far as there is something.
pub(crate) fn find<'a>(document: &'a Node, path: &'a str) -> Found<'a> {
    let mut found = Found {
        node: document,
        member: None,
        rest: path,
    };
    while let Some((step, rest)) = step(found.node, found.rest) {
        let (node, member) = match step {
            Step::Item(index) => (found.node.items().get(index), None),
            Step::Member(index) => {
                let member = found.node.members().get(index);
                (member.map(|member| &member.value), member)
            }
        };
        let Some(node) = node else { break };
        found = Found { node, member, rest };
    }
    found
}

impl Found<'_> {
    /// Of a scalar, itself; of anything larger, its key.
    pub(crate) fn place(&self) -> Place {
        let mut place = match (&self.node.content, self.member) {
            (Content::List(_) | Content::Map(_), Some(member)) => member.place.clone(),
            // Nothing is written there: the key is what can be seen.
            (Content::Scalar(text, Style::Plain), Some(member)) if text.is_empty() || text == "~" => {
                member.place.clone()
            }
            _ => self.node.place.clone(),
        };
        if self.rest.starts_with('[') {
            place.path.push_str(self.rest);
        } else if !self.rest.is_empty() {
            place.path = join(&place.path, self.rest.trim_start_matches('.'));
        }
        place
    }
}

enum Step {
    Item(usize),
    Member(usize),
}

/// The first step of a path, and the rest of it. Keys may have dots in them: the longest that fits is meant. The plugin
/// writes header names in lower case.
fn step<'a>(node: &Node, path: &'a str) -> Option<(Step, &'a str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    if let Some(rest) = path.strip_prefix('[') {
        let (index, rest) = rest.split_once(']')?;
        return Some((Step::Item(index.parse().ok()?), rest));
    }
    let fits = |key: &str| {
        let rest = path.get(key.len()..)?;
        let is_key = path.get(..key.len())?.eq_ignore_ascii_case(key);
        (is_key && (rest.is_empty() || rest.starts_with(['.', '[']))).then_some(rest)
    };
    let members = node.members().iter().enumerate();
    let fitting = members.filter_map(|(index, member)| Some((index, member.key.len(), fits(&member.key)?)));
    let (index, _, rest) = fitting.max_by_key(|(_, length, _)| *length)?;
    Some((Step::Member(index), rest))
}

/// Takes out what a path leads to, which must be there; the path of what it was in, and its key there.
fn remove(document: &mut Node, path: &str) -> Option<(String, String)> {
    let mut node = document;
    let mut rest = path;
    loop {
        let (step, after) = step(node, rest)?;
        let last = after.is_empty();
        let before = path.strip_suffix(rest)?;
        match (step, &mut node.content) {
            (Step::Item(index), Content::List(items)) if last && index < items.len() => {
                items.remove(index);
                return Some((before.to_owned(), String::new()));
            }
            (Step::Member(index), Content::Map(members)) if last && index < members.len() => {
                let member = members.remove(index);
                return Some((before.to_owned(), member.key));
            }
            (Step::Item(index), Content::List(items)) => node = items.get_mut(index)?,
            (Step::Member(index), Content::Map(members)) => node = &mut members.get_mut(index)?.value,
            _ => return None,
        }
        rest = after;
    }
}

fn insert_version(document: &mut Node) -> Option<(String, String)> {
    let place = document.place.clone();
    let Content::Map(members) = &mut document.content else {
        return None;
    };
    members.push(Member {
        key: "version".into(),
        place: place.clone(),
        value: Node {
            place,
            content: Content::Scalar("1".into(), Style::Plain),
        },
    });
    Some((String::new(), "version".into()))
}

/// An error of the decoder in an operator's words, with what may have been meant.
fn explain(message: &str) -> String {
    if let Some(name) = quoted(message, "missing field ") {
        return format!("the key `{name}` is missing");
    }
    for (prefix, what) in [("unknown field ", "unknown key"), ("unknown variant ", "unknown word")] {
        let Some(name) = quoted(message, prefix) else { continue };
        let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        let near = closest(name, known.iter().copied());
        let meant = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        return match known.as_slice() {
            [] => format!("{what} `{name}`; nothing is known here"),
            known => format!("{what} `{name}`{meant} (known here: {})", known.join(", ")),
        };
    }
    // Words of the decoder's own.
    let message = match message.split_once("expected struct ") {
        Some((found, _)) => format!("{found}expected a map of keys"),
        None => message.to_owned(),
    };
    let message = message
        .replace("expected a sequence", "expected a list")
        .replace("invalid type: sequence", "invalid type: a list");
    message.replace("invalid type: map", "invalid type: a map")
}

/// What stands in backticks after `prefix`.
fn quoted<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
    message.strip_prefix(prefix)?.strip_prefix('`')?.split('`').next()
}

/// The name that somebody may have meant.
pub(crate) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

const MOST_MISTAKES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate::gateway::decode;

    fn mistakes(text: &str) -> Vec<String> {
        let document = crate::yaml::parse(&"f.yaml".into(), text).unwrap().remove(0);
        let mut findings = Findings::default();
        let read = read(&document, Reader::Envoy, |text| decode(text.as_bytes()), &mut findings);
        assert_eq!(
            read.is_none(),
            !findings.lines().is_empty() && !text.contains("# read"),
            "{text}"
        );
        findings.lines()
    }

    #[test]
    fn every_mistake_of_shape_is_told_where_it_is() {
        let text = "\
version: one
rotes: []
jwt:
  issuers:
  - name: main
    issuer: https://issuer.example
    audiences: [api]
    algorithms: [ES256, ES257, RS1]
    jwks: { inline: { keys: [] } }
    leeway: 60
routes:
- match: { pth: /a }
  public: maybe
- public: true
- match: { path: /b }
  auth:
";
        assert_eq!(
            mistakes(text),
            [
                "f.yaml:1:10: version: invalid value: string \"one\", expected a whole number of at least 0",
                "f.yaml:2:1: rotes: unknown key `rotes`; did you mean `routes`? (known here: version, identity, jwt, api_keys, \
                 rate_limits, rate_limit_service, quota_headers, parts, part_limits, defaults, routes)",
                "f.yaml:8:25: jwt.issuers[0].algorithms[1]: unknown word `ES257`; did you mean `ES256`? (known here: RS256, \
                 RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, HS256, HS384, HS512)",
                "f.yaml:8:32: jwt.issuers[0].algorithms[2]: unknown word `RS1`; did you mean `RS512`? (known here: RS256, RS384, \
                 RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, HS256, HS384, HS512)",
                "f.yaml:10:13: jwt.issuers[0].leeway: invalid type: integer `60`, expected a duration such as \
                 `250ms`, `60s`, `10m` or `24h`",
                "f.yaml:12:12: routes[0].match.pth: unknown key `pth`; did you mean `path`? (known here: route, host, path, \
                 path_prefix, methods)",
                "f.yaml:13:11: routes[0].public: invalid type: string \"maybe\", expected a boolean",
                "f.yaml:14:3: routes[1]: the key `match` is missing",
                "f.yaml:16:3: routes[2].auth: invalid type: null, expected a map of keys: `any`, `audiences`, `optional`",
            ]
        );
    }

    #[test]
    fn what_only_has_unknown_keys_is_read_all_the_same() {
        let text = "version: 1\nx: 1 # read\nroutes: [ { match: { path: / }, public: true } ]\n";
        assert_eq!(mistakes(text).len(), 1);
        assert_eq!(mistakes("routes: []\n"), ["f.yaml:1:1: the key `version` is missing"]);
    }

    #[test]
    fn keys_with_dots_and_names_in_lower_case_are_found() {
        let document = crate::yaml::parse(&"f".into(), "a:\n  X-B.c: 1\n  x-b: 2\n")
            .unwrap()
            .remove(0);
        let place = |path| {
            let place = find(&document, path).place();
            (place.line, place.path)
        };
        assert_eq!(place("a.x-b.c"), (2, "a.X-B.c".into()));
        assert_eq!(place("a.x-b"), (3, "a.x-b".into()));
        assert_eq!(place("a.y[0]"), (1, "a.y[0]".into()));
    }
}
