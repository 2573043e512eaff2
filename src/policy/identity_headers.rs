//! Identity headers, which tell upstreams who the caller is.
//!
//! Managed names are removed from every request on every route; then the gateway sets the headers of the verified
//! identity.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use super::proof::ProofConfig;
use super::{Policy, Stop};
use crate::config::Report;
use crate::config::values::{self, HeaderName};
use crate::http::changes::HeaderChanges;
use crate::http::list::encode;
use crate::message::identity::Identity;
use crate::message::managed_names::ManagedNames;
use crate::message::request::Request;
use crate::seam::{Context, Note};

/// What upstreams are told about the caller.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct IdentityConfig {
    /// The names of the identity headers. Every one of them is removed from every client request.
    pub headers: HeadersConfig,
    /// A proof that requests come from the gateway, for upstreams without mutual TLS.
    #[serde(deserialize_with = "values::present")]
    pub proof: Option<ProofConfig>,
    /// Filter state for access logs, as in `%FILTER_STATE(wasm.tollgate.user_id:PLAIN)%`, which clients cannot forge:
    /// `user_id`, `tenant_id`, `plan`, `auth`, `issuer`, `key_id`. Each takes a host call per request with an identity.
    /// Default: none.
    pub filter_state: Vec<StateField>,
}

/// A field of an identity for access logs.
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

/// The compiled header names.
#[derive(Debug)]
pub struct IdentityHeaders {
    config: HeadersConfig,
    attributes: BTreeSet<String>,
    states: Vec<StateField>,
    /// All names that are removed from requests: identity headers, proofs and payloads.
    pub managed: Arc<ManagedNames>,
}

#[derive(Debug)]
struct SetIdentity(Arc<IdentityHeaders>);

/// Compiles the policy of a rule with `auth`.
pub fn compile(headers: &Arc<IdentityHeaders>) -> Box<dyn Policy> {
    Box::new(SetIdentity(Arc::clone(headers)))
}

impl Policy for SetIdentity {
    fn on_request(&self, request: &mut Request, _: &Context<'_>) -> Result<(), Stop> {
        self.0.describe(request);
        Ok(())
    }

    /// Sets the identity in a refused request too, for the access log.
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

    /// Sets headers and filter state of the identity, if there is one.
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
        set(changes, &names.user_id, std::slice::from_ref(&identity.user_id));
        set(changes, &names.tenant_id, identity.tenant_id.as_slice());
        set(changes, &names.roles, &identity.roles);
        set(changes, &names.scopes, &identity.scopes);
        set(changes, &names.plan, identity.plan.as_slice());
        set(changes, &names.auth, &[identity.method]);
        set(changes, &names.issuer, identity.issuer.as_slice());
        set(changes, &names.key_id, identity.key_id.as_slice());
        for (attribute, values) in &identity.attributes {
            if let Some(name) = names.attributes.get(attribute) {
                set(changes, name, values);
            }
        }
        let states = self.states.iter().filter_map(|state| state.of(identity));
        notes.extend(states.map(|(name, value)| Note::State(name, encode(&[value]).into_bytes())));
    }
}

fn set(changes: &mut HeaderChanges, name: &HeaderName, values: &[impl AsRef<[u8]>]) {
    if !values.is_empty() {
        changes.set_one(name.shared(), encode(values));
    }
}

impl StateField {
    /// The name in the filter state, without Envoy's `wasm.`, and the identity's value.
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
