//! API keys as operators describe and see them.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize};
use tollgate::auth::api_key::{KeyHash, KeyRecord};
use tollgate::clock::{Millis, Seconds};
use tollgate::config::values::{Timestamp, present};

use crate::error::{Error, Result};

/// A key to create or import, from the command line or from the body of a request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// The key's id; only for an imported key.
    #[serde(default, deserialize_with = "present")]
    pub id: Option<String>,
    /// The key's hash; only for an imported key.
    #[serde(default, deserialize_with = "present")]
    pub hash: Option<KeyHash>,
    /// A name for operators.
    #[serde(default, deserialize_with = "present")]
    pub name: Option<String>,
    /// The user whose key it is.
    pub user_id: String,
    /// The tenant that the user belongs to.
    #[serde(default, deserialize_with = "present")]
    pub tenant_id: Option<String>,
    /// Roles of the user.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Scopes that the key grants.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The user's plan.
    #[serde(default, deserialize_with = "present")]
    pub plan: Option<String>,
    /// Further identity headers, by name.
    #[serde(default)]
    pub attributes: BTreeMap<String, Vec<String>>,
    /// When the key becomes valid.
    #[serde(default, deserialize_with = "present")]
    pub not_before: Option<Timestamp>,
    /// When the key expires.
    #[serde(default, deserialize_with = "present")]
    pub expires_at: Option<Timestamp>,
    /// The key's lifetime, instead of `expires_at`.
    #[serde(default, deserialize_with = "present")]
    pub lifetime: Option<Span>,
}

/// Parameters of a rotation.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// How long the old key stays valid; one day if absent.
    #[serde(deserialize_with = "present")]
    pub overlap: Option<Span>,
    /// When the new key expires. If this and `lifetime` are absent: when the old key would have.
    #[serde(deserialize_with = "present")]
    pub expires_at: Option<Timestamp>,
    /// The new key's lifetime, instead of `expires_at`.
    #[serde(deserialize_with = "present")]
    pub lifetime: Option<Span>,
}

/// A key in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The part that gateways receive.
    pub record: KeyRecord,
    /// The name for operators.
    pub name: Option<String>,
    /// When it was created or imported.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The id of the key that replaced it in a rotation.
    pub replaced_by: Option<String>,
}

/// A time span, written as a whole number and a unit: `90s`, `15m`, `24h`, `90d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub(crate) Seconds);

/// The status of a key at a given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Valid now.
    Active,
    /// `not_before` is in the future.
    NotYetValid,
    /// `expires_at` has passed.
    Expired,
    /// Revoked by an operator.
    Revoked,
}

/// A key as operators see it, in JSON.
#[derive(Serialize)]
pub struct View<'a> {
    #[serde(flatten)]
    record: &'a KeyRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    status: Status,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<&'a str>,
}

/// The answer with a new key, which is shown only here.
#[derive(Serialize)]
pub struct Shown<'a> {
    /// The whole key.
    pub key: &'a str,
    /// The stored record.
    pub record: View<'a>,
}

/// The current time, in whole seconds.
pub fn now() -> Timestamp {
    Timestamp(wall().seconds())
}

/// The wall clock, since the epoch.
pub(crate) fn wall() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::from(since)
}

impl NewKey {
    /// Makes the stored key with this id and hash. `Err` names an invalid field.
    pub(crate) fn store(self, id: String, hash: KeyHash, now: Timestamp) -> Result<StoredKey> {
        let expires_at = end(self.expires_at, self.lifetime, now)?;
        if let (Some(from), Some(end)) = (self.not_before, expires_at)
            && from >= end
        {
            return Err(Error::invalid("not_before must be before the expiry of the key"));
        }
        if let Some(name) = &self.name
            && (name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control))
        {
            return Err(Error::invalid(format!(
                "name must be 1 to {MAX_NAME} bytes of text without control characters"
            )));
        }
        for (name, values) in &self.attributes {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) || values.is_empty() {
                return Err(Error::invalid(
                    "attributes need a name of letters, digits, `.`, `_` or `-`, and a value",
                ));
            }
        }
        let record = KeyRecord {
            id,
            hash,
            user_id: self.user_id,
            tenant_id: self.tenant_id,
            roles: self.roles,
            scopes: self.scopes,
            plan: self.plan,
            attributes: self.attributes,
            not_before: self.not_before,
            expires_at,
        };
        record
            .check()
            .map_err(|(field, problem)| Error::Invalid(format!("{field} {problem}")))?;
        Ok(StoredKey {
            record,
            name: self.name,
            created_at: now,
            revoked_at: None,
            replaced_by: None,
        })
    }
}

