//! Messages as policies see them: taken apart, checked to have one meaning, and with what has been decided about them.

pub mod body;
pub mod grpc;
pub mod identity;
pub mod managed_names;
pub mod media_range;
pub mod memory;
pub mod request;
pub mod response;
pub mod target;
