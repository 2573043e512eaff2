//! Documents: parsed, validated, and held to their bounds. Nothing here depends on a request's variables.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use apollo_compiler::ExecutableDocument;
use apollo_compiler::ast;
use apollo_compiler::executable::{Operation, Selection, SelectionSet};
use apollo_compiler::parser::{Parser, SourceMap};
use apollo_compiler::validation::{DiagnosticList, Valid};
use apollo_compiler::{Name, Node as Shared};

use super::bound::Bound;
use super::colons;
use super::config::LimitsConfig;
use super::fault::{Message, Refusal};
use super::http::Asked;
use super::input::Variables;
use super::one_of;
use super::plan::Plan;

/// A valid document.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) valid: Valid<ExecutableDocument>,
    operations: Vec<Prepared>,
}

/// An operation with what is known of it before any request.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) operation: Shared<Operation>,
    counts: Counts,
    /// Its plan, once there is one; only where no `@skip` or `@include` could make another of it.
    plan: OnceLock<Arc<Plan>>,
}

impl Document {
    /// Parses and validates a document.
    pub(super) fn parse(bound: &Bound, text: &str) -> Result<Self, Refusal> {
        let ast = syntax(text, &bound.limits)?;
        let valid = ast.to_executable_validate(&bound.schema);
        let valid = valid.map_err(|list| refused("GRAPHQL_VALIDATION_FAILED", &list.errors))?;
        one_of::check(&bound.schema, &valid)?;
        let mut counting = Counting {
            document: &valid,
            fragments: BTreeMap::new(),
        };
        let operations = valid.operations.iter().map(|operation| {
            let own = u64::try_from(operation.directives.len()).unwrap_or(u64::MAX);
            let mut counts = counting.of(&operation.selection_set);
            counts.directives = counts.directives.saturating_add(own);
            Prepared {
                operation: Shared::clone(operation),
                counts,
                plan: OnceLock::new(),
            }
        });
        let operations = operations.collect();
        Ok(Self { valid, operations })
    }

    /// Whether a request asks for a mutation, valid or not.
    pub(super) fn has_mutation(asked: &Asked, limits: &LimitsConfig) -> bool {
        let ast = asked.query.as_ref().and_then(|text| syntax(text, limits).ok());
        let definitions = ast.iter().flat_map(|ast| &ast.definitions);
        let mut operations = definitions.filter_map(ast::Definition::as_operation_definition);
        operations.any(|operation| {
            let is_asked = asked.operation.is_none() || operation.name.as_deref() == asked.operation.as_deref();
            is_asked && operation.operation_type == ast::OperationType::Mutation
        })
    }

    /// All operations.
    pub(super) fn operations(&self) -> &[Prepared] {
        &self.operations
    }

    /// The operation of a name, or the only one.
    pub(super) fn operation(&self, name: Option<&str>) -> Result<&Prepared, Refusal> {
        let found = match (name, self.operations.as_slice()) {
            (Some(name), all) => all
                .iter()
                .find(|own| own.operation.name.as_ref().is_some_and(|own| own == name)),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        found.ok_or_else(|| {
            let message = match name {
                Some(_) => "The document has no operation of this name.",
                None => "The document has several operations; \"operationName\" must name one.",
            };
            Refusal::new("OPERATION_RESOLUTION_FAILURE", message)
        })
    }
}

impl Prepared {
    /// Holds the operation to its bounds.
    pub(super) fn check(&self, limits: &LimitsConfig) -> Result<(), Refusal> {
        let counts = &self.counts;
        for (name, count, most) in [
            ("depth", counts.depth, limits.depth),
            ("aliases", counts.aliases, limits.aliases),
            ("roots", counts.roots, limits.roots),
            ("fields", counts.fields, limits.fields),
            ("directives", counts.directives, limits.directives),
        ] {
            if count > most {
                return Err(Refusal::over(name, most));
            }
        }
        Ok(())
    }

