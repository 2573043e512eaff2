//! The identity of a caller.

use std::sync::Arc;

/// Proof that a credential was verified. Only the authenticate stage makes one; a test checks the sources for that.
#[derive(Debug)]
pub struct Authenticated(());

impl Authenticated {
    /// Only for the authenticate stage.
    pub(crate) const fn by_a_verified_credential() -> Self {
        Self(())
    }
}

/// A verified identity. Only the authenticate stage can make one, as the constructor takes its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(Arc<Subject>);

/// The caller that a credential describes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The kind of credential: `jwt` or `api_key`.
    pub method: &'static str,
    /// A token's `iss`. User and tenant ids are unique only within one issuer.
    pub issuer: Option<String>,
    /// The public id of an API key.
    pub key_id: Option<String>,
    /// The user; never empty.
    pub user_id: String,
    /// The tenant that the user belongs to.
    pub tenant_id: Option<String>,
    /// Roles, in the credential's order.
    pub roles: Vec<String>,
    /// Scopes, in the credential's order.
    pub scopes: Vec<String>,
    /// The plan of the tenant or user.
    pub plan: Option<String>,
    /// Further claims, by attribute names of the configuration.
    pub attributes: Vec<(String, Vec<String>)>,
}

impl Identity {
    /// Makes an identity from a verified credential's subject.
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
    /// It is too long.
    TooLong,
}

/// Checks a value for a header: not empty, at most `most` bytes, no control characters. It may need percent-encoding.
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

/// Checks a list for one header: each value, and the total size with commas.
pub fn check_list(values: &[String], most: usize) -> Result<(), Unfit> {
    values.iter().try_for_each(|value| check_value(value, most))?;
    let size = values.iter().fold(0_usize, |size, value| {
        size.saturating_add(value.len()).saturating_add(1)
    });
    if size > most { Err(Unfit::TooLong) } else { Ok(()) }
}
