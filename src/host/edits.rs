//! Changes of headers, carried out with few host calls.

use super::abi::{self, HostError, Map};
use crate::http::changes::HeaderChanges;
use crate::http::headers::Headers;

/// One call for each of a few changes, one call for the whole map where there are more. `headers` are those of the map; where they have not been
/// read, each change is of one value.
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
            // So that nothing hangs on how the host replaces several values by one.
            if headers.is_some_and(|headers| headers.all_bytes(name).nth(1).is_some()) {
                abi::remove_header(map, name)?;
            }
            abi::set_header(map, name, value)
        }
        None => abi::remove_header(map, name),
    })
}

/// Calls; beyond, replacing the whole map is cheaper: `scripts/bench` with four single changes costs more than with one
/// whole map.
const FEW: usize = 3;
