//! The values that templates name.

use std::borrow::Cow;

use super::{Lookup, Place, Scope, meant, parameter, plain};
use crate::config::values::FieldName;
use crate::http::list::encode;
use crate::json::{Path, Segment};

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The first value of a request header as sent; identity headers appear absent.
    Header(FieldName),
    /// The first value of a query parameter as sent.
    Query(String),
    /// A part of the path, named by `request.path.match`.
    Path(String),
    /// A field of the caller's identity.
    Identity(Field),
    /// A claim, by its attribute name.
    Claim(String),
    /// The name of the rule.
    Route,
    /// `x-request-id`.
    RequestId,
    /// The request's method.
    Method,
    /// The request's host.
    Host,
    /// A value of a part or an aggregate.
    Data(Data),
}

/// A value of a part or an aggregate: JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// An argument, or a value in it.
    Argument(Path),
    /// The item for which a part is called, or a value in it.
    Item(Option<Path>),
    /// The keys of a batch.
    Keys,
    /// The answer of a part, by the part's name, or a value in it.
    Part(String, Option<Path>),
    /// The request's body, or a value in it.
    Body(Option<Path>),
    /// The failures of parts.
    Errors,
}

/// The values that a template may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vocabulary {
    /// Those of the request.
    Request,
    /// Besides, the request's body: for arguments.
    Argument,
    /// Besides, everything that a part can be called with.
    Part,
    /// Besides those of the request: arguments, parts, the body, and the failures.
    Answer,
}

/// A field of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The user.
    UserId,
    /// The tenant.
    TenantId,
    /// The plan.
    Plan,
    /// The token's issuer.
    Issuer,
    /// The API key's id.
    KeyId,
    /// `jwt` or `api_key`.
    Auth,
    /// The roles.
    Roles,
    /// The scopes.
    Scopes,
}