    /// The plan for these variables.
    pub(super) fn plan(&self, bound: &Bound, document: &Document, variables: &Variables) -> Result<Arc<Plan>, Refusal> {
        if let Some(plan) = self.plan.get() {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(Plan::new(bound, &document.valid, &self.operation, variables)?);
        match self.counts.directives {
            0 => Ok(Arc::clone(self.plan.get_or_init(|| plan))),
            _ => Ok(plan),
        }
    }
}

/// Parses a document without regard to a schema.
fn syntax(text: &str, limits: &LimitsConfig) -> Result<ast::Document, Refusal> {
    let tokens = usize::try_from(limits.tokens).unwrap_or(usize::MAX);
    let mut parser = Parser::new().token_limit(tokens).recursion_limit(NESTING);
    let parsed = parser.parse_ast(text, "query");
    if parser.tokens_reached() > tokens {
        return Err(Refusal::over("tokens", limits.tokens));
    }
    if parser.recursion_reached() > NESTING {
        return Err(Refusal::over("depth", limits.depth));
    }
    let parsed = parsed.map_err(|with| refused("GRAPHQL_PARSE_FAILED", &with.errors))?;
    match colons::missing(text) {
        None => Ok(parsed),
        Some(place) => Err(Refusal::at(
            "GRAPHQL_PARSE_FAILED",
            "syntax error: expected a colon and a value",
            vec![place],
        )),
    }
}

/// The first diagnostics of a list. Messages quote the document and say what the schema has not, never what it has.
fn refused(code: &'static str, list: &DiagnosticList) -> Refusal {
    let errors = list.iter().take(MOST_MESSAGES).map(|diagnostic| {
        let place = diagnostic.line_column_range();
        Message {
            text: diagnostic.error.to_string(),
            locations: place
                .map(|range| (range.start.line, range.start.column))
                .into_iter()
                .collect(),
        }
    });
    Refusal {
        errors: errors.collect(),
        ..Refusal::new(code, "")
    }
}

/// Line and column of a place in a document.
pub(super) fn place(sources: &SourceMap, location: Option<apollo_compiler::parser::SourceSpan>) -> Vec<(usize, usize)> {
    let range = location.and_then(|location| location.line_column_range(sources));
    range
        .map(|range| (range.start.line, range.start.column))
        .into_iter()
        .collect()
}

/// How much there is in a selection set after fragments are spread.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    roots: u64,
    fields: u64,
    aliases: u64,
    directives: u64,
    /// Levels below.
    depth: u64,
}

struct Counting<'a> {
    document: &'a ExecutableDocument,
    /// What is in fragments that have been counted: each is counted once, whatever refers to it.
    fragments: BTreeMap<Name, Counts>,
}

impl Counting<'_> {
    fn of(&mut self, set: &SelectionSet) -> Counts {
        let mut all = Counts::default();
        for selection in &set.selections {
            let directives = match selection {
                Selection::Field(field) => {
                    let below = self.of(&field.selection_set);
                    let is_meta = field.name.starts_with("__");
                    all.add(Counts {
                        roots: 1,
                        fields: below.fields.saturating_add(1),
                        aliases: below.aliases.saturating_add(u64::from(field.alias.is_some())),
                        directives: below.directives,
                        depth: if is_meta { 1 } else { below.depth.saturating_add(1) },
                    });
                    field.directives.len()
                }
                Selection::InlineFragment(fragment) => {
                    let below = self.of(&fragment.selection_set);
                    all.add(below);
                    fragment.directives.len()
                }
                Selection::FragmentSpread(spread) => {
                    let below = self.fragment(&spread.fragment_name);
                    all.add(below);
                    spread.directives.len()
                }
            };
            let directives = u64::try_from(directives).unwrap_or(u64::MAX);
            all.directives = all.directives.saturating_add(directives);
        }
        all
    }

    fn fragment(&mut self, name: &Name) -> Counts {
        if let Some(counts) = self.fragments.get(name) {
            return *counts;
        }
        let document = self.document;
        // Validation has found no cycles.
        let counts = document
            .fragments
            .get(name)
            .map(|fragment| self.of(&fragment.selection_set));
        let counts = counts.unwrap_or_default();
        self.fragments.insert(name.clone(), counts);
        counts
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.roots = self.roots.saturating_add(other.roots);
        self.fields = self.fields.saturating_add(other.fields);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.directives = self.directives.saturating_add(other.directives);
        self.depth = self.depth.max(other.depth);
    }
}

/// Nesting of any kind that the parser follows: selections, lists and objects.
const NESTING: usize = 64;

const MOST_MESSAGES: usize = 10;
