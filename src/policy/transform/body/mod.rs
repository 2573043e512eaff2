//! Changes of JSON bodies, in the documented order.

mod config;
mod form;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::Kind;
use crate::http::headers::media_type;
use crate::json::{Mask, Name, Node, Path, Segment};
use crate::message::body::{Change, DEFAULT_MAX_BYTES, OnFault};
use crate::message::media_range::MediaRange;
use crate::template::{Content, Scope, Template};

pub use config::BodyConfig;
use config::Shape;
use form::Convert;

/// The compiled rules for one route's bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BodyRules {
    convert: Option<Convert>,
    unwrap: Option<Path>,
    keep: Option<Mask>,
    masks: Option<Masks>,
    remove: Vec<Path>,
    rename: Vec<(Path, Name)>,
    moves: Vec<(Path, Path)>,
    values: Vec<(Kind, Path, Content)>,
    wrap: Option<Name>,
    max_bytes: usize,
    on_fault: OnFault,
    /// Media types that pass unchanged.
    passing: Vec<MediaRange>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Masks {
    by: Template,
    /// The masks by name; `None` keeps everything.
    shapes: BTreeMap<String, Option<Arc<Mask>>>,
    default: String,
}

/// The changes of one body, with the request's values filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyChange {
    rules: Arc<BodyRules>,
    mask: Option<Arc<Mask>>,
    /// The JSON of each value in the rules; `None` if the request lacks something for it.
    values: Vec<Option<String>>,
}

impl BodyRules {
    pub(super) fn new(config: &BodyConfig, passing: &[MediaRange]) -> Self {
        let shape = |shape: &Shape| match shape {
            Shape::All(_) => None,
            Shape::Only(paths) => Some(Arc::new(Mask::new(paths))),
        };
        let values = config
            .contents()
            .map(|(kind, path, content)| (kind, path.clone(), content.clone()));
        Self {
            convert: config.convert,
            unwrap: config.unwrap.clone(),
            keep: config.keep.as_ref().map(Mask::new),
            masks: config.mask.as_ref().map(|config| Masks {
                by: config.by.clone(),
                shapes: config
                    .shapes
                    .iter()
                    .map(|(name, own)| (name.clone(), shape(own)))
                    .collect(),
                default: config.default.clone(),
            }),
            remove: config.remove.clone(),
            rename: config
                .rename
                .iter()
                .map(|(path, name)| (path.clone(), Name::new(name)))
                .collect(),
            moves: config
                .r#move
                .iter()
                .map(|(from, to)| (from.clone(), to.clone()))
                .collect(),
            values: values.collect(),
            wrap: config.wrap.as_deref().map(Name::new),
            max_bytes: usize::try_from(config.max_bytes.unwrap_or(DEFAULT_MAX_BYTES)).unwrap_or(usize::MAX),
            on_fault: config.on_fault,
            passing: passing.into(),
        }
    }

    /// Fills in the values of a request.
    pub(super) fn ready(self: &Arc<Self>, scope: Scope<'_>) -> BodyChange {
        BodyChange {
            rules: Arc::clone(self),
            mask: self.masks.as_ref().and_then(|masks| masks.of(scope)),
            values: self
                .values
                .iter()
                .map(|(_, _, content)| content.render(scope))
                .collect(),
        }
    }
}

impl Masks {
    fn of(&self, scope: Scope<'_>) -> Option<Arc<Mask>> {
        let name = self.by.text(scope);
        let shape = name.and_then(|name| self.shapes.get(&name));
        shape.or_else(|| self.shapes.get(&self.default)).cloned().flatten()
    }
}

impl BodyChange {
    /// A change without values of requests.
    pub fn fixed(config: &BodyConfig) -> Self {
        Self {
            rules: Arc::new(BodyRules::new(config, &[])),
            mask: None,
            values: Vec::new(),
        }
    }

    /// Whether the result is an object with one member.
    pub fn wraps(&self) -> bool {
        self.rules.wrap.is_some()
    }

    /// A change from a configuration without templates, for tests.
    #[cfg(test)]
    pub(crate) fn of(config: serde_json::Value) -> Self {
        let config: BodyConfig = serde_json::from_value(config).unwrap_or_default();
        Self {
            rules: Arc::new(BodyRules::new(
                &config,
                &MediaRange::parse("text/event-stream").into_iter().collect::<Vec<_>>(),
            )),
            mask: None,
            values: Vec::new(),
        }
    }

    fn change(&self, text: &[u8]) -> Option<String> {
        let Self { rules, mask, values } = self;
        let mut document = Node::parse(text).ok()?;
        if let Some(path) = &rules.unwrap {
            let mut inner = None;
            document.visit(path.segments(), &mut |value| {
                inner.get_or_insert_with(|| std::mem::replace(value, NULL));
            });
            document = inner.unwrap_or(document);
        }
        for mask in rules.keep.iter().chain(mask.as_deref()) {
            if !mask.apply(&mut document) {
                document = NULL;
            }
        }
        for path in &rules.remove {
            remove(&mut document, path);
        }
        for (path, name) in &rules.rename {
            rename(&mut document, path, name);
        }
        for (from, to) in &rules.moves {
            relocate(&mut document, from, to);
        }
        for ((kind, path, _), value) in rules.values.iter().zip(values) {
            if let Some(value) = value {
                write(&mut document, *kind, path, value);
            }
        }
        if let Some(name) = &rules.wrap {
            document = Node::object(name, document);
        }
        Some(document.to_string())
    }
}

