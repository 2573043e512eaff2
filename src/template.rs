//! Templates, which make values from a request: `{identity.user_id}`, `{headers.x-country|none}`.

mod content;
mod source;

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode, percent_encode, utf8_percent_encode};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::message::request::Request;
use crate::schema::schema;

pub use content::{Content, Missing};
pub use source::{Data, Field, Source, Vocabulary};

/// A template: text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value { source: Source, default: Option<String> },
}

/// The place for which a template is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A header's value.
    Header,
    /// A query parameter's value.
    Query,
    /// A segment of a path.
    Path,
    /// Plain text, as in a JSON string.
    Text,
}

/// The context from which values are taken.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The request.
    pub request: &'a Request,
    /// The rule's name.
    pub route: &'a str,
    /// Parts of the path, by name.
    pub captures: &'a [(&'a str, &'a str)],
    /// The values of parts and aggregates.
    pub data: Option<&'a dyn Lookup>,
}

/// The values of parts and aggregates, while one request is answered.
pub trait Lookup {
    /// A value as JSON; `None` if it is absent or `null`.
    fn json(&self, data: &Data) -> Option<String>;
}

// Not a supertrait: what only `Debug` reaches would be in the plugin.
impl fmt::Debug for dyn Lookup + '_ {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Lookup")
    }
}

impl Template {
    /// Parses a template of printable ASCII, for headers. `Err` says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let template = Self::parse_text(text)?;
        let plain = |text: &str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if !template.texts().all(plain) {
            return Err("has a character that a header cannot have".into());
        }
        Ok(template)
    }

    /// Parses a template with any characters.
    pub fn parse_text(text: &str) -> Result<Self, String> {
        Self::parse_with(text, Vocabulary::Request)
    }

    /// Parses a template with any characters and with these values.
    pub fn parse_with(text: &str, vocabulary: Vocabulary) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                literal.extend(from.chars().next());
                rest = after;
                continue;
            }
            let Some((inside, after)) = from.strip_prefix('{').and_then(|from| from.split_once('}')) else {
                return Err("has an unmatched brace; write `{{` or `}}` for a brace itself".into());
            };
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            let (name, default) = match inside.split_once('|') {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (inside, None),
            };
            let source = Source::parse(name, vocabulary)
                .ok_or_else(|| format!("\"{name}\" is not a value; there is {}", vocabulary.names()))?;
            pieces.push(Piece::Value { source, default });
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    /// The sources of its values.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Value { source, .. } => Some(source),
        })
    }

    /// The sources of values that have no default.
    pub fn needed(&self) -> impl Iterator<Item = &Source> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value { source, default: None } => Some(source),
            _ => None,
        })
    }

    /// The template's text with the same text in place of each value.
    pub fn with_values(&self, value: &str) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Value { .. } => value,
        });
        pieces.collect()
    }

    /// The template's own text, including defaults.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Value { default, .. } => default.as_deref(),
        })
    }

    /// The only value, if the template is nothing else, and its default.
    pub fn only(&self) -> Option<(&Source, Option<&str>)> {
        match self.0.as_slice() {
            [Piece::Value { source, default }] => Some((source, default.as_deref())),
            _ => None,
        }
    }

    /// Renders JSON: a string, or the JSON value itself if the template is nothing but one value of a part or a list
    /// (`{identity.roles}`, `{identity.scopes}`).
    pub fn json(&self, scope: Scope<'_>) -> Option<String> {
        let value = self.only().and_then(|(source, _)| source.json(scope));
        value.or_else(|| Some(serde_json::Value::from(self.text(scope)?).to_string()))
    }

    /// Renders plain text.
    pub fn text(&self, scope: Scope<'_>) -> Option<String> {
        let bytes = self.render(Place::Text, scope)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether a value is empty, so that a path would lose a segment.
    pub fn has_empty_value(&self, place: Place, scope: Scope<'_>) -> bool {
        let mut values = self.sources().filter_map(|source| source.value(scope));
        values.any(|value| value.written(place).is_empty())
    }

    /// Renders for a place; `None` if a value is missing and has no default.
    pub fn render(&self, place: Place, scope: Scope<'_>) -> Option<Vec<u8>> {
        let mut rendered = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => rendered.extend_from_slice(literal(text, place).as_bytes()),
                Piece::Value { source, default } => match (source.value(scope), default) {
                    (Some(value), _) => rendered.extend_from_slice(&value.written(place)),
                    (None, Some(default)) => rendered.extend_from_slice(literal(default, place).as_bytes()),
                    (None, None) => return None,
                },
            }
        }
        Some(rendered)
    }
}

/// Decodes a part of a request target.
fn meant(place: Place, text: &str) -> Vec<u8> {
    match place {
        // In a query, a plus sign is a space.
        Place::Query => percent_decode(text.replace('+', " ").as_bytes()).collect(),
        _ => percent_decode(text.as_bytes()).collect(),
    }
}

/// Encodes a template's own text: in a query, it is a decoded value; in a path, it is a part of the path already.
fn literal(text: &str, place: Place) -> Cow<'_, str> {
    match place {
        Place::Header | Place::Path | Place::Text => text.into(),
        Place::Query => utf8_percent_encode(text, QUERY_TEXT).into(),
    }
}

/// The decoded name of a parameter.
pub fn parameter(pair: &str) -> String {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    let name = name.replace('+', " ");
    percent_decode(name.as_bytes()).decode_utf8_lossy().into_owned()
}

/// Percent-encodes a value of a request target, including all separators.
pub fn plain(bytes: &[u8]) -> String {
    percent_encode(bytes, SEPARATING).to_string()
}

/// All but the unreserved characters of RFC 3986 section 2.3.
const SEPARATING: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Characters that must be encoded in a value of a query.
const QUERY_TEXT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'<')
    .add(b'>');

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| D::Error::custom(format_args!("\"{text}\" {error}")))
    }
}

schema!(Template, "Template", {"type": "string"});

#[cfg(test)]
mod tests;
