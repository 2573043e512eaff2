//! Values of the answer: each is set from JSON, held to its type (specification section 6.4.3, CompleteValue).

use apollo_compiler::ast::Type;
use apollo_compiler::schema::ExtendedType;

use super::bound::Source;
use super::execute::{Execution, Group, Place, Slot, State, With};
use super::fault::Fault;
use super::input::{NULL, arguments, scalar};
use super::plan::{Field, Shape};
use crate::json::Node;

impl Execution {
    pub(super) fn set(&mut self, place: usize, slot: Slot) {
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
    pub(super) fn complete(&mut self, field: &Field, ty: &Type, text: &str, place: Place, with: &With<'_>) {
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
        let mut told = |by: &str| -> Option<String> {
            let text = node.member(by)?.to_string();
            serde_json::from_str(&text).ok().or(Some(text))
        };
        let object = self.bound.object_of(name, &mut told);
        let shape = object.and_then(|object| field.shapes.iter().find(|(own, _)| *own == object));
        match shape {
            Some((_, shape)) => self.object(*shape, node, text, place, with),
            None => self.fail(place.slot, format!("The type of \"{}\" is not told.", field.first.name)),
        }
    }

    fn fail(&mut self, slot: usize, message: String) {
        self.set(slot, Slot::Failed(Box::new(Fault::invalid(message))));
    }

    /// Sets an object of a shape, and what of its fields is there, from its JSON and that as text.
    pub(super) fn object(&mut self, shape: usize, mut node: Node<'_>, text: &str, place: Place, with: &With<'_>) {
        let Some(own) = with.plan.shape(shape) else { return };
        // Names are a part of the answer, and a client chooses how long they are.
        let names = own.fields.iter().map(|field| field.key.len().saturating_add(FRAME));
        self.room = names.fold(self.room, usize::saturating_sub);
        let first = self.reserve(own.fields.len());
        self.set(place.slot, Slot::Object { shape, first });
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

/// What a member has besides its name and its value.
const FRAME: usize = 4;
