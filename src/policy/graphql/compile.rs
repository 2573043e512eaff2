//! Compiling GraphQL rules: every mistake is reported with its path.

use std::collections::BTreeMap;
use std::sync::Arc;

use apollo_compiler::ast::FieldDefinition;
use apollo_compiler::parser::Parser;
use apollo_compiler::schema::{ExtendedType, ObjectType};
use apollo_compiler::validation::Valid;
use apollo_compiler::{Name, Schema};
use sha2::{Digest as _, Sha256};

use super::bound::{Binding, Bound, Source, Telling};
use super::config::{FieldConfig, GraphqlConfig, IntrospectionConfig, OperationsConfig, TypeConfig};
use super::document::Document;
use super::known::Known;
use super::one_of;
use super::serve::{Graphql, Introspection};
use super::worst::warn_of_calls;
use crate::auth::credential;
use crate::clock::Millis;
use crate::config::Report;
use crate::policy::parts::{Part, Parts};
use crate::policy::{Policy, Rule};
use crate::template::Data;

/// Compiles the GraphQL of a rule.
pub fn compile(config: &GraphqlConfig, parts: &Parts, rule: &Rule<'_>, report: &mut Report) -> Option<Box<dyn Policy>> {
    report.within("graphql", |report| {
        if !(SHORTEST..=LONGEST).contains(&config.deadline.millis()) {
            report.error_at("deadline", "must be from 10ms to 10s");
        }
        for (name, own, most) in config.limits.all() {
            if !(1..=most).contains(&own) {
                report.error_at(format!("limits.{name}"), format!("must be from 1 to {most}"));
            }
        }
        let bound = Arc::new(bind(config, parts, report)?);
        warn_of_calls(&bound, config, report);
        let known = report.within("operations", |report| compile_known(&config.operations, &bound, report));
        let is_cookie = |source: &&credential::Source| matches!(source, credential::Source::Cookie(_));
        let graphql: Box<dyn Policy> = Box::new(Graphql {
            route: rule.name.to_owned(),
            deadline: config.deadline.millis(),
            services: Arc::clone(&parts.services),
            known,
            introspection: match &config.introspection {
                IntrospectionConfig::Off => Introspection::Nobody,
                IntrospectionConfig::On => Introspection::Everybody,
                IntrospectionConfig::Require(require) => Introspection::Those(require.clone()),
            },
            takes_get: config.get,
            wants_preflight: rule.credentials.iter().copied().any(|source| is_cookie(&source)),
            bound,
        });
        Some(graphql)
    })
}

/// The schema; `None` if it has errors, which are reported with line and column.
pub(super) fn schema(text: &str, report: &mut Report) -> Option<Valid<Schema>> {
    let mut builder = Schema::builder();
    let mut parser = Parser::new().recursion_limit(NESTING);
    parser.parse_into_schema_builder(text, "schema", &mut builder);
    if text.contains("@oneOf") && !text.contains("directive @oneOf") {
        parser.parse_into_schema_builder(one_of::DEFINITION, "oneOf", &mut builder);
    }
    let valid = match builder.build() {
        Ok(schema) => schema.validate(),
        Err(with) => Err(with),
    };
    let schema = match valid {
        Ok(schema) => schema,
        Err(with) => {
            for diagnostic in with.errors.iter() {
                let place = diagnostic.line_column_range();
                let place = place.map(|range| format!("line {}, column {}: ", range.start.line, range.start.column));
                report.error_at("schema", format!("{}{}", place.unwrap_or_default(), diagnostic.error));
            }
            return None;
        }
    };
    if schema.schema_definition.subscription.is_some() {
        report.error_at(
            "schema",
            "has `Subscription`, which is not supported: an answer is made of calls that end; give subscriptions a service with a route",
        );
    }
    Some(schema)
}

fn bind(config: &GraphqlConfig, parts: &Parts, report: &mut Report) -> Option<Bound> {
    let schema = schema(&config.schema, report)?;
    let mut fields = BTreeMap::new();
    for (coordinate, field) in &config.fields.0 {
        let binding = report.within(format!("fields.{coordinate}"), |report| {
            let (of, name, definition) = find(&schema, coordinate, report)?;
            let is_root = Root::of(&schema, &of.name);
            let binding = binding(field, definition, is_root, parts, report);
            check_part(&binding, definition, is_root, config, report);
            Some(((of.name.to_string(), name.to_owned()), Arc::new(binding)))
        });
        fields.extend(binding);
    }
    let types = config.types.iter().filter_map(|(name, own)| {
        let telling = report.within(format!("types.{name}"), |report| telling(&schema, name, own, report));
        Some((name.clone(), telling?))
    });
    let types: BTreeMap<_, _> = types.collect();
    let bound = Bound {
        implementers: schema.implementers_map(),
        schema,
        fields,
        types,
        limits: config.limits,
    };
    check_roots(&bound, config, report);
    check_types(&bound, report);
    check_members(&bound, report);
    Some(bound)
}

/// Which of the root types a type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Query,
    Mutation,
    /// None of them.
    Inner,
}

