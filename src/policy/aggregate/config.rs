//! The configuration of aggregates.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::config::values::{self, Duration, Named};
use crate::json::Path;
use crate::schema::schema;
use crate::template::{Content, Template, Vocabulary};

/// An aggregate: one answer made of parts, in place of an upstream's. Either `body` and what belongs to it, or `shapes`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct AggregateConfig {
    /// The time for the whole answer: `10ms` to `10s`. Default `1s`.
    #[serde(default = "deadline")]
    pub deadline: Duration,
    /// Values that the templates of parts name as `{args.NAME}`.
    #[serde(default)]
    pub args: Named<ArgumentConfig>,
    /// Parts that are called for each item of another part's answer.
    #[serde(default)]
    pub each: Vec<EachConfig>,
    /// Parts whose members come first at the top of the answer; later ones and `body` win.
    #[serde(default)]
    pub merge: Vec<String>,
    /// The answer: JSON whose strings are templates, such as `{parts.profile.name}`.
    #[serde(default, deserialize_with = "values::present")]
    pub body: Option<AnswerContent>,
    /// The name of the shape, made from the request: `{claims.client}`.
    #[serde(default, deserialize_with = "values::present")]
    pub by: Option<Template>,
    /// The name of the shape to use if `by` names none.
    #[serde(default, deserialize_with = "values::present")]
    pub default: Option<String>,
    /// Answers for different kinds of clients, by name.
    #[serde(default)]
    pub shapes: Named<ShapeConfig>,
}

/// One shape of an answer.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ShapeConfig {
    /// Values that the templates of parts name as `{args.NAME}`.
    #[serde(default)]
    pub args: Named<ArgumentConfig>,
    /// Parts that are called for each item of another part's answer.
    #[serde(default)]
    pub each: Vec<EachConfig>,
    /// Parts whose members come first at the top of the answer; later ones and `body` win.
    #[serde(default)]
    pub merge: Vec<String>,
    /// The answer: JSON whose strings are templates.
    #[serde(default, deserialize_with = "values::present")]
    pub body: Option<AnswerContent>,
}

/// A part that is called for each item.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct EachConfig {
    /// The part that is called.
    pub part: String,
    /// The items: another part's name and a path in its answer, which ends in `[*]`: `orders[*]`, `cart.items[*]`.
    pub of: Path,
    /// The member of each item that the answer becomes. Without it, the part is the list of answers.
    #[serde(default, rename = "as", deserialize_with = "values::present")]
    pub name: Option<String>,
    /// Maximum number of items. Default 20, at most 100; further items get the part's default.
    #[serde(default = "max_items", deserialize_with = "values::integer")]
    pub max_items: u64,
    /// Maximum number of calls at once. Default 8, at most 32.
    #[serde(default = "at_once", deserialize_with = "values::integer")]
    pub at_once: u64,
}

/// An argument: JSON whose strings are templates, or a bounded value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgumentConfig {
    /// JSON whose strings are templates.
    Plain(Content),
    /// A value within bounds; another one is refused (400).
    Bounded(Template, Bounds),
}

/// The bounds of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bounds {
    /// The least and the greatest integer.
    Integer(i64, i64),
    /// The allowed texts.
    OneOf(Vec<String>),
}

/// JSON whose strings are templates with the answers of parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerContent(pub Content);

impl<'de> Deserialize<'de> for AnswerContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let content = Content::of(Value::deserialize(deserializer)?, Vocabulary::Answer);
        content.map(Self).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ArgumentConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl ArgumentConfig {
    fn of(value: Value) -> Result<Self, String> {
        let Value::Object(members) = &value else {
            return Content::of(value, Vocabulary::Argument).map(Self::Plain);
        };
        let is_bounded = members.contains_key("integer") || members.contains_key("one_of");
        if !is_bounded {
            return Content::of(value, Vocabulary::Argument).map(Self::Plain);
        }
        let template = members.get("value").and_then(Value::as_str);
        let template = template.ok_or("needs a `value`, a template such as `{query.limit|5}`, besides its bounds")?;
        let template =
            Template::parse_with(template, Vocabulary::Argument).map_err(|error| format!("\"{template}\" {error}"))?;
        if members.get("integer").is_some_and(|integer| !Bounds::is_range(integer)) {
            return Err("`integer` is a list of the least and the greatest value, as in [1, 50]".into());
        }
        let bounds = members.iter().filter(|(name, _)| *name != "value");
        let bounds = bounds.map(|(name, value)| (name.clone(), value.clone())).collect();
        let bounds = Bounds::of(&Value::Object(bounds));
        let bounds = bounds.ok_or("has `value` and one of `integer: [1, 50]` and `one_of: [a, b]`, nothing else")?;
        Ok(Self::Bounded(template, bounds))
    }
}

impl Bounds {
    /// Reads `{ integer: [1, 50] }` or `{ one_of: [a, b] }`; `None` for anything else.
    pub fn of(value: &Value) -> Option<Self> {
        let members = value.as_object().filter(|members| members.len() == 1)?;
        match members.iter().next()? {
            (name, Value::Array(items)) if name == "integer" => {
                let bounds: Vec<_> = items.iter().filter_map(integer).collect();
                match bounds.as_slice() {
                    [least, most] if least <= most && items.len() == 2 => Some(Self::Integer(*least, *most)),
                    _ => None,
                }
            }
            (name, Value::Array(texts)) if name == "one_of" && !texts.is_empty() => {
                let texts = texts.iter();
                let texts = texts.map(|text| text.as_str().map_or_else(|| text.to_string(), str::to_owned));
                Some(Self::OneOf(texts.collect()))
            }
            _ => None,
        }
    }

    fn is_range(value: &Value) -> bool {
        Self::of(&serde_json::json!({"integer": value})).is_some()
    }

    /// The value as JSON. `Err` says what would be right.
    pub fn check(&self, text: &str) -> Result<String, String> {
        match self {
            Self::Integer(least, most) => {
                let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
                let number = text.parse::<i64>().ok();
                let number = number.filter(|number| is_plain && (least..=most).contains(&number));
                number
                    .map(|number| number.to_string())
                    .ok_or_else(|| format!("must be an integer from {least} to {most}"))
            }
            Self::OneOf(texts) => match texts.iter().any(|own| own == text) {
                true => Ok(Value::from(text).to_string()),
                false => Err(format!("must be one of {}", texts.join(", "))),
            },
        }
    }
}

/// An integer; Envoy's YAML reader makes text of those beyond 32 bits.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

schema!(AnswerContent, "AnswerContent", true);
schema!(ArgumentConfig, "Argument", true);

const fn deadline() -> Duration {
    Duration::from_secs(1)
}

const fn max_items() -> u64 {
    20
}

const fn at_once() -> u64 {
    8
}
