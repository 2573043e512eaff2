//! The identity from a token's claims.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use crate::auth::jose::claims::Claims;
use crate::message::identity::{Subject, Unfit, check_list, check_value};
use crate::policy::verdict::Invalid;
use crate::schema::schema;

/// The claims that make the identity.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ClaimsConfig {
    /// The user; a token without it is refused. Default `sub`.
    pub user_id: ClaimPath,
    /// The tenant. Default `tenant_id`.
    pub tenant_id: ClaimPath,
    /// Roles: a list of strings, or a string that is one role. Default `roles`.
    pub roles: ClaimPath,
    /// Scopes: a list of strings, or a string of them separated by spaces. Default `scope`.
    pub scopes: ClaimPath,
    /// The plan. Default `plan`.
    pub plan: ClaimPath,
    /// Further claims: attribute name to claim. Each name must be defined in `identity.headers.attributes`.
    pub attributes: BTreeMap<String, ClaimPath>,
    /// What to do if the claim of an attribute is longer than `jwt.max_claim`: `deny` (default) refuses the token,
    /// `drop` omits the attribute. User, tenant, roles, scopes and plan are never omitted.
    pub too_long: TooLong,
}

/// What to do with claims that are too long.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum TooLong {
    /// The token is refused.
    #[default]
    Deny,
    /// The attribute is omitted.
    Drop,
}

/// Restricts an issuer to its tenants, so that it cannot issue tokens for the tenants of another.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum TenantConfig {
    /// Every token of this issuer belongs to this tenant; its own tenant claim is ignored.
    Fixed(String),
    /// A token of this issuer must name one of these tenants.
    Allowed(Vec<String>),
}

/// Fixes the plan of an issuer's tokens.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct FixedPlan {
    /// The plan of every token of this issuer; its own plan claim is ignored.
    pub fixed: String,
}

/// The path of a claim: `realm_access.roles`, or a list of literal names if a name contains a dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(Vec<String>);

#[derive(Debug)]
pub(super) struct SubjectRules {
    claims: ClaimsConfig,
    /// Maximum length of a claim, in bytes.
    max_claim: usize,
    tenant: Option<TenantConfig>,
    plan: Option<FixedPlan>,
}

impl SubjectRules {
    pub(super) fn new(
        claims: &ClaimsConfig,
        max_claim: usize,
        tenant: Option<TenantConfig>,
        plan: Option<FixedPlan>,
    ) -> Self {
        Self {
            claims: claims.clone(),
            max_claim,
            tenant,
            plan,
        }
    }

    pub(super) fn read(&self, claims: &Claims, issuer: &str) -> Result<Subject, Invalid> {
        let names = &self.claims;
        let mut attributes = Vec::new();
        for (attribute, path) in &names.attributes {
            let values = match self.list(path, claims, one) {
                Err(invalid) if invalid.reason == TOO_LONG && names.too_long == TooLong::Drop => Vec::new(),
                values => values?,
            };
            attributes.push((attribute.clone(), values));
        }
        Ok(Subject {
            method: "jwt",
            issuer: Some(issuer.to_owned()),
            key_id: None,
            user_id: self.single(&names.user_id, claims)?.ok_or("user_missing")?,
            tenant_id: self.tenant(self.single(&names.tenant_id, claims)?)?,
            roles: self.list(&names.roles, claims, one)?,
            scopes: self.list(&names.scopes, claims, |scopes| {
                scopes
                    .split(' ')
                    .filter(|scope| !scope.is_empty())
                    .map(Into::into)
                    .collect()
            })?,
            plan: match &self.plan {
                Some(plan) => Some(plan.fixed.clone()),
                None => self.single(&names.plan, claims)?,
            },
            attributes,
        })
    }

