//! YAML that is written: members stay in the order in which they are put.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::yaml::{Content, Node, Reader};

/// A value of a file that is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Scalar(serde_json::Value),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

/// `tree! { "name": value, ... }`: a map; values are whatever `Tree` is made from.
macro_rules! tree {
    ($($key:literal: $value:expr),* $(,)?) => {
        $crate::import::tree::Tree::Map(vec![$(($key.to_owned(), $crate::import::tree::Tree::from($value))),*])
    };
}
pub(super) use tree;

impl Tree {
    /// Puts a member at the end of a map.
    pub(super) fn put(&mut self, key: &str, value: impl Into<Self>) {
        if let Self::Map(members) = self {
            members.push((key.to_owned(), value.into()));
        }
    }

    /// Puts a member, if there is one.
    pub(super) fn put_some(&mut self, key: &str, value: Option<impl Into<Self>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// Puts a list or map, unless there is nothing in it.
    pub(super) fn put_full(&mut self, key: &str, value: impl Into<Self>) {
        let value = value.into();
        if !value.is_empty() {
            self.put(key, value);
        }
    }

    /// Puts a member into the map that is a member.
    pub(super) fn put_below(&mut self, outer: &str, key: &str, value: impl Into<Self>) {
        let Self::Map(members) = self else { return };
        match members.iter_mut().find(|(own, _)| own == outer) {
            Some((_, below)) => below.put(key, value),
            None => members.push((outer.to_owned(), Self::Map(vec![(key.to_owned(), value.into())]))),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => members.iter().find(|(own, _)| own == key).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Scalar(value) => value.as_str(),
            _ => None,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Scalar(_) => false,
            Self::List(items) => items.is_empty(),
            Self::Map(members) => members.is_empty(),
        }
    }
}

/// As Kong reads it.
impl From<&Node> for Tree {
    fn from(node: &Node) -> Self {
        match &node.content {
            Content::Scalar(..) => Self::Scalar(node.to_json(Reader::Kubernetes)),
            Content::List(items) => Self::List(items.iter().map(Self::from).collect()),
            Content::Map(members) => Self::Map(
                members
                    .iter()
                    .map(|member| (member.key.clone(), Self::from(&member.value)))
                    .collect(),
            ),
        }
    }
}

impl From<&str> for Tree {
    fn from(text: &str) -> Self {
        Self::Scalar(text.into())
    }
}

impl From<String> for Tree {
    fn from(text: String) -> Self {
        Self::Scalar(text.into())
    }
}

impl<T: Into<Tree>> From<&T> for Tree
where
    T: Clone,
{
    fn from(value: &T) -> Self {
        value.clone().into()
    }
}

impl From<u64> for Tree {
    fn from(number: u64) -> Self {
        Self::Scalar(number.into())
    }
}

impl From<bool> for Tree {
    fn from(value: bool) -> Self {
        Self::Scalar(value.into())
    }
}

impl<T: Into<Tree>> From<Vec<T>> for Tree {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Tree>, const LENGTH: usize> From<[T; LENGTH]> for Tree {
    fn from(items: [T; LENGTH]) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Scalar(value) => value.serialize(serializer),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
