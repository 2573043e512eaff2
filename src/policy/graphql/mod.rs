//! GraphQL: a schema whose fields are parts. It is the last policy of a rule, and answers in place of an upstream.

mod bound;
mod check;
mod colons;
mod compile;
mod complete;
mod config;
mod document;
mod execute;
mod extent;
mod fault;
mod http;
mod input;
mod introspection;
mod known;
mod one_of;
mod output;
mod plan;
mod serve;
mod tools;
mod worst;

pub use compile::compile;
pub use config::GraphqlConfig;
pub use tools::{introspection, printed};

use crate::denial::Refusal;
use crate::policy::parts::Parts;

/// The places of the parts that a schema's fields need.
pub fn parts_of(config: &GraphqlConfig, parts: &Parts) -> Vec<usize> {
    let named = config.fields.0.iter().filter_map(|(_, field)| field.part.as_deref());
    parts.reached(named)
}

/// The client wants neither of the media types that there are.
const NOT_ACCEPTABLE: Refusal = Refusal {
    status: 406,
    title: "Not Acceptable",
    code: "not_acceptable",
    grpc_status: 3,
};

/// A GET with credentials in cookies lacks a header that pages of other sites cannot send without asking.
const PREFLIGHT_REQUIRED: Refusal = Refusal {
    status: 403,
    title: "Forbidden",
    code: "preflight_required",
    grpc_status: 7,
};

/// The refusals that only GraphQL makes.
pub const REFUSALS: &[Refusal] = &[NOT_ACCEPTABLE, PREFLIGHT_REQUIRED];

#[cfg(test)]
mod tests;
