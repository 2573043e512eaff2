//! The authorize stage: scopes and roles that a rule requires.

use serde::Deserialize;

use super::{Access, Policy, Rule, Stop};
use crate::config::Report;
use crate::denial::{Denial, DenialKind};
use crate::message::identity::Identity;
use crate::message::request::Request;
use crate::seam::Context;

/// The scopes and roles that a caller must have.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct RequireConfig {
    /// Required scopes; without them 403 `insufficient_scope`.
    pub scopes: SetConfig,
    /// Required roles; without them 403 `forbidden`.
    pub roles: SetConfig,
}

/// A condition on a set. If both parts are given, both must hold.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct SetConfig {
    /// All of these.
    pub all: Vec<String>,
    /// At least one of these.
    pub any: Vec<String>,
}

#[derive(Debug)]
struct Authorize {
    require: RequireConfig,
}

/// Compiles the policy of a rule with `require`. A public rule has none, whatever it inherits.
pub fn compile(require: &RequireConfig, rule: &Rule<'_>, report: &mut Report) -> Option<Box<dyn Policy>> {
    if rule.access == Access::Public {
        return None;
    }
    report.within("require", |report| {
        if *require == RequireConfig::default() {
            report.error("requires nothing; name `scopes` or `roles`, with `all` or `any`");
        }
        if rule.access == Access::Optional {
            report.error("contradicts `auth.optional`: an anonymous caller would never pass");
        }
        for (name, set) in [("scopes", &require.scopes), ("roles", &require.roles)] {
            for (part, values) in [("all", &set.all), ("any", &set.any)] {
                for (index, value) in values.iter().enumerate() {
                    let spaced = name == "scopes"
                        && !value
                            .bytes()
                            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
                    if value.is_empty() || spaced {
                        report.error_at(
                            format!("{name}.{part}[{index}]"),
                            format!("\"{value}\" is not one name, so nobody can have it; write one name per entry"),
                        );
                    }
                }
            }
        }
    });
    Some(Box::new(Authorize {
        require: require.clone(),
    }))
}

impl RequireConfig {
    /// Whether a caller has them all.
    pub fn holds(&self, identity: Option<&Identity>) -> bool {
        let (scopes, roles) = sets(identity);
        self.scopes.holds(scopes) && self.roles.holds(roles)
    }
}

/// The scopes and roles of a caller.
fn sets(identity: Option<&Identity>) -> (&[String], &[String]) {
    identity.map_or((&[], &[]), |identity| (&identity.scopes, &identity.roles))
}

impl Policy for Authorize {
    fn on_request(&self, request: &mut Request, _: &Context<'_>) -> Result<(), Stop> {
        let (scopes, roles) = sets(request.identity.as_ref());
        if !self.require.scopes.holds(scopes) {
            let SetConfig { all, any } = &self.require.scopes;
            let wanted: Vec<_> = all.iter().chain(any).map(String::as_str).collect();
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", wanted.join(" "));
            let denial = Denial::new(DenialKind::InsufficientScope, "scope_missing");
            // The challenge is for bearer tokens only (RFC 6750 section 3.1).
            let is_token = request
                .identity
                .as_ref()
                .is_none_or(|identity| identity.method == "jwt");
            return Err(if is_token {
                denial.with_header("www-authenticate", challenge)
            } else {
                denial
            }
            .into());
        }
        if !self.require.roles.holds(roles) {
            return Err(Denial::new(DenialKind::Forbidden, "role_missing").into());
        }
        Ok(())
    }
}

impl SetConfig {
    fn holds(&self, owned: &[String]) -> bool {
        self.all.iter().all(|wanted| owned.contains(wanted))
            && (self.any.is_empty() || self.any.iter().any(|wanted| owned.contains(wanted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_and_any() {
        let set = |all: &[&str], any: &[&str]| SetConfig {
            all: all.iter().map(ToString::to_string).collect(),
            any: any.iter().map(ToString::to_string).collect(),
        };
        let owned = ["a".to_owned(), "b".to_owned()];
        assert!(
            set(&[], &[]).holds(&owned) && set(&["a", "b"], &[]).holds(&owned) && set(&[], &["x", "b"]).holds(&owned)
        );
        assert!(set(&["a"], &["b"]).holds(&owned));
        assert!(
            !set(&["a", "x"], &[]).holds(&owned)
                && !set(&[], &["x"]).holds(&owned)
                && !set(&["a"], &["x"]).holds(&owned)
        );
        assert!(!set(&["A"], &[]).holds(&owned), "names are exact");
    }
}
