//! Values that rules write into JSON bodies.

use serde::Deserialize;
use serde_json::Value;

use crate::json::Name;
use crate::schema::schema;
use crate::template::{Scope, Template};

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
        match self {
            Self::Literal(text) => Some(text.clone()),
            Self::Text(template) => template.json(scope),
            Self::Array(items) => {
                let items: Option<Vec<_>> = items.iter().map(|item| item.render(scope)).collect();
                Some(format!("[{}]", items?.join(",")))
            }
            Self::Object(members) => {
                let member = |(name, value): &(Name, Self)| Some(format!("{}:{}", name.quoted, value.render(scope)?));
                let members: Option<Vec<_>> = members.iter().map(member).collect();
                Some(format!("{{{}}}", members?.join(",")))
            }
        }
    }

    fn of(value: Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => {
                Self::Text(Template::parse_text(&text).map_err(|error| format!("\"{text}\" {error}"))?)
            }
            Value::Array(items) => Self::Array(items.into_iter().map(Self::of).collect::<Result<_, _>>()?),
            Value::Object(members) => {
                let member = |(name, value): (String, Value)| Ok((Name::new(&name), Self::of(value)?));
                Self::Object(members.into_iter().map(member).collect::<Result<_, String>>()?)
            }
            other => Self::Literal(other.to_string()),
        })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

schema!(Content, "JsonContent", true);
