//! Checks of bindings: what would fail, or be null, with every request.

use apollo_compiler::ast::FieldDefinition;
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::{Name, Schema};

use super::bound::{Binding, Bound, Source};
use super::config::GraphqlConfig;
use crate::config::Report;
use crate::policy::parts::Part;
use crate::template::Data;

/// Which of the root types a type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Query,
    Mutation,
    /// None of them.
    Inner,
}

impl Root {
    pub(super) fn of(schema: &Schema, name: &Name) -> Self {
        let is = |root: &Option<apollo_compiler::schema::ComponentName>| {
            root.as_ref().is_some_and(|root| root.name == *name)
        };
        match &schema.schema_definition {
            own if is(&own.query) => Self::Query,
            own if is(&own.mutation) => Self::Mutation,
            _ => Self::Inner,
        }
    }
}

/// Checks the part of a field.
pub(super) fn check_part(
    binding: &Binding,
    definition: &FieldDefinition,
    root: Root,
    config: &GraphqlConfig,
    report: &mut Report,
) {
    let Some(part) = binding.part() else { return };
    let name = &part.name;
    for argument in part.arguments_needed() {
        if !definition.arguments.iter().any(|own| own.name == argument.as_str()) {
            report.error_at(
                "part",
                format!("`{name}` needs {{args.{argument}}}, and the field has no such argument"),
            );
        }
    }
    if let Some(other) = part.parts().next() {
        let message = format!(
            "`{name}` refers to part `{other}`; a field's part has arguments and the members of its parent, as {{item.NAME}}"
        );
        report.error_at("part", message);
    }
    if part.data().any(|data| matches!(data, Data::Body(_))) {
        report.error_at(
            "part",
            format!("`{name}` refers to the request's body, which is the query here"),
        );
    }
    let is_of_items = part.data().any(|data| matches!(data, Data::Item(_) | Data::Keys));
    if is_of_items && root != Root::Inner {
        report.error_at(
            "part",
            format!("`{name}` is for items (`{{item}}`, `{{keys}}`), and a root field has no parent"),
        );
    }
    if !part.is_safe && root != Root::Mutation {
        report.error_at(
            "part",
            format!("`{name}` is a {}, which belongs to `Mutation`", part.method()),
        );
    }
    if part.is_safe && root == Root::Mutation {
        report.error_at(
            "part",
            format!(
                "`{name}` is a {}, and a field of `Mutation` is one unsafe call",
                part.method()
            ),
        );
    }
    if definition.ty.is_list() && part.wraps() && part.batch.is_none() {
        report.error_at(
            "part",
            format!("`{name}` is an object (`wrap`), and the field is a list"),
        );
    }
    if let Some(timeout) = part.own_timeout()
        && timeout > config.deadline.millis()
    {
        let message = format!(
            "`{name}` may take {}ms, the whole answer {}ms (`deadline`)",
            timeout.get(),
            config.deadline.millis().get()
        );
        report.error_at("part", message);
    }
    if definition.ty.is_non_null() {
        report.warn_at(
            "part",
            format!(
                "`{name}` may fail, and the field's type does not allow null: a failure empties the object around it"
            ),
        );
    }
}

/// Every root field has a value of its own.
pub(super) fn check_roots(bound: &Bound, config: &GraphqlConfig, report: &mut Report) {
    let own = &bound.schema.schema_definition;
    for root in own.query.iter().chain(&own.mutation) {
        let Some(object) = bound.schema.get_object(root.name.as_str()) else {
            continue;
        };
        for name in object.fields.keys() {
            let coordinate = format!("{}.{name}", root.name);
            let mut fields = config.fields.0.iter();
            let own = fields.find(|(own, _)| *own == coordinate).map(|(_, own)| own);
            let has_value = own.is_some_and(|own| own.part.is_some() || own.group);
            if !has_value {
                report.error_at(
                    format!("fields.{coordinate}"),
                    "is missing: a root field has a `part`, or is a `group`",
                );
            }
        }
    }
}

/// Every interface and union that a field has tells its types.
pub(super) fn check_types(bound: &Bound, report: &mut Report) {
    let objects = bound.schema.types.values().filter_map(ExtendedType::as_object);
    for object in objects.filter(|object| {
        !bound
            .schema
            .types
            .get(&object.name)
            .is_some_and(ExtendedType::is_built_in)
    }) {
        for field in object.fields.values() {
            let name = field.ty.inner_named_type();
            let is_abstract = matches!(
                bound.schema.types.get(name),
                Some(ExtendedType::Interface(_) | ExtendedType::Union(_))
            );
            if is_abstract && !bound.types.contains_key(name.as_str()) {
                let message = format!(
                    "is missing: `{}.{}` has it, and a member must tell the type of its values: {{ by: kind }}",
                    object.name, field.name
                );
                report.error_at(format!("types.{name}"), message);
            }
        }
    }
}

/// Fields that read a member which their part does not keep would always be null.
pub(super) fn check_members(bound: &Bound, report: &mut Report) {
    for ((of, name), binding) in &bound.fields {
        let Some(part) = binding.part().filter(|part| !part.kept.is_empty()) else {
            continue;
        };
        let Some(definition) = bound.definition(of, name) else {
            continue;
        };
        let Some(object) = bound.schema.get_object(definition.ty.inner_named_type().as_str()) else {
            continue;
        };
        for field in object.fields.values() {
            let own = bound.binding(object.name.as_str(), field.name.as_str());
            let member = match own.map(|own| &own.source) {
                None | Some(Source::Own) => field.name.as_str().to_owned(),
                Some(Source::From(path)) => path
                    .split_first()
                    .map(|(first, _)| first.to_owned())
                    .unwrap_or_default(),
                Some(Source::Part(_) | Source::Group) => continue,
            };
            if !keeps(part, &member) {
                let message = format!(
                    "part `{}` does not keep `{member}`, which `{}.{}` reads",
                    part.name, object.name, field.name
                );
                report.error_at(format!("fields.{of}.{name}"), message);
            }
        }
    }
}

fn keeps(part: &Part, member: &str) -> bool {
    part.kept.iter().any(|kept| kept == member)
}
