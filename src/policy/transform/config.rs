//! The configuration of changes of requests and responses.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer};

use super::body::BodyConfig;
use crate::config::values::{self, FieldName};
use crate::http::edits::Edit;
use crate::message::media_range::MediaRange;
use crate::schema::schema;
use crate::template::Template;

/// Changes of requests.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct RequestConfig {
    /// Changes of headers.
    pub headers: Rules<FieldName>,
    /// Changes of query parameters. Other parameters stay unchanged, byte for byte.
    pub query: Rules<String>,
    /// Changes of the path.
    pub path: PathConfig,
    /// Changes of a JSON body.
    pub body: BodyConfig,
    /// Media types of bodies that pass unchanged, such as `multipart/*`, if there are changes in `body`. For others,
    /// except JSON, `body.on_fault` applies.
    pub content_types: Vec<MediaRange>,
    /// The new method.
    #[serde(deserialize_with = "values::present")]
    pub method: Option<String>,
    /// Whether Envoy may select another route for the changed request. Required to change path or method; excludes
    /// `match.route`.
    pub reroute: bool,
}

/// Changes of responses.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ResponseConfig {
    /// Predefined changes of headers, before those of `headers`: `security`, `no_store`, `hide`.
    pub presets: Vec<Preset>,
    /// Changes of headers, with values from the request.
    pub headers: Rules<FieldName>,
    /// Changes of a JSON body, with values from the request.
    pub body: BodyConfig,
    /// Media types of bodies that pass unchanged, such as `text/event-stream`, if there are changes in `body`. For
    /// others, except JSON, `body.on_fault` applies.
    pub content_types: Vec<MediaRange>,
    /// Changes of statuses: `404: 410`, or for a class `5xx: 502`. An exact status takes precedence.
    pub status: BTreeMap<StatusPattern, u16>,
}

/// Predefined changes of responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Preset {
    /// Adds security headers for browsers; the upstream's own values stay.
    Security,
    /// Forbids caching.
    NoStore,
    /// Removes headers that reveal the upstream's software.
    Hide,
}

/// Changes of fields, in this order.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, bound = "Name: Ord + Deserialize<'de>")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Rules<Name: Ord> {
    /// Names to remove.
    pub remove: Vec<Name>,
    /// Old name to new name; the new name's previous values are dropped.
    pub rename: BTreeMap<Name, Name>,
    /// Values for existing names.
    pub replace: BTreeMap<Name, Template>,
    /// Values, whether or not the name exists.
    pub set: BTreeMap<Name, Template>,
    /// Values for names that do not exist.
    pub add: BTreeMap<Name, Template>,
    /// Additional values.
    pub append: BTreeMap<Name, Template>,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Replaces an existing value.
    Replace,
    /// Replaces the value, or creates it.
    Set,
    /// Creates the value if there is none.
    Add,
    /// Adds to the existing values.
    Append,
}

/// Changes of the path.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct PathConfig {
    /// A pattern that names parts of the path for `{path.NAME}`: `/users/{id}` a segment, `/files/{rest*}` the whole
    /// rest. Other paths are not rewritten.
    #[serde(deserialize_with = "values::present")]
    pub r#match: Option<String>,
    /// The new path, without the query: `/v2/people/{path.id}`.
    #[serde(deserialize_with = "values::present")]
    pub rewrite: Option<Template>,
    /// The prefix to remove from the path.
    #[serde(deserialize_with = "values::present")]
    pub strip_prefix: Option<String>,
}

/// A status, or a class of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusPattern {
    /// One status.
    Exactly(u16),
    /// All statuses that begin with this digit.
    Class(u16),
}

impl<Name: Ord> Default for Rules<Name> {
    fn default() -> Self {
        Self {
            remove: Vec::new(),
            rename: BTreeMap::new(),
            replace: BTreeMap::new(),
            set: BTreeMap::new(),
            add: BTreeMap::new(),
            append: BTreeMap::new(),
        }
    }
}

