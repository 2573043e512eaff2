//! The record of an API key: its user, their permissions, and when it is valid.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::secrets::KeyHash;
use crate::clock::Seconds;
use crate::config::values::{Timestamp, present};
use crate::message::identity::{Subject, check_list, check_value};

/// A key, as a configuration or the key service describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct KeyRecord {
    /// Its public id, which upstreams, logs and limits see: letters, digits, `.`, `_`, `-`.
    pub id: String,
    /// `SECRET:HEX`: the id of the secret and the HMAC-SHA256 of the whole key.
    pub hash: KeyHash,
    /// The user whose key it is.
    pub user_id: String,
    /// The tenant that the user belongs to.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Roles of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Scopes that the key grants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The user's plan.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Further identity headers: attribute name to values. Each name must be defined in `identity.headers.attributes`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Vec<String>>,
    /// When the key becomes valid; at once if absent.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// When the key expires; never if absent.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl KeyRecord {
    /// Checks that every value can become an identity header. `Err` has the field and the problem.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let named = (1..=64).contains(&self.id.len())
            && self
                .id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !named {
            return Err(("id", "must be 1 to 64 letters, digits, `.`, `_` or `-`"));
        }
        let problem = |field| move |_| (field, "must be 1 to 4096 bytes of text without control characters");
        check_value(&self.user_id, MOST).map_err(problem("user_id"))?;
        for (field, value) in [("tenant_id", &self.tenant_id), ("plan", &self.plan)] {
            value
                .as_deref()
                .map_or(Ok(()), |value| check_value(value, MOST))
                .map_err(problem(field))?;
        }
        check_list(&self.roles, MOST).map_err(problem("roles"))?;
        check_list(&self.scopes, MOST).map_err(problem("scopes"))?;
        let mut attributes = self.attributes.values();
        let checked = attributes.try_for_each(|values| check_list(values, MOST));
        checked.map_err(problem("attributes"))?;
        match serde_json::to_vec(self) {
            Ok(record) if record.len() <= MAX_RECORD => Ok(()),
            _ => Err((
                "attributes",
                "make a record of more than 16000 bytes of JSON, the most that gateways cache",
            )),
        }
    }

    /// The period in which the key is valid.
    pub fn validity(&self) -> Validity {
        Validity {
            not_before: self.not_before,
            expires_at: self.expires_at,
        }
    }

    /// The identity that the key stands for.
    pub fn subject(&self) -> Subject {
        Subject {
            method: "api_key",
            issuer: None,
            key_id: Some(self.id.clone()),
            user_id: self.user_id.clone(),
            tenant_id: self.tenant_id.clone(),
            roles: self.roles.clone(),
            scopes: self.scopes.clone(),
            plan: self.plan.clone(),
            attributes: self
                .attributes
                .iter()
                .map(|(name, values)| (name.clone(), values.clone()))
                .collect(),
        }
    }
}

/// The period in which a key is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

impl Validity {
    /// Whether it is valid at `now`, by the wall clock; `Err` is the reason.
    pub fn check(self, now: Seconds) -> Result<(), &'static str> {
        if self.not_before.is_some_and(|Timestamp(from)| now < from) {
            Err("not_yet_valid")
        } else if self.expires_at.is_some_and(|Timestamp(end)| now >= end) {
            Err("expired")
        } else {
            Ok(())
        }
    }

    /// Whether the period is empty.
    pub fn is_empty(self) -> bool {
        self.not_before
            .zip(self.expires_at)
            .is_some_and(|(from, end)| end <= from)
    }
}

/// Maximum size of a record as JSON in a gateway's cache, in bytes.
pub const MAX_RECORD: usize = 16_000;

/// Maximum size of a value, or of all values of a list, in bytes.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn record(change: Value) -> Result<KeyRecord, String> {
        let mut record = json!({"id": "k1", "hash": format!("v1:{}", "0".repeat(64)), "user_id": "u1"});
        for (name, value) in change.as_object().unwrap() {
            record[name] = value.clone();
        }
        serde_json::from_value(record).map_err(|error| error.to_string())
    }

    #[test]
    fn it_survives_json() {
        let whole = record(json!({
            "tenant_id": "t", "roles": ["a"], "scopes": ["s"], "plan": "pro", "attributes": {"email": ["e@x"]},
            "not_before": "2026-01-01T00:00:00Z", "expires_at": "2027-01-01T00:00:00+01:00",
        }))
        .unwrap();
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<KeyRecord>(&text).unwrap(), whole);
        assert!(text.contains("\"expires_at\":\"2026-12-31T23:00:00Z\""), "{text}");
        assert!(record(json!({"usr_id": "u"})).unwrap_err().contains("unknown field"));
        assert!(record(json!({"expires_at": null})).is_err(), "null is not `never`");
    }

    #[test]
    fn it_is_valid_from_the_first_second_to_before_the_last() {
        let key = record(json!({"not_before": "1970-01-01T00:01:40Z", "expires_at": "1970-01-01T00:03:20Z"})).unwrap();
        let check = |key: &KeyRecord, now| key.validity().check(Seconds::new(now));
        assert_eq!(check(&key, 99), Err("not_yet_valid"));
        assert_eq!(check(&key, 100), Ok(()));
        assert_eq!(check(&key, 199), Ok(()));
        assert_eq!(check(&key, 200), Err("expired"));
        assert_eq!(check(&record(json!({})).unwrap(), u64::MAX), Ok(()));
    }

    #[test]
    fn what_no_header_can_carry_is_refused() {
        for (change, field) in [
            (json!({"id": ""}), "id"),
            (json!({"id": "a b"}), "id"),
            (json!({"user_id": ""}), "user_id"),
            (json!({"tenant_id": "a\nb"}), "tenant_id"),
            (json!({"plan": "x".repeat(5000)}), "plan"),
            (json!({"roles": [""]}), "roles"),
            (json!({"scopes": vec!["x".repeat(100); 50]}), "scopes"),
            (json!({"attributes": {"a": ["\u{0}"]}}), "attributes"),
        ] {
            assert_eq!(record(change).unwrap().check().unwrap_err().0, field);
        }
        assert_eq!(record(json!({})).unwrap().check(), Ok(()));
    }
}
