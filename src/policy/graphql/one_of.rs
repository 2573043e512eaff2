//! OneOf input objects (specification section 3.10.1), which the schema's crate does not know: the directive, and the rule
//! that a value has exactly one member, which is not null.

use apollo_compiler::ast::{Type, Value};
use apollo_compiler::executable::{Operation, Selection, SelectionSet};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::{ExecutableDocument, Node as Shared, Schema};

use super::document::place;
use super::fault::Refusal;

/// The definition of the directive, for schemas without it.
pub(super) const DEFINITION: &str = "directive @oneOf on INPUT_OBJECT";

/// Checks every value of a document.
pub(super) fn check(schema: &Schema, document: &ExecutableDocument) -> Result<(), Refusal> {
    if !schema.types.values().any(is_one_of) {
        return Ok(());
    }
    let check = Check { schema, document };
    let found = document.operations.iter().find_map(|operation| {
        let defaults = operation.variables.iter();
        let mut defaults = defaults.filter_map(|own| check.value(&own.ty, own.default_value.as_ref()?, operation));
        defaults
            .next()
            .or_else(|| check.set(&operation.selection_set, operation, &mut Vec::new()))
    });
    match found {
        None => Ok(()),
        Some(value) => Err(Refusal::at(
            "GRAPHQL_VALIDATION_FAILED",
            "a OneOf input object has exactly one member, which is not null",
            place(&document.sources, value.location()),
        )),
    }
}

/// Whether a type is a OneOf input object.
fn is_one_of(ty: &ExtendedType) -> bool {
    ty.is_input_object() && ty.directives().has("oneOf")
}

struct Check<'a> {
    schema: &'a Schema,
    document: &'a ExecutableDocument,
}

impl<'a> Check<'a> {
    /// The first wrong value in a selection set.
    fn set(&self, set: &'a SelectionSet, operation: &Operation, seen: &mut Vec<&'a str>) -> Option<&'a Shared<Value>> {
        set.selections.iter().find_map(|selection| match selection {
            Selection::Field(field) => {
                let own = field.arguments.iter().find_map(|argument| {
                    let definition = field.definition.argument_by_name(&argument.name)?;
                    self.value(&definition.ty, &argument.value, operation)
                });
                own.or_else(|| self.set(&field.selection_set, operation, seen))
            }
            Selection::InlineFragment(fragment) => self.set(&fragment.selection_set, operation, seen),
            Selection::FragmentSpread(spread) => {
                let name = spread.fragment_name.as_str();
                if seen.contains(&name) {
                    return None;
                }
                seen.push(name);
                let fragment = self.document.fragments.get(name)?;
                self.set(&fragment.selection_set, operation, seen)
            }
        })
    }

    /// The first wrong value in a value.
    fn value(&self, ty: &Type, value: &'a Shared<Value>, operation: &Operation) -> Option<&'a Shared<Value>> {
        if let Value::List(items) = value.as_ref() {
            let inner = if ty.is_list() { ty.item_type() } else { ty };
            return items.iter().find_map(|item| self.value(inner, item, operation));
        }
        let Value::Object(members) = value.as_ref() else {
            return None;
        };
        let own = self.schema.types.get(ty.inner_named_type())?;
        let fields = &own.as_input_object()?.fields;
        let is_right = match members.as_slice() {
            [(_, only)] => match only.as_ref() {
                Value::Null => false,
                Value::Variable(name) => {
                    let mut variables = operation.variables.iter();
                    variables.any(|variable| variable.name == *name && variable.ty.is_non_null())
                }
                _ => true,
            },
            _ => false,
        };
        if is_one_of(own) && !is_right {
            return Some(value);
        }
        members
            .iter()
            .find_map(|(name, value)| self.value(&fields.get(name)?.ty, value, operation))
    }
}
