//! What operators write about authentication.

use std::fmt;

use crate::schema::schema;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

/// How callers prove who they are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct AuthConfig {
    /// The methods of which one must succeed: `api_key`, `jwt`, or `{ jwt: [issuer name, ...] }`. With more than one
    /// issuer defined, they must be named.
    pub any: Vec<MethodConfig>,
    /// Audiences of this route: a token's `aud` must name one of these too.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// A request without any credential passes as anonymous; one with a bad credential is still refused.
    #[serde(default)]
    pub optional: bool,
}

/// One method of authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MethodConfig {
    /// A JSON Web Token of one of these issuers; `None` where only the method is named.
    Jwt(Option<Vec<String>>),
    /// An API key.
    ApiKey,
}

// === impl MethodConfig ===

impl MethodConfig {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Jwt(_) => "jwt",
            Self::ApiKey => "api_key",
        }
    }
}

impl<'de> Deserialize<'de> for MethodConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MethodVisitor)
    }
}

struct MethodVisitor;

impl<'de> Visitor<'de> for MethodVisitor {
    type Value = MethodConfig;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("`api_key`, `jwt` or `{ jwt: [issuer name, ...] }`")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<MethodConfig, E> {
        match name {
            "jwt" => Ok(MethodConfig::Jwt(None)),
            "api_key" => Ok(MethodConfig::ApiKey),
            other => Err(E::unknown_variant(other, &["api_key", "jwt"])),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<MethodConfig, A::Error> {
        use serde::de::Error as _;
        let method = match members.next_key::<String>()?.as_deref() {
            Some("jwt") => MethodConfig::Jwt(Some(members.next_value()?)),
            Some(other) => return Err(A::Error::unknown_variant(other, &["jwt"])),
            None => return Err(A::Error::invalid_length(0, &self)),
        };
        match members.next_key::<String>()? {
            None => Ok(method),
            Some(_) => Err(A::Error::custom("one method per entry; add another entry to the list")),
        }
    }
}

schema!(MethodConfig, "Method", {
    "oneOf": [
        {"type": "string", "enum": ["api_key", "jwt"]},
        {
            "type": "object",
            "additionalProperties": false,
            "required": ["jwt"],
            "properties": {"jwt": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Names of the issuers whose tokens are accepted."
            }}
        }
    ]
});
