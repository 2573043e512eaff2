//! The run of one request's parts: each is called as soon as what it refers to is there.

use std::borrow::Cow;
use std::sync::Arc;

use super::call::{Pending, Services};
use super::each::{Each, Fan, Many};
use super::outcome::Outcome;
use super::part::Part;
use super::session::{Asked, Asking, Session, Turn, settle};
use super::value::Settled;
use super::values::{Given, Values, walk};
use crate::clock::Millis;
use crate::json::Node;
use crate::seam::{Call, Context, Note, Ticket};

/// The parts that one body needs, each after those that it refers to.
#[derive(Debug, Default)]
pub struct Units(pub Vec<Unit>);

/// A part in a run.
#[derive(Debug)]
pub struct Unit {
    /// The part.
    pub part: Arc<Part>,
    /// Its place in the file, which decides the order of failures.
    pub place: usize,
    /// For each item of which other part it is called; `None` for one call.
    pub each: Option<Each>,
    /// The units that it refers to.
    pub needs: Vec<usize>,
    /// Whether another unit refers to it.
    pub is_needed: bool,
}

/// The state of one request's parts.
#[derive(Debug)]
pub struct Run {
    units: Arc<Units>,
    states: Vec<State>,
    session: Session,
}

#[derive(Debug)]
enum State {
    /// It has not begun.
    Open,
    Called(Pending),
    Fanned(Box<Fan>),
    Over(Over),
}

/// What has become of a unit.
#[derive(Debug)]
pub(super) enum Over {
    One(Settled),
    Many(Many),
}

/// A failure of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed<'a> {
    /// The part's name.
    pub part: &'a str,
    /// The outcome.
    pub outcome: Outcome,
    /// The service's status, for [`Outcome::Status`].
    pub status: Option<u16>,
    /// Whether the part passes this status on.
    pub passes: bool,
    /// The number of items that lack it, if it is called for each.
    pub items: Option<usize>,
}

impl Run {
    /// A run that must end within a time; `None` if the worker has no room for it.
    pub fn begin(units: &Arc<Units>, within: Millis, services: &Services, cx: &Context<'_>) -> Option<Self> {
        let first = units.0.iter().filter(|unit| unit.needs.is_empty());
        Some(Self {
            units: Arc::clone(units),
            states: units.0.iter().map(|_| State::Open).collect(),
            session: Session::begin(first.count(), within, services, cx)?,
        })
    }

    /// Handles the answers that have come, and makes the calls that are possible now. Returns the tickets of calls under
    /// way; none if the run is over.
    pub fn advance(
        &mut self,
        services: &Services,
        given: Given<'_>,
        notes: &mut Vec<Note>,
        cx: &Context<'_>,
    ) -> Vec<Ticket> {
        let mut turn = self.session.turn(services, given, notes, cx);
        let places = 0..self.units.0.len();
        // A unit that ends may let others begin. Every round but the last ends one.
        while places.clone().any(|place| self.step(place, &mut turn)) {}
        let tickets = self.states.iter().flat_map(|state| match state {
            State::Called(pending) => vec![pending.ticket],
            State::Fanned(fan) => fan.tickets(),
            State::Open | State::Over(_) => Vec::new(),
        });
        tickets.collect()
    }

