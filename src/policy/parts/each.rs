//! Parts that are called for each item of another part's answer, one by one or in batches.

use std::sync::Arc;

use super::call::Pending;
use super::outcome::Outcome;
use super::part::Part;
use super::session::{Asked, Asking, Session, Turn, settle};
use super::value::{Settled, Text};
use crate::json::{Name, Node, Path, Segment};
use crate::seam::{Call, Ticket};

/// For which items a part is called.
#[derive(Debug)]
pub struct Each {
    /// The unit whose answer has the items.
    pub of: usize,
    /// The path of the items in that answer, which ends in `[*]`.
    pub path: Path,
    /// The member of each item that the result becomes; `None` if the part is the list of results.
    pub name: Option<Name>,
    /// Maximum number of items.
    pub max_items: usize,
    /// Maximum number of calls at once.
    pub at_once: usize,
}

/// Makes the call for an item, or for keys as a JSON array.
pub type Make<'a> = &'a dyn Fn(Option<&str>, Option<&str>) -> Result<Call, Outcome>;

/// The calls for items under way.
#[derive(Debug)]
pub struct Fan {
    items: Vec<Item>,
    groups: Vec<Group>,
    at_once: usize,
}

/// What an item waits for.
#[derive(Debug)]
enum Item {
    /// The answer of the group at this index, or the object with this key in it.
    Group(usize, Option<Key>),
    /// Nothing: there is nothing to ask for.
    Nothing,
    /// It has failed without a call.
    Failed(Outcome),
}

/// The key of an item.
#[derive(Debug, Clone)]
struct Key {
    json: String,
    /// A string without its quotes, so that a number is the same key as its text.
    text: String,
}

/// One call for one or more items.
#[derive(Debug)]
struct Group {
    call: Option<Call>,
    pending: Option<Pending>,
    settled: Option<Settled>,
}

/// The results for all items.
#[derive(Debug)]
pub struct Many {
    results: Vec<Result<Option<Text>, Settled>>,
}

impl Fan {
    /// Makes the calls for at most so many items: `make` makes one for an item or for keys, `key` is that of an item.
    pub fn begin(
        items: &[String],
        most: usize,
        at_once: usize,
        part: &Part,
        make: Make<'_>,
        key: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let mut fan = Self {
            items: Vec::new(),
            groups: Vec::new(),
            at_once,
        };
        for (place, item) in items.iter().enumerate() {
            let item = match part.batch {
                _ if place >= most => Item::Failed(Outcome::TooMany),
                Some(_) => match key(item) {
                    Some(key) => Item::Group(0, Some(Key::of(key))),
                    None => Item::Nothing,
                },
                None => match make(Some(item), None) {
                    Ok(call) => Item::Group(fan.group(call), None),
                    Err(Outcome::Skipped) => Item::Nothing,
                    Err(outcome) => Item::Failed(outcome),
                },
            };
            fan.items.push(item);
        }
        if let Some(batch) = &part.batch {
            fan.batch(batch.max, make);
        }
        fan
    }

    /// The group with this call.
    fn group(&mut self, call: Call) -> usize {
        let same = self.groups.iter().position(|group| group.call.as_ref() == Some(&call));
        same.unwrap_or_else(|| {
            self.groups.push(Group {
                call: Some(call),
                pending: None,
                settled: None,
            });
            self.groups.len().saturating_sub(1)
        })
    }

    /// Puts the distinct keys of all items into calls of at most `max`.
    fn batch(&mut self, max: usize, make: Make<'_>) {
        let mut keys: Vec<Key> = Vec::new();
        for item in &self.items {
            if let Item::Group(_, Some(key)) = item
                && !keys.iter().any(|other| other.text == key.text)
            {
                keys.push(key.clone());
            }
        }
        let mut groups: Vec<(&[Key], Result<usize, Outcome>)> = Vec::new();
        for chunk in keys.chunks(max.max(1)) {
            let list: Vec<_> = chunk.iter().map(|key| key.json.as_str()).collect();
            let call = make(None, Some(&format!("[{}]", list.join(","))));
            groups.push((chunk, call.map(|call| self.group(call))));
        }
        for item in &mut self.items {
            let Item::Group(place, Some(key)) = item else {
                continue;
            };
            let has_key = |chunk: &[Key]| chunk.iter().any(|other| other.text == key.text);
            match groups.iter().find(|(chunk, _)| has_key(chunk)) {
                Some((_, Ok(group))) => *place = *group,
                Some((_, Err(Outcome::Skipped))) | None => *item = Item::Nothing,
                Some((_, Err(outcome))) => *item = Item::Failed(*outcome),
            }
        }
    }

