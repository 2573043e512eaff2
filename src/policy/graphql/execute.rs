//! The execution of one operation: fields bound to parts become calls, level by level; all other values are members of
//! their parents (specification section 6.4).

use std::sync::Arc;

use super::bound::Bound;
use super::document::Document;
use super::fault::Fault;
use super::input::{NULL, Variables};
use super::output::Output;
use super::plan::{Field, Plan};
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
    pub(super) variables: Variables,
    pub(super) slots: Vec<Slot>,
    pub(super) groups: Vec<Group>,
    /// Whether root fields run one after the other, as those of a mutation.
    is_serial: bool,
    session: Session,
    /// The parts that have failed, each once.
    failed: Vec<(String, Outcome)>,
    /// How many more calls it may make: lists may be longer than was said.
    calls: usize,
    /// How much more the answer may have, in bytes.
    pub(super) room: usize,
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
pub(super) struct Group {
    pub(super) shape: usize,
    pub(super) field: usize,
    /// The group in whose answers the objects are.
    pub(super) under: Option<usize>,
    /// The root field that it is part of.
    pub(super) root: usize,
    pub(super) arguments: Vec<(String, String)>,
    /// Where the answers belong, with the objects that have the field.
    pub(super) places: Vec<(usize, String)>,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
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
pub(super) struct Place {
    pub(super) slot: usize,
    pub(super) under: Option<usize>,
    pub(super) root: usize,
}

/// The values of one advance.
pub(super) struct With<'a> {
    pub(super) plan: &'a Plan,
    pub(super) given: Given<'a>,
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
            calls: usize::try_from(bound.limits.calls).unwrap_or(usize::MAX),
            room: usize::try_from(bound.limits.answer).unwrap_or(usize::MAX),
        };
        let with = With { plan: &plan, given };
        let place = Place {
            slot: 0,
            under: None,
            root: 0,
        };
        execution.object(0, Node::Text("{}"), "{}", place, &with);
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
        let parts = self.plan.fields().filter_map(|(_, field)| field.part());
        let ages: Option<Vec<_>> = parts.map(|part| part.max_age()).collect();
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
        let is_gathering = |group: &Group| matches!(group.state, State::Gathering);
        if self.groups.get(place).is_some_and(is_gathering) && !self.may_begin(place) {
            return false;
        }
        let Some(group) = self.groups.get_mut(place) else {
            return false;
        };
        let field = plan.shape(group.shape).and_then(|shape| shape.fields.get(group.field));
        let Some(field) = field else { return false };
        let Some(part) = field.part() else { return false };
        let has_begun = match &group.state {
            State::Over => return false,
            State::Called(_) => false,
            State::Gathering => {
                let arguments = std::mem::take(&mut group.arguments);
                let own = Given {
                    arguments: &arguments,
                    ..turn.given
                };
                let make = |item: Option<&str>, keys: Option<&str>| part.call(own.scope(&own.values(item, keys)));
                let key = |item: &str| part.key(own.scope(&own.values(Some(item), None)));
                let items: Vec<String> = group.places.iter_mut().map(|(_, item)| std::mem::take(item)).collect();
                let each = part.batch.as_ref().map_or(1, |batch| batch.max.max(1));
                let fan = Fan::begin(&items, self.calls.saturating_mul(each), AT_ONCE, part, &make, &key);
                self.calls = self.calls.saturating_sub(fan.calls());
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
}

/// Calls of one field at once.
const AT_ONCE: usize = 16;
