//! Changes of paths and queries, which preserve everything else byte for byte.

use crate::http::edits::{Edit, change_one};
use crate::template::{parameter, plain};

/// A pattern for paths with named parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathPattern(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Text(String),
    /// One segment, which is not empty.
    Named(String),
    /// The whole rest.
    Rest(String),
}

impl PathPattern {
    /// Parses a pattern; `Err` says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err("does not begin with `/`".into());
        };
        let mut segments = Vec::new();
        for segment in rest.split('/') {
            if matches!(segments.last(), Some(Segment::Rest(_))) {
                return Err("has something after the part that takes the rest".into());
            }
            let inside = segment.strip_prefix('{').and_then(|inside| inside.strip_suffix('}'));
            segments.push(match inside {
                None if segment.contains(['{', '}']) => {
                    return Err("has a brace within a segment; a part is a whole segment, as in `/users/{id}`".into());
                }
                None => Segment::Text(segment.to_owned()),
                Some(name) => {
                    let (name, is_rest) = match name.strip_suffix('*') {
                        Some(name) => (name, true),
                        None => (name, false),
                    };
                    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                    if name.is_empty() || !name.bytes().all(plain) {
                        return Err("has a part without a name of letters, digits and `_`".into());
                    }
                    let name = name.to_owned();
                    if is_rest {
                        Segment::Rest(name)
                    } else {
                        Segment::Named(name)
                    }
                }
            });
        }
        let pattern = Self(segments);
        let names: Vec<_> = pattern.names().collect();
        match names
            .iter()
            .enumerate()
            .find(|(at, name)| names.iter().take(*at).any(|other| other == *name))
        {
            Some((_, name)) => Err(format!("names \"{name}\" twice")),
            None => Ok(pattern),
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Text(_) => None,
            Segment::Named(name) | Segment::Rest(name) => Some(name.as_str()),
        })
    }

    /// The parts of a path, by name; `None` if the path does not match.
    pub(super) fn captures<'a>(&'a self, path: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        let mut captures = Vec::new();
        let mut left = Some(path.strip_prefix('/')?);
        for segment in &self.0 {
            let from = left?;
            let (own, after) = match from.split_once('/') {
                Some((own, after)) => (own, Some(after)),
                None => (from, None),
            };
            match segment {
                Segment::Text(text) if text == own => {}
                Segment::Named(name) if !own.is_empty() => captures.push((name.as_str(), own)),
                Segment::Rest(name) => {
                    captures.push((name, from));
                    return Some(captures);
                }
                _ => return None,
            }
            left = after;
        }
        left.is_none().then_some(captures)
    }
}

/// The path without a prefix of whole segments, if it has that.
pub(super) fn strip_prefix<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    match path.strip_prefix(prefix.trim_end_matches('/'))? {
        "" => Some("/"),
        rest => rest.starts_with('/').then_some(rest),
    }
}