    /// Handles answers, and makes further calls; the results when all are there. With `is_awaited`, the request continues
    /// with each answer alone.
    pub fn advance(
        &mut self,
        part: &Arc<Part>,
        session: &mut Session,
        is_awaited: bool,
        turn: &mut Turn<'_>,
    ) -> Option<Many> {
        let asking = Asking {
            // An answer makes room for a call that has none.
            is_awaited: is_awaited || self.groups.len() > self.at_once,
            ends_all: false,
        };
        loop {
            for group in &mut self.groups {
                if let Some(pending) = &group.pending
                    && let Some(settled) = settle(part, pending, turn)
                {
                    turn.notes.push(part.counted(settled.outcome));
                    group.pending = None;
                    group.settled = Some(settled);
                }
            }
            let under_way = self.groups.iter().filter(|group| group.pending.is_some()).count();
            let Some(group) = self.groups.iter_mut().find(|group| group.call.is_some()) else {
                break;
            };
            if under_way >= self.at_once.max(1) && !turn.is_late {
                break;
            }
            let Some(call) = group.call.take() else { break };
            let asked = match turn.is_late {
                true => Err(Outcome::Deadline),
                false => session.ask(part, call, asking, turn),
            };
            let settled = match asked {
                Ok(Asked::Called(pending)) => {
                    group.pending = Some(pending);
                    continue;
                }
                Ok(Asked::Kept(settled)) => settled,
                Err(outcome) => Settled::of(outcome),
            };
            turn.notes.push(part.counted(settled.outcome));
            group.settled = Some(settled);
        }
        let is_over = self.groups.iter().all(|group| group.settled.is_some());
        is_over.then(|| self.results(part))
    }

    /// How many calls it makes, those that are shared with others included.
    pub fn calls(&self) -> usize {
        self.groups.len()
    }

    /// The tickets of calls under way.
    pub fn tickets(&self) -> Vec<Ticket> {
        let pending = self.groups.iter().filter_map(|group| group.pending.as_ref());
        pending.map(|pending| pending.ticket).collect()
    }

    fn results(&self, part: &Part) -> Many {
        let found: Vec<_> = self.groups.iter().map(|group| Found::of(group, part)).collect();
        let results = self.items.iter().map(|item| match item {
            Item::Nothing => Ok(None),
            Item::Failed(outcome) => Err(Settled::of(*outcome)),
            Item::Group(place, key) => match found.get(*place) {
                Some(found) => found.value(key.as_ref()),
                None => Ok(None),
            },
        });
        Many {
            results: results.collect(),
        }
    }
}

/// What a group's call has brought.
enum Found {
    One(Option<Text>),
    /// Objects by their key, as text.
    ByKey(Vec<(String, Text)>),
    Failed(Settled),
}

impl Found {
    fn of(group: &Group, part: &Part) -> Self {
        let settled = group.settled.clone();
        let settled = settled.unwrap_or_else(|| Settled::of(Outcome::Deadline));
        if settled.outcome.is_failure() {
            return Self::Failed(settled);
        }
        let Some(batch) = &part.batch else {
            return Self::One(settled.value);
        };
        let Some(value) = settled.value else {
            return Self::ByKey(Vec::new());
        };
        let mut node = Node::Text(value.as_str());
        let Some(objects) = node.items() else {
            return Self::Failed(Settled::of(Outcome::Shape));
        };
        let objects = objects.iter_mut().filter_map(|object| {
            let key = object.member(&batch.by)?.to_string();
            Some((Key::of(key).text, value.part(&object.to_string())))
        });
        Self::ByKey(objects.collect())
    }

    fn value(&self, key: Option<&Key>) -> Result<Option<Text>, Settled> {
        match self {
            Self::One(value) => Ok(value.clone()),
            Self::ByKey(objects) => {
                let mut objects = objects.iter();
                let found = objects.find(|(own, _)| key.is_some_and(|key| *own == key.text));
                Ok(found.map(|(_, object)| object.clone()))
            }
            Self::Failed(settled) => Err(settled.clone()),
        }
    }
}

impl Many {
    /// The values of all items as JSON, with the part's default for those that have failed.
    pub(super) fn values<'a>(&'a self, part: &'a Part) -> impl Iterator<Item = &'a str> {
        self.results.iter().map(|result| match result {
            Ok(value) => value.as_ref().map_or(NULL, Text::as_str),
            Err(_) => part.default.as_deref().unwrap_or(NULL),
        })
    }

    /// All values as a JSON array.
    pub(super) fn list(&self, part: &Part) -> String {
        format!("[{}]", self.values(part).collect::<Vec<_>>().join(","))
    }

    /// The result for each item: its value, or why there is none.
    pub fn into_results(self) -> Vec<Result<Option<Text>, Settled>> {
        self.results
    }

    /// The first failure.
    pub(super) fn failure(&self) -> Option<&Settled> {
        self.results.iter().find_map(|result| result.as_ref().err())
    }

    /// How many items have failed.
    pub(super) fn failed_items(&self) -> usize {
        self.results.iter().filter(|result| result.is_err()).count()
    }
}

impl Each {
    /// The path of the array that has the items.
    pub fn array(&self) -> &[Segment] {
        self.path.split_last().map(|(parent, _)| parent).unwrap_or_default()
    }
}

impl Key {
    fn of(json: String) -> Self {
        let text = match json.starts_with('"') {
            true => serde_json::from_str(&json).ok(),
            false => None,
        };
        Self {
            text: text.unwrap_or_else(|| json.clone()),
            json,
        }
    }
}

const NULL: &str = "null";
