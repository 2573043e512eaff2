//! The registered claims of a JSON Web Token (RFC 7519 section 4.1), checked against what an issuer's tokens must say.

use serde_json::{Map, Value};

/// A token's payload.
pub type Claims = Map<String, Value>;

/// What the registered claims must say.
#[derive(Debug, Clone)]
pub struct ClaimRules {
    /// `aud` must name one of them, exactly.
    pub audiences: Vec<String>,
    /// How far clocks may differ, in seconds.
    pub leeway: u64,
    /// Claims that must be there.
    pub require: Vec<String>,
    /// How long a token may still live, in seconds.
    pub max_lifetime: Option<u64>,
}

impl ClaimRules {
    /// Checks a verified payload at `now`, in seconds since the epoch. `Err` is the reason, for the log and a metric.
    pub fn check(&self, claims: &Claims, now: u64) -> Result<(), &'static str> {
        if self.require.iter().any(|name| !claims.contains_key(name)) {
            return Err("claim_missing");
        }
        self.check_times(claims, now)?;
        self.check_audience(claims)?;
        match claims.get("sub") {
            None => Ok(()),
            Some(Value::String(subject)) if !subject.is_empty() => Ok(()),
            Some(_) => Err("sub_malformed"),
        }
    }

    fn check_times(&self, claims: &Claims, now: u64) -> Result<(), &'static str> {
        let latest = now.saturating_add(self.leeway);
        let expiry = numeric_date(claims, "exp")?;
        if expiry.is_some_and(|expiry| now >= expiry.saturating_add(self.leeway)) {
            return Err("expired");
        }
        if numeric_date(claims, "nbf")?.is_some_and(|not_before| not_before > latest) {
            return Err("not_yet_valid");
        }
        if numeric_date(claims, "iat")?.is_some_and(|issued| issued > latest) {
            return Err("issued_in_future");
        }
        match self.max_lifetime {
            Some(most) if expiry.is_none_or(|expiry| expiry > latest.saturating_add(most)) => Err("lives_too_long"),
            _ => Ok(()),
        }
    }

    fn check_audience(&self, claims: &Claims) -> Result<(), &'static str> {
        let named = match claims.get("aud") {
            Some(Value::String(audience)) => self.audiences.contains(audience),
            Some(Value::Array(items)) => {
                let texts: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
                texts
                    .ok_or("aud_malformed")?
                    .iter()
                    .any(|audience| self.audiences.iter().any(|own| own == audience))
            }
            _ => return Err("aud_malformed"),
        };
        if named { Ok(()) } else { Err("audience_mismatch") }
    }
}

/// A NumericDate (RFC 7519 section 2): a number of seconds, perhaps with a fraction, within the years that RFC 3339
/// can write. Anything else would be a date by accident.
fn numeric_date(claims: &Claims, name: &str) -> Result<Option<u64>, &'static str> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = match (value.as_u64(), value.as_f64()) {
        (Some(seconds), _) => Some(seconds),
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be in range"
        )]
        (None, Some(seconds)) if (0.0..LAST_DATE_AS_FLOAT).contains(&seconds) => Some(seconds as u64),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds <= LAST_DATE => Ok(Some(seconds)),
        _ => Err("date_malformed"),
    }
}

/// 9999-12-31T23:59:59Z.
const LAST_DATE: u64 = 253_402_300_799;
const LAST_DATE_AS_FLOAT: f64 = 253_402_300_799.0;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: u64 = 1_700_000_000;

    fn check(change: Value) -> Result<(), &'static str> {
        check_with(change, |_| {})
    }

    fn check_with(change: Value, configure: impl FnOnce(&mut ClaimRules)) -> Result<(), &'static str> {
        let mut claims = json!({"sub": "u1", "aud": "api", "exp": NOW + 300});
        for (name, value) in change.as_object().unwrap() {
            if value == "absent" {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        let mut rules = ClaimRules {
            audiences: vec!["api".into(), "web".into()],
            leeway: 60,
            require: vec!["exp".into()],
            max_lifetime: None,
        };
        configure(&mut rules);
        rules.check(claims.as_object().unwrap(), NOW)
    }

    #[test]
    fn times_hold_with_leeway_to_the_second() {
        assert_eq!(check(json!({})), Ok(()));
        assert_eq!(check(json!({"exp": NOW - 59})), Ok(()));
        assert_eq!(check(json!({"exp": NOW - 60})), Err("expired"));
        assert_eq!(check(json!({"exp": NOW as f64 + 0.5})), Ok(()));
        assert_eq!(check(json!({"nbf": NOW + 60, "iat": NOW + 60})), Ok(()));
        assert_eq!(check(json!({"nbf": NOW + 61})), Err("not_yet_valid"));
        assert_eq!(check(json!({"iat": NOW + 61})), Err("issued_in_future"));
    }

    #[test]
    fn what_is_not_a_date_is_refused() {
        assert_eq!(check(json!({"exp": "absent"})), Err("claim_missing"));
        assert_eq!(check(json!({"exp": 0})), Err("expired"));
        let huge = 9_007_199_254_740_993_u64;
        for bad in [
            json!(-1),
            json!(-0.5),
            json!(1e30),
            json!(huge),
            json!(1_u64 << 63),
            json!(u64::MAX),
            json!("1"),
            json!(true),
            json!(null),
            json!([NOW]),
            json!({}),
            json!(LAST_DATE + 1),
            json!(1e300),
        ] {
            for name in ["exp", "nbf", "iat"] {
                assert_eq!(check(json!({name: bad})), Err("date_malformed"), "{name} {bad}");
            }
        }
    }

    #[test]
    fn an_absent_expiry_passes_only_where_it_is_not_required() {
        assert_eq!(
            check_with(json!({"exp": "absent"}), |rules| rules.require.clear()),
            Ok(())
        );
        let limited = |rules: &mut ClaimRules| (rules.require.clear(), rules.max_lifetime = Some(3600)).0;
        assert_eq!(check_with(json!({"exp": "absent"}), limited), Err("lives_too_long"));
        assert_eq!(check_with(json!({"exp": NOW + 3660}), limited), Ok(()));
        assert_eq!(check_with(json!({"exp": NOW + 3661}), limited), Err("lives_too_long"));
        assert_eq!(
            check_with(json!({}), |rules| rules.require.push("jti".into())),
            Err("claim_missing")
        );
    }

    #[test]
    fn audiences_are_exact() {
        for good in [json!("api"), json!("web"), json!(["x", "api"])] {
            assert_eq!(check(json!({"aud": good})), Ok(()), "{good}");
        }
        for bad in [
            json!("API"),
            json!("api/"),
            json!("https://api"),
            json!("ap"),
            json!("api2"),
            json!(""),
            json!(["x"]),
            json!([]),
        ] {
            assert_eq!(check(json!({"aud": bad})), Err("audience_mismatch"), "{bad}");
        }
        for bad in [
            json!("absent"),
            json!(null),
            json!(1),
            json!({"api": 1}),
            json!(["api", 1]),
            json!([["api"]]),
        ] {
            assert_eq!(check(json!({"aud": bad})), Err("aud_malformed"), "{bad}");
        }
    }

    #[test]
    fn a_subject_is_text() {
        assert_eq!(check(json!({"sub": "absent"})), Ok(()));
        for bad in [json!(""), json!(1), json!(null), json!(["u1"])] {
            assert_eq!(check(json!({"sub": bad})), Err("sub_malformed"), "{bad}");
        }
    }
}
