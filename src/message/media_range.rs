//! Media ranges: media types in a configuration.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error};

use crate::config::values::is_token;
use crate::http::headers::media_type;
use crate::schema::schema;

/// A media type `application/json`, all of a kind `text/*`, or all with a suffix `application/*+json` (RFC 6839 section
/// 3.1). Compared without case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaRange {
    kind: String,
    own: Own,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Own {
    Exactly(String),
    Any,
    /// A suffix with its plus sign.
    BuiltOn(String),
}

impl MediaRange {
    /// Parses a media range; `None` if it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let is_name = |text: &str| !text.is_empty() && !text.contains('*') && text.bytes().all(is_token);
        let (kind, own) = lower.split_once('/').filter(|(kind, _)| is_name(kind))?;
        let own = match own.strip_prefix('*') {
            Some("") => Own::Any,
            Some(suffix) if suffix.strip_prefix('+').is_some_and(is_name) => Own::BuiltOn(suffix.to_owned()),
            Some(_) => return None,
            None if is_name(own) => Own::Exactly(own.to_owned()),
            None => return None,
        };
        Some(Self {
            kind: kind.to_owned(),
            own,
        })
    }

    /// Whether a value of `Content-Type` is in the range.
    pub fn has(&self, content_type: &str) -> bool {
        let sent = media_type(content_type);
        let own = sent.strip_prefix(&self.kind).and_then(|rest| rest.strip_prefix('/'));
        own.is_some_and(|own| match &self.own {
            Own::Exactly(name) => own == name,
            Own::Any => !own.is_empty(),
            Own::BuiltOn(suffix) => own.len() > suffix.len() && own.ends_with(suffix),
        })
    }
}

impl fmt::Display for MediaRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = &self.kind;
        match &self.own {
            Own::Exactly(name) => write!(formatter, "{kind}/{name}"),
            Own::Any => write!(formatter, "{kind}/*"),
            Own::BuiltOn(suffix) => write!(formatter, "{kind}/*{suffix}"),
        }
    }
}

impl<'de> Deserialize<'de> for MediaRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format_args!(
                "\"{text}\" is not a media type such as application/json, text/* or application/*+json"
            ))
        })
    }
}

schema!(MediaRange, "MediaRange", {"type": "string", "pattern": "^[^/*]+/([^*]+|\\*(\\+[^*]+)?)$"});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_what_it_says() {
        for (range, right, wrong) in [
            (
                "application/json",
                vec!["Application/JSON; charset=utf-8"],
                vec!["application/jsonx", "json", ""],
            ),
            (
                "Text/*",
                vec!["text/plain", "TEXT/csv"],
                vec!["text/", "text", "textx/plain"],
            ),
            (
                "application/*+json",
                vec!["application/problem+json", "application/vnd.a+json;v=1"],
                vec![
                    "application/json",
                    "application/+json",
                    "text/a+json",
                    "application/a+jsonx",
                ],
            ),
        ] {
            let parsed = MediaRange::parse(range).unwrap();
            assert_eq!(parsed.to_string(), range.to_ascii_lowercase());
            assert!(right.iter().all(|sent| parsed.has(sent)), "{range}");
            assert!(!wrong.iter().any(|sent| parsed.has(sent)), "{range}");
        }
        for bad in [
            "",
            "json",
            "*/*",
            "*/json",
            "application/",
            "application/j*",
            "a/*+",
            "a/*json",
            "a/*+*",
            "a b/c",
        ] {
            assert!(MediaRange::parse(bad).is_none(), "{bad}");
        }
    }
}
