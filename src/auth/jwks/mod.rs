//! Keys that an issuer publishes: fetched by one worker for all, kept while the issuer is away.

mod config;
mod fetched;
mod remote;
mod schedule;

pub use config::RemoteConfig;
pub use remote::{Lookup, RemoteKeys};
