//! From a token's claims to who its holder is.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use crate::identity::{Subject, check_list, check_value};
use crate::jose::claims::Claims;

/// Which claims say who the caller is.
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
}

/// Ties an issuer to its tenants, so that one issuer cannot speak for the tenants of another.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum TenantConfig {
    /// Every token of this issuer belongs to this tenant, whatever it says.
    Fixed(String),
    /// A token of this issuer must name one of these tenants.
    Allowed(Vec<String>),
}

/// Ties an issuer to one plan.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct FixedPlan {
    /// The plan of every token of this issuer, whatever it says.
    pub fixed: String,
}

/// Where a claim is: `realm_access.roles`, or a list of literal names where a name has a dot itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(Vec<String>);

#[derive(Debug)]
pub(super) struct SubjectRules {
    claims: ClaimsConfig,
    tenant: Option<TenantConfig>,
    plan: Option<FixedPlan>,
}

type Reason = &'static str;

impl SubjectRules {
    pub(super) fn new(claims: &ClaimsConfig, tenant: Option<TenantConfig>, plan: Option<FixedPlan>) -> Self {
        Self {
            claims: claims.clone(),
            tenant,
            plan,
        }
    }

    pub(super) fn read(&self, claims: &Claims, issuer: &str) -> Result<Subject, Reason> {
        let names = &self.claims;
        let mut attributes = Vec::new();
        for (attribute, path) in &names.attributes {
            attributes.push((attribute.clone(), list(path.find(claims), one)?));
        }
        Ok(Subject {
            method: "jwt",
            issuer: Some(checked(issuer.to_owned())?),
            key_id: None,
            user_id: single(names.user_id.find(claims))?.ok_or("user_missing")?,
            tenant_id: self.tenant(single(names.tenant_id.find(claims))?)?,
            roles: list(names.roles.find(claims), one)?,
            scopes: list(names.scopes.find(claims), |scopes| {
                scopes
                    .split(' ')
                    .filter(|scope| !scope.is_empty())
                    .map(Into::into)
                    .collect()
            })?,
            plan: match &self.plan {
                Some(plan) => Some(plan.fixed.clone()),
                None => single(names.plan.find(claims))?,
            },
            attributes,
        })
    }

    fn tenant(&self, claimed: Option<String>) -> Result<Option<String>, Reason> {
        match &self.tenant {
            None => Ok(claimed),
            Some(TenantConfig::Fixed(tenant)) => Ok(Some(tenant.clone())),
            Some(TenantConfig::Allowed(tenants)) => match claimed {
                Some(tenant) if tenants.contains(&tenant) => Ok(Some(tenant)),
                _ => Err("tenant_not_allowed"),
            },
        }
    }
}

/// A string, or a number or boolean as JSON writes it. (The registered `sub` is a string; that is checked before.)
fn text(value: &Value) -> Result<String, Reason> {
    match value {
        Value::String(text) => checked(text.clone()),
        Value::Number(number) if number.is_u64() || number.is_i64() => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        _ => Err("claim_malformed"),
    }
}

fn checked(text: String) -> Result<String, Reason> {
    check_value(&text).map(|()| text)
}

fn single(value: Option<&Value>) -> Result<Option<String>, Reason> {
    value.map(text).transpose()
}

/// A list of strings; `split` says what a plain string means.
fn list(value: Option<&Value>, split: impl FnOnce(String) -> Vec<String>) -> Result<Vec<String>, Reason> {
    let items = match value {
        None => Vec::new(),
        Some(Value::Array(items)) => items.iter().map(text).collect::<Result<_, _>>()?,
        Some(Value::String(text)) if text.is_empty() => Vec::new(),
        Some(value) => split(text(value)?),
    };
    check_list(&items).map(|()| items)
}

fn one(text: String) -> Vec<String> {
    vec![text]
}

// === impl ClaimPath ===

impl ClaimPath {
    /// A claim that is absent and one that is `null` say the same.
    fn find<'a>(&self, claims: &'a Claims) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        let claim = rest
            .iter()
            .try_fold(claims.get(first)?, |value, name| value.as_object()?.get(name))?;
        (!claim.is_null()).then_some(claim)
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

    fn visit_str<E>(self, dotted: &str) -> Result<ClaimPath, E> {
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
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl schemars::JsonSchema for ClaimPath {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClaimPath".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]})
    }
}

#[cfg(test)]
mod tests;
