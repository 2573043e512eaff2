//! A lazy JSON tree: only what rules look at is parsed; the rest keeps its text, byte for byte.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::path::{Name, Segment};
use crate::http::edits::change_one;

/// A JSON value.
#[derive(Debug, Clone)]
pub enum Node<'a> {
    /// An unparsed value: its JSON text.
    Text(&'a str),
    /// A parsed object.
    Object(Vec<Member<'a>>),
    /// A parsed array.
    Array(Vec<Self>),
}

/// A member of an object. An object may have several of the same name.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// The name as a JSON string with quotes.
    name: &'a str,
    /// The value.
    pub value: Node<'a>,
}

impl<'a> Member<'a> {
    /// A member with this name and value.
    pub fn new(name: &'a Name, value: Node<'a>) -> Self {
        Self {
            name: &name.quoted,
            value,
        }
    }

    /// Whether this is its name, with or without escapes.
    pub fn is_named(&self, name: &str) -> bool {
        // With its quotes; an escape makes it longer than the name.
        match self.name.len() == name.len().saturating_add(2) {
            true => self.name.get(1..self.name.len().saturating_sub(1)) == Some(name) && !name.contains('\\'),
            false => self.name.len() > name.len() && self.plain_name() == name,
        }
    }

    /// The name without quotes and escapes.
    fn plain_name(&self) -> Cow<'a, str> {
        let plain = self.name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
        match plain {
            Some(plain) if !plain.contains('\\') => plain.into(),
            _ => serde_json::from_str::<String>(self.name).unwrap_or_default().into(),
        }
    }

    /// Changes the name.
    pub fn rename(&mut self, name: &'a Name) {
        self.name = &name.quoted;
    }
}

impl<'a> Node<'a> {
    /// Checks a text, which must be JSON (RFC 8259) of any depth.
    pub fn parse(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        let text: &RawValue = serde_json::from_slice(text)?;
        Ok(Self::Text(text.get()))
    }

    /// The members, if it is an object.
    pub fn members(&mut self) -> Option<&mut Vec<Member<'a>>> {
        if let Self::Text(text) = self
            && text.starts_with('{')
        {
            *self = Self::Object(serde_json::from_str::<Members<'a>>(text).ok()?.0);
        }
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The items, if it is an array.
    pub fn items(&mut self) -> Option<&mut Vec<Self>> {
        if let Self::Text(text) = self
            && text.starts_with('[')
        {
            *self = Self::Array(serde_json::from_str::<Items<'a>>(text).ok()?.0);
        }
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// Visits every value at the end of this path.
    pub fn visit(&mut self, path: &'a [Segment], act: &mut dyn FnMut(&mut Self)) {
        self.walk(path, false, act);
    }

    /// As [`visit`](Self::visit), but creates missing objects after the last `[*]`. No effect if a value of another
    /// type is in the way.
    pub fn reach(&mut self, path: &'a [Segment], act: &mut dyn FnMut(&mut Self)) {
        self.walk(path, true, act);
    }

    fn walk(&mut self, path: &'a [Segment], makes: bool, act: &mut dyn FnMut(&mut Self)) {
        let Some((first, rest)) = path.split_first() else {
            return act(self);
        };
        match first {
            Segment::Items => {
                for item in self.items().into_iter().flatten() {
                    item.walk(rest, makes, act);
                }
            }
            Segment::Member(name) => {
                let Some(members) = self.members() else { return };
                if makes
                    && !rest.contains(&Segment::Items)
                    && !members.iter().any(|member| member.is_named(&name.plain))
                {
                    members.push(Member::new(name, Self::Object(Vec::new())));
                }
                for member in members.iter_mut().filter(|member| member.is_named(&name.plain)) {
                    member.value.walk(rest, makes, act);
                }
            }
        }
    }

    /// Removes the first value of this name from an object.
    pub fn take(&mut self, name: &str) -> Option<Self> {
        let members = self.members()?;
        let place = members.iter().position(|member| member.is_named(name))?;
        let taken = members.remove(place).value;
        members.retain(|member| !member.is_named(name));
        Some(taken)
    }

    /// Sets the only value of a name, in the place of the first one. No effect if this is not an object.
    pub fn put(&mut self, name: &'a Name, value: Self) {
        let Some(members) = self.members() else { return };
        let mut value = Some(value);
        let is_own = |member: &Member<'a>| member.is_named(&name.plain);
        change_one(members, is_own, |first| {
            if let Some(value) = value.take() {
                first.value = value;
            }
        });
        members.extend(value.map(|value| Member::new(name, value)));
    }

    /// The first value of this name in an object.
    pub fn member(&mut self, name: &str) -> Option<&mut Self> {
        let mut members = self.members()?.iter_mut();
        members
            .find(|member| member.is_named(name))
            .map(|member| &mut member.value)
    }

    /// The first value at a path of names; `None` for one with `[*]`.
    pub fn at(&mut self, path: &[Segment]) -> Option<&mut Self> {
        let Some((first, rest)) = path.split_first() else {
            return Some(self);
        };
        match first {
            Segment::Member(name) => self.member(&name.plain)?.at(rest),
            Segment::Items => None,
        }
    }

    /// Whether an object has this name.
    pub fn has(&mut self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// Adds the members of another object. One of a name that is there already takes that one's place.
    pub fn merge(&mut self, other: &mut Self) {
        let (Some(own), Some(others)) = (self.members(), other.members()) else {
            return;
        };
        for member in others.iter() {
            let name = member.plain_name();
            match own.iter_mut().find(|own| own.is_named(&name)) {
                Some(own) => own.value = member.value.clone(),
                None => own.push(member.clone()),
            }
        }
    }

    /// The text, if it has not been taken apart.
    pub fn text(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An object of one member.
    pub fn object(name: &'a Name, value: Self) -> Self {
        Self::Object(vec![Member::new(name, value)])
    }

    fn write(&self, text: &mut String) {
        let mut separator = "";
        match self {
            Self::Text(own) => text.push_str(own),
            Self::Object(members) => {
                text.push('{');
                for Member { name, value } in members {
                    text.push_str(std::mem::replace(&mut separator, ","));
                    text.push_str(name);
                    text.push(':');
                    value.write(text);
                }
                text.push('}');
            }
            Self::Array(items) => {
                text.push('[');
                for item in items {
                    text.push_str(std::mem::replace(&mut separator, ","));
                    item.write(text);
                }
                text.push(']');
            }
        }
    }
}

impl fmt::Display for Node<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        formatter.write_str(&text)
    }
}

struct Members<'a>(Vec<Member<'a>>);

struct Items<'a>(Vec<Node<'a>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(USUAL);
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            members.push(Member {
                name: name.get(),
                value: Node::Text(value.get()),
            });
        }
        Ok(Members(members))
    }
}

