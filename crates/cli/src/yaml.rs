//! YAML of which every part knows where it stands, and what the programs that read it make of its scalars.

mod parse;

use std::rc::Rc;

use serde_json::{Map, Number, Value};

pub(crate) use parse::parse;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: Rc<str>,
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// Such as `routes[0].match`; empty for the whole.
    pub(crate) path: String,
}

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Scalar(String, Style),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// It may be a number or another word with a meaning.
    Plain,
    Quoted,
    /// Line by line below `|`, so far to the right.
    Literal {
        indent: usize,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) key: String,
    /// Of the key.
    pub(crate) place: Place,
    pub(crate) value: Node,
}

/// Who reads a document: they differ about plain scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Envoy: `yes` and `on` are booleans, and numbers that are no 32-bit integers stay texts.
    Envoy,
    /// Kubernetes: numbers are numbers.
    Kubernetes,
    /// JSON text.
    Json,
}

impl Node {
    /// A member of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.member(key).map(|member| &member.value)
    }

    pub(crate) fn member(&self, key: &str) -> Option<&Member> {
        self.members().iter().find(|member| member.key == key)
    }

    /// A map's members; of anything else, none.
    pub(crate) fn members(&self) -> &[Member] {
        match &self.content {
            Content::Map(members) => members,
            _ => &[],
        }
    }

    /// A list's items; of anything else, none.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// A scalar's text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// The text of a member.
    pub(crate) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    /// A member by the name of a protobuf field, which JSON may write in camel case.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let mut words = name.split('_');
        let mut camel = words.next().unwrap_or_default().to_owned();
        for word in words {
            let (first, rest) = word.split_at_checked(1).unwrap_or_default();
            camel.push_str(&first.to_ascii_uppercase());
            camel.push_str(rest);
        }
        self.get(name).or_else(|| self.get(&camel))
    }

    /// Field by field.
    pub(crate) fn fields(&self, names: &[&str]) -> Option<&Self> {
        names.iter().try_fold(self, |node, name| node.field(name))
    }

    /// Whether its `@type` is this message.
    pub(crate) fn is_message(&self, name: &str) -> bool {
        self.text_of("@type").and_then(|url| url.rsplit('/').next()) == Some(name)
    }

    /// Every place that a pattern such as `jwt.issuers[].jwks.remote.cluster` names.
    pub(crate) fn select(&self, pattern: &str) -> Vec<&Self> {
        pattern.split('.').fold(vec![self], |nodes, segment| {
            let (key, is_list) = segment.strip_suffix("[]").map_or((segment, false), |key| (key, true));
            if segment == "*" {
                let members = nodes.into_iter().flat_map(Self::members);
                return members.map(|member| &member.value).collect();
            }
            let nodes = nodes.into_iter().filter_map(|node| node.get(key));
            if is_list {
                nodes.flat_map(Self::items).collect()
            } else {
                nodes.collect()
            }
        })
    }

    /// Calls `visit` for this and everything below.
    pub(crate) fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        self.items().iter().for_each(|item| item.visit(visit));
        self.members().iter().for_each(|member| member.value.visit(visit));
    }

    /// Says what the paths of this and everything below are.
    pub(crate) fn name(&mut self, path: String) {
        match &mut self.content {
            Content::Scalar(..) => {}
            Content::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.name(format!("{path}[{index}]"));
                }
            }
            Content::Map(members) => {
                for member in members {
                    let path = join(&path, &member.key);
                    member.place.path.clone_from(&path);
                    member.value.name(path);
                }
            }
        }
        self.place.path = path;
    }

    /// Moves this and everything below to where it stands in the file.
    pub(crate) fn shift(&mut self, shift: &impl Fn(&mut Place)) {
        shift(&mut self.place);
        match &mut self.content {
            Content::Scalar(..) => {}
            Content::List(items) => items.iter_mut().for_each(|item| item.shift(shift)),
            Content::Map(members) => members.iter_mut().for_each(|member| {
                shift(&mut member.place);
                member.value.shift(shift);
            }),
        }
    }

    /// Puts in what `<<` names (YAML 1.1's merge key), in all maps from here on. What stands beside it comes first.
    pub(crate) fn merge(&mut self) {
        match &mut self.content {
            Content::Scalar(..) => {}
            Content::List(items) => items.iter_mut().for_each(Self::merge),
            Content::Map(members) => {
                members.iter_mut().for_each(|member| member.value.merge());
                let Some(place) = members.iter().position(|member| member.key == "<<") else {
                    return;
                };
                let merged = members.remove(place).value;
                let sources = match merged.content {
                    Content::List(items) => items.into_iter().map(|item| item.content).collect(),
                    other => vec![other],
                };
                for source in sources {
                    let Content::Map(more) = source else { continue };
                    let is_new = |member: &Member, own: &[Member]| !own.iter().any(|other| other.key == member.key);
                    for member in more {
                        if is_new(&member, members) {
                            members.push(member);
                        }
                    }
                }
            }
        }
    }

    /// What a reader makes of it.
    pub(crate) fn to_json(&self, reader: Reader) -> Value {
        match &self.content {
            Content::Scalar(text, Style::Plain) => reader.scalar(text),
            Content::Scalar(text, _) => text.clone().into(),
            Content::List(items) => items.iter().map(|item| item.to_json(reader)).collect(),
            Content::Map(members) => members
                .iter()
                .map(|member| (member.key.clone(), member.value.to_json(reader)))
                .collect::<Map<_, _>>()
                .into(),
        }
    }

    fn size(&self) -> usize {
        let mut count = 0_usize;
        self.visit(&mut |_| count = count.saturating_add(1));
        count
    }
}

impl Reader {
    /// How Envoy reads a file, by its name.
    pub(crate) fn envoys(file: &str) -> Self {
        if file.ends_with(".json") {
            Self::Json
        } else {
            Self::Envoy
        }
    }

    fn scalar(self, text: &str) -> Value {
        if self == Self::Json {
            return serde_json::from_str(text).unwrap_or_else(|_| text.into());
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => return true.into(),
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
                return false.into();
            }
            _ => {}
        }
        match integer(text) {
            Some(number) if self == Self::Kubernetes || i32::try_from(number).is_ok() => number.into(),
            Some(_) => text.into(),
            None if self == Self::Kubernetes => float(text).map_or_else(|| text.into(), Value::Number),
            None => text.into(),
        }
    }
}

/// `0x10` is hexadecimal and `010` octal, as C has it.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", text.get(1..)?),
        b'+' => ("", text.get(1..)?),
        _ => ("", text),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    if !digits.starts_with(|character: char| character.is_ascii_hexdigit()) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

fn float(text: &str) -> Option<Number> {
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if is_number {
        text.parse().ok().and_then(Number::from_f64)
    } else {
        None
    }
}

/// A path and a key below it.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

const DEEPEST: usize = 100;
const MOST_NODES: usize = 1_000_000;

#[cfg(test)]
mod tests;
