//! Paths into JSON documents: `user.address.city`, `items[*].price`, `["a.b"]`.

use std::fmt;

use crate::schema::schema;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// A path from the top of a document to values in it. It has at least one segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    segments: Vec<Segment>,
    text: String,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// A member of an object.
    Member(Name),
    /// Every item of an array: `[*]`.
    Items,
}

/// A member's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The name itself.
    pub plain: String,
    /// The name as a JSON string with quotes.
    pub quoted: String,
}

impl Name {
    /// A name of any characters.
    pub fn new(plain: &str) -> Self {
        Self {
            plain: plain.to_owned(),
            quoted: serde_json::Value::from(plain).to_string(),
        }
    }
}

impl Path {
    /// Parses a path. `Err` says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let is_first = segments.is_empty();
            let (segment, after) = if let Some(after) = rest.strip_prefix("[*]") {
                (Segment::Items, after)
            } else if let Some(quoted) = rest.strip_prefix('[') {
                let mut names = serde_json::Deserializer::from_str(quoted).into_iter::<String>();
                let name = names.next().and_then(Result::ok);
                let after = quoted.get(names.byte_offset()..).unwrap_or_default();
                let (name, after) = name.zip(after.strip_prefix(']')).ok_or(SHAPE)?;
                (Segment::Member(Name::new(&name)), after)
            } else {
                let rest = if is_first {
                    rest
                } else {
                    rest.strip_prefix('.').ok_or(SHAPE)?
                };
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (name, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
                if name.is_empty() || name.contains([']', '"', '*', '$']) {
                    return Err(SHAPE.into());
                }
                (Segment::Member(Name::new(name)), after)
            };
            segments.push(segment);
            rest = after;
        }
        match segments.len() {
            0 => Err(SHAPE.into()),
            1..=MAX_SEGMENTS => Ok(Self {
                segments,
                text: text.to_owned(),
            }),
            _ => Err(format!("has more than {MAX_SEGMENTS} segments")),
        }
    }

    /// The steps, at least one.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The name at its beginning, and the rest; `None` if it begins with `[*]`.
    pub fn split_first(&self) -> Option<(&str, Option<Self>)> {
        let (Segment::Member(first), rest) = self.segments.split_first()? else {
            return None;
        };
        let text = rest.iter().map(Segment::to_string).collect::<String>();
        let rest = (!rest.is_empty()).then(|| Self {
            segments: rest.to_vec(),
            text: text.trim_start_matches('.').to_owned(),
        });
        Some((&first.plain, rest))
    }

    /// The steps except the last, and the last.
    pub fn split_last(&self) -> Option<(&[Segment], &Segment)> {
        let (last, parent) = self.segments.split_last()?;
        Some((parent, last))
    }

    /// The steps up to the last `[*]`, and the rest, which has names only.
    pub fn split_items(&self) -> (&[Segment], &[Segment]) {
        let items = self.segments.iter().rposition(|segment| *segment == Segment::Items);
        let at = items.map_or(0, |place| place.saturating_add(1));
        self.segments.split_at_checked(at).unwrap_or_default()
    }

    /// Whether it refers to the same values as `other`, or to values within those.
    pub fn is_within(&self, other: &Self) -> bool {
        self.segments.starts_with(&other.segments)
    }
}

impl fmt::Display for Segment {
    /// As it is written after another segment.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Items => formatter.write_str("[*]"),
            Self::Member(name) if name.plain.is_empty() || name.plain.contains(['.', '[', ']', '"', '*', '$']) => {
                write!(formatter, "[{}]", name.quoted)
            }
            Self::Member(name) => write!(formatter, ".{}", name.plain),
        }
    }
}

impl AsRef<str> for Path {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| D::Error::custom(format_args!("\"{text}\" {error}")))
    }
}

schema!(Path, "JsonPath", {"type": "string", "minLength": 1});

const SHAPE: &str = "is not a path such as `user.name`, `items[*].price` or `[\"a.b\"]`";

const MAX_SEGMENTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Result<Vec<String>, String> {
        let path = Path::parse(text)?;
        let shown = path.segments().iter().map(|segment| match segment {
            Segment::Member(name) => name.plain.clone(),
            Segment::Items => "*".into(),
        });
        Ok(shown.collect())
    }

    #[test]
    fn paths_are_read() {
        for (text, expected) in [
            ("a", vec!["a"]),
            ("user.name", vec!["user", "name"]),
            ("items[*].price", vec!["items", "*", "price"]),
            ("[*]", vec!["*"]),
            ("[*][*].a", vec!["*", "*", "a"]),
            (r#"["a.b"]"#, vec!["a.b"]),
            (r#"x["a\"]"].y["é"][*]"#, vec!["x", "a\"]", "y", "é", "*"]),
            ("a b-c_d:e", vec!["a b-c_d:e"]),
        ] {
            assert_eq!(shown(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a[0]",
            "a[",
            "a[*",
            "a[*]b",
            "a]",
            "a[\"b\"",
            "*",
            "a.*",
            "$.a",
            "a[\"b\" ]",
        ] {
            assert!(shown(text).is_err(), "{text}");
        }
        assert!(shown(&["a"; 16].join(".")).is_ok());
        assert!(shown(&["a"; 17].join(".")).unwrap_err().contains("more than 16"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[ab.\[\]*"\\é]{0,20}"#) {
            let _ = Path::parse(&text);
        }
    }
}