impl Root {
    fn of(schema: &Schema, name: &Name) -> Self {
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

/// The object type and the field of a coordinate.
fn find<'a, 'b>(
    schema: &'a Schema,
    coordinate: &'b str,
    report: &mut Report,
) -> Option<(&'a ObjectType, &'b str, &'a FieldDefinition)> {
    let Some((of, name)) = coordinate.split_once('.') else {
        report.error("is not a coordinate such as `Query.profile`");
        return None;
    };
    let Some(object) = schema.get_object(of) else {
        let mut objects: Vec<_> = schema
            .types
            .iter()
            .filter(|(_, ty)| ty.is_object() && !ty.is_built_in())
            .map(|(name, _)| name.as_str())
            .collect();
        objects.sort_unstable();
        report.error(format!(
            "the schema has no object type `{of}`; it has {}",
            objects.join(", ")
        ));
        return None;
    };
    let Some(field) = object.fields.get(name) else {
        let names: Vec<_> = object.fields.keys().map(Name::as_str).collect();
        report.error(format!("`{of}` has no field `{name}`; it has {}", names.join(", ")));
        return None;
    };
    Some((object, name, &field.node))
}

fn binding(
    config: &FieldConfig,
    definition: &FieldDefinition,
    root: Root,
    parts: &Parts,
    report: &mut Report,
) -> Binding {
    let sources = [config.part.is_some(), config.from.is_some(), config.group];
    if sources.iter().filter(|is_there| **is_there).count() > 1 {
        report.error("has more than one of `part`, `from` and `group`");
    }
    let source = match (&config.part, &config.from) {
        (Some(name), _) => match parts.get(name) {
            Some((_, part)) => Source::Part(Arc::clone(part)),
            None => {
                report.error_at("part", format!("there is no part `{name}`; there is {}", parts.names()));
                Source::Own
            }
        },
        (None, Some(path)) => {
            if path.segments().contains(&crate::json::Segment::Items) {
                report.error_at("from", "is a path of names, without `[*]`");
            }
            Source::From(path.clone())
        }
        (None, None) if config.group => Source::Group,
        (None, None) => Source::Own,
    };
    if config.group && definition.ty.is_list() {
        report.error_at("group", "is for one object; a list has items, which come from a part");
    }
    if config.group && root == Root::Mutation {
        report.error_at("group", "is not for `Mutation`, whose fields are one call each");
    }
    let has = |name: &str| definition.arguments.iter().any(|argument| argument.name == name);
    for (name, _) in &config.args.0 {
        if !has(name) {
            report.error_at(format!("args.{name}"), "is no argument of the field");
        }
    }
    if let Some(super::config::SizeConfig::Argument(name)) = &config.size
        && !has(name)
    {
        report.error_at("size", format!("`{name}` is no argument of the field"));
    }
    if config.size.is_some() && !definition.ty.is_list() {
        report.error_at("size", "is the length of a list, which the field is not");
    }
    Binding {
        source,
        require: config.require.clone(),
        cost: config.cost.unwrap_or(1),
        size: config.size.clone(),
        bounds: config
            .args
            .0
            .iter()
            .map(|(name, bounds)| (name.clone(), bounds.0.clone()))
            .collect(),
    }
}

/// Checks the part of a field.
fn check_part(
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
fn check_roots(bound: &Bound, config: &GraphqlConfig, report: &mut Report) {
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
fn check_types(bound: &Bound, report: &mut Report) {
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

fn telling(schema: &Schema, name: &str, config: &TypeConfig, report: &mut Report) -> Option<Telling> {
    let Some(ExtendedType::Interface(_) | ExtendedType::Union(_)) = schema.types.get(name) else {
        report.error("is no interface or union of the schema");
        return None;
    };
    for (value, object) in &config.names {
        if !schema.is_subtype(name, object) || schema.get_object(object).is_none() {
            report.error_at(
                format!("names.{value}"),
                format!("`{object}` is no object type of `{name}`"),
            );
        }
    }
    Some(Telling {
        by: config.by.clone(),
        names: config.names.clone(),
    })
}

/// Fields that read a member which their part does not keep would always be null.
fn check_members(bound: &Bound, report: &mut Report) {
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

fn compile_known(config: &OperationsConfig, bound: &Bound, report: &mut Report) -> Known {
    if config.only && config.documents.is_empty() {
        report.error_at(
            "only",
            "is set, and there are no `documents`: every request would be refused",
        );
    }
    let mut listed = BTreeMap::new();
    for (place, own) in config.documents.iter().enumerate() {
        report.within(format!("documents[{place}]"), |report| {
            if let Some(hash) = own.id.strip_prefix("sha256:") {
                let digest = Sha256::digest(own.document.as_bytes());
                let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                if digest != hash {
                    report.error_at("id", format!("is not the hash of the document, sha256:{digest}"));
                }
            }
            let document = match Document::parse(bound, &own.document) {
                Ok(document) => document,
                Err(refusal) => {
                    for error in &refusal.errors {
                        let place = error
                            .locations
                            .first()
                            .map(|(line, column)| format!("line {line}, column {column}: "));
                        report.error_at("document", format!("{}{}", place.unwrap_or_default(), error.text));
                    }
                    return;
                }
            };
            for operation in document.valid.operations.iter() {
                let name = operation.name.as_ref().map(Name::as_str);
                if let Err(refusal) = document.operation(name, &bound.limits) {
                    let message: Vec<_> = refusal.errors.iter().map(|error| error.text.as_str()).collect();
                    report.error_at("document", message.join(" "));
                }
            }
            if listed.insert(own.id.clone(), Arc::new(document)).is_some() {
                report.error_at("id", format!("\"{}\" is the id of an earlier document", own.id));
            }
        });
    }
    Known::new(listed, config.only)
}

const SHORTEST: Millis = Millis::new(10);
const LONGEST: Millis = Millis::new(10_000);

/// Nesting that the parser of schemas follows.
const NESTING: usize = 64;
