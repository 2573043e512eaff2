//! Keys that an issuer publishes: fetched by one worker for all, kept while the issuer is away.

mod fetched;
mod remote;
mod schedule;

pub use fetched::MAX_BODY;
pub use remote::{Fetch, Fetched, Lookup, RemoteConfig, RemoteKeys};
