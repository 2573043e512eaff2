//! Identity headers: what upstreams learn about the caller, and nobody else can say.
//!
//! Every managed name is taken out of every request on every route, whatever becomes of it; then the gateway sets
//! what it knows, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use super::proof::ProofConfig;
use super::{Policy, Stop};
use crate::config::Report;
use crate::config::values::{self, HeaderName};
use crate::http::list::encode;
use crate::message::identity::Identity;
use crate::message::managed_names::ManagedNames;
use crate::message::request::Request;
use crate::seam::{Context, Note};

/// What upstreams learn about the caller.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct IdentityConfig {
    /// The names of the identity headers. Every one of them is removed from every client request.
    pub headers: HeadersConfig,
    /// A proof that a request is the gateway's word, for upstreams that cannot do mutual TLS.
    #[serde(deserialize_with = "values::present")]
    pub proof: Option<ProofConfig>,
    /// What access logs may read as filter state, `%FILTER_STATE(wasm.tollgate.user_id:PLAIN)%`, which no client can set as it can send a header:
    /// `user_id`, `tenant_id`, `plan`, `auth`, `issuer`, `key_id`. Each is a host call for each request with an identity. Default none.
    pub filter_state: Vec<StateField>,
}

/// A part of an identity that access logs may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum StateField {
    /// The user.
    UserId,
    /// The tenant.
    TenantId,
    /// The plan.
    Plan,
    /// The method of authentication.
    Auth,
    /// The token's issuer.
    Issuer,
    /// The API key's id.
    KeyId,
}

/// The names of the identity headers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct HeadersConfig {
    /// The user. Default `x-user-id`.
    pub user_id: HeaderName,
    /// The tenant. Default `x-tenant-id`.
    pub tenant_id: HeaderName,
    /// Roles, comma-separated. Default `x-user-roles`.
    pub roles: HeaderName,
    /// Scopes, comma-separated. Default `x-user-scopes`.
    pub scopes: HeaderName,
    /// The plan. Default `x-user-plan`.
    pub plan: HeaderName,
    /// The method of authentication: `jwt` or `api_key`. Default `x-auth-method`.
    pub auth: HeaderName,
    /// The token's issuer. Default `x-auth-issuer`.
    pub issuer: HeaderName,
    /// The API key's id. Default `x-api-key-id`.
    pub key_id: HeaderName,
    /// Further identity headers: attribute name to header name. An issuer's `claims.attributes` and an API key's
    /// `attributes` fill them.
    pub attributes: BTreeMap<String, HeaderName>,
}

/// The header names, checked.
#[derive(Debug)]
pub struct IdentityHeaders {
    config: HeadersConfig,
    attributes: BTreeSet<String>,
    states: Vec<StateField>,
    /// All of the names, and those of proofs and payloads, as they are taken out of requests.
    pub managed: Arc<ManagedNames>,
}

#[derive(Debug)]
struct SetIdentity(Arc<IdentityHeaders>);

/// The policy of a rule with `auth`.
pub fn compile(headers: &Arc<IdentityHeaders>) -> Box<dyn Policy> {
    Box::new(SetIdentity(Arc::clone(headers)))
}

impl Policy for SetIdentity {
    fn on_request(&self, request: &mut Request, _: &Context<'_>) -> Result<(), Stop> {
        self.0.describe(request);
        Ok(())
    }

    /// No upstream sees a request that is refused, but the access log does.
    fn on_refusal(&self, request: &mut Request, _: &Context<'_>) {
        self.0.describe(request);
    }
}

// === impl IdentityHeaders ===

impl IdentityHeaders {
    /// Checks that no two fields share a name. `more` are managed names that other settings define, with their paths.
    pub fn compile<'a>(
        config: &'a IdentityConfig,
        more: impl Iterator<Item = (String, &'a HeaderName)>,
        report: &mut Report,
    ) -> Self {
        let proof = config.proof.iter();
        let proof = proof.map(|proof| ("identity.proof.header".to_owned(), &proof.header));
        let states = config.filter_state.clone();
        for (index, state) in states.iter().enumerate() {
            if states.iter().take(index).any(|earlier| earlier == state) {
                report.error_at(format!("identity.filter_state[{index}]"), "is there twice");
            }
        }
        let config = &config.headers;
        let fields = [
            ("user_id", &config.user_id),
            ("tenant_id", &config.tenant_id),
            ("roles", &config.roles),
            ("scopes", &config.scopes),
            ("plan", &config.plan),
            ("auth", &config.auth),
            ("issuer", &config.issuer),
            ("key_id", &config.key_id),
        ];
        let fields = fields
            .into_iter()
            .map(|(field, name)| (format!("identity.headers.{field}"), name));
        let attributes = config
            .attributes
            .iter()
            .map(|(field, name)| (format!("identity.headers.attributes.{field}"), name));
        let mut managed = ManagedNames::default();
        for (path, name) in fields.chain(attributes).chain(proof).chain(more) {
            if !managed.add(name.as_str()) {
                let message = format!(
                    "`{}` is the header of another field; each needs its own (every separator counts as `-`)",
                    name.as_str()
                );
                report.error_at(path, message);
            }
        }
        Self {
            config: config.clone(),
            attributes: config.attributes.keys().cloned().collect(),
            states,
            managed: Arc::new(managed),
        }
    }

