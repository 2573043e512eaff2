//! JSON: strict parsing for decisions, and edits that preserve the text of everything unchanged.

mod checked;
mod mask;
mod path;
mod strict;
mod tree;

pub use checked::check;
pub use mask::Mask;
pub use path::{Name, Path, Segment};
pub use strict::{MAX_DEPTH, parse, without_byte_order_mark};
pub use tree::Node;