    /// The session of its calls.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// The part that fails the whole: of the required ones that have failed, the first in the file.
    pub fn failure(&self) -> Option<Failed<'_>> {
        let required = self.failures(|unit| unit.part.default.is_none());
        let (_, place, failed) = required.into_iter().min_by_key(|(order, ..)| *order)?;
        Some(Failed {
            part: self.root(place),
            ..failed
        })
    }

    /// The parts that have failed, in the order of the file.
    pub fn failed(&self) -> Vec<Failed<'_>> {
        let mut failed = self.failures(|_| true);
        failed.sort_unstable_by_key(|(order, ..)| *order);
        failed.into_iter().map(|(.., failed)| failed).collect()
    }

    /// The names of unsafe parts whose calls have succeeded.
    pub fn done(&self) -> Vec<&str> {
        let units = self.units.0.iter().zip(&self.states);
        let done = units.filter(|(unit, state)| match state {
            State::Over(Over::One(settled)) => !unit.part.is_safe && !settled.outcome.is_failure(),
            _ => false,
        });
        done.map(|(unit, _)| unit.part.name.as_str()).collect()
    }

    /// The value of a part as JSON; `None` for `null`, and for a part that is not there. A part that has failed has its
    /// default.
    pub fn value(&self, part: &str) -> Option<Cow<'_, str>> {
        let place = self.units.0.iter().position(|unit| unit.part.name == part)?;
        let (unit, State::Over(over)) = (self.units.0.get(place)?, self.states.get(place)?) else {
            return None;
        };
        match over {
            Over::One(settled) if settled.outcome.is_failure() => unit.part.default.as_deref().map(Cow::Borrowed),
            Over::One(settled) => settled.value.as_ref().map(|text| Cow::Borrowed(text.as_str())),
            Over::Many(many) => Some(Cow::Owned(many.list(&unit.part))),
        }
    }

    /// For each item of another part's answer, what becomes a member of it: part, name of the member, values.
    pub fn joined(&self) -> impl Iterator<Item = (&str, &Each, Vec<&str>)> {
        let units = self.units.0.iter().zip(&self.states);
        units.filter_map(|(unit, state)| match (&unit.each, state) {
            (Some(each), State::Over(Over::Many(many))) => {
                let source = self.units.0.get(each.of)?;
                Some((source.part.name.as_str(), each, many.values(&unit.part).collect()))
            }
            _ => None,
        })
    }

    fn failures(&self, is_asked: impl Fn(&Unit) -> bool) -> Vec<(usize, usize, Failed<'_>)> {
        let units = self.units.0.iter().zip(&self.states).enumerate();
        let failures = units.filter_map(|(place, (unit, state))| {
            let (settled, items) = match state {
                State::Over(Over::One(settled)) => (settled, None),
                State::Over(Over::Many(many)) => (many.failure()?, Some(many.failed_items())),
                _ => return None,
            };
            let failed = Failed {
                part: &unit.part.name,
                outcome: settled.outcome,
                status: settled.status,
                passes: settled.passes,
                items,
            };
            (settled.outcome.is_failure() && is_asked(unit)).then_some((unit.place, place, failed))
        });
        failures.collect()
    }

    /// The name of the part because of which a unit has failed: its own, or that of a part that it refers to.
    fn root(&self, mut place: usize) -> &str {
        // Units refer to earlier ones only.
        loop {
            let Some(unit) = self.units.0.get(place) else {
                return "";
            };
            let is_dependent = self.outcome(place) == Some(Outcome::Dependency);
            match unit.needs.iter().find(|need| self.has_failed(**need)) {
                Some(need) if is_dependent && *need < place => place = *need,
                _ => return &unit.part.name,
            }
        }
    }

    fn outcome(&self, place: usize) -> Option<Outcome> {
        match self.states.get(place)? {
            State::Over(Over::One(settled)) => Some(settled.outcome),
            State::Over(Over::Many(many)) => Some(many.failure().map_or(Outcome::Ok, |settled| settled.outcome)),
            _ => None,
        }
    }

    fn has_failed(&self, place: usize) -> bool {
        self.outcome(place).is_some_and(Outcome::is_failure)
    }

    /// Advances one unit as far as possible; whether it has ended now.
    fn step(&mut self, place: usize, turn: &mut Turn<'_>) -> bool {
        let units = Arc::clone(&self.units);
        let (Some(unit), Some(state)) = (units.0.get(place), self.states.get_mut(place)) else {
            return false;
        };
        if matches!(state, State::Over(_)) {
            return false;
        }
        let state = match std::mem::replace(state, State::Open) {
            State::Open => self.start(unit, turn),
            state => state,
        };
        let state = match state {
            State::Called(pending) => match settle(&unit.part, &pending, turn) {
                Some(settled) => State::Over(Over::One(settled)),
                None => State::Called(pending),
            },
            State::Fanned(mut fan) => match fan.advance(&unit.part, &mut self.session, unit.is_needed, turn) {
                Some(many) => State::Over(Over::Many(many)),
                None => State::Fanned(fan),
            },
            state => state,
        };
        let has_ended = matches!(state, State::Over(_));
        if let State::Over(Over::One(settled)) = &state {
            turn.notes.push(unit.part.counted(settled.outcome));
        }
        if let Some(own) = self.states.get_mut(place) {
            *own = state;
        }
        has_ended
    }

    /// Begins a unit, if all that it refers to is there.
    fn start(&mut self, unit: &Unit, turn: &mut Turn<'_>) -> State {
        let over = |outcome| State::Over(Over::One(Settled::of(outcome)));
        if turn.is_late {
            return over(Outcome::Deadline);
        }
        if unit.needs.iter().any(|need| self.outcome(*need).is_none()) {
            return State::Open;
        }
        if unit.needs.iter().any(|need| self.has_failed(*need)) {
            return over(Outcome::Dependency);
        }
        if let Some(each) = &unit.each {
            return match self.items(each) {
                Ok(items) => {
                    let make = |item: Option<&str>, keys: Option<&str>| self.call(&unit.part, item, keys, turn);
                    let key = |item: &str| self.key(&unit.part, item, turn);
                    let fan = Fan::begin(&items, each.max_items, each.at_once, &unit.part, &make, &key);
                    State::Fanned(Box::new(fan))
                }
                Err(outcome) => over(outcome),
            };
        }
        let call = match self.call(&unit.part, None, None, turn) {
            Ok(call) => call,
            Err(outcome) => return over(outcome),
        };
        let asking = Asking {
            is_awaited: unit.is_needed,
            ends_all: unit.part.default.is_none(),
        };
        match self.session.ask(&unit.part, call, asking, turn) {
            Ok(Asked::Called(pending)) => State::Called(pending),
            Ok(Asked::Kept(settled)) => State::Over(Over::One(settled)),
            Err(outcome) => over(outcome),
        }
    }

    /// Makes the call of a part, for an item or for keys.
    fn call(&self, part: &Part, item: Option<&str>, keys: Option<&str>, turn: &Turn<'_>) -> Result<Call, Outcome> {
        part.call(turn.given.scope(&self.values(item, keys, turn)))
    }

    /// The texts of the items for which a part is called: none where there is no array, [`Outcome::Shape`] where there is
    /// something else.
    fn items(&self, each: &Each) -> Result<Vec<String>, Outcome> {
        let source = self.units.0.get(each.of);
        let Some(text) = source.and_then(|unit| self.value(&unit.part.name)) else {
            return Ok(Vec::new());
        };
        let Some(text) = walk(&text, each.array()) else {
            return Ok(Vec::new());
        };
        let mut node = Node::Text(&text);
        let items = node.items().ok_or(Outcome::Shape)?;
        Ok(items.iter().map(ToString::to_string).collect())
    }

    /// The key of an item.
    fn key(&self, part: &Part, item: &str, turn: &Turn<'_>) -> Option<String> {
        part.key(turn.given.scope(&self.values(Some(item), None, turn)))
    }

    /// The values for the templates of one call.
    fn values<'a>(&'a self, item: Option<&'a str>, keys: Option<&'a str>, turn: &Turn<'a>) -> Values<'a> {
        Values {
            run: Some(self),
            ..turn.given.values(item, keys)
        }
    }
}
