//! The interface between the core and a shell.
//!
//! A shell passes each [`Event`] to an [`Exchange`](crate::exchange::Exchange) and carries out the returned [`Step`];
//! it sends each [`Call`] of a [`Worker`](crate::gateway::worker::Worker), and delivers the [`Answer`]. It makes no
//! decisions: its failures are events too.

mod call;
mod context;
mod event;
mod host;
mod step;
pub mod store;
mod wait;

pub use call::{Answer, Call, Caller, Lost, Outcome, document};
pub use context::{Context, Local, Locals};
pub use event::{Event, HostFailure};
pub use host::{Host, Prepared, SignatureCheck};
pub use step::{Note, Reply, Step, Then};
pub use wait::{StreamId, Ticket, Wait, WaitKind, Wakes, Wakeup};

#[cfg(not(target_arch = "wasm32"))]
pub use host::simulated;