/// A value, by its encoding.
pub(super) enum Value<'a> {
    /// Raw bytes of a header.
    Bytes(&'a [u8]),
    /// Percent-encoded text from this place of the request target.
    Target(Place, &'a str),
    /// Plain text.
    Text(Cow<'a, str>),
    /// A list.
    Texts(Vec<Cow<'a, str>>),
}

impl Source {
    /// Parses a value's name; `None` for a name that the vocabulary does not have.
    pub(super) fn parse(name: &str, vocabulary: Vocabulary) -> Option<Self> {
        if let Some(data) = Data::parse(name) {
            return vocabulary.has(&data).then_some(Self::Data(data));
        }
        Some(match name.split_once('.') {
            None => match name {
                "route" => Self::Route,
                "request_id" => Self::RequestId,
                "method" => Self::Method,
                "host" => Self::Host,
                _ => return None,
            },
            Some(("headers", name)) => Self::Header(FieldName::parse(name)?),
            Some((_, "")) => return None,
            Some(("query", name)) => Self::Query(name.to_owned()),
            Some(("path", name)) => Self::Path(name.to_owned()),
            Some(("claims", name)) => Self::Claim(name.to_owned()),
            Some(("identity", name)) => Self::Identity(match name {
                "user_id" => Field::UserId,
                "tenant_id" => Field::TenantId,
                "plan" => Field::Plan,
                "issuer" => Field::Issuer,
                "key_id" => Field::KeyId,
                "auth" => Field::Auth,
                "roles" => Field::Roles,
                "scopes" => Field::Scopes,
                _ => return None,
            }),
            Some(_) => return None,
        })
    }

    /// Each value of a list, or the only one, encoded for a query.
    pub fn parameters(&self, scope: Scope<'_>) -> Vec<String> {
        match self.value(scope) {
            Some(Value::Texts(texts)) => texts.iter().map(|text| plain(text.as_bytes())).collect(),
            Some(value) => vec![String::from_utf8_lossy(&value.written(Place::Query)).into_owned()],
            None => Vec::new(),
        }
    }

    /// A list or a value of a part as JSON; `None` for what is text, and for what is absent.
    pub(super) fn json(&self, scope: Scope<'_>) -> Option<String> {
        let identity = scope.request.identity.as_ref();
        let list = match self {
            Self::Data(data) => return scope.data?.json(data),
            Self::Identity(Field::Roles) => &identity?.roles,
            Self::Identity(Field::Scopes) => &identity?.scopes,
            _ => return None,
        };
        let list = Some(list).filter(|list| !list.is_empty())?;
        Some(serde_json::Value::from(list.as_slice()).to_string())
    }

    /// The value, which may be empty; an empty list counts as absent.
    pub(super) fn value<'a>(&'a self, scope: Scope<'a>) -> Option<Value<'a>> {
        let Scope {
            request,
            route,
            captures,
            data,
        } = scope;
        let identity = request.identity.as_ref();
        Some(match self {
            Self::Header(name) => Value::Bytes(request.header(name.as_str()).next()?),
            Self::RequestId => Value::Bytes(request.header("x-request-id").next()?),
            Self::Method => Value::Text(request.method().into()),
            Self::Host => Value::Text(request.host.as_str().into()),
            Self::Route => Value::Text(route.into()),
            Self::Query(name) => {
                let mut pairs = request.query()?.split('&');
                let pair = pairs.find(|pair| parameter(pair) == *name)?;
                Value::Target(Place::Query, pair.split_once('=').map_or("", |(_, value)| value))
            }
            Self::Path(name) => {
                let capture = captures.iter().find(|(own, _)| own == name)?;
                Value::Target(Place::Path, capture.1)
            }
            Self::Claim(name) => {
                let mut attributes = identity?.attributes.iter();
                let (_, values) = attributes.find(|(own, values)| own == name && !values.is_empty())?;
                Value::Texts(values.iter().map(|value| value.as_str().into()).collect())
            }
            Self::Identity(field) => {
                let identity = identity?;
                let all = |values: &'a [String]| values.iter().map(|value| value.as_str().into()).collect::<Vec<_>>();
                let texts = match field {
                    Field::UserId => return Some(Value::Text(identity.user_id.as_str().into())),
                    Field::Auth => return Some(Value::Text(identity.method.into())),
                    Field::TenantId => all(identity.tenant_id.as_slice()),
                    Field::Plan => all(identity.plan.as_slice()),
                    Field::Issuer => all(identity.issuer.as_slice()),
                    Field::KeyId => all(identity.key_id.as_slice()),
                    Field::Roles => all(&identity.roles),
                    Field::Scopes => all(&identity.scopes),
                };
                Value::Texts(Some(texts).filter(|texts| !texts.is_empty())?)
            }
            Self::Data(own) => of_json(data?, own)?,
        })
    }
}

impl Value<'_> {
    /// Encodes the value so that it stays a single value in its place.
    pub(super) fn written(&self, place: Place) -> Cow<'_, [u8]> {
        let owned = match (self, place) {
            (Self::Bytes(bytes), Place::Header | Place::Text) => return Cow::Borrowed(bytes),
            (Self::Text(text), Place::Text) => return Cow::Borrowed(text.as_bytes()),
            (Self::Target(own, text), _) if *own == place || place == Place::Header => {
                return Cow::Borrowed(text.as_bytes());
            }
            (Self::Target(own, text), Place::Text) => meant(*own, text),
            (Self::Target(own, text), _) => plain(&meant(*own, text)).into_bytes(),
            (Self::Text(text), Place::Header) => encode(&[text.as_bytes()]).into_bytes(),
            (Self::Texts(texts), Place::Text) => match texts.as_slice() {
                [text] => return Cow::Borrowed(text.as_bytes()),
                texts => list(texts),
            },
            (Self::Texts(texts), Place::Header) => list(texts),
            (Self::Bytes(bytes), _) => plain(bytes).into_bytes(),
            (Self::Text(text), _) => plain(text.as_bytes()).into_bytes(),
            (Self::Texts(texts), _) => {
                let texts: Vec<_> = texts.iter().map(|text| plain(text.as_bytes())).collect();
                texts.join(",").into_bytes()
            }
        };
        Cow::Owned(owned)
    }
}

/// A list in one header.
fn list(texts: &[Cow<'_, str>]) -> Vec<u8> {
    let texts: Vec<_> = texts.iter().map(|text| text.as_bytes()).collect();
    encode(&texts).into_bytes()
}

impl Data {
    fn parse(name: &str) -> Option<Self> {
        let (kind, rest) = match name.split_once('.') {
            Some((kind, rest)) => (kind, Some(Path::parse(rest).ok().filter(is_single)?)),
            None => (name, None),
        };
        Some(match (kind, rest) {
            ("args", Some(path)) => Self::Argument(path),
            ("item", path) => Self::Item(path),
            ("keys", None) => Self::Keys,
            ("parts", Some(path)) => {
                let (part, path) = path.split_first()?;
                Self::Part(part.to_owned(), path)
            }
            ("body", path) => Self::Body(path),
            ("errors", None) => Self::Errors,
            _ => return None,
        })
    }
}

/// Whether a path names one value.
fn is_single(path: &Path) -> bool {
    !path.segments().contains(&Segment::Items)
}

impl Vocabulary {
    fn has(self, data: &Data) -> bool {
        match data {
            Data::Body(_) => self != Self::Request,
            Data::Argument(_) | Data::Part(..) => matches!(self, Self::Part | Self::Answer),
            Data::Item(_) | Data::Keys => self == Self::Part,
            Data::Errors => self == Self::Answer,
        }
    }

    /// The names, for a message.
    pub(super) fn names(self) -> String {
        let more = match self {
            Self::Request => "",
            Self::Argument => ", `body.PATH`",
            Self::Part => ", `args.NAME`, `parts.NAME.PATH`, `item.PATH`, `keys`, `body.PATH`",
            Self::Answer => ", `args.NAME`, `parts.NAME.PATH`, `body.PATH`, `errors`",
        };
        format!("{NAMES}{more}")
    }
}

/// A JSON value as text: objects and arrays are none, except for the keys of a batch and arguments that are lists of plain
/// values.
fn of_json<'a>(lookup: &dyn Lookup, data: &Data) -> Option<Value<'a>> {
    let json = lookup.json(data)?;
    if matches!(data, Data::Keys | Data::Argument(_)) && json.starts_with('[') {
        let items: Vec<serde_json::Value> = serde_json::from_str(&json).ok()?;
        let is_plain = |item: &serde_json::Value| !item.is_object() && !item.is_array();
        if *data != Data::Keys && !items.iter().all(is_plain) {
            return None;
        }
        let texts: Vec<_> = items.into_iter().map(item_text).collect();
        return Some(texts).filter(|texts| !texts.is_empty()).map(Value::Texts);
    }
    let text = match json.as_bytes().first()? {
        b'"' => serde_json::from_str(&json).ok()?,
        b'{' | b'[' => return None,
        _ => json,
    };
    Some(Value::Text(text.into()))
}

/// An item of a list as text.
fn item_text<'a>(item: serde_json::Value) -> Cow<'a, str> {
    match item {
        serde_json::Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

const NAMES: &str = "`headers.NAME`, `query.NAME`, `path.NAME`, `claims.ATTRIBUTE`, `identity.user_id` (`tenant_id`, `plan`, \
                     `issuer`, `key_id`, `auth`, `roles`, `scopes`), `route`, `request_id`, `method`, `host`";