/// Members of an object, mostly: room for them is made at once.
const USUAL: usize = 8;

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element::<&RawValue>()? {
            items.push(Node::Text(item.get()));
        }
        Ok(Items(items))
    }
}

#[cfg(test)]
mod tests {
    use super::super::path::Path;
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str =
        r#"{ "n": 12345678901234567890, "f":1.0 ,"e":1e2,"s":"\u00e9\/","d":1,"d":2, "o":{"b": 1,"a":[ ]}}"#;

    fn parsed(text: &str) -> Node<'_> {
        Node::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_not_taken_apart_stays_byte_for_byte() {
        assert_eq!(parsed(TEXT).to_string(), TEXT);
        let mut document = parsed(TEXT);
        document.members().unwrap();
        assert_eq!(
            document.to_string(),
            r#"{"n":12345678901234567890,"f":1.0,"e":1e2,"s":"\u00e9\/","d":1,"d":2,"o":{"b": 1,"a":[ ]}}"#
        );
        assert_eq!(parsed(" [ 1 , [ 2 ] ] ").items().map(|items| items.len()), Some(2));
        assert_eq!(parsed("3").items().map(|items| items.len()), None);
        assert!(parsed("[]").members().is_none());
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "{}x",
            "{'a':1}",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "nul",
            "\"\u{1}\"",
            "\"\\x\"",
            "\u{feff}{}",
            "NaN",
            "[}",
        ] {
            assert!(Node::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Node::parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn depth_is_no_matter() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(parsed(&deep).to_string(), deep);
        assert_eq!(parsed(&deep).items().unwrap().len(), 1);
        assert!(Node::parse("[".repeat(200_000).as_bytes()).is_err());
    }

    #[test]
    fn values_are_put_taken_and_reached() {
        let (name, other) = (Name::new("d"), Name::new("new"));
        let mut document = parsed(TEXT);
        document.put(&name, Node::Text("0"));
        document.put(&other, Node::Text("true"));
        assert_eq!(
            document.take("o").map(|value| value.to_string()),
            Some(r#"{"b": 1,"a":[ ]}"#.into())
        );
        assert!(document.take("o").is_none() && !document.has("o") && document.has("new"));
        let text = document.to_string();
        assert!(text.ends_with(r#""s":"\u00e9\/","d":0,"new":true}"#), "{text}");

        let reach = |path: &str, text: &str| {
            let path = Path::parse(path).unwrap();
            let mut document = parsed(text);
            document.reach(path.segments(), &mut |value| *value = Node::Text("1"));
            document.to_string()
        };
        assert_eq!(reach("a.b", "{}"), r#"{"a":{"b":1}}"#);
        assert_eq!(reach("a.b", r#"{"a":2}"#), r#"{"a":2}"#, "in the way");
        assert_eq!(reach("a[*].b.c", r#"{"a":[{},2]}"#), r#"{"a":[{"b":{"c":1}},2]}"#);
        assert_eq!(reach("a.b[*].c", "{}"), "{}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[\[\]{}:,"\\ua0-9.e \-]{0,40}"#) {
            if let Ok(mut document) = Node::parse(text.as_bytes()) {
                prop_assert!(document.to_string() == text.trim_matches([' ', '\n', '\r', '\t']));
                let _ = (document.members().is_some(), document.items().is_some());
                prop_assert!(Node::parse(document.to_string().as_bytes()).is_ok());
            }
        }
    }
}
