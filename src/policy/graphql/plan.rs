//! The plan of one operation: for each place and object type, the fields in the order of the query, merged
//! (specification section 6.3.2, CollectFields).

use std::collections::HashMap;
use std::sync::Arc;

use apollo_compiler::ast::{Argument, DirectiveList, Type, Value};
use apollo_compiler::executable::{Field as Selected, Operation, Selection, SelectionSet};
use apollo_compiler::{ExecutableDocument, Name, Node as Shared};

use super::bound::{Binding, Bound};
use super::config::LimitsConfig;
use super::document::place;
use super::fault::{BAD_INPUT, Refusal};
use super::input::{Variables, arguments};
use crate::policy::aggregate::Bounds;
use crate::policy::parts::Part;

/// The plan of one operation.
#[derive(Debug)]
pub(super) struct Plan {
    shapes: Vec<Shape>,
}

/// The fields of objects of one type at one place.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) object: Name,
    pub(super) fields: Vec<Field>,
}

/// A field, merged of all selections with its response name.
#[derive(Debug)]
pub(super) struct Field {
    /// The response name: the alias or the name.
    pub(super) key: Name,
    /// The first selection. All have the same name and arguments.
    pub(super) first: Shared<Selected>,
    pub(super) ty: Type,
    pub(super) binding: Option<Arc<Binding>>,
    /// The shape of its value, by object type; none for scalars and enums.
    pub(super) shapes: Vec<(Name, usize)>,
    /// Whether there are fields with parts in its value.
    pub(super) is_awaited: bool,
}

/// What an operation costs at most.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    cost: u64,
    calls: u64,
}

/// Costs by shape and number of objects.
type Costs = HashMap<(usize, u64), Cost>;

/// Fields by response name, in the order of the query.
type Fields<'a> = Vec<(Name, Vec<&'a Shared<Selected>>)>;

/// The fields of selection sets for one object type.
#[derive(Default)]
struct Collected<'a> {
    selected: Fields<'a>,
    /// Those whose conditions do not hold.
    skipped: Fields<'a>,
    /// Fragments that have been looked at, with whether their conditions held.
    visited: Vec<(&'a Name, bool)>,
}

struct Planning<'a> {
    bound: &'a Bound,
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    plan: Plan,
    /// Shapes by the selections that they are merged of, and the type.
    known: HashMap<(Vec<usize>, Name), usize>,
}

impl Plan {
    /// Plans an operation. The conditions of `@skip` and `@include` hold for these variables.
    pub(super) fn new(
        bound: &Bound,
        document: &ExecutableDocument,
        operation: &Operation,
        variables: &Variables,
    ) -> Result<Self, Refusal> {
        let mut planning = Planning {
            bound,
            document,
            variables,
            plan: Self { shapes: Vec::new() },
            known: HashMap::new(),
        };
        planning.shape(&[&operation.selection_set], operation.object_type(), 0)?;
        Ok(planning.plan)
    }

    /// The shape at a place; the first is the root.
    pub(super) fn shape(&self, place: usize) -> Option<&Shape> {
        self.shapes.get(place)
    }

    /// The number of calls to begin with.
    pub(super) fn first_calls(&self) -> usize {
        let root = self.shape(0).into_iter().flat_map(|shape| &shape.fields);
        root.filter(|field| field.part().is_some()).count()
    }

    /// Whether a root field is about the schema.
    pub(super) fn asks_for_schema(&self) -> bool {
        let mut root = self.shape(0).into_iter().flat_map(|shape| &shape.fields);
        root.any(|field| ["__schema", "__type"].contains(&field.first.name.as_str()))
    }

