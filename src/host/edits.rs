//! Changes of headers, gathered to cost few host calls.

use std::rc::Rc;

use super::abi::{self, HostError, Map};
use crate::fields::Values;
use crate::headers::Headers;

/// Values of headers, none for one to remove; the last word on a name wins.
pub(super) struct Edits {
    map: Map,
    changes: Vec<(Name, Values)>,
}

/// As effects have it.
pub(super) enum Name {
    Bytes(Vec<u8>),
    Shared(Rc<str>),
}

impl Name {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Shared(text) => text.as_bytes(),
        }
    }
}

impl Edits {
    pub(super) fn new(map: Map) -> Self {
        Self {
            map,
            changes: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, name: Name, values: Values) {
        match self
            .changes
            .iter_mut()
            .find(|(own, _)| own.as_bytes() == name.as_bytes())
        {
            Some(change) => change.1 = values,
            None => self.changes.push((name, values)),
        }
    }

    /// One call for each of a few changes, one call for the whole map where there are more. Where the map has not been
    /// read, each is of one value.
    pub(super) fn carry_out(&self, headers: Option<&Headers>) -> Result<(), HostError> {
        let Self { map, changes } = self;
        if let Some(headers) = headers
            && (changes.len() > FEW || changes.iter().any(|(_, values)| values.len() > 1))
        {
            let kept = headers
                .iter()
                .filter(|(name, _)| !changes.iter().any(|(own, _)| own.as_bytes() == *name));
            let set = changes
                .iter()
                .flat_map(|(name, values)| values.iter().map(|value| (name.as_bytes(), value.as_slice())));
            return abi::set_header_map(*map, &kept.chain(set).collect::<Vec<_>>());
        }
        let mut changes = changes.iter().map(|(name, values)| (name.as_bytes(), values));
        changes.try_for_each(|(name, values)| match values.first() {
            Some(value) => {
                // So that nothing hangs on how the host replaces several values by one.
                if headers.is_some_and(|headers| headers.all_bytes(name).nth(1).is_some()) {
                    abi::remove_header(*map, name)?;
                }
                abi::set_header(*map, name, value)
            }
            None => abi::remove_header(*map, name),
        })
    }
}

/// Calls; beyond, replacing the whole map is cheaper: `scripts/bench` with four single changes costs more than with one
/// whole map.
const FEW: usize = 3;
