//! Published keys of an issuer (JWKS), fetched by one worker for all, and used while the issuer is unavailable.

mod config;
mod fetched;
mod remote;
mod schedule;

pub use config::RemoteConfig;
pub use remote::{Lookup, RemoteKeys};
