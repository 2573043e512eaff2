//! The execution of one operation: fields bound to parts become calls, level by level; all other values are members of
//! their parents (specification section 6.4).

use std::sync::Arc;

use apollo_compiler::ast::Type;
use apollo_compiler::schema::ExtendedType;

use super::bound::{Bound, Source};
use super::document::Document;
use super::fault::Fault;
use super::input::{NULL, Variables, arguments, scalar};
use super::output::Output;
use super::plan::{Field, Plan, Shape};
use crate::clock::Seconds;
use crate::json::Node;
use crate::policy::parts::{Fan, Given, Many, Outcome, Session, Turn};
use crate::seam::Ticket;

/// The execution of one operation.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) bound: Arc<Bound>,
    pub(super) document: Arc<Document>,
    pub(super) plan: Arc<Plan>,
    variables: Variables,
    slots: Vec<Slot>,
    groups: Vec<Group>,
    /// Whether root fields run one after the other, as those of a mutation.
    is_serial: bool,
    session: Session,
    /// The parts that have failed, each once.
    failed: Vec<(String, Outcome)>,
    /// How much more the answer may have, in bytes.
    room: usize,
}

/// A value of the answer, or the place of one.
#[derive(Debug)]
pub(super) enum Slot {
    /// It is not there yet.
    Open,
    /// There is none.
    Null,
    /// There is none because of an error.
    Failed(Box<Fault>),
    /// A scalar or an enum, as JSON.
    Leaf(String),
    /// The items: their slots are one after the other.
    List { first: usize, count: usize },
    /// An object: the slots of its fields are one after the other.
    Object { shape: usize, first: usize },
}

/// All values of one field that are bound to a part, at one place of the query.
#[derive(Debug)]
struct Group {
    shape: usize,
    field: usize,
    /// The group in whose answers the objects are.
    under: Option<usize>,
    /// The root field that it is part of.
    root: usize,
    arguments: Vec<(String, String)>,
    /// Where the answers belong, with the objects that have the field.
    places: Vec<(usize, String)>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// More objects may come.
    Gathering,
    Called(Box<Fan>),
    Over,
}

/// What is executed.
pub(super) struct Operation {
    /// Whether root fields run one after the other, as those of a mutation.
    pub(super) is_serial: bool,
    pub(super) document: Arc<Document>,
    pub(super) plan: Arc<Plan>,
    pub(super) variables: Variables,
}

/// Where an object is.
#[derive(Debug, Clone, Copy)]
struct Place {
    slot: usize,
    under: Option<usize>,
    root: usize,
}

/// The values of one advance.
struct With<'a> {
    plan: &'a Plan,
    given: Given<'a>,
}

impl Execution {
    /// Begins to execute an operation. `told` are root fields that are answered already, by response name.
    pub(super) fn begin(
        bound: &Arc<Bound>,
        operation: Operation,
        session: Session,
        told: &[(String, String)],
        given: Given<'_>,
    ) -> Self {
        let plan = Arc::clone(&operation.plan);
        let mut execution = Self {
            bound: Arc::clone(bound),
            document: operation.document,
            plan: operation.plan,
            variables: operation.variables,
            slots: vec![Slot::Open],
            groups: Vec::new(),
            is_serial: operation.is_serial,
            session,
            failed: Vec::new(),
            room: usize::try_from(bound.limits.answer).unwrap_or(usize::MAX),
        };
        let with = With { plan: &plan, given };
        let place = Place {
            slot: 0,
            under: None,
            root: 0,
        };
        execution.object(0, "{}", place, &with);
        if let (Some(shape), Some(Slot::Object { first, .. })) = (plan.shape(0), execution.slots.first()) {
            let first = *first;
            for (place, field) in shape.fields.iter().enumerate() {
                if let Some((_, value)) = told.iter().find(|(key, _)| *key == field.key.as_str()) {
                    let value = match value == NULL {
                        true => Slot::Null,
                        false => Slot::Leaf(value.clone()),
                    };
                    execution.set(first.saturating_add(place), value);
                }
            }
        }
        execution
    }

    /// Handles answers that have come, and makes the calls that are possible now. Returns the tickets of calls under way;
    /// none if all is there.
    pub(super) fn advance(&mut self, turn: &mut Turn<'_>) -> Vec<Ticket> {
        while self.advance_once(turn) {}
        let groups = self.groups.iter();
        let tickets = groups.flat_map(|group| match &group.state {
            State::Called(fan) => fan.tickets(),
            State::Gathering | State::Over => Vec::new(),
        });
        tickets.collect()
    }

    /// The session of its calls.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// The parts that have failed, each once.
    pub(super) fn failed(&self) -> impl Iterator<Item = (&str, Outcome)> {
        self.failed.iter().map(|(part, outcome)| (part.as_str(), *outcome))
    }

    /// How long the answer may be kept: as long as the part that is kept shortest; `None` if one is not kept at all.
    pub(super) fn max_age(&self) -> Option<Seconds> {
        let bindings = self
            .plan
            .fields()
            .filter_map(|(_, field)| field.binding.as_ref()?.part());
        let ages: Option<Vec<_>> = bindings.map(|part| part.max_age()).collect();
        ages?.into_iter().min()
    }