    fn tenant(&self, claimed: Option<String>) -> Result<Option<String>, &'static str> {
        match &self.tenant {
            None => Ok(claimed),
            Some(TenantConfig::Fixed(tenant)) => Ok(Some(tenant.clone())),
            Some(TenantConfig::Allowed(tenants)) => match claimed {
                Some(tenant) if tenants.contains(&tenant) => Ok(Some(tenant)),
                _ => Err("tenant_not_allowed"),
            },
        }
    }

    fn single(&self, path: &ClaimPath, claims: &Claims) -> Result<Option<String>, Invalid> {
        path.find(claims).map(|value| self.text(path, IS, value)).transpose()
    }

    /// Reads a list of strings; `split` turns a plain string into a list.
    fn list(
        &self,
        path: &ClaimPath,
        claims: &Claims,
        split: impl FnOnce(String) -> Vec<String>,
    ) -> Result<Vec<String>, Invalid> {
        let items = match path.find(claims) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let texts = items.iter().map(|item| self.text(path, HAS, item));
                texts.collect::<Result<_, _>>()?
            }
            Some(Value::String(text)) if text.is_empty() => Vec::new(),
            Some(value) => split(self.text(path, IS, value)?),
        };
        check_list(&items, self.max_claim).map_err(|_| self.too_long(path))?;
        Ok(items)
    }

    /// Reads a string, or a whole number or boolean as JSON text. (The registered `sub` was checked to be a string.)
    fn text(&self, path: &ClaimPath, verb: &str, value: &Value) -> Result<String, Invalid> {
        let found = match value {
            Value::String(text) => {
                return match check_value(text, self.max_claim) {
                    Ok(()) => Ok(text.clone()),
                    Err(Unfit::Empty) => Err(malformed(path, verb, "an empty text")),
                    Err(Unfit::Control) => Err(malformed(path, verb, "a text with control characters")),
                    Err(Unfit::TooLong) => Err(self.too_long(path)),
                };
            }
            Value::Number(number) if number.is_u64() || number.is_i64() => return Ok(number.to_string()),
            Value::Bool(value) => return Ok(value.to_string()),
            Value::Number(_) => "a number that is not whole",
            Value::Null => "null",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Err(malformed(path, verb, found))
    }

    fn too_long(&self, path: &ClaimPath) -> Invalid {
        Invalid {
            reason: TOO_LONG,
            detail: Some(format!("{path} has more than {} bytes", self.max_claim).into()),
        }
    }
}

/// The refusal for a claim whose value cannot be in a header.
fn malformed(path: &ClaimPath, verb: &str, found: &str) -> Invalid {
    Invalid {
        reason: "claim_malformed",
        detail: Some(format!("{path} {verb} {found}").into()),
    }
}

fn one(text: String) -> Vec<String> {
    vec![text]
}

// === impl ClaimPath ===

impl ClaimPath {
    /// Finds the claim. `null` counts as absent.
    fn find<'a>(&self, claims: &'a Claims) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        let claim = rest
            .iter()
            .try_fold(claims.get(first)?, |value, name| value.as_object()?.get(name))?;
        (!claim.is_null()).then_some(claim)
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("."))
    }
}

impl From<&str> for ClaimPath {
    fn from(dotted: &str) -> Self {
        Self(dotted.split('.').map(Into::into).collect())
    }
}

impl<'de> Deserialize<'de> for ClaimPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let path = deserializer.deserialize_any(PathVisitor)?;
        if path.0.is_empty() || path.0.iter().any(String::is_empty) {
            return Err(D::Error::custom(
                "a claim path has no empty parts; a name with dots is written as a list: [\"https://x.example/roles\"]",
            ));
        }
        Ok(path)
    }
}

struct PathVisitor;

impl<'de> Visitor<'de> for PathVisitor {
    type Value = ClaimPath;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a claim as `a.b`, or as a list of literal names")
    }

    fn visit_str<E: serde::de::Error>(self, dotted: &str) -> Result<ClaimPath, E> {
        if dotted.contains("://") {
            let message = format!(
                "\"{dotted}\" has dots, which part names within names; a claim of this name is a list: [\"{dotted}\"]"
            );
            return Err(E::custom(message));
        }
        Ok(dotted.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ClaimPath, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = items.next_element()? {
            names.push(name);
        }
        Ok(ClaimPath(names))
    }
}

impl Default for ClaimsConfig {
    fn default() -> Self {
        Self {
            user_id: "sub".into(),
            tenant_id: "tenant_id".into(),
            roles: "roles".into(),
            scopes: "scope".into(),
            plan: "plan".into(),
            attributes: BTreeMap::new(),
            too_long: TooLong::default(),
        }
    }
}

schema!(ClaimPath, "ClaimPath", {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]});

// Verbs in messages: `plan is an object`, `groups has an object`.
const IS: &str = "is";
const HAS: &str = "has";

const TOO_LONG: &str = "claim_too_long";

#[cfg(test)]
mod tests;
