//! Bodies as the host tells of them, piece by piece.

use std::fmt;

/// Which message of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the upstream.
    Request,
    /// From the upstream, or from Envoy.
    Response,
}

/// A piece of a body, or all that is held of it.
pub struct Chunk<'a> {
    /// Bytes: of all that is held where the body is held, of this piece otherwise.
    pub size: usize,
    /// Whether nothing follows but trailers.
    pub ends: bool,
    /// Reads all that is held.
    pub read: &'a dyn Fn() -> Option<Vec<u8>>,
}

impl fmt::Debug for Chunk<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Chunk({}, {})", self.size, self.ends)
    }
}
