//! Keys that an issuer publishes: fetched by one worker for all, kept while the issuer is away.

mod fetched;
mod remote;
mod schedule;

pub use remote::{Lookup, RemoteConfig, RemoteKeys};
