//! How many fields an answer about the schema has, counted before it is made: lists within lists multiply.

use std::collections::HashMap;

use apollo_compiler::ast::{DirectiveDefinition, FieldDefinition, InputValueDefinition, Type};
use apollo_compiler::executable::{Field, Operation, Selection, SelectionSet};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::{ExecutableDocument, Name};

use super::bound::Bound;
use super::input::Variables;

/// Counts fields. Those that conditions leave out count, and what is deprecated.
struct Extent<'a> {
    bound: &'a Bound,
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    /// What has been counted, by selection set and type: each is counted once.
    known: HashMap<(usize, &'a Name, usize), u64>,
    /// What counting may still take: a field is a step.
    steps: u64,
}

/// An object of the schema about the schema (specification section 4.2).
#[derive(Clone, Copy)]
enum Object<'a> {
    /// The one that has `__schema` and `__type`.
    Root,
    Schema,
    Directive(&'a DirectiveDefinition),
    /// With so many lists and non-nulls around it.
    Type(&'a Name, usize),
    Field(&'a FieldDefinition),
    Input(&'a InputValueDefinition),
    EnumValue,
}

/// The number of fields in what an operation asks about the schema; one that is above `most` need not be exact.
pub(super) fn extent(
    bound: &Bound,
    document: &ExecutableDocument,
    operation: &Operation,
    variables: &Variables,
    most: u64,
) -> u64 {
    let mut extent = Extent {
        bound,
        document,
        variables,
        known: HashMap::new(),
        steps: most,
    };
    extent.count(&operation.selection_set, Object::Root)
}

impl<'a> Extent<'a> {
    fn count(&mut self, set: &'a SelectionSet, object: Object<'a>) -> u64 {
        let Object::Type(name, around) = object else {
            return self.selections(set, object);
        };
        let key = (std::ptr::from_ref(set).addr(), name, around);
        if let Some(count) = self.known.get(&key) {
            return *count;
        }
        let count = self.selections(set, object);
        self.known.insert(key, count);
        count
    }

    fn selections(&mut self, set: &'a SelectionSet, object: Object<'a>) -> u64 {
        let mut all: u64 = 0;
        for selection in &set.selections {
            let Some(steps) = self.steps.checked_sub(1) else {
                return u64::MAX;
            };
            self.steps = steps;
            let own = match selection {
                Selection::Field(field) => {
                    let below = self.below(object, field).into_iter();
                    below.fold(1, |all: u64, object| {
                        all.saturating_add(self.count(&field.selection_set, object))
                    })
                }
                Selection::InlineFragment(fragment) => self.count(&fragment.selection_set, object),
                Selection::FragmentSpread(spread) => {
                    let fragment = self.document.fragments.get(&spread.fragment_name);
                    fragment.map_or(0, |fragment| self.count(&fragment.selection_set, object))
                }
            };
            all = all.saturating_add(own);
        }
        all
    }

    /// The objects in the value of a field.
    fn below(&self, object: Object<'a>, field: &'a Field) -> Vec<Object<'a>> {
        let schema = &self.bound.schema;
        let own = &schema.schema_definition;
        match (object, field.name.as_str()) {
            (Object::Root, "__schema") => vec![Object::Schema],
            (Object::Root, "__type") => self.asked_type(field).into_iter().collect(),
            (Object::Schema, "types") => types(schema.types.keys()),
            (Object::Schema, "queryType") => types(own.query.iter().map(|root| &root.name)),
            (Object::Schema, "mutationType") => types(own.mutation.iter().map(|root| &root.name)),
            (Object::Schema, "directives") => {
                let all = schema.directive_definitions.values();
                all.map(|own| Object::Directive(own)).collect()
            }
            (Object::Directive(own), "args") => own.arguments.iter().map(|own| Object::Input(own)).collect(),
            (Object::Field(own), "args") => own.arguments.iter().map(|own| Object::Input(own)).collect(),
            (Object::Field(own), "type") => vec![within(&own.ty)],
            (Object::Input(own), "type") => vec![within(&own.ty)],
            (Object::Type(name, 0), member) => self.below_type(name, member),
            (Object::Type(name, around), "ofType") => vec![Object::Type(name, around.saturating_sub(1))],
            _ => Vec::new(),
        }
    }

    fn below_type(&self, name: &'a Name, member: &str) -> Vec<Object<'a>> {
        let Some(ty) = self.bound.schema.types.get(name) else {
            return Vec::new();
        };
        match (ty, member) {
            (ExtendedType::Object(own), "fields") => own.fields.values().map(|own| Object::Field(own)).collect(),
            (ExtendedType::Interface(own), "fields") => own.fields.values().map(|own| Object::Field(own)).collect(),
            (ExtendedType::Object(own), "interfaces") => types(own.implements_interfaces.iter().map(|own| &own.name)),
            (ExtendedType::Interface(own), "interfaces") => {
                types(own.implements_interfaces.iter().map(|own| &own.name))
            }
            (ExtendedType::Interface(own), "possibleTypes") => {
                let all = self.bound.implementers.get(&own.name);
                types(all.into_iter().flat_map(|all| &all.objects))
            }
            (ExtendedType::Union(own), "possibleTypes") => types(own.members.iter().map(|own| &own.name)),
            (ExtendedType::Enum(own), "enumValues") => own.values.iter().map(|_| Object::EnumValue).collect(),
            (ExtendedType::InputObject(own), "inputFields") => {
                own.fields.values().map(|own| Object::Input(own)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The type that `__type(name:)` asks for.
    fn asked_type(&self, field: &Field) -> Option<Object<'a>> {
        let value = &field.arguments.first()?.value;
        let name = match value.as_variable() {
            Some(variable) => serde_json::from_str(self.variables.get(variable.as_str())?).ok()?,
            None => value.as_str()?.to_owned(),
        };
        let (name, _) = self.bound.schema.types.get_key_value(name.as_str())?;
        Some(Object::Type(name, 0))
    }
}

fn types<'a>(names: impl Iterator<Item = &'a Name>) -> Vec<Object<'a>> {
    names.map(|name| Object::Type(name, 0)).collect()
}

/// A type as a field or an argument has it.
fn within(ty: &Type) -> Object<'_> {
    match ty {
        Type::Named(name) => Object::Type(name, 0),
        Type::NonNullNamed(name) => Object::Type(name, 1),
        Type::List(inner) | Type::NonNullList(inner) => {
            let more = if ty.is_non_null() { 2 } else { 1 };
            match within(inner) {
                Object::Type(name, around) => Object::Type(name, around.saturating_add(more)),
                other => other,
            }
        }
    }
}
