//! JSON Schema (draft 2020-12): the keywords that API descriptions use. Other keywords are errors in the configuration,
//! never ignored, so that everything in a schema is checked.

mod check;
mod compile;
mod pattern;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Number, Value};

use crate::denial::{Denial, DenialKind, Failure, Location};
use crate::json;
use crate::message::body::Check;
use pattern::Pattern;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    /// The rule of the whole schema, then the targets of `$ref`.
    rules: Vec<Rule>,
}

/// The compiled keywords of one schema for one value. All present ones are checked.
#[derive(Debug, Default)]
struct Rule {
    /// The schema `false`: no value is valid.
    never: bool,
    types: Vec<Type>,
    allowed: Option<Vec<Value>>,
    reference: Option<usize>,
    all_of: Vec<Rule>,
    any_of: Vec<Rule>,
    one_of: Vec<Rule>,
    not: Option<Box<Rule>>,
    numbers: Numbers,
    text: Text,
    array: Array,
    object: Object,
}

#[derive(Debug, Default)]
struct Numbers {
    minimum: Option<Number>,
    maximum: Option<Number>,
    exclusive_minimum: Option<Number>,
    exclusive_maximum: Option<Number>,
    multiple_of: Option<Number>,
}

#[derive(Debug, Default)]
struct Text {
    min_length: Option<u64>,
    max_length: Option<u64>,
    pattern: Option<Pattern>,
    format: Option<Format>,
}

#[derive(Debug, Default)]
struct Array {
    items: Option<Box<Rule>>,
    min_items: Option<u64>,
    max_items: Option<u64>,
}

#[derive(Debug, Default)]
struct Object {
    properties: BTreeMap<String, Rule>,
    required: BTreeSet<String>,
    additional: Option<Box<Rule>>,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    DateTime,
    Date,
    Ipv4,
    Ipv6,
    Uuid,
}

impl Schema {
    /// Compiles a schema. `Err` has every error, each with the JSON Pointer (RFC 6901) of its place.
    pub fn compile(schema: &Value) -> Result<Self, Vec<(String, String)>> {
        compile::compile(schema).map(|rules| Self { rules })
    }
}

impl Check for Schema {
    /// Checks that a body is JSON and valid. Duplicate members are refused, as the upstream may use another one.
    fn check(&self, body: &[u8]) -> Result<(), Denial> {
        json::check(body).map_err(|_| Denial::new(DenialKind::InvalidBody, "body_not_json"))?;
        let text = std::str::from_utf8(body).map_err(|_| Denial::new(DenialKind::InvalidBody, "body_not_json"))?;
        let (reason, failures) = match check::check(&self.rules, text) {
            Some(failures) if failures.is_empty() => return Ok(()),
            Some(failures) => ("schema", failures),
            None => {
                let failure = Failure {
                    location: Location::Body(String::new()),
                    detail: "takes too many steps to check".into(),
                };
                ("too_many_steps", vec![failure])
            }
        };
        let mut denial = Denial::new(DenialKind::ValidationFailed, reason);
        denial.failures = failures;
        Err(denial)
    }
}

impl Numbers {
    fn is_empty(&self) -> bool {
        let Self {
            minimum,
            maximum,
            exclusive_minimum,
            exclusive_maximum,
            multiple_of,
        } = self;
        let mut all = [minimum, maximum, exclusive_minimum, exclusive_maximum, multiple_of].into_iter();
        all.all(Option::is_none)
    }
}

impl Text {
    fn is_empty(&self) -> bool {
        self.min_length.is_none() && self.max_length.is_none() && self.pattern.is_none() && self.format.is_none()
    }
}

// By identity, so that types with a schema can be compared.
impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Schema {}

impl Type {
    const ALL: [(&'static str, Self); 7] = [
        ("null", Self::Null),
        ("boolean", Self::Boolean),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("string", Self::String),
        ("array", Self::Array),
        ("object", Self::Object),
    ];

    fn name(self) -> &'static str {
        name_of(&Self::ALL, self)
    }

    /// Whether a JSON text is of this type.
    fn has(self, text: &str) -> bool {
        match (self, text.as_bytes().first()) {
            (Self::Integer, Some(b'-' | b'0'..=b'9')) => {
                let number: Result<Number, _> = serde_json::from_str(text);
                number
                    .is_ok_and(|number| !number.is_f64() || number.as_f64().is_some_and(|number| number.fract() == 0.0))
            }
            (Self::Null, Some(b'n'))
            | (Self::Boolean, Some(b't' | b'f'))
            | (Self::Number, Some(b'-' | b'0'..=b'9'))
            | (Self::String, Some(b'"'))
            | (Self::Array, Some(b'['))
            | (Self::Object, Some(b'{')) => true,
            _ => false,
        }
    }
}

impl Format {
    const ALL: [(&'static str, Self); 5] = [
        ("date-time", Self::DateTime),
        ("date", Self::Date),
        ("ipv4", Self::Ipv4),
        ("ipv6", Self::Ipv6),
        ("uuid", Self::Uuid),
    ];

    fn name(self) -> &'static str {
        name_of(&Self::ALL, self)
    }

    fn has(self, text: &str) -> bool {
        use time::format_description::well_known::{Iso8601, Rfc3339};
        match self {
            Self::DateTime => time::OffsetDateTime::parse(text, &Rfc3339).is_ok(),
            Self::Date => text.len() == 10 && time::Date::parse(text, &Iso8601::DATE).is_ok(),
            Self::Ipv4 => text.parse::<std::net::Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<std::net::Ipv6Addr>().is_ok(),
            Self::Uuid => {
                let mut places = text.bytes().enumerate();
                let is_right = |(place, byte): (usize, u8)| match place {
                    8 | 13 | 18 | 23 => byte == b'-',
                    _ => byte.is_ascii_hexdigit(),
                };
                text.len() == 36 && places.all(is_right)
            }
        }
    }
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], own: T) -> &'static str {
    names
        .iter()
        .find(|(_, other)| *other == own)
        .map_or("", |(name, _)| name)
}

/// The item that a value names, if any.
fn named<T: Copy>(names: &[(&'static str, T)], value: &Value) -> Option<T> {
    names.iter().find(|(name, _)| value == name).map(|(_, own)| *own)
}

/// Equality in JSON Schema: `1` equals `1.0`.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64() && one.is_f64() != other.is_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => same_members(one, other),
        _ => one == other,
    }
}

fn same_members(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
}

#[cfg(test)]
mod tests;
