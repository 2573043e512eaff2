//! What tools for clients read: the schema's introspection, and the schema as text.

use apollo_compiler::ExecutableDocument;
use apollo_compiler::collections::HashMap;
use apollo_compiler::introspection::partial_execute;
use apollo_compiler::response::JsonMap;
use apollo_compiler::validation::Valid;

use super::compile::schema;
use super::config::GraphqlConfig;
use crate::config::Report;

/// The answer to the introspection query that client generators ask, as a JSON document with `data`; `None` if the schema has
/// errors.
pub fn introspection(config: &GraphqlConfig) -> Option<String> {
    let schema = schema(&config.schema, &mut Report::default())?;
    let document = ExecutableDocument::parse_and_validate(&schema, QUERY, "introspection").ok()?;
    let operation = document.operations.iter().next()?;
    let implementers: HashMap<_, _> = schema.implementers_map();
    let variables = Valid::assume_valid(JsonMap::new());
    let answer = partial_execute(&schema, &implementers, &document, operation, &variables).ok()?;
    serde_json::to_string_pretty(&serde_json::json!({"data": answer.data?})).ok()
}

/// The schema in its definition language, in one style; `None` if it has errors.
pub fn printed(config: &GraphqlConfig) -> Option<String> {
    let schema = schema(&config.schema, &mut Report::default())?;
    Some(schema.to_string())
}

const QUERY: &str = "
query Introspection {
  __schema {
    description
    queryType { name }
    mutationType { name }
    subscriptionType { name }
    types { ...Full }
    directives { name description isRepeatable locations args(includeDeprecated: true) { ...Input } }
  }
}
fragment Full on __Type {
  kind
  name
  description
  specifiedByURL
  fields(includeDeprecated: true) {
    name
    description
    args(includeDeprecated: true) { ...Input }
    type { ...Ref }
    isDeprecated
    deprecationReason
  }
  inputFields(includeDeprecated: true) { ...Input }
  interfaces { ...Ref }
  enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
  possibleTypes { ...Ref }
}
fragment Input on __InputValue { name description type { ...Ref } defaultValue isDeprecated deprecationReason }
fragment Ref on __Type {
  kind name
  ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } }
}
";
