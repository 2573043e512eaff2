//! Who a request is from, once that is proven.

use std::sync::Arc;

/// Proof that a credential has passed every check. Only the authenticate stage makes one; a test holds the sources to that.
#[derive(Debug)]
pub struct Authenticated(());

impl Authenticated {
    /// For the authenticate stage alone.
    pub(crate) const fn by_a_verified_credential() -> Self {
        Self(())
    }
}

/// A proven identity. Only the authenticate stage can make one: the constructor takes its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(Arc<Subject>);

/// What a credential says of its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// How it was proven: `jwt` or `api_key`.
    pub method: &'static str,
    /// Who vouches for it: a token's `iss`. User and tenant names mean something within one issuer only.
    pub issuer: Option<String>,
    /// The public name of an API key.
    pub key_id: Option<String>,
    /// The user; never empty.
    pub user_id: String,
    /// The tenant that the user belongs to.
    pub tenant_id: Option<String>,
    /// Roles, in the credential's order.
    pub roles: Vec<String>,
    /// Scopes, in the credential's order.
    pub scopes: Vec<String>,
    /// The plan that the tenant or user is on.
    pub plan: Option<String>,
    /// Further claims by the names that the configuration gives them.
    pub attributes: Vec<(String, Vec<String>)>,
}

impl Identity {
    /// What a verified credential says becomes who the request is from.
    pub fn new(subject: Arc<Subject>, _proof: Authenticated) -> Self {
        Self(subject)
    }
}

impl std::ops::Deref for Identity {
    type Target = Subject;

    fn deref(&self) -> &Subject {
        &self.0
    }
}

/// Why a value cannot become an identity header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It is empty.
    Empty,
    /// It has control characters.
    Control,
    /// It is longer than the bound.
    TooLong,
}

/// What a header can carry, percent-encoded: not empty, at most `most` bytes, no control characters.
pub fn check_value(value: &str, most: usize) -> Result<(), Unfit> {
    if value.is_empty() {
        Err(Unfit::Empty)
    } else if value.chars().any(char::is_control) {
        Err(Unfit::Control)
    } else if value.len() > most {
        Err(Unfit::TooLong)
    } else {
        Ok(())
    }
}

/// The same for a list, which goes into one header, with a comma behind each.
pub fn check_list(values: &[String], most: usize) -> Result<(), Unfit> {
    values.iter().try_for_each(|value| check_value(value, most))?;
    let size = values.iter().fold(0_usize, |size, value| {
        size.saturating_add(value.len()).saturating_add(1)
    });
    if size > most { Err(Unfit::TooLong) } else { Ok(()) }
}
