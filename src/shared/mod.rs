//! State that requests share: tables in shared memory, circuit breakers, calls in flight, and suspended requests.

pub mod breaker;
pub mod calls;
pub mod kept;
pub mod suspended;
pub mod table;
