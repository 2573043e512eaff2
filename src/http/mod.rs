//! Raw parts of HTTP messages: headers, changes of headers, and pieces of bodies.

pub mod cache_control;
pub mod changes;
pub mod edits;
pub mod headers;
pub mod list;
pub mod piece;
