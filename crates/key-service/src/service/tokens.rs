//! The bearer tokens of the service: one for gateways, one for administrators.

use subtle::ConstantTimeEq as _;

use crate::error::{Error, Result};

/// Both tokens, without `Debug`.
pub struct Tokens {
    admin: String,
    lookup: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Admin,
    Lookup,
}

impl Tokens {
    /// Reads the tokens; `Err` says how to create one.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let find = |name: &str| match variable(name) {
            Some(token) if token.len() >= MIN_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(token),
            Some(_) => Err(Error::Invalid(format!(
                "{name} needs at least {MIN_TOKEN} visible ASCII characters; create one: openssl rand -hex 32"
            ))),
            None => Err(Error::Invalid(format!(
                "{name} is not set; create one: export {name}=$(openssl rand -hex 32)"
            ))),
        };
        let tokens = Self {
            admin: find(ADMIN)?,
            lookup: find(LOOKUP)?,
        };
        if tokens.admin == tokens.lookup {
            return Err(Error::Invalid(format!("{ADMIN} and {LOOKUP} must differ")));
        }
        Ok(tokens)
    }

    /// Whether an `Authorization` header has the token of this role.
    pub(super) fn admit(&self, role: Role, authorization: &[u8]) -> bool {
        let token = match role {
            Role::Admin => &self.admin,
            Role::Lookup => &self.lookup,
        };
        authorization
            .split_at_checked(SCHEME.len())
            .is_some_and(|(scheme, sent)| {
                scheme.eq_ignore_ascii_case(SCHEME) && bool::from(sent.ct_eq(token.as_bytes()))
            })
    }
}

const ADMIN: &str = "TOLLGATE_KEYS_ADMIN_TOKEN";
const LOOKUP: &str = "TOLLGATE_KEYS_LOOKUP_TOKEN";

const SCHEME: &[u8] = b"bearer ";

const MIN_TOKEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(admin: &str, lookup: &str) -> std::result::Result<Tokens, String> {
        let find = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        Tokens::from_environment(|name| find(if name == ADMIN { admin } else { lookup }))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn each_role_has_its_own_token() {
        let (admin, lookup) = ("a".repeat(32), "l".repeat(32));
        let tokens = tokens(&admin, &lookup).unwrap();
        assert!(tokens.admit(Role::Admin, format!("Bearer {admin}").as_bytes()));
        assert!(tokens.admit(Role::Lookup, format!("bearer {lookup}").as_bytes()));
        for wrong in [
            format!("Bearer {lookup}"),
            format!("Bearer {admin}a"),
            format!("Bearer  {admin}"),
            format!("Basic {admin}"),
            admin.clone(),
            "Bearer ".into(),
            String::new(),
        ] {
            assert!(!tokens.admit(Role::Admin, wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn weak_tokens_are_refused_and_not_shown() {
        let long = "l".repeat(32);
        for (admin, lookup, problem) in [
            ("", &*long, "ADMIN_TOKEN is not set"),
            (&*long, "", "LOOKUP_TOKEN is not set"),
            ("s3cr3t", &*long, "at least 32"),
            (&*long, &*long, "must differ"),
        ] {
            let error = tokens(admin, lookup).err().unwrap();
            assert!(error.contains(problem) && !error.contains("s3cr3t"), "{error}");
        }
    }
}
