//! A schema with its fields bound to parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use apollo_compiler::ast::{FieldDefinition, Type};
use apollo_compiler::collections::HashMap;
use apollo_compiler::schema::{ExtendedType, Implementers};
use apollo_compiler::validation::Valid;
use apollo_compiler::{Name, Node as Shared, Schema};

use super::config::{LimitsConfig, SizeConfig, TypeConfig};
use crate::json::Path;
use crate::policy::aggregate::Bounds;
use crate::policy::authorize::RequireConfig;
use crate::policy::parts::Part;

/// A schema with its fields bound to parts.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) schema: Valid<Schema>,
    pub(super) implementers: HashMap<Name, Implementers>,
    /// The bindings that the configuration names, by type and field.
    pub(super) fields: BTreeMap<(String, String), Arc<Binding>>,
    /// How the types of values are told, by the name of the interface or union.
    pub(super) types: BTreeMap<String, TypeConfig>,
    pub(super) limits: LimitsConfig,
}

/// Where a field gets its value from.
#[derive(Debug, Default)]
pub(super) struct Binding {
    pub(super) source: Source,
    pub(super) require: Option<RequireConfig>,
    pub(super) cost: u64,
    pub(super) size: Option<SizeConfig>,
    pub(super) bounds: Vec<(String, Bounds)>,
}

#[derive(Debug, Default)]
pub(super) enum Source {
    /// The member of the field's name in the parent's JSON.
    #[default]
    Own,
    /// Another member.
    From(Path),
    /// An object without JSON of its own.
    Group,
    /// The answer of a part.
    Part(Arc<Part>),
}

impl Bound {
    /// The binding of an object type's field; `None` for a member of its name.
    pub(super) fn binding(&self, of: &str, field: &str) -> Option<&Arc<Binding>> {
        self.fields.get(&(of.to_owned(), field.to_owned()))
    }

    /// The definition of an object type's field.
    pub(super) fn definition(&self, of: &str, field: &str) -> Option<&Shared<FieldDefinition>> {
        let field = self.schema.type_field(of, field).ok()?;
        Some(&field.node)
    }

    /// The object types that a value of this type may have; none for a scalar or an enum.
    pub(super) fn objects(&self, of: &Name) -> Vec<Name> {
        match self.schema.types.get(of) {
            Some(ExtendedType::Object(_)) => vec![of.clone()],
            Some(ExtendedType::Interface(_)) => {
                let own = self.implementers.get(of);
                let mut objects: Vec<_> = own.iter().flat_map(|own| own.objects.iter().cloned()).collect();
                objects.sort();
                objects
            }
            Some(ExtendedType::Union(union)) => union.members.iter().map(|member| member.name.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether a fragment about one type applies to objects of another.
    pub(super) fn applies(&self, condition: &Name, object: &Name) -> bool {
        condition == object || self.schema.is_subtype(condition.as_str(), object.as_str())
    }

    /// The object type of a value, told by one of its members; `None` if it is none of this type's.
    pub(super) fn object_of(&self, ty: &Name, told: &mut dyn FnMut(&str) -> Option<String>) -> Option<Name> {
        let objects = self.objects(ty);
        if let (Some(ExtendedType::Object(_)), Some(only)) = (self.schema.types.get(ty), objects.first()) {
            return Some(only.clone());
        }
        let telling = self.types.get(ty.as_str())?;
        let text = told(&telling.by)?;
        let name = match telling.names.is_empty() {
            true => text.as_str(),
            false => telling.names.get(&text)?,
        };
        objects.into_iter().find(|object| *object == name)
    }
}

impl Binding {
    /// The part, if it is bound to one.
    pub(super) fn part(&self) -> Option<&Arc<Part>> {
        match &self.source {
            Source::Part(part) => Some(part),
            _ => None,
        }
    }

    /// How long the list is.
    pub(super) fn size(&self, ty: &Type, arguments: &dyn Fn(&str) -> Option<u64>) -> u64 {
        if !ty.is_list() {
            return 1;
        }
        match &self.size {
            Some(SizeConfig::Fixed(size)) => *size,
            Some(SizeConfig::Argument(name)) => arguments(name).unwrap_or(USUAL_SIZE),
            None => USUAL_SIZE,
        }
    }
}

/// The length of a list of which nothing is known.
pub(super) const USUAL_SIZE: u64 = 10;
