//! What the bundled gateway tells of itself: a line and a span for every request, and figures.

mod log;
mod metrics;
mod trace;
