//! Compiling GraphQL rules: every mistake is reported with its path.

use std::collections::BTreeMap;
use std::sync::Arc;

use apollo_compiler::ast::FieldDefinition;
use apollo_compiler::parser::Parser;
use apollo_compiler::schema::{ExtendedType, ObjectType};
use apollo_compiler::validation::Valid;
use apollo_compiler::{Name, Schema};
use sha2::{Digest as _, Sha256};

use super::bound::{Binding, Bound, Source};
use super::check::{Root, check_members, check_part, check_roots, check_types};
use super::config::{FieldConfig, GraphqlConfig, OperationsConfig, TypeConfig};
use super::document::Document;
use super::known::Known;
use super::one_of;
use super::serve::Graphql;
use super::worst::warn_of_calls;
use crate::auth::credential;
use crate::clock::Millis;
use crate::config::Report;
use crate::policy::parts::Parts;
use crate::policy::{Policy, Rule};

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
            introspection: config.introspection.clone(),
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
    for (name, own) in &config.types {
        report.within(format!("types.{name}"), |report| {
            check_telling(&schema, name, own, report)
        });
    }
    let bound = Bound {
        implementers: schema.implementers_map(),
        schema,
        fields,
        types: config.types.clone(),
        limits: config.limits,
    };
    check_roots(&bound, config, report);
    check_types(&bound, report);
    check_members(&bound, report);
    Some(bound)
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

/// Checks how the types of an interface's or union's values are told.
fn check_telling(schema: &Schema, name: &str, config: &TypeConfig, report: &mut Report) {
    let Some(ExtendedType::Interface(_) | ExtendedType::Union(_)) = schema.types.get(name) else {
        return report.error("is no interface or union of the schema");
    };
    for (value, object) in &config.names {
        if !schema.is_subtype(name, object) || schema.get_object(object).is_none() {
            report.error_at(
                format!("names.{value}"),
                format!("`{object}` is no object type of `{name}`"),
            );
        }
    }
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
            for operation in document.operations() {
                if let Err(refusal) = operation.check(&bound.limits) {
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