impl Kind {
    /// Every value of the four maps, which are given in the order in which they run.
    pub(super) fn each<Name, Value>(maps: [&BTreeMap<Name, Value>; 4]) -> impl Iterator<Item = (Self, &Name, &Value)> {
        let kinds = [Self::Replace, Self::Set, Self::Add, Self::Append];
        kinds
            .into_iter()
            .zip(maps)
            .flat_map(|(kind, map)| map.iter().map(move |(name, value)| (kind, name, value)))
    }
}

// The name of the setting.
impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Replace => "replace",
            Self::Set => "set",
            Self::Add => "add",
            Self::Append => "append",
        })
    }
}

impl RequestConfig {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
            && self.query.is_empty()
            && self.method.is_none()
            && self.path.rewrite.is_none()
            && self.path.strip_prefix.is_none()
            && self.body.is_empty()
    }
}

impl<Name: Ord + AsRef<str>> Rules<Name> {
    pub(super) fn is_empty(&self) -> bool {
        let Self { remove, rename, .. } = self;
        remove.is_empty() && rename.is_empty() && self.templates().next().is_none()
    }

    pub(super) fn templates(&self) -> impl Iterator<Item = (Kind, &Name, &Template)> {
        Kind::each([&self.replace, &self.set, &self.add, &self.append])
    }

    /// The names that change, with the paths of their settings.
    pub fn names(&self) -> impl Iterator<Item = (String, &Name)> {
        let removed = self.remove.iter().enumerate();
        let removed = removed.map(|(index, name)| (format!("remove[{index}]"), name));
        let renamed = self.rename.iter().flat_map(|(from, to)| {
            let path = format!("rename.{}", from.as_ref());
            [(path.clone(), from), (path, to)]
        });
        let made = self.templates();
        let made = made.map(|(kind, name, _)| (format!("{kind}.{}", name.as_ref()), name));
        removed.chain(renamed).chain(made)
    }
}

impl Preset {
    pub(super) fn edits(self) -> Vec<Edit> {
        let add = |(name, value): &(&str, &str)| Edit::Add((*name).into(), value.as_bytes().to_vec());
        match self {
            Self::Security => SECURITY.iter().map(add).collect(),
            Self::NoStore => vec![Edit::Set("cache-control".into(), b"no-store".to_vec())],
            Self::Hide => HIDDEN.iter().map(|name| Edit::Remove((*name).into())).collect(),
        }
    }
}

/// The headers of OWASP's REST security cheat sheet, "Security Headers".
const SECURITY: [(&str, &str); 5] = [
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

const HIDDEN: [&str; 8] = [
    "server",
    "via",
    "x-aspnet-version",
    "x-aspnetmvc-version",
    "x-envoy-decorator-operation",
    "x-envoy-upstream-service-time",
    "x-powered-by",
    "x-runtime",
];

impl StatusPattern {
    /// Whether the pattern includes a status.
    pub fn matches(self, status: u16) -> bool {
        match self {
            Self::Exactly(own) => own == status,
            Self::Class(own) => own == status / 100,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let pattern = match text.strip_suffix("xx") {
            Some(class) => Self::Class(class.parse().ok().filter(|class| (2..=5).contains(class))?),
            None => Self::Exactly(text.parse().ok().filter(|status| (200..=599).contains(status))?),
        };
        Some(pattern)
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(status) => write!(formatter, "{status}"),
            Self::Class(class) => write!(formatter, "{class}xx"),
        }
    }
}

impl<'de> Deserialize<'de> for StatusPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        // In a list, YAML reads a status as a number.
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom(format_args!("\"{text}\" is not a status such as `404` or `5xx`")))
    }
}

schema!(StatusPattern, "StatusPattern", {"type": ["string", "integer"], "pattern": "^([2-5]xx|[2-5][0-9][0-9])$"});
