//! The key service: API keys in a database, the operations on them, and the HTTP service for gateways and
//! administrators. The command `tollgate keys` links this crate; the command itself only reads arguments and prints.
//!
//! A [`Registry`] creates and changes the keys of a [`Store`]; [`serve`] offers it over HTTP. A key is shown once, when
//! it is created; the database stores only its hash. [`Error`]s name settings as the command does: `--database`,
//! `--listen`.

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