    /// What there is of the answer.
    pub(super) fn output(&self) -> Output<'_> {
        Output::new(self)
    }

    /// A value of the answer.
    pub(super) fn slot(&self, place: usize) -> Option<&Slot> {
        self.slots.get(place)
    }

    /// Whether the answer is larger than allowed.
    pub(super) fn is_too_large(&self) -> bool {
        self.room == 0
    }

    /// Whether any group has begun or ended now.
    fn advance_once(&mut self, turn: &mut Turn<'_>) -> bool {
        let mut has_advanced = false;
        let mut place = 0;
        // Groups may be added meanwhile.
        while place < self.groups.len() {
            has_advanced |= self.advance_group(place, turn);
            place = place.saturating_add(1);
        }
        has_advanced
    }

    fn advance_group(&mut self, place: usize, turn: &mut Turn<'_>) -> bool {
        let plan = Arc::clone(&self.plan);
        let may_begin = self.may_begin(place);
        let Some(group) = self.groups.get_mut(place) else {
            return false;
        };
        let field = plan.shape(group.shape).and_then(|shape| shape.fields.get(group.field));
        let Some(field) = field else { return false };
        let Some(part) = field.binding.as_ref().and_then(|binding| binding.part()) else {
            return false;
        };
        let has_begun = match &group.state {
            State::Over => return false,
            State::Called(_) => false,
            State::Gathering if !may_begin => return false,
            State::Gathering => {
                let arguments = std::mem::take(&mut group.arguments);
                let own = Given {
                    arguments: &arguments,
                    ..turn.given
                };
                let make = |item: Option<&str>, keys: Option<&str>| part.call(own.scope(&own.values(item, keys)));
                let key = |item: &str| part.key(own.scope(&own.values(Some(item), None)));
                let items: Vec<String> = group.places.iter_mut().map(|(_, item)| std::mem::take(item)).collect();
                let fan = Fan::begin(&items, usize::MAX, AT_ONCE, part, &make, &key);
                group.state = State::Called(Box::new(fan));
                true
            }
        };
        let State::Called(fan) = &mut group.state else {
            return has_begun;
        };
        let is_awaited = field.is_awaited || self.is_serial;
        let Some(many) = fan.advance(part, &mut self.session, is_awaited, turn) else {
            return has_begun;
        };
        group.state = State::Over;
        let places = std::mem::take(&mut group.places);
        let root = group.root;
        let with = With {
            plan: &plan,
            given: turn.given,
        };
        self.settle(&part.name, field, places, many, (place, root), &with);
        true
    }

    fn settle(
        &mut self,
        part: &str,
        field: &Field,
        places: Vec<(usize, String)>,
        many: Many,
        (group, root): (usize, usize),
        with: &With<'_>,
    ) {
        for ((slot, _), result) in places.into_iter().zip(many.into_results()) {
            let place = Place {
                slot,
                under: Some(group),
                root,
            };
            match result {
                Ok(Some(text)) => self.complete(field, &field.ty, text.as_str(), place, with),
                Ok(None) => self.set(slot, Slot::Null),
                Err(settled) => {
                    if !self.failed.iter().any(|(own, _)| own == part) {
                        self.failed.push((part.to_owned(), settled.outcome));
                    }
                    self.set(slot, Slot::Failed(Box::new(Fault::of(part, &settled))));
                }
            }
        }
    }

    /// Whether all objects that have the field are there.
    fn may_begin(&self, place: usize) -> bool {
        let Some(group) = self.groups.get(place) else {
            return false;
        };
        let is_over = |group: &Group| matches!(group.state, State::Over);
        match group.under {
            Some(under) => self.groups.get(under).is_some_and(is_over),
            None if self.is_serial => {
                let mut earlier = self.groups.iter().filter(|other| other.root < group.root);
                earlier.all(is_over) && !self.output().has_failed_before(group.root)
            }
            None => true,
        }
    }

    fn set(&mut self, place: usize, slot: Slot) {
        let size = match &slot {
            Slot::Leaf(text) => text.len(),
            Slot::List { .. } | Slot::Object { .. } => 2,
            _ => NULL.len(),
        };
        self.room = self.room.saturating_sub(size);
        if let Some(own) = self.slots.get_mut(place) {
            *own = slot;
        }
    }

    /// The first of so many new slots.
    fn reserve(&mut self, count: usize) -> usize {
        let first = self.slots.len();
        let count = match self.room < count {
            true => 0,
            false => count,
        };
        self.room = self.room.saturating_sub(count);
        self.slots.extend(std::iter::repeat_with(|| Slot::Open).take(count));
        first
    }

    /// Sets a value from JSON (specification section 6.4.3, CompleteValue).
    fn complete(&mut self, field: &Field, ty: &Type, text: &str, place: Place, with: &With<'_>) {
        if text == NULL {
            return self.set(place.slot, Slot::Null);
        }
        if let Type::List(inner) | Type::NonNullList(inner) = ty {
            let mut node = Node::Text(text);
            let Some(items) = node.items() else {
                return self.fail(place.slot, format!("\"{}\" is no list.", field.first.name));
            };
            let count = items.len();
            let first = self.reserve(count);
            self.set(place.slot, Slot::List { first, count });
            for (at, item) in items.iter().enumerate() {
                let slot = first.saturating_add(at);
                let text = item.text().unwrap_or(NULL);
                self.complete(field, inner, text, Place { slot, ..place }, with);
            }
            return;
        }
        let name = ty.inner_named_type();
        let leaf = match self.bound.schema.types.get(name) {
            Some(ExtendedType::Scalar(_)) => scalar(name.as_str(), text),
            Some(ExtendedType::Enum(own)) => {
                let value: Option<String> = serde_json::from_str(text).ok();
                let is_known = |value: &String| own.values.keys().any(|known| known.as_str() == value);
                value.filter(is_known).map(|value| format!("\"{value}\""))
            }
            _ => return self.complete_object(field, text, place, with),
        };
        match leaf {
            Some(leaf) => self.set(place.slot, Slot::Leaf(leaf)),
            None => self.fail(place.slot, format!("\"{}\" is no {name}.", field.first.name)),
        }
    }

    fn complete_object(&mut self, field: &Field, text: &str, place: Place, with: &With<'_>) {
        let name = field.named();
        let mut node = Node::Text(text);
        if node.members().is_none() {
            return self.fail(place.slot, format!("\"{}\" is no {name}.", field.first.name));
        }
        let told = |by: &str| -> Option<String> {
            let mut node = Node::Text(text);
            let text = node.member(by)?.to_string();
            serde_json::from_str(&text).ok().or(Some(text))
        };
        let object = self.bound.object_of(name, &told);
        let shape = object.and_then(|object| field.shapes.iter().find(|(own, _)| *own == object));
        match shape {
            Some((_, shape)) => self.object(*shape, text, place, with),
            None => self.fail(place.slot, format!("The type of \"{}\" is not told.", field.first.name)),
        }
    }

    fn fail(&mut self, slot: usize, message: String) {
        self.set(slot, Slot::Failed(Box::new(Fault::invalid(message))));
    }

    /// Sets an object of a shape, and what of its fields is there.
    fn object(&mut self, shape: usize, text: &str, place: Place, with: &With<'_>) {
        let Some(own) = with.plan.shape(shape) else { return };
        let first = self.reserve(own.fields.len());
        self.set(place.slot, Slot::Object { shape, first });
        let mut node = Node::Text(text);
        for (at, field) in own.fields.iter().enumerate() {
            let slot = first.saturating_add(at);
            let root = if place.slot == 0 { at } else { place.root };
            let place = Place { slot, root, ..place };
            let binding = field.binding.as_deref();
            let is_denied = binding
                .and_then(|binding| binding.require.as_ref())
                .is_some_and(|require| !require.holds(with.given.request.identity.as_ref()));
            if field.first.name == "__typename" {
                self.set(slot, Slot::Leaf(format!("\"{}\"", own.object)));
                continue;
            }
            if is_denied {
                self.set(slot, Slot::Failed(Box::new(Fault::forbidden())));
                continue;
            }
            let found = match binding.map(|binding| &binding.source) {
                Some(Source::Part(_)) => {
                    self.gather(shape, own, at, text, place);
                    continue;
                }
                Some(Source::Group) => {
                    self.complete(field, &field.ty, "{}", place, with);
                    continue;
                }
                Some(Source::From(path)) => node.at(path.segments()),
                Some(Source::Own) | None => node.member(field.first.name.as_str()),
            };
            match found {
                Some(Node::Text(text)) => {
                    let text = *text;
                    self.complete(field, &field.ty, text, place, with);
                }
                Some(other) => {
                    let text = other.to_string();
                    self.complete(field, &field.ty, &text, place, with);
                }
                None => self.set(slot, Slot::Null),
            }
        }
    }

    /// Adds an object to the group of one of its fields.
    fn gather(&mut self, shape: usize, own: &Shape, field: usize, text: &str, place: Place) {
        let known = self.groups.iter_mut().find(|group| {
            (group.under, group.root, group.shape, group.field) == (place.under, place.root, shape, field)
        });
        if let Some(group) = known {
            group.places.push((place.slot, text.to_owned()));
            return;
        }
        let Some(selected) = own.fields.get(field).map(|field| &field.first) else {
            return;
        };
        let definition = self.bound.definition(own.object.as_str(), selected.name.as_str());
        let arguments =
            definition.map(|definition| arguments(&self.bound.schema, definition, selected, &self.variables));
        match arguments {
            Some(Ok(arguments)) => self.groups.push(Group {
                shape,
                field,
                under: place.under,
                root: place.root,
                arguments,
                places: vec![(place.slot, text.to_owned())],
                state: State::Gathering,
            }),
            Some(Err(message)) => self.set(place.slot, Slot::Failed(Box::new(Fault::argument(message)))),
            None => self.set(place.slot, Slot::Null),
        }
    }
}

/// Calls of one field at once.
const AT_ONCE: usize = 16;
