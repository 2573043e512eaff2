//! The registered claims of a JSON Web Token (RFC 7519 section 4.1) and the rules for them.

use serde_json::{Map, Value};

use crate::clock::Seconds;

/// A token's payload.
pub type Claims = Map<String, Value>;

/// An issuer's rules for the registered claims.
#[derive(Debug, Clone)]
pub struct ClaimRules {
    /// `aud` must name one of them, exactly.
    pub audiences: Vec<String>,
    /// The leeway for clock differences.
    pub leeway: Seconds,
    /// Claims that must be present.
    pub require: Vec<String>,
    /// Maximum remaining lifetime of a token.
    pub max_lifetime: Option<Seconds>,
}

/// The parsed registered claims of a token, which are the same at every use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// `aud`, as a list.
    pub audiences: Vec<String>,
    expiry: Option<Seconds>,
    not_before: Option<Seconds>,
    issued_at: Option<Seconds>,
}

impl ClaimRules {
    /// Parses the claims of a verified payload: required ones must be present, and all well-formed. `Err` is the
    /// reason, for the log and a metric.
    pub fn read(&self, claims: &Claims) -> Result<Registered, &'static str> {
        if self.require.iter().any(|name| !claims.contains_key(name)) {
            return Err("claim_missing");
        }
        match claims.get("sub") {
            None => {}
            Some(Value::String(subject)) if !subject.is_empty() => {}
            Some(_) => return Err("sub_malformed"),
        }
        Ok(Registered {
            audiences: audiences(claims)?,
            expiry: numeric_date(claims, "exp")?,
            not_before: numeric_date(claims, "nbf")?,
            issued_at: numeric_date(claims, "iat")?,
        })
    }

    /// Checks claims at `now`, by the wall clock. Must be called at every use of a token.
    pub fn check(&self, claims: &Registered, now: Seconds) -> Result<(), &'static str> {
        let latest = now.saturating_add(self.leeway);
        if claims
            .expiry
            .is_some_and(|expiry| now >= expiry.saturating_add(self.leeway))
        {
            return Err("expired");
        }
        if claims.not_before.is_some_and(|not_before| not_before > latest) {
            return Err("not_yet_valid");
        }
        if claims.issued_at.is_some_and(|issued| issued > latest) {
            return Err("issued_in_future");
        }
        match self.max_lifetime {
            Some(most) if claims.expiry.is_none_or(|expiry| expiry > latest.saturating_add(most)) => {
                return Err("lives_too_long");
            }
            _ => {}
        }
        if claims.names_audience(&self.audiences) {
            Ok(())
        } else {
            Err("audience_mismatch")
        }
    }
}

impl Registered {
    /// Whether `aud` has one of these audiences, compared exactly.
    pub fn names_audience(&self, audiences: &[String]) -> bool {
        self.audiences.iter().any(|audience| audiences.contains(audience))
    }
}

/// Parses `aud`: a string or a list of strings.
fn audiences(claims: &Claims) -> Result<Vec<String>, &'static str> {
    let items = match claims.get("aud") {
        Some(Value::Array(items)) => items.as_slice(),
        Some(single) => std::slice::from_ref(single),
        None => &[],
    };
    let texts: Option<Vec<_>> = items.iter().map(|item| item.as_str().map(Into::into)).collect();
    texts.filter(|_| claims.contains_key("aud")).ok_or("aud_malformed")
}

/// Parses a NumericDate (RFC 7519 section 2): seconds, possibly with a fraction, up to the last year of RFC 3339.
/// Larger numbers are refused as mistakes.
fn numeric_date(claims: &Claims, name: &str) -> Result<Option<Seconds>, &'static str> {
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
        Some(seconds) if seconds <= LAST_DATE => Ok(Some(Seconds::new(seconds))),
        _ => Err("date_malformed"),
    }
}

/// 9999-12-31T23:59:59Z, in seconds since the epoch.
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
            leeway: Seconds::new(60),
            require: vec!["exp".into()],
            max_lifetime: None,
        };
        configure(&mut rules);
        rules
            .read(claims.as_object().unwrap())
            .and_then(|claims| rules.check(&claims, Seconds::new(NOW)))
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
        let limited = |rules: &mut ClaimRules| (rules.require.clear(), rules.max_lifetime = Some(Seconds::new(3600))).0;
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
