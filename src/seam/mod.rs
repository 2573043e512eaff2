//! The contract between the core and a shell: what a shell tells, what it is asked, and what it is to do.
//!
//! A shell tells an [`Exchange`](crate::exchange::Exchange) of each [`Event`] and carries out the [`Step`] that comes back; it sends each [`Call`]
//! that a [`Worker`](crate::gateway::worker::Worker) hands out, and tells it of the [`Answer`]. It decides nothing: what fails in it is an event too.

mod call;
mod context;
mod event;
mod host;
mod step;
pub mod store;
mod wait;

pub use call::{Answer, Call, Caller, Outcome, document};
pub use context::{Context, Local, Locals};
pub use event::{Event, HostFailure};
pub use host::{Host, SignatureCheck};
pub use step::{Note, Reply, Step, Then};
pub use wait::{StreamId, Ticket, Wait, WaitKind, Wakes, Wakeup};

#[cfg(not(target_arch = "wasm32"))]
pub use host::simulated;
