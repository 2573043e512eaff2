//! JSON Web Tokens: trusted issuers, verification, and identities from claims.

mod accept;
mod cache;
mod config;
mod issuer;
mod issuers;
mod keys;
mod subject;

pub use accept::Accept;
pub use config::{IssuerConfig, JwksConfig, JwtConfig, SecretConfig};
pub use issuers::Issuers;
pub use subject::{ClaimPath, ClaimsConfig, TenantConfig};
