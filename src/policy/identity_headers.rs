//! Identity headers: what upstreams learn about the caller, and nobody else can say.
//!
//! Every managed name is taken out of every request on every route, whatever becomes of it; then the gateway sets
//! what it knows, once.

use std::collections::BTreeMap;
use std::rc::Rc;

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use serde::Deserialize;

use super::proof::ProofConfig;
use super::{Policy, Registration, RouteContext, Stage, Stop};
use crate::config::Report;
use crate::config::values::{self, HeaderName};
use crate::effect::Effect;
use crate::headers::Headers;
use crate::identity::Identity;
use crate::request::Request;
use crate::world::World;

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
    states: Vec<StateField>,
    /// All of the names, as the exchange strips them.
    pub managed: ManagedNames,
}

/// Names that only the gateway may set.
#[derive(Debug, Default)]
pub struct ManagedNames(Vec<String>);

/// The policy's line in the registry.
pub const REGISTRATION: Registration = Registration {
    stage: Stage::Forward,
    compile,
};

#[derive(Debug)]
struct SetIdentity(Rc<IdentityHeaders>);

fn compile(route: &RouteContext<'_>, _: &mut Report) -> Option<Box<dyn Policy>> {
    route.auth?;
    Some(Box::new(SetIdentity(Rc::clone(&route.definitions.identity))))
}

impl Policy for SetIdentity {
    fn on_request(&self, request: &mut Request<'_>, _: &dyn World) -> Result<(), Stop> {
        if let Some(identity) = &request.identity {
            request.effects.extend(self.0.describe(identity));
        }
        Ok(())
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
            if managed.contains(name.as_str().as_bytes()) {
                let message = format!(
                    "`{}` is the header of another field; each needs its own (every separator counts as `-`)",
                    name.as_str()
                );
                report.error_at(path, message);
            }
            managed.0.push(plain(name.as_str()));
        }
        Self {
            config: config.clone(),
            states,
            managed,
        }
    }

    /// The header that an attribute goes into.
    pub fn has_attribute(&self, name: &str) -> bool {
        self.config.attributes.contains_key(name)
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

    /// The changes that tell who it is.
    pub fn describe(&self, identity: &Identity) -> Vec<Effect> {
        let names = &self.config;
        let mut effects = Vec::new();
        let mut set = |name: &HeaderName, values: &[String]| {
            if !values.is_empty() {
                effects.push(Effect::SetHeader(name.as_str().to_owned(), encode(values).into_bytes()));
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
        effects.extend(states.map(|(name, value)| Effect::SetState(name, encode(&[value]).into_bytes())));
        effects
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

// === impl ManagedNames ===

impl ManagedNames {
    /// These names alone.
    pub fn of(names: &[&str]) -> Self {
        Self(names.iter().map(|name| plain(name)).collect())
    }

    /// Whether a name is one of them. Servers that hand headers over as variables (CGI, RFC 3875 section 4.1.18) read `x_user_id`, and some
    /// of them `x.user.id` or `x!user!id`, as `x-user-id`: all separators are one here.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.0
            .iter()
            .any(|own| own.len() == name.len() && own.bytes().zip(name).all(|(own, &byte)| own == folded(byte)))
    }

    /// The spellings of managed names in these headers, each once.
    pub fn found_in(&self, headers: &Headers) -> Vec<Vec<u8>> {
        let mut found: Vec<Vec<u8>> = Vec::new();
        for (name, _) in headers.iter() {
            if self.contains(name) && !found.iter().any(|earlier| earlier == name) {
                found.push(name.to_vec());
            }
        }
        found
    }
}

fn plain(name: &str) -> String {
    name.bytes().map(|byte| char::from(folded(byte))).collect()
}

fn folded(byte: u8) -> u8 {
    match byte.is_ascii_alphanumeric() {
        true => byte.to_ascii_lowercase(),
        false => b'-',
    }
}

/// `Connection` names headers that the next hop must drop (RFC 9110 section 7.6.1). Envoy forwards it as it is beside
/// `Upgrade`, so a client could have an identity header dropped: anything but the usual options is cut down.
pub fn connection_effect(headers: &Headers) -> Option<Effect> {
    let mut options = headers
        .all("connection")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .peekable();
    options.peek()?;
    let mut upgrade = false;
    let mut other = false;
    for option in options {
        upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        other |= !USUAL_OPTIONS.iter().any(|usual| option.eq_ignore_ascii_case(usual));
    }
    other.then(|| {
        if upgrade {
            Effect::SetHeader("connection".into(), b"upgrade".to_vec())
        } else {
            Effect::RemoveHeader(b"connection".to_vec())
        }
    })
}

const USUAL_OPTIONS: [&[u8]; 5] = [b"upgrade", b"keep-alive", b"close", b"te", b""];

/// Comma-separated and injective: a comma or percent sign within a value, and every byte that is not visible ASCII,
/// is percent-encoded, in single values too.
pub(crate) fn encode(values: &[impl AsRef<[u8]>]) -> String {
    let mut encoded = String::new();
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            encoded.push(',');
        }
        encoded.extend(percent_encode(value.as_ref(), ENCODED));
    }
    encoded
}

const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',');

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> ManagedNames {
        IdentityHeaders::compile(&IdentityConfig::default(), std::iter::empty(), &mut Report::default()).managed
    }

    #[test]
    fn every_spelling_of_a_managed_name_is_found() {
        let headers: Headers = [
            ("x-user-id", "1"),
            ("x_user_id", "2"),
            ("x-user_id", "3"),
            ("x-user-id", "4"),
            ("x-user-ids", "5"),
            ("x.user!id", "6"),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            names().found_in(&headers),
            [b"x-user-id", b"x_user_id", b"x-user_id", b"x.user!id"]
        );
        assert!(names().contains(b"X-User-Id") && !names().contains(b"x-user-i\xff"));
    }

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

    #[test]
    fn unusual_connection_options_are_cut_down() {
        let effect = |values: &[&str]| {
            let headers: Headers = values.iter().map(|value| ("connection", *value)).collect();
            connection_effect(&headers)
        };
        assert_eq!(effect(&[]), None);
        for usual in ["Upgrade", "keep-alive, Upgrade", "close", "", "TE"] {
            assert_eq!(effect(&[usual]), None, "{usual}");
        }
        let upgrade = Effect::SetHeader("connection".into(), b"upgrade".to_vec());
        assert_eq!(effect(&["Upgrade, X-User-Id"]), Some(upgrade.clone()));
        assert_eq!(effect(&["Upgrade", "x-user-id"]), Some(upgrade));
        assert_eq!(
            effect(&["close, x-user-id"]),
            Some(Effect::RemoveHeader(b"connection".to_vec()))
        );
    }

    #[test]
    fn values_are_encoded_where_they_would_be_read_otherwise() {
        let encode = |values: &[&str]| encode(&values.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(encode(&["u1"]), "u1");
        assert_eq!(encode(&["u1,admin"]), "u1%2Cadmin");
        assert_eq!(encode(&["a b", "100%", "é"]), "a%20b,100%25,%C3%A9");
        assert_eq!(encode(&["auth0|x@y.z/~!\"#"]), "auth0|x@y.z/~!\"#");
    }

    proptest! {
        #[test]
        fn encoding_is_injective(values in proptest::collection::vec(".{1,10}", 1..4)) {
            let decoded: Vec<String> = encode(&values)
                .split(',')
                .map(|item| percent_encoding::percent_decode_str(item).decode_utf8().unwrap().into_owned())
                .collect();
            prop_assert_eq!(&decoded, &values);
            prop_assert!(encode(&values).bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
