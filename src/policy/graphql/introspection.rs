//! Questions about the schema itself (specification section 4), which the schema's crate answers.

use apollo_compiler::ExecutableDocument;
use apollo_compiler::executable::Operation;
use apollo_compiler::introspection::{check_max_depth, partial_execute};
use apollo_compiler::response::JsonMap;
use apollo_compiler::validation::Valid;

use super::bound::Bound;
use super::extent::extent;
use super::fault::Refusal;
use super::input::Variables;

/// The answers of the root fields `__schema` and `__type` as JSON, by response name.
pub(super) fn answer(
    bound: &Bound,
    document: &Valid<ExecutableDocument>,
    operation: &Operation,
    variables: &Variables,
) -> Result<Vec<(String, String)>, Refusal> {
    if check_max_depth(document, operation).is_err() {
        return Err(Refusal::over("depth", bound.limits.depth));
    }
    let most = bound.limits.answer.div_ceil(LEAST);
    if extent(bound, document, operation, variables, most) > most {
        return Err(Refusal::over("answer", bound.limits.answer));
    }
    let variables = variables
        .iter()
        .filter_map(|(name, value)| Some((name.to_owned(), serde_json::from_str(value).ok()?)));
    let mut values = JsonMap::new();
    for (name, value) in variables {
        values.insert(name, value);
    }
    let values = Valid::assume_valid(values);
    let answered = partial_execute(&bound.schema, &bound.implementers, document, operation, &values);
    let unusable = || Refusal::new("GRAPHQL_VALIDATION_FAILED", "The schema cannot be asked in this way.");
    let answered = answered.map_err(|_| unusable())?;
    if !answered.errors.is_empty() {
        return Err(unusable());
    }
    let data = answered.data.ok_or_else(unusable)?;
    let members = data.iter().map(|(name, value)| {
        let text = serde_json::to_string(value).unwrap_or_else(|_| "null".into());
        (name.as_str().to_owned(), text)
    });
    Ok(members.collect())
}

/// The bytes that a field takes in an answer at least: `"a":1,`.
const LEAST: u64 = 6;
