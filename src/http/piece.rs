//! Pieces of bodies, as the host delivers them.

use std::fmt;

/// One of the two messages of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The request, to the upstream.
    Request,
    /// The response, from the upstream or from Envoy.
    Response,
}

/// A piece of a body, or the whole held body.
pub struct Chunk<'a> {
    /// The size in bytes: of the whole held body if it is held, otherwise of this piece.
    pub size: usize,
    /// Whether this is the end of the body.
    pub ends: bool,
    /// Reads these bytes; `None` if the host call fails.
    pub read: &'a dyn Fn() -> Option<Vec<u8>>,
}

impl fmt::Debug for Chunk<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Chunk({}, {})", self.size, self.ends)
    }
}
