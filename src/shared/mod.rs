//! What requests share: tables in the memory of all workers, breakers, calls under way, and the requests that wait for them.

pub mod breaker;
pub mod calls;
pub mod suspended;
pub mod table;
