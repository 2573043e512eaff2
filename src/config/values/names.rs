//! Names of headers: those that the gateway may set, and those that rules may change.

use std::sync::Arc;

use crate::schema::schema;

use serde::de::{Deserialize, Deserializer, Error, Unexpected};

/// A header name: a lower-case token (RFC 9110 section 5.6.2) that a plugin may set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeaderName(Arc<str>);

/// A header name that may be changed: a lower-case token (RFC 9110 section 5.6.2) that does not frame the message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldName(String);

// === impl HeaderName ===

impl HeaderName {
    /// A name that the code itself writes: a lower-case token.
    pub(crate) fn constant(name: &'static str) -> Self {
        Self(name.into())
    }

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, to be kept.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// Reads a name; `None` where it is not one, or one that belongs to HTTP or to Envoy.
    pub fn parse(text: &str) -> Option<Self> {
        let FieldName(name) = FieldName::parse(text)?;
        let reserved =
            RESERVED.contains(&name.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        (!reserved).then(|| Self(name.into()))
    }
}

impl<'de> Deserialize<'de> for HeaderName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            let expected = "a header name that is not one of HTTP's framing or of Envoy's own";
            D::Error::invalid_value(Unexpected::Str(&text), &expected)
        })
    }
}

// === impl FieldName ===

impl FieldName {
    /// Reads a name; `None` where it is not one, or one that frames the message.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.to_ascii_lowercase();
        let is_framing = HOP_BY_HOP.iter().chain(&FRAMING).any(|other| *other == name);
        let is_name = !name.is_empty() && name.bytes().all(is_token) && !is_framing;
        is_name.then_some(Self(name))
    }

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for FieldName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "a header name that is not one of HTTP's framing";
        Self::parse(&text).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &expected))
    }
}

/// RFC 9110 section 5.6.2.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Headers that are neither a credential nor an identity, besides those of the framing.
const RESERVED: [&str; 2] = ["content-type", "x-request-id"];

/// Headers of one connection (RFC 9110 section 7.6.1), and `expect`: no proxy passes them on.
pub const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Further headers that say where a message goes or ends.
const FRAMING: [&str; 2] = ["content-length", "host"];

const RESERVED_PREFIXES: [&str; 3] = ["x-envoy-", "x-forwarded-", "proxy-"];

#[cfg(not(target_arch = "wasm32"))]
const HEADER_NAME: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

schema!(HeaderName, "HeaderName", {"type": "string", "pattern": HEADER_NAME});
schema!(FieldName, "FieldName", {"type": "string", "pattern": HEADER_NAME});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_lower_case_tokens_that_nobody_else_owns() {
        assert_eq!(HeaderName::parse("X-User-Id").unwrap().as_str(), "x-user-id");
        for bad in [
            "",
            ":path",
            "x user",
            "x\n",
            "é",
            "Host",
            "connection",
            "x-envoy-peer",
            "X-Forwarded-For",
            "proxy-x",
        ] {
            assert!(HeaderName::parse(bad).is_none(), "{bad}");
        }
    }
}