    /// All fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&Shape, &Field)> {
        let shapes = self.shapes.iter();
        shapes.flat_map(|shape| shape.fields.iter().map(move |field| (shape, field)))
    }

    /// Checks the bounds of arguments, and what the operation costs at most, before anything is called.
    pub(super) fn check(&self, bound: &Bound, variables: &Variables) -> Result<(), Refusal> {
        for (shape, field) in self.fields() {
            let Some(binding) = &field.binding else { continue };
            if binding.bounds.is_empty() {
                continue;
            }
            // What cannot be coerced is an error at its position.
            let own = bound.definition(shape.object.as_str(), field.first.name.as_str());
            let Some(Ok(own)) = own.map(|own| arguments(&bound.schema, own, &field.first, variables)) else {
                continue;
            };
            for (name, bounds) in &binding.bounds {
                let value = own.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
                check_bounds(&field.key, name, value, bounds)?;
            }
        }
        let total = self.cost(bound, variables, (0, 1), &mut HashMap::new());
        if total.cost > bound.limits.cost {
            return Err(Refusal::over("cost", bound.limits.cost));
        }
        if total.calls > bound.limits.calls {
            return Err(Refusal::over("calls", bound.limits.calls));
        }
        Ok(())
    }

    /// What so many objects of a shape cost at most. Types of interfaces share shapes: each is counted once.
    fn cost(&self, bound: &Bound, variables: &Variables, of: (usize, u64), known: &mut Costs) -> Cost {
        if let Some(cost) = known.get(&of) {
            return *cost;
        }
        let (shape, many) = of;
        let mut total = Cost::default();
        let Some(shape) = self.shape(shape) else { return total };
        for field in shape.fields.iter().filter(|field| field.makes_calls()) {
            if let Some(binding) = &field.binding
                && let Some(part) = binding.part()
            {
                let calls = match &part.batch {
                    Some(batch) => many.div_ceil(u64::try_from(batch.max).unwrap_or(u64::MAX).max(1)),
                    None => many,
                };
                total.calls = total.calls.saturating_add(calls);
                total.cost = total.cost.saturating_add(calls.saturating_mul(binding.cost));
            }
            if !field.is_awaited {
                continue;
            }
            let many = many.saturating_mul(field.size(bound, &shape.object, variables));
            let below = field
                .shapes
                .iter()
                .map(|(_, shape)| self.cost(bound, variables, (*shape, many), known));
            let below = below.fold(Cost::default(), |most, own| Cost {
                cost: most.cost.max(own.cost),
                calls: most.calls.max(own.calls),
            });
            total.cost = total.cost.saturating_add(below.cost);
            total.calls = total.calls.saturating_add(below.calls);
        }
        known.insert(of, total);
        total
    }
}

impl Field {
    /// The part, if it is bound to one.
    pub(super) fn part(&self) -> Option<&Arc<Part>> {
        self.binding.as_ref()?.part()
    }

    /// Whether calls are made for it or for what is in its value.
    fn makes_calls(&self) -> bool {
        self.is_awaited || self.part().is_some()
    }

    /// The type of its value without lists.
    pub(super) fn named(&self) -> &Name {
        self.ty.inner_named_type()
    }

    fn size(&self, bound: &Bound, object: &Name, variables: &Variables) -> u64 {
        let definition = bound.definition(object.as_str(), self.first.name.as_str());
        let own = || arguments(&bound.schema, definition?, &self.first, variables).ok();
        let argument = |name: &str| -> Option<u64> {
            let own = own()?;
            let (_, value) = own.iter().find(|(own, _)| own == name)?;
            value.parse().ok()
        };
        let usual = Binding::default();
        let binding = self.binding.as_deref().unwrap_or(&usual);
        binding.size(&self.ty, &argument)
    }
}

fn check_bounds(field: &Name, name: &str, value: Option<&str>, bounds: &Bounds) -> Result<(), Refusal> {
    let Some(value) = value.filter(|value| *value != "null") else {
        return Ok(());
    };
    let plain: Option<String> = serde_json::from_str(value).ok();
    let right = bounds.check(plain.as_deref().unwrap_or(value));
    right.map(drop).map_err(|right| {
        let message = format!("Argument \"{name}\" of \"{field}\" {right}.");
        Refusal::new(BAD_INPUT, message)
    })
}

