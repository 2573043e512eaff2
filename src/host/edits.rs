//! Changes of a request's headers, gathered to cost few host calls.

use super::abi::{self, HostError, Map};
use crate::headers::Headers;

/// Headers to remove and to set; the last word on a name wins.
#[derive(Default)]
pub(super) struct Edits(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Edits {
    pub(super) fn remove(&mut self, name: Vec<u8>) {
        self.put(name, None);
    }

    pub(super) fn set(&mut self, name: Vec<u8>, value: Vec<u8>) {
        self.put(name, Some(value));
    }

    fn put(&mut self, name: Vec<u8>, value: Option<Vec<u8>>) {
        match self.0.iter_mut().find(|(own, _)| *own == name) {
            Some(edit) => edit.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// One call for each of a few changes, one call for the whole map where there are more.
    pub(super) fn carry_out(&self, headers: &Headers) -> Result<(), HostError> {
        if self.0.len() > FEW {
            let kept = headers
                .iter()
                .filter(|(name, _)| !self.0.iter().any(|(own, _)| own == name));
            let set = self
                .0
                .iter()
                .filter_map(|(name, value)| Some((name.as_slice(), value.as_deref()?)));
            return abi::set_header_map(Map::RequestHeaders, &kept.chain(set).collect::<Vec<_>>());
        }
        self.0.iter().try_for_each(|(name, value)| match value {
            Some(value) => {
                // So that nothing hangs on how the host replaces several values by one.
                if headers.all_bytes(name).nth(1).is_some() {
                    abi::remove_header(Map::RequestHeaders, name)?;
                }
                abi::set_header(Map::RequestHeaders, name, value)
            }
            None => abi::remove_header(Map::RequestHeaders, name),
        })
    }
}

/// Calls; beyond, replacing the whole map is cheaper: `scripts/bench` with four single changes costs more than with one
/// whole map.
const FEW: usize = 3;
