//! The key service: API keys in a database, what can be done with them, and the HTTP service that gateways and
//! administrators ask. The operator's command links it: it reads arguments and prints, and all else is here.
//!
//! A [`Registry`] makes and changes the keys of a [`Store`]; [`serve`] answers for it over HTTP. Keys are seen once, when they
//! are made; the database has their hashes only. [`Error`]s name settings as the command does: `--database`, `--listen`.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        reason = "a test may fail by panicking"
    )
)]

mod cloud_event;
mod error;
mod log;
mod model;
mod outbox;
mod registry;
mod service;
mod store;

pub use error::{Error, Result};
pub use log::plain;
pub use model::{NewKey, Rotation, SPAN, Shown, Span, Status, StoredKey, View, now};
pub use outbox::Webhook;
pub use registry::{Made, Registry, revoke};
pub use service::{Tokens, serve};
pub use store::{Event, Filter, Store};
