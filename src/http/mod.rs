//! Raw parts of HTTP messages: headers, what becomes of them, and pieces of bodies.

pub mod piece;
