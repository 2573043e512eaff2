//! Contents that are kept by the hash of their owner, in a table of fixed size that all workers share.
//!
//! A set of four entries has an index of their owners and times, changed by compare-and-swap. Each entry has its own
//! key in the store, and contains its owner again, so that an entry of another owner is detected.

use sha2::{Digest as _, Sha256};

use crate::clock::Millis;
use crate::seam::store::{self, Store};

/// A table.
#[derive(Debug)]
pub struct Kept {
    name: String,
    sets: u32,
}

/// A hash of everything that decides whose an entry is, long enough to rule out collisions.
pub type Owner = [u8; OWNER];

/// The hash of an owner, part by part.
#[derive(Default)]
pub struct OwnerHash(Sha256);

impl OwnerHash {
    /// Adds a part, or that it is absent.
    pub fn add(&mut self, part: Option<&[u8]>) {
        // With its length, so that different lists never hash the same bytes.
        let length = part.map_or(u64::MAX, |part| u64::try_from(part.len()).unwrap_or(u64::MAX));
        self.0.update(length.to_le_bytes());
        self.0.update(part.unwrap_or_default());
    }

    /// The owner that these parts describe.
    pub fn finish(self) -> Owner {
        self.0.finalize().first_chunk().copied().unwrap_or_default()
    }
}

impl Kept {
    /// An empty table for about `entries` entries.
    pub fn new(name: String, entries: u32) -> Self {
        Self {
            name,
            sets: entries.div_ceil(WAYS).max(1),
        }
    }

    /// Keeps a content in place of the owner's previous one, or of the oldest. `false` after too many conflicts.
    pub fn keep(&self, owner: &Owner, now: Millis, content: &[u8], store: &dyn Store) -> bool {
        let set = self.set(owner);
        let way = store::update(store, &set, |index| {
            let mut index = decode(index.unwrap_or_default());
            let places = || index.iter().enumerate();
            let own = places().find(|(_, (theirs, _))| theirs == owner);
            let (way, _) = own.or_else(|| places().min_by_key(|(_, (_, since))| *since))?;
            *index.get_mut(way)? = (*owner, now);
            Some((encode(&index), way))
        });
        let Some(way) = way else { return false };
        let mut entry = owner.to_vec();
        entry.extend(now.to_le_bytes());
        entry.extend_from_slice(content);
        store.write(&format!("{set}.{way}"), &entry, 0)
    }

    /// The content of this owner, and when it was kept.
    pub fn find(&self, owner: &Owner, store: &dyn Store) -> Option<(Millis, Vec<u8>)> {
        let set = self.set(owner);
        let way = self.way(&set, owner, store)?;
        let (entry, _) = store.read(&format!("{set}.{way}"))?;
        let (theirs, rest) = entry.split_first_chunk()?;
        let (since, content) = rest.split_first_chunk()?;
        (theirs == owner).then(|| (Millis::from_le_bytes(*since), content.to_vec()))
    }

    /// Drops the content of this owner; `false` if there is none.
    pub fn forget(&self, owner: &Owner, store: &dyn Store) -> bool {
        let set = self.set(owner);
        if self.way(&set, owner, store).is_none() {
            return false;
        }
        store::update(store, &set, |index| {
            let mut index = decode(index?);
            let place = index.iter_mut().find(|(theirs, _)| theirs == owner)?;
            *place = FREE;
            Some((encode(&index), ()))
        });
        true
    }

    fn way(&self, set: &str, owner: &Owner, store: &dyn Store) -> Option<usize> {
        let (index, _) = store.read(set)?;
        decode(&index).iter().position(|(theirs, _)| theirs == owner)
    }

    fn set(&self, owner: &Owner) -> String {
        let number = owner.last_chunk().copied().map(u32::from_le_bytes).unwrap_or_default();
        format!("{}.{}", self.name, number.checked_rem(self.sets).unwrap_or_default())
    }
}

/// The owners of a set's entries, and when each was kept, by the monotonic clock.
type Index = [(Owner, Millis); 4];

fn decode(bytes: &[u8]) -> Index {
    let mut index = [FREE; 4];
    for (place, chunk) in index.iter_mut().zip(bytes.chunks_exact(OWNER.saturating_add(8))) {
        if let (Some(owner), Some(since)) = (chunk.first_chunk(), chunk.last_chunk()) {
            *place = (*owner, Millis::from_le_bytes(*since));
        }
    }
    index
}

fn encode(index: &Index) -> Vec<u8> {
    let entries = index.iter();
    entries
        .flat_map(|(owner, since)| owner.iter().copied().chain(since.to_le_bytes()))
        .collect()
}

/// Length of an owner in bytes.
const OWNER: usize = 16;

const FREE: (Owner, Millis) = ([0; OWNER], Millis::ZERO);

/// The number of entries in a set.
const WAYS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::store::memory::Memory;

    #[test]
    fn the_oldest_of_a_full_set_goes() {
        let (kept, store) = (Kept::new("k".into(), 1), Memory::default());
        let find = |owner: u8| kept.find(&[owner; OWNER], &store);
        for owner in 1..=5 {
            assert!(kept.keep(&[owner; OWNER], Millis::new(owner.into()), &[owner], &store));
        }
        assert_eq!((find(1), find(5)), (None, Some((Millis::new(5), vec![5]))));
        assert!(kept.keep(&[2; OWNER], Millis::new(9), b"again", &store));
        assert_eq!(find(2), Some((Millis::new(9), b"again".to_vec())));
        assert!(kept.forget(&[2; OWNER], &store) && !kept.forget(&[2; OWNER], &store));
        assert_eq!((find(2), find(3).is_some()), (None, true));
    }

    #[test]
    fn an_entry_of_another_owner_is_none() {
        let (kept, store) = (Kept::new("k".into(), 1), Memory::default());
        let [own, other] = [[1; OWNER], [2; OWNER]];
        kept.keep(&own, Millis::new(1), b"own", &store);
        let (index, _) = store.read("k.0").unwrap();
        // Another worker replaces the entry after the index was read.
        kept.forget(&own, &store);
        kept.keep(&other, Millis::new(2), b"other", &store);
        store.write("k.0", &index, 0);
        assert_eq!(kept.find(&own, &store), None);
        for noise in [&b""[..], b"x", &[7; 95], &[0; 200]] {
            store.write("k.0", noise, 0);
            store.write("k.0.0", noise, 0);
            assert_eq!(kept.find(&own, &store), None);
        }
    }
}
