//! JSON Web Tokens: which issuers are trusted, and what becomes of their claims.

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