/// A query after these edits. Names are compared decoded.
pub(super) fn edit_query(query: Option<&str>, edits: &[Edit]) -> Option<String> {
    let mut pairs: Vec<(String, String)> = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .map(|pair| (parameter(pair), pair.to_owned()))
        .collect();
    let pair = |name: &str, value: &[u8]| {
        let value = String::from_utf8_lossy(value);
        (name.to_owned(), format!("{}={value}", plain(name.as_bytes())))
    };
    for edit in edits {
        let place = |pairs: &[(String, String)], name: &str| pairs.iter().position(|(own, _)| own == name);
        match edit {
            Edit::Remove(name) => pairs.retain(|(own, _)| **own != **name),
            Edit::Rename(from, to) => {
                if from != to && place(&pairs, from).is_some() {
                    pairs.retain(|(own, _)| **own != **to);
                    for (own, text) in pairs.iter_mut().filter(|(own, _)| **own == **from) {
                        let value = text.split_once('=').map(|(_, value)| format!("={value}"));
                        *text = plain(to.as_bytes()) + &value.unwrap_or_default();
                        *own = to.to_string();
                    }
                }
            }
            Edit::Replace(name, value) | Edit::Set(name, value) => {
                let is_there = change_one(
                    &mut pairs,
                    |(own, _)| **own == **name,
                    |first| *first = pair(name, value),
                );
                if !is_there && matches!(edit, Edit::Set(..)) {
                    pairs.push(pair(name, value));
                }
            }
            Edit::Add(name, value) => {
                if place(&pairs, name).is_none() {
                    pairs.push(pair(name, value));
                }
            }
            Edit::Append(name, value) => pairs.push(pair(name, value)),
        }
    }
    let texts: Vec<_> = pairs.into_iter().map(|(_, text)| text).collect();
    // `?` stays if a pair is left, even an empty one.
    (!texts.is_empty()).then(|| texts.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_of_a_path_have_names() {
        let captures = |pattern: &str, path: &str| -> Option<String> {
            let pattern = PathPattern::parse(pattern).unwrap();
            let captures = pattern.captures(path)?;
            let texts: Vec<_> = captures.iter().map(|(name, value)| format!("{name}={value}")).collect();
            Some(texts.join(" "))
        };
        for (pattern, path, expected) in [
            ("/", "/", Some("")),
            ("/", "/a", None),
            ("/a", "/a", Some("")),
            ("/a", "/a/", None),
            ("/a/", "/a/", Some("")),
            ("/users/{id}", "/users/7", Some("id=7")),
            ("/users/{id}", "/users/", None),
            ("/users/{id}", "/users/7/x", None),
            ("/users/{id}", "/users", None),
            ("/{a}/b/{c}", "/1/b/%32", Some("a=1 c=%32")),
            ("/files/{rest*}", "/files/a/b/", Some("rest=a/b/")),
            ("/files/{rest*}", "/files/", Some("rest=")),
            ("/files/{rest*}", "/files", None),
            ("/{all*}", "/", Some("all=")),
        ] {
            assert_eq!(captures(pattern, path).as_deref(), expected, "{pattern} {path}");
        }
        for (pattern, expected) in [
            ("a", "does not begin with `/`"),
            ("/a{b}", "has a brace within a segment"),
            ("/{}", "has a part without a name"),
            ("/{a-b}", "has a part without a name"),
            ("/{a*}/b", "has something after"),
            ("/{a}/{a}", "names \"a\" twice"),
        ] {
            assert!(
                PathPattern::parse(pattern).unwrap_err().starts_with(expected),
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        assert_eq!(strip_prefix("/api/a", "/api"), Some("/a"));
        assert_eq!(strip_prefix("/api/a", "/api/"), Some("/a"));
        assert_eq!(strip_prefix("/api", "/api"), Some("/"));
        assert_eq!(strip_prefix("/api/", "/api"), Some("/"));
        assert_eq!(strip_prefix("/apis", "/api"), None);
    }

    #[test]
    fn what_no_rule_names_stays_as_it_was_sent() {
        let query = "a=1&b=%32+3&&c&a=4&%61=5&d=x=y";
        let after = |edit: Edit| edit_query(Some(query), &[edit]).unwrap();
        let value = || b"v%20w".to_vec();
        assert_eq!(edit_query(Some(query), &[]).as_deref(), Some(query));
        assert_eq!(after(Edit::Remove("a".into())), "b=%32+3&&c&d=x=y");
        assert_eq!(
            after(Edit::Rename("a".into(), "e f".into())),
            "e%20f=1&b=%32+3&&c&e%20f=4&e%20f=5&d=x=y"
        );
        assert_eq!(after(Edit::Rename("c".into(), "a".into())), "b=%32+3&&a&d=x=y");
        assert_eq!(after(Edit::Rename("x".into(), "a".into())), query);
        assert_eq!(after(Edit::Replace("a".into(), value())), "a=v%20w&b=%32+3&&c&d=x=y");
        assert_eq!(after(Edit::Replace("x".into(), value())), query);
        assert_eq!(
            after(Edit::Set("d".into(), value())),
            "a=1&b=%32+3&&c&a=4&%61=5&d=v%20w"
        );
        assert_eq!(after(Edit::Set("x".into(), value())), format!("{}&x=v%20w", query));
        assert_eq!(after(Edit::Add("d".into(), value())), query);
        assert_eq!(after(Edit::Add("x".into(), value())), format!("{}&x=v%20w", query));
        assert_eq!(after(Edit::Append("d".into(), value())), format!("{}&d=v%20w", query));
        assert_eq!(edit_query(None, &[]), None);
        assert_eq!(edit_query(Some("a"), &[Edit::Remove("a".into())]), None);
        assert_eq!(
            edit_query(None, &[Edit::Set("a".into(), Vec::new())]).as_deref(),
            Some("a=")
        );
    }

    proptest! {
        #[test]
        fn no_rule_changes_nothing(query in "[a-c=&%+0-9]{1,20}") {
            prop_assert_eq!(edit_query(Some(&query), &[]), Some(query.clone()));
            prop_assert_eq!(edit_query(Some(&query), &[Edit::Remove("none".into())]), Some(query));
        }
    }
}
