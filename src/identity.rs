//! Who a request is from, once that is proven.

use std::rc::Rc;

use crate::policy::authenticate::Authenticated;

/// A proven identity. Only the authenticate stage can make one: the constructor takes its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(Rc<Subject>);

/// What a credential says of its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// How it was proven: `jwt`.
    pub method: &'static str,
    /// Who vouches for it: a token's `iss`. User and tenant names mean something within one issuer only.
    pub issuer: Option<String>,
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
    pub fn new(subject: Rc<Subject>, _proof: Authenticated) -> Self {
        Self(subject)
    }
}

impl std::ops::Deref for Identity {
    type Target = Subject;

    fn deref(&self) -> &Subject {
        &self.0
    }
}
