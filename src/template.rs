//! Templates, which make values from a request: `{identity.user_id}`, `{headers.x-country|none}`.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode, percent_encode, utf8_percent_encode};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::config::values::FieldName;
use crate::http::list::encode;
use crate::message::request::Request;
use crate::schema::schema;

/// A template: text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value { source: Source, default: Option<String> },
}

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
}

/// A value, by its encoding.
enum Value<'a> {
    /// Raw bytes of a header.
    Bytes(&'a [u8]),
    /// Percent-encoded text from this place of the request target.
    Target(Place, &'a str),
    /// Plain text of the request or the caller.
    Text(&'a str),
    /// A list of the caller's.
    Texts(Vec<&'a str>),
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
            let source = Source::parse(name).ok_or_else(|| format!("\"{name}\" is not a value; there is {NAMES}"))?;
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

    /// The template's own text, including defaults.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Value { default, .. } => default.as_deref(),
        })
    }

    /// Renders JSON: a string, or an array of strings if the template is just `{identity.roles}` or
    /// `{identity.scopes}`.
    pub fn json(&self, scope: Scope<'_>) -> Option<String> {
        let list = match self.0.as_slice() {
            [
                Piece::Value {
                    source: Source::Identity(field @ (Field::Roles | Field::Scopes)),
                    ..
                },
            ] => {
                let identity = scope.request.identity.as_ref();
                identity.map(|identity| match field {
                    Field::Roles => &identity.roles,
                    _ => &identity.scopes,
                })
            }
            _ => None,
        };
        let json = match list.filter(|list| !list.is_empty()) {
            Some(list) => serde_json::Value::from(list.as_slice()),
            None => serde_json::Value::from(self.text(scope)?),
        };
        Some(json.to_string())
    }

    /// Renders plain text.
    pub fn text(&self, scope: Scope<'_>) -> Option<String> {
        let bytes = self.render(Place::Text, scope)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
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

impl Source {
    fn parse(name: &str) -> Option<Self> {
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

    /// The value, which may be empty; an empty list counts as absent.
    fn value<'a>(&'a self, scope: Scope<'a>) -> Option<Value<'a>> {
        let Scope {
            request,
            route,
            captures,
        } = scope;
        let identity = request.identity.as_ref();
        Some(match self {
            Self::Header(name) => Value::Bytes(request.header(name.as_str()).next()?),
            Self::RequestId => Value::Bytes(request.header("x-request-id").next()?),
            Self::Method => Value::Text(request.method()),
            Self::Host => Value::Text(&request.host),
            Self::Route => Value::Text(route),
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
                Value::Texts(values.iter().map(String::as_str).collect())
            }
            Self::Identity(field) => {
                let identity = identity?;
                let all = |values: &'a [String]| values.iter().map(String::as_str).collect::<Vec<_>>();
                let texts = match field {
                    Field::UserId => return Some(Value::Text(&identity.user_id)),
                    Field::Auth => return Some(Value::Text(identity.method)),
                    Field::TenantId => all(identity.tenant_id.as_slice()),
                    Field::Plan => all(identity.plan.as_slice()),
                    Field::Issuer => all(identity.issuer.as_slice()),
                    Field::KeyId => all(identity.key_id.as_slice()),
                    Field::Roles => all(&identity.roles),
                    Field::Scopes => all(&identity.scopes),
                };
                Value::Texts(Some(texts).filter(|texts| !texts.is_empty())?)
            }
        })
    }
}

impl Value<'_> {
    /// Encodes the value so that it stays a single value in its place.
    fn written(&self, place: Place) -> Cow<'_, [u8]> {
        let owned = match (self, place) {
            (Self::Bytes(bytes), Place::Header | Place::Text) => return Cow::Borrowed(bytes),
            (Self::Text(text), Place::Text) => return Cow::Borrowed(text.as_bytes()),
            (Self::Target(own, text), _) if *own == place || place == Place::Header => {
                return Cow::Borrowed(text.as_bytes());
            }
            (Self::Target(own, text), Place::Text) => meant(*own, text),
            (Self::Target(own, text), _) => plain(&meant(*own, text)).into_bytes(),
            (Self::Text(text), Place::Header) => encode(&[text]).into_bytes(),
            (Self::Texts(texts), Place::Text) => match texts.as_slice() {
                [text] => return Cow::Borrowed(text.as_bytes()),
                texts => encode(texts).into_bytes(),
            },
            (Self::Texts(texts), Place::Header) => encode(texts).into_bytes(),
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

const NAMES: &str = "`headers.NAME`, `query.NAME`, `path.NAME`, `claims.ATTRIBUTE`, `identity.user_id` (`tenant_id`, `plan`, \
                     `issuer`, `key_id`, `auth`, `roles`, `scopes`), `route`, `request_id`, `method`, `host`";

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| D::Error::custom(format_args!("\"{text}\" {error}")))
    }
}

schema!(Template, "Template", {"type": "string"});

#[cfg(test)]
mod tests;