    /// The names of attributes that have a header.
    pub fn attributes(&self) -> &BTreeSet<String> {
        &self.attributes
    }

    /// The names of the identity headers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = &self.config;
        let fields = [
            &names.user_id,
            &names.tenant_id,
            &names.roles,
            &names.scopes,
            &names.plan,
            &names.auth,
            &names.issuer,
            &names.key_id,
        ];
        fields
            .into_iter()
            .chain(names.attributes.values())
            .map(HeaderName::as_str)
    }

    /// Says who a request is from, where that is known.
    fn describe(&self, request: &mut Request) {
        let Request {
            identity: Some(identity),
            changes,
            notes,
            ..
        } = request
        else {
            return;
        };
        let names = &self.config;
        let mut set = |name: &HeaderName, values: &[String]| {
            if !values.is_empty() {
                changes.set_one(name.shared(), encode(values));
            }
        };
        set(&names.user_id, std::slice::from_ref(&identity.user_id));
        set(&names.tenant_id, identity.tenant_id.as_slice());
        set(&names.roles, &identity.roles);
        set(&names.scopes, &identity.scopes);
        set(&names.plan, identity.plan.as_slice());
        set(&names.auth, &[identity.method.to_owned()]);
        set(&names.issuer, identity.issuer.as_slice());
        set(&names.key_id, identity.key_id.as_slice());
        for (attribute, values) in &identity.attributes {
            if let Some(name) = names.attributes.get(attribute) {
                set(name, values);
            }
        }
        let states = self.states.iter().filter_map(|state| state.of(identity));
        notes.extend(states.map(|(name, value)| Note::State(name, encode(&[value]).into_bytes())));
    }
}

impl StateField {
    /// Its name as filter state, without Envoy's `wasm.`, and what an identity has for it.
    fn of(self, identity: &Identity) -> Option<(&'static str, String)> {
        let (name, value) = match self {
            Self::UserId => ("tollgate.user_id", Some(&identity.user_id)),
            Self::TenantId => ("tollgate.tenant_id", identity.tenant_id.as_ref()),
            Self::Plan => ("tollgate.plan", identity.plan.as_ref()),
            Self::Auth => return Some(("tollgate.auth", identity.method.to_owned())),
            Self::Issuer => ("tollgate.issuer", identity.issuer.as_ref()),
            Self::KeyId => ("tollgate.key_id", identity.key_id.as_ref()),
        };
        value.map(|value| (name, value.clone()))
    }
}

impl Default for HeadersConfig {
    fn default() -> Self {
        Self {
            user_id: HeaderName::constant("x-user-id"),
            tenant_id: HeaderName::constant("x-tenant-id"),
            roles: HeaderName::constant("x-user-roles"),
            scopes: HeaderName::constant("x-user-scopes"),
            plan: HeaderName::constant("x-user-plan"),
            auth: HeaderName::constant("x-auth-method"),
            issuer: HeaderName::constant("x-auth-issuer"),
            key_id: HeaderName::constant("x-api-key-id"),
            attributes: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fields_of_one_name_are_an_error() {
        let mut config = IdentityConfig::default();
        config.headers.plan = HeaderName::constant("x_user_id");
        config
            .headers
            .attributes
            .insert("a".into(), HeaderName::constant("x-user-roles"));
        let mut report = Report::default();
        IdentityHeaders::compile(&config, std::iter::empty(), &mut report);
        let paths: Vec<_> = report
            .finish()
            .unwrap_err()
            .into_iter()
            .map(|error| error.path)
            .collect();
        assert_eq!(paths, ["identity.headers.plan", "identity.headers.attributes.a"]);
    }
}
