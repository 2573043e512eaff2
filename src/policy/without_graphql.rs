//! A build without the feature `graphql`: what a configuration says of GraphQL is refused.

use serde::de::{Deserialize, Deserializer, IgnoredAny};

use super::parts::Parts;
use super::{Policy, Rule};
use crate::config::Report;
use crate::denial::Refusal;
use crate::schema::schema;

/// A GraphQL schema whose fields are parts. This build does not read it.
#[derive(Debug, Clone, Copy)]
pub struct GraphqlConfig;

impl<'de> Deserialize<'de> for GraphqlConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

schema!(GraphqlConfig, "Graphql", true);

/// The parts of a schema's fields: none.
pub const fn parts_of(_: &GraphqlConfig, _: &Parts) -> Vec<usize> {
    Vec::new()
}

/// Refuses the configuration.
pub fn compile(_: &GraphqlConfig, _: &Parts, _: &Rule<'_>, report: &mut Report) -> Option<Box<dyn Policy>> {
    report.error_at(
        "graphql",
        "is not in this build of the plugin; use the one with the feature `graphql`",
    );
    None
}

/// None: nothing is served.
pub const REFUSALS: &[Refusal] = &[];
