//! The configuration of GraphQL rules.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::config::values::{self, Duration, Named};
use crate::json::Path;
use crate::policy::aggregate::Bounds;
use crate::policy::authorize::RequireConfig;
use crate::schema::schema;

/// A GraphQL schema whose fields are parts, in place of an upstream.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct GraphqlConfig {
    /// The time for the whole answer: `10ms` to `10s`. Default `1s`.
    #[serde(default = "deadline")]
    pub deadline: Duration,
    /// The schema in GraphQL's schema definition language.
    pub schema: String,
    /// Where fields get their values from, by coordinate: `Query.profile: { part: profile }`. A field that is absent is the
    /// member of its name in its parent's JSON.
    #[serde(default)]
    pub fields: Named<FieldConfig>,
    /// How the type of an interface's or union's value is told, by the name of the interface or union.
    #[serde(default)]
    pub types: BTreeMap<String, TypeConfig>,
    /// Bounds of operations, all checked before any part is called.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Whether clients may ask for the schema: `false` (default), `true`, or `{ require: { scopes: { all: [...] } } }`.
    #[serde(default)]
    pub introspection: IntrospectionConfig,
    /// Operations that are known in advance.
    #[serde(default)]
    pub operations: OperationsConfig,
    /// Whether queries may come by GET. Default `false`.
    #[serde(default)]
    pub get: bool,
}

/// Where a field gets its value from.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct FieldConfig {
    /// The part whose answer it is. Its templates name the field's arguments as `{args.NAME}`, and members of the parent
    /// object as `{item.NAME}`.
    #[serde(deserialize_with = "values::present")]
    pub part: Option<String>,
    /// Another member of the parent's JSON, by a path of names.
    #[serde(deserialize_with = "values::present")]
    pub from: Option<Path>,
    /// An object that has no JSON of its own, only fields with parts.
    pub group: bool,
    /// The scopes and roles without which the field is `null` and nothing is called for it.
    #[serde(deserialize_with = "values::present")]
    pub require: Option<RequireConfig>,
    /// What one call for it adds to `limits.cost`. Default 1.
    #[serde(deserialize_with = "values::present")]
    pub cost: Option<u64>,
    /// The length of the list: a number, or an argument as `{args.limit}`. Default 10.
    #[serde(deserialize_with = "values::present")]
    pub size: Option<SizeConfig>,
    /// Bounds of arguments: `limit: { integer: [1, 50] }`, `sort: { one_of: [name, date] }`.
    pub args: Named<BoundsConfig>,
}

/// The length of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SizeConfig {
    /// A number.
    Fixed(u64),
    /// The value of an argument.
    Argument(String),
}

/// Bounds of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundsConfig(pub Bounds);

/// How the type of a value is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct TypeConfig {
    /// The member that tells the type.
    pub by: String,
    /// Its values with the types that they stand for. Absent: the values are names of types.
    #[serde(default)]
    pub names: BTreeMap<String, String>,
}

/// Bounds of operations.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct LimitsConfig {
    /// Bytes of a request's body. Default 65536.
    #[serde(deserialize_with = "values::integer")]
    pub body: u64,
    /// Tokens of a document. Default 2000.
    #[serde(deserialize_with = "values::integer")]
    pub tokens: u64,
    /// Levels of fields, those in fragments included and those of introspection not. Default 12.
    #[serde(deserialize_with = "values::integer")]
    pub depth: u64,
    /// Fields with an alias, after fragments are spread. Default 30.
    #[serde(deserialize_with = "values::integer")]
    pub aliases: u64,
    /// Fields at the root, after fragments are spread. Default 20.
    #[serde(deserialize_with = "values::integer")]
    pub roots: u64,
    /// Fields after fragments are spread. Default 500.
    #[serde(deserialize_with = "values::integer")]
    pub fields: u64,
    /// Directives after fragments are spread. Default 50.
    #[serde(deserialize_with = "values::integer")]
    pub directives: u64,
    /// The sum of the costs of all calls. Default 100.
    #[serde(deserialize_with = "values::integer")]
    pub cost: u64,
    /// Calls to services. Default 32.
    #[serde(deserialize_with = "values::integer")]
    pub calls: u64,
    /// Errors that are listed; further ones are counted. Default 100.
    #[serde(deserialize_with = "values::integer")]
    pub errors: u64,
    /// Bytes of an answer. Default 1048576.
    #[serde(deserialize_with = "values::integer")]
    pub answer: u64,
}

/// Whether clients may ask for the schema.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum IntrospectionConfig {
    /// Nobody.
    #[default]
    Off,
    /// Everybody who may use the rule.
    On,
    /// Callers with these scopes and roles.
    Require(RequireConfig),
}

/// Operations that are known in advance.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct OperationsConfig {
    /// Whether no other operations are allowed. Then no request reaches a parser.
    pub only: bool,
    /// The operations.
    pub documents: Vec<ListedConfig>,
}

/// A known operation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ListedConfig {
    /// What requests name it by: `sha256:` and the SHA-256 of the document in hexadecimal digits, or any other text.
    pub id: String,
    /// The document.
    pub document: String,
}

impl LimitsConfig {
    /// The names of all bounds, with their values and the greatest values allowed.
    pub(super) fn all(&self) -> [(&'static str, u64, u64); 11] {
        [
            ("body", self.body, 1 << 20),
            ("tokens", self.tokens, 10_000),
            ("depth", self.depth, 30),
            ("aliases", self.aliases, 1000),
            ("roots", self.roots, 100),
            ("fields", self.fields, 2000),
            ("directives", self.directives, 1000),
            ("cost", self.cost, 1_000_000),
            ("calls", self.calls, 200),
            ("errors", self.errors, 1000),
            ("answer", self.answer, 8 << 20),
        ]
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            body: 64 << 10,
            tokens: 2000,
            depth: 12,
            aliases: 30,
            roots: 20,
            fields: 500,
            directives: 50,
            cost: 100,
            calls: 32,
            errors: 100,
            answer: 1 << 20,
        }
    }
}

impl<'de> Deserialize<'de> for SizeConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let argument = |text: &str| {
            let name = text.strip_prefix("{args.")?.strip_suffix('}')?;
            Some(Self::Argument(name.to_owned()))
        };
        let size = match &value {
            Value::String(text) => argument(text).or_else(|| text.parse().ok().map(Self::Fixed)),
            other => other.as_u64().map(Self::Fixed),
        };
        size.ok_or_else(|| serde::de::Error::custom("is a number, or an argument as in `{args.limit}`"))
    }
}

impl<'de> Deserialize<'de> for BoundsConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bounds = Bounds::of(&Value::deserialize(deserializer)?);
        bounds
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("is one of `integer: [1, 50]` and `one_of: [a, b]`"))
    }
}

impl<'de> Deserialize<'de> for IntrospectionConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Required {
            require: RequireConfig,
        }
        match Value::deserialize(deserializer)? {
            Value::Bool(true) => Ok(Self::On),
            Value::Bool(false) => Ok(Self::Off),
            other => Required::deserialize(other)
                .map(|required| Self::Require(required.require))
                .map_err(|error| {
                    serde::de::Error::custom(format_args!("is `true`, `false` or `{{ require: ... }}`: {error}"))
                }),
        }
    }
}

schema!(SizeConfig, "GraphqlSize", {"oneOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^\\{args\\..+\\}$"}]});
schema!(BoundsConfig, "GraphqlBounds", {"type": "object"});
schema!(IntrospectionConfig, "GraphqlIntrospection", {"oneOf": [{"type": "boolean"}, {"type": "object"}]});

const fn deadline() -> Duration {
    Duration::from_secs(1)
}
