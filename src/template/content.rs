//! JSON values whose strings are templates.

use serde::Deserialize;
use serde_json::Value;

use super::{Scope, Template, Vocabulary};
use crate::json::Name;
use crate::schema::schema;

/// A JSON value whose strings are templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A string from a template.
    Text(Template),
    /// JSON text without templates.
    Literal(String),
    /// An array of values.
    Array(Vec<Self>),
    /// An object of values, by name.
    Object(Vec<(Name, Self)>),
}

/// What becomes of a string whose template lacks a value without a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The whole value is missing.
    Fails,
    /// The string is `null`.
    IsNull,
    /// The member or item is left out.
    IsLeftOut,
}

impl Content {
    /// The templates in the value.
    pub fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Text(template) => vec![template],
            Self::Literal(_) => Vec::new(),
            Self::Array(items) => items.iter().flat_map(Self::templates).collect(),
            Self::Object(members) => members.iter().flat_map(|(_, value)| value.templates()).collect(),
        }
    }

    /// The value as JSON; `None` if a template lacks a value without a default.
    pub fn render(&self, scope: Scope<'_>) -> Option<String> {
        let mut text = String::new();
        self.write(scope, Missing::Fails, &mut text).then_some(text)
    }

    /// Appends the value as JSON; `false` if there is none, and the text is then as it was.
    pub fn write(&self, scope: Scope<'_>, missing: Missing, text: &mut String) -> bool {
        let start = text.len();
        let is_whole = match self {
            Self::Literal(own) => {
                text.push_str(own);
                true
            }
            Self::Text(template) => match template.json(scope) {
                Some(json) => {
                    text.push_str(&json);
                    true
                }
                None if missing == Missing::IsNull => {
                    text.push_str("null");
                    true
                }
                None => false,
            },
            Self::Array(items) => {
                let items = items.iter().map(|item| (None, item));
                write_all(['[', ']'], items, scope, missing, text)
            }
            Self::Object(members) => {
                let members = members.iter().map(|(name, value)| (Some(name), value));
                write_all(['{', '}'], members, scope, missing, text)
            }
        };
        if !is_whole {
            text.truncate(start);
        }
        is_whole
    }

    /// Reads a value whose templates have these values.
    pub fn of(value: Value, vocabulary: Vocabulary) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => {
                let template = Template::parse_with(&text, vocabulary);
                Self::Text(template.map_err(|error| format!("\"{text}\" {error}"))?)
            }
            Value::Array(items) => {
                let items = items.into_iter().map(|item| Self::of(item, vocabulary));
                Self::Array(items.collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let member = |(name, value): (String, Value)| Ok((Name::new(&name), Self::of(value, vocabulary)?));
                Self::Object(members.into_iter().map(member).collect::<Result<_, String>>()?)
            }
            other => Self::Literal(other.to_string()),
        })
    }
}

/// Writes items, or members with their names; `false` if one is missing that must not be.
fn write_all<'a>(
    [open, close]: [char; 2],
    values: impl Iterator<Item = (Option<&'a Name>, &'a Content)>,
    scope: Scope<'_>,
    missing: Missing,
    text: &mut String,
) -> bool {
    text.push(open);
    let mut separator = "";
    for (name, value) in values {
        let start = text.len();
        text.push_str(separator);
        if let Some(name) = name {
            text.push_str(&name.quoted);
            text.push(':');
        }
        if value.write(scope, missing, text) {
            separator = ",";
        } else if missing == Missing::IsLeftOut {
            text.truncate(start);
        } else {
            return false;
        }
    }
    text.push(close);
    true
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(Value::deserialize(deserializer)?, Vocabulary::Request).map_err(serde::de::Error::custom)
    }
}

schema!(Content, "JsonContent", true);