impl Change for BodyChange {
    fn max_bytes(&self) -> usize {
        self.rules.max_bytes
    }

    fn on_fault(&self) -> OnFault {
        self.rules.on_fault
    }

    fn reads(&self, content_types: &[&str]) -> bool {
        content_types.iter().all(|content_type| {
            let media_type = media_type(content_type);
            match self.rules.convert {
                _ if media_type.is_empty() => true,
                Some(Convert::FormToJson) => media_type == form::FORM,
                // Types based on JSON have this suffix (RFC 6839 section 3.1).
                _ => media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json"),
            }
        })
    }

    fn lets_pass(&self, content_types: &[&str]) -> bool {
        let passes = |content_type: &&str| self.rules.passing.iter().any(|own| own.has(content_type));
        !content_types.is_empty() && content_types.iter().all(passes)
    }

    fn has_room(&self, text: &[u8]) -> bool {
        let parts = |marks: &[u8]| text.iter().filter(|byte| marks.contains(byte)).count();
        let needed = match self.rules.convert {
            Some(Convert::FormToJson) => parts(b"&").saturating_mul(BYTES_OF_A_PAIR),
            Some(Convert::JsonToForm) => parts(b",:[{").saturating_mul(BYTES_OF_A_VALUE),
            None => parts(b",[{").saturating_mul(BYTES_OF_A_PART),
        };
        needed <= text.len().saturating_mul(MOST_PER_BYTE).saturating_add(ALWAYS_ROOM)
    }

    fn writes(&self) -> Option<&'static str> {
        self.rules.convert.map(Convert::writes)
    }

    fn apply(&self, text: &[u8]) -> Option<String> {
        match self.rules.convert {
            Some(Convert::FormToJson) => self.change(form::to_json(text).as_bytes()),
            _ if text.is_empty() => Some(String::new()),
            None => self.change(text),
            Some(Convert::JsonToForm) => form::of_json(&self.change(text)?),
        }
    }
}

fn remove<'a>(document: &mut Node<'a>, path: &'a Path) {
    let Some((parent, last)) = path.split_last() else {
        return;
    };
    document.visit(parent, &mut |value| match last {
        Segment::Items => value.items().into_iter().for_each(Vec::clear),
        Segment::Member(name) => drop(value.take(&name.plain)),
    });
}

fn rename<'a>(document: &mut Node<'a>, path: &'a Path, new: &'a Name) {
    let Some((parent, Segment::Member(old))) = path.split_last() else {
        return;
    };
    document.visit(parent, &mut |value| {
        if old != new && value.has(&old.plain) {
            drop(value.take(&new.plain));
            for member in value.members().into_iter().flatten() {
                if member.is_named(&old.plain) {
                    member.rename(new);
                }
            }
        }
    });
}

fn relocate<'a>(document: &mut Node<'a>, from: &'a Path, to: &'a Path) {
    let ((items, from), (_, to)) = (from.split_items(), to.split_items());
    document.visit(items, &mut |value| {
        let Some((Segment::Member(name), parent)) = from.split_last() else {
            return;
        };
        let mut taken = None;
        value.visit(parent, &mut |holder| {
            let own = holder.take(&name.plain);
            taken = taken.take().or(own);
        });
        if let Some((Segment::Member(name), parent)) = to.split_last()
            && taken.is_some()
        {
            value.reach(parent, &mut |holder| {
                if holder.members().is_some()
                    && let Some(taken) = taken.take()
                {
                    holder.put(name, taken);
                }
            });
        }
        // Another value is in the way: the member goes back.
        value.visit(parent, &mut |holder| {
            if let Some(taken) = taken.take() {
                holder.put(name, taken);
            }
        });
    });
}

fn write<'a>(document: &mut Node<'a>, kind: Kind, path: &'a Path, text: &'a str) {
    let text = Node::Text(text);
    if kind == Kind::Replace {
        return document.visit(path.segments(), &mut |value| *value = text.clone());
    }
    let Some((parent, Segment::Member(name))) = path.split_last() else {
        return;
    };
    document.reach(parent, &mut |holder| match kind {
        Kind::Append => match holder.member(&name.plain) {
            None => holder.put(name, Node::Array(vec![text.clone()])),
            Some(value) => match value.items() {
                Some(items) => items.push(text.clone()),
                None => {
                    let own = std::mem::replace(value, NULL);
                    *value = Node::Array(vec![own, text.clone()]);
                }
            },
        },
        Kind::Add if holder.has(&name.plain) => {}
        _ => holder.put(name, text.clone()),
    });
}

const NULL: Node<'static> = Node::Text("null");

/// Maximum memory for each byte of a text besides the text itself, in bytes.
const MOST_PER_BYTE: usize = 4;

/// Memory that any text may take, in bytes: enough for any body of the default maximum size.
const ALWAYS_ROOM: usize = 16 << 20;

/// Memory for a parsed item or member, with the spare capacity of its list, in bytes.
const BYTES_OF_A_PART: usize = 40;

/// Memory for a pair of a form, which has two strings, in bytes.
const BYTES_OF_A_PAIR: usize = 160;

/// The same for a value that becomes a pair.
const BYTES_OF_A_VALUE: usize = 80;

#[cfg(test)]
mod tests;
