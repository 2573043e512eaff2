//! Messages as policies see them: parsed, checked to be unambiguous, and with the decisions about them.

pub mod body;
pub mod grpc;
pub mod identity;
pub mod managed_names;
pub mod media_range;
pub mod memory;
pub mod request;
pub mod response;
pub mod target;
