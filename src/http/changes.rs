//! Changes of a message's headers: the values that each name gets.

use std::sync::Arc;

use crate::http::edits::Values;
use crate::http::headers::Headers;

/// The values that headers get, by name; the last change of a name counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderChanges(Vec<(Name, Values)>);

/// A header's name in lower case.
#[derive(Debug, Clone)]
pub enum Name {
    /// A name in the code.
    Static(&'static str),
    /// A name from the configuration.
    Shared(Arc<str>),
    /// A name from a message.
    Bytes(Vec<u8>),
}

impl HeaderChanges {
    /// No changes, with capacity for `count`.
    pub fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// Sets the values of a header, one line for each; an empty list removes the header.
    pub fn set(&mut self, name: impl Into<Name>, values: Values) {
        let name = name.into();
        match self.0.iter_mut().find(|(own, _)| *own == name) {
            Some(change) => change.1 = values,
            None => self.0.push((name, values)),
        }
    }

    /// Sets the only value of a header.
    pub fn set_one(&mut self, name: impl Into<Name>, value: impl Into<Vec<u8>>) {
        self.set(name, vec![value.into()]);
    }

    /// Removes every value of a header.
    pub fn remove(&mut self, name: impl Into<Name>) {
        self.set(name, Values::new());
    }

    /// Removes every value of several headers.
    pub fn remove_all(&mut self, names: impl IntoIterator<Item = impl Into<Name>>) {
        names.into_iter().for_each(|name| self.remove(name));
    }

    /// The values that a header gets; `None` if it is unchanged.
    pub fn get(&self, name: &[u8]) -> Option<&Values> {
        let found = self.0.iter().find(|(own, _)| own.as_bytes() == name);
        found.map(|(_, values)| values)
    }

    /// A header's values after the changes.
    pub fn current<'a, 'n>(
        &'a self,
        headers: &'a Headers,
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let own = self.get(name.as_bytes());
        let kept = headers.all(name).take(own.map_or(usize::MAX, |_| 0));
        own.into_iter().flatten().map(Vec::as_slice).chain(kept)
    }

    /// The changes, in the order in which names were first added.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Values)> + Clone {
        self.0.iter().map(|(name, values)| (name.as_bytes(), values))
    }

    /// How many headers change.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no header changes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All headers after the changes.
    pub fn applied_to<'a>(&'a self, headers: &'a Headers) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let kept = headers.iter().filter(|(name, _)| self.get(name).is_none());
        let set = self.iter();
        kept.chain(set.flat_map(|(name, values)| values.iter().map(move |value| (name, value.as_slice()))))
    }
}

impl Name {
    /// The name as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Static(name) => name.as_bytes(),
            Self::Shared(name) => name.as_bytes(),
            Self::Bytes(name) => name,
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl From<&'static str> for Name {
    fn from(name: &'static str) -> Self {
        Self::Static(name)
    }
}

impl From<Arc<str>> for Name {
    fn from(name: Arc<str>) -> Self {
        Self::Shared(name)
    }
}

impl From<Vec<u8>> for Name {
    fn from(name: Vec<u8>) -> Self {
        Self::Bytes(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_a_name_counts() {
        let mut changes = HeaderChanges::default();
        changes.set_one("a", "1");
        changes.remove(b"b".to_vec());
        changes.set(Arc::<str>::from("a"), vec![b"2".to_vec(), b"3".to_vec()]);
        assert_eq!((changes.len(), changes.get(b"b")), (2, Some(&Values::new())));
        let headers: Headers = [("b", "x"), ("c", "y"), ("a", "z"), ("b", "w")].into_iter().collect();
        let applied: Headers = changes.applied_to(&headers).collect();
        let expected: [(&[u8], &[u8]); 3] = [(b"c", b"y"), (b"a", b"2"), (b"a", b"3")];
        assert!(applied.iter().eq(expected));
        let current = |name: &str| changes.current(&headers, name).collect::<Vec<_>>();
        assert_eq!(current("a"), [b"2", b"3"]);
        assert_eq!(current("b"), [b""; 0]);
        assert_eq!(current("c"), [b"y"]);
    }
}
