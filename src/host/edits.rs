//! Applies header changes with few host calls.

use super::abi::{self, HostError, Map};
use crate::http::changes::HeaderChanges;
use crate::http::headers::Headers;

/// Applies a few changes one by one, more by replacing the whole map. `headers` is the map's content, if it was read;
/// otherwise every change sets at most one value.
pub(super) fn carry_out(map: Map, changes: &HeaderChanges, headers: Option<&Headers>) -> Result<(), HostError> {
    if let Some(headers) = headers
        && (changes.len() > FEW || changes.iter().any(|(_, values)| values.len() > 1))
    {
        let pairs: Vec<_> = changes.applied_to(headers).collect();
        return abi::set_header_map(map, &pairs);
    }
    let mut changes = changes.iter();
    changes.try_for_each(|(name, values)| match values.first() {
        Some(value) => {
            // Hosts differ in how they replace several values by one.
            if headers.is_some_and(|headers| headers.all_bytes(name).nth(1).is_some()) {
                abi::remove_header(map, name)?;
            }
            abi::set_header(map, name, value)
        }
        None => abi::remove_header(map, name),
    })
}

/// The most changes that are applied one by one: by `scripts/bench`, four cost more than replacing the whole map.
const FEW: usize = 3;