impl<'a> Planning<'a> {
    /// The shape that selection sets have for objects of a type.
    fn shape(&mut self, sets: &[&'a SelectionSet], object: &Name, depth: usize) -> Result<usize, Refusal> {
        let key = (sets.iter().map(|set| address(set)).collect(), object.clone());
        if let Some(place) = self.known.get(&key) {
            return Ok(*place);
        }
        let limits: &LimitsConfig = &self.bound.limits;
        if self.plan.shapes.len() >= MOST_SHAPES || depth > DEEPEST {
            return Err(Refusal::over("fields", limits.fields));
        }
        let place = self.plan.shapes.len();
        self.plan.shapes.push(Shape {
            object: object.clone(),
            fields: Vec::new(),
        });
        self.known.insert(key, place);
        let mut collected = Collected::default();
        for set in sets {
            self.collect(set, object, true, &mut collected);
        }
        if let Some((key, field)) = collected.conflict() {
            return Err(self.conflicting(key, field));
        }
        let mut fields = Vec::with_capacity(collected.selected.len());
        for (key, selected) in collected.selected {
            let Some(first) = selected.first() else { continue };
            let ty = first.definition.ty.clone();
            // An object type may narrow the type that an interface has.
            let definition = self.bound.definition(object.as_str(), first.name.as_str());
            let ty = definition.map_or(ty, |definition| definition.ty.clone());
            let sets: Vec<&SelectionSet> = selected.iter().map(|field| &field.selection_set).collect();
            let mut shapes = Vec::new();
            // What is asked of the schema is answered apart.
            if !first.name.starts_with("__") {
                for object in self.bound.objects(ty.inner_named_type()) {
                    shapes.push((object.clone(), self.shape(&sets, &object, depth.saturating_add(1))?));
                }
            }
            let below = shapes.iter().filter_map(|(_, shape)| self.plan.shapes.get(*shape));
            let mut below = below.flat_map(|shape| &shape.fields);
            let is_awaited = below.any(Field::makes_calls);
            fields.push(Field {
                key,
                first: Shared::clone(first),
                binding: self.bound.binding(object.as_str(), first.name.as_str()).cloned(),
                ty,
                shapes,
                is_awaited,
            });
        }
        if let Some(shape) = self.plan.shapes.get_mut(place) {
            shape.fields = fields;
        }
        Ok(place)
    }

    fn collect(&self, set: &'a SelectionSet, object: &Name, is_included: bool, collected: &mut Collected<'a>) {
        for selection in &set.selections {
            let is_included = is_included && self.is_included(selection.directives());
            match selection {
                Selection::Field(field) => {
                    let fields = match is_included {
                        true => &mut collected.selected,
                        false => &mut collected.skipped,
                    };
                    let key = field.response_key();
                    match fields.iter_mut().find(|(own, _)| own == key) {
                        Some((_, fields)) => fields.push(field),
                        None => fields.push((key.clone(), vec![field])),
                    }
                }
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.type_condition.as_ref();
                    if condition.is_none_or(|condition| self.bound.applies(condition, object)) {
                        self.collect(&fragment.selection_set, object, is_included, collected);
                    }
                }
                Selection::FragmentSpread(spread) => {
                    let visit = (&spread.fragment_name, is_included);
                    if collected.visited.contains(&visit) {
                        continue;
                    }
                    collected.visited.push(visit);
                    if let Some(fragment) = self.document.fragments.get(&spread.fragment_name)
                        && self.bound.applies(&fragment.selection_set.ty, object)
                    {
                        self.collect(&fragment.selection_set, object, is_included, collected);
                    }
                }
            }
        }
    }

    /// The error of fields with one response name and different arguments, which validation has let through.
    fn conflicting(&self, key: &Name, field: &Selected) -> Refusal {
        let message = format!("operation must not provide conflicting field arguments for the same name `{key}`");
        let location = field.arguments.first().and_then(|argument| argument.location());
        let places = place(&self.document.sources, location);
        Refusal::at("GRAPHQL_VALIDATION_FAILED", message, places)
    }

    /// Whether the conditions of `@skip` and `@include` hold.
    fn is_included(&self, directives: &DirectiveList) -> bool {
        let condition = |name: &str| {
            let value = directives.get(name)?.specified_argument_by_name("if")?;
            value
                .to_bool()
                .or_else(|| Some(self.variables.get(value.as_variable()?.as_str()) == Some("true")))
        };
        condition("skip") != Some(true) && condition("include") != Some(false)
    }
}

impl<'a> Collected<'a> {
    /// A field with other arguments than another one of its response name. The crate's own rule takes lists of different
    /// lengths for the same.
    fn conflict(&self) -> Option<(&Name, &'a Selected)> {
        let all = self.selected.iter().chain(&self.skipped);
        all.clone().find_map(|(key, fields)| {
            let mut others = all.clone().filter(|(own, _)| own == key).flat_map(|(_, fields)| fields);
            let first = fields.first()?;
            let other = others.find(|other| !has_same_arguments(first, other))?;
            Some((key, &***other))
        })
    }
}

fn has_same_arguments(one: &Selected, other: &Selected) -> bool {
    let is_there = |argument: &Shared<Argument>| {
        let mut others = other.arguments.iter();
        others.any(|other| other.name == argument.name && same(&other.value, &argument.value))
    };
    one.arguments.len() == other.arguments.len() && one.arguments.iter().all(is_there)
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_there = |(name, value): &(Name, Shared<Value>)| {
                let mut others = other.iter();
                others.any(|(own, other)| own == name && same(value, other))
            };
            one.len() == other.len() && one.iter().all(is_there)
        }
        (one, other) => one == other,
    }
}

/// Selection sets are told apart by where they are: the document does not move while it is planned.
fn address(set: &SelectionSet) -> usize {
    std::ptr::from_ref(set).addr()
}

const MOST_SHAPES: usize = 2000;

/// Levels that a plan follows: more than any limit of depth.
const DEEPEST: usize = 64;