/// When a key expires that is created now; `None` is never.
pub(crate) fn end(at: Option<Timestamp>, lifetime: Option<Span>, now: Timestamp) -> Result<Option<Timestamp>> {
    let end = match (at, lifetime) {
        (Some(_), Some(_)) => return Err(Error::invalid("expires_at and lifetime exclude each other")),
        (at, None) => at,
        (None, Some(span)) => Some(span.after(now)),
    };
    if end.is_some_and(|end| end <= now) {
        return Err(Error::invalid("the key would have expired already"));
    }
    Ok(end)
}

impl StoredKey {
    /// Its status at `now`.
    pub fn status(&self, now: Timestamp) -> Status {
        match self.record.validity().check(now.0) {
            _ if self.revoked_at.is_some() => Status::Revoked,
            Ok(()) => Status::Active,
            Err("expired") => Status::Expired,
            Err(_) => Status::NotYetValid,
        }
    }

    /// The key as operators see it.
    pub fn view(&self, now: Timestamp) -> View<'_> {
        View {
            record: &self.record,
            name: self.name.as_deref(),
            status: self.status(now),
            created_at: self.created_at,
            revoked_at: self.revoked_at,
            replaced_by: self.replaced_by.as_deref(),
        }
    }
}

impl Status {
    /// The name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Span {
    /// Parses a span; `None` if it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        let count: u32 = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())??;
        Some(Self(Seconds::new(u64::from(count).checked_mul(seconds)?)))
    }

    /// `moment` plus this span, at most [`LATEST`].
    pub(crate) fn after(self, moment: Timestamp) -> Timestamp {
        Timestamp(moment.0.saturating_add(self.0).min(LATEST))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        use serde::de::Error as _;
        Self::parse(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom(SPAN))
    }
}

/// The error message for a malformed span.
pub const SPAN: &str = "a span is a whole number and a unit, such as `90s`, `15m`, `24h` or `90d`";

const MAX_NAME: usize = 200;

/// 9999-12-31T23:59:59Z, the last time in RFC 3339.
const LATEST: Seconds = Seconds::new(253_402_300_799);

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(seconds: u64) -> Timestamp {
        Timestamp(Seconds::new(seconds))
    }

    #[test]
    fn spans_are_a_number_and_a_unit() {
        let seconds = |text| Span::parse(text).map(|Span(seconds)| seconds.get());
        assert_eq!(seconds("0s"), Some(0));
        assert_eq!(seconds("15m"), Some(900));
        assert_eq!(seconds("24h"), Some(86_400));
        assert_eq!(seconds("90d"), Some(7_776_000));
        for bad in ["", "s", "90", "1.5h", "-1s", "+1s", "1w", "9999999999d", "1é"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
        let far = Span::parse("4000000000d").unwrap().after(moment(1));
        assert_eq!(far.to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn what_no_key_can_have_is_refused() {
        let key = |more: serde_json::Value| {
            let mut body = serde_json::json!({"user_id": "u"});
            for (name, value) in more.as_object().unwrap() {
                body[name] = value.clone();
            }
            let key: NewKey = serde_json::from_value(body).unwrap();
            let hash = format!("v1:{}", "0".repeat(64)).parse().unwrap();
            key.store("k".into(), hash, moment(1_000))
                .map_err(|error| error.to_string())
        };
        let stored = key(serde_json::json!({"lifetime": "100s"})).unwrap();
        assert_eq!(stored.record.expires_at, Some(moment(1_100)));
        assert_eq!(stored.status(moment(1_099)), Status::Active);
        assert_eq!(stored.status(moment(1_100)), Status::Expired);
        for (more, problem) in [
            (serde_json::json!({"user_id": ""}), "user_id"),
            (serde_json::json!({"name": "a\nb"}), "name"),
            (serde_json::json!({"attributes": {"a b": ["x"]}}), "attributes"),
            (serde_json::json!({"attributes": {"a": []}}), "attributes"),
            (serde_json::json!({"lifetime": "0s"}), "expired already"),
            (
                serde_json::json!({"expires_at": "1970-01-01T00:00:01Z"}),
                "expired already",
            ),
            (
                serde_json::json!({"lifetime": "1s", "expires_at": "2070-01-01T00:00:01Z"}),
                "exclude",
            ),
            (
                serde_json::json!({"lifetime": "1s", "not_before": "2070-01-01T00:00:01Z"}),
                "not_before",
            ),
        ] {
            let error = key(more).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
