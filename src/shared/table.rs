//! Tables of fixed size in shared memory. Shared memory has neither deletion nor a limit, so one key per client would
//! fill it permanently.
//!
//! A table has a fixed number of slots, created before there is traffic. A slot has room for a few entries. A new entry
//! in a full slot evicts the one that expires first ([`Table::change`]), or the least used one, or shares that one if
//! it must not be evicted ([`Table::share`]).

use std::cell::Cell;

use crate::clock::Millis;
use crate::seam::store::{Store, update};

/// A table, identified by its prefix in the store.
#[derive(Debug)]
pub struct Table {
    prefix: String,
    count: u32,
    ways: usize,
    max_value: usize,
}

/// The name of an entry: unpredictable bytes, such as an HMAC, so that clients cannot choose which entries share a
/// slot. The first half identifies the entry. The last four words select the slot, from coarse to fine: names with the
/// same first word are within a sixteenth of the table, with the same second word too within a quarter of that, and
/// with the third within a quarter again.
pub type Name = [u8; 32];

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When the entry expires, by the callers' clock.
    pub until: Millis,
    /// The value.
    pub value: Vec<u8>,
}

/// A measure of the usage of entries.
pub trait Uses {
    /// The usage, for comparison with other entries.
    fn usage(&self, entry: &Entry) -> u64;

    /// Whether the usage is so little that the entry may be evicted.
    fn may_be_forgotten(&self, entry: &Entry) -> bool;
}

/// The place of an entry in its slot.
#[derive(Clone, Copy)]
enum Place {
    Own(usize),
    /// The place of an evicted entry.
    Left(usize),
    Shared(usize),
    New,
}

impl Table {
    /// A table for about `entries` entries with values of up to `max_value` bytes, `ways` in each slot.
    pub fn new(prefix: String, entries: u32, ways: u16, max_value: usize) -> Self {
        Self {
            prefix,
            count: entries.div_ceil(ways.max(1).into()).max(1),
            ways: ways.max(1).into(),
            max_value: max_value.min(u16::MAX.into()),
        }
    }

    /// Creates missing slots: later, two first writers of a slot could lose an entry.
    pub fn prepare(&self, store: &dyn Store) {
        for slot in 0..self.count {
            let key = self.key(slot);
            if store.read(&key).is_none() {
                store.write(&key, &[], 0);
            }
        }
    }

    /// The entry of this name, unless it has expired.
    pub fn find(&self, name: &Name, now: Millis, store: &dyn Store) -> Option<Entry> {
        let (bytes, _) = store.read(&self.key(self.slot(name)))?;
        let mut entries = Entries(&bytes);
        entries
            .find(|(own, entry)| *own == fingerprint(name) && entry.until > now)
            .map(|(_, entry)| entry.to_entry())
    }

    /// Changes the entry of this name. `change` gets `None` if there is none, and returns the new entry, or `None` to
    /// remove it; `Err` changes nothing. Returns `None` after too many conflicts over the slot.
    pub fn change<T>(
        &self,
        name: &Name,
        now: Millis,
        store: &dyn Store,
        change: impl Fn(Option<Entry>) -> Result<(Option<Entry>, T), T>,
    ) -> Option<T> {
        self.rewrite(self.slot(name), now, store, |mut live| {
            let place = live.iter().position(|(own, _)| *own == fingerprint(name));
            let own = place.map(|place| live.swap_remove(place).1.to_entry());
            let (new, result) = change(own)?;
            let new = new.filter(|entry| entry.value.len() <= self.max_value);
            let Some(new) = &new else {
                return Ok((encode(live), result));
            };
            let mut live: Vec<Named<'_>> = live;
            if live.len() >= self.ways {
                let first = live.iter().enumerate().min_by_key(|(_, (_, entry))| entry.until);
                if let Some((place, _)) = first {
                    live.swap_remove(place);
                }
            }
            live.push((fingerprint(name), new.into()));
            Ok((encode(live), result))
        })
    }

    /// Changes the entry of this name. In a full slot, a new name evicts the least used entry if that may be evicted;
    /// otherwise it shares that entry, which then counts for all names that share it. `change` gets the entry and
    /// whether it is shared, and returns the new entry, or `None` to change nothing. Returns `None` after too many
    /// conflicts over the slot.
    pub fn share<T>(
        &self,
        name: &Name,
        now: Millis,
        store: &dyn Store,
        uses: &impl Uses,
        change: impl Fn(Option<&Entry>, bool) -> (Option<Entry>, T),
    ) -> Option<T> {
        self.rewrite(self.slot(name), now, store, |live| {
            let own = live.iter().position(|(other, _)| *other == fingerprint(name));
            let least = || {
                let usage = |entry: &Borrowed<'_>| uses.usage(&entry.to_entry());
                let least = live.iter().enumerate().min_by_key(|(_, (_, entry))| usage(entry));
                least.map(|(place, (other, entry))| (place, *other, entry.to_entry()))
            };
            let place = match own {
                Some(place) => Place::Own(place),
                None if live.len() < self.ways => Place::New,
                None => match least() {
                    Some((place, other, entry)) if other != SHARED && uses.may_be_forgotten(&entry) => {
                        Place::Left(place)
                    }
                    Some((place, ..)) => {
                        let shared = live.iter().position(|(other, _)| *other == SHARED);
                        Place::Shared(shared.unwrap_or(place))
                    }
                    None => Place::New,
                },
            };
            let found = match place {
                Place::Own(place) | Place::Shared(place) => live.get(place).map(|(_, entry)| entry.to_entry()),
                Place::Left(_) | Place::New => None,
            };
            let (new, result) = change(found.as_ref(), matches!(place, Place::Shared(_)));
            let Some(new) = &new else {
                return Err(result);
            };
            let mut live: Vec<Named<'_>> = live;
            let (place, named) = match place {
                Place::Own(place) | Place::Left(place) => (Some(place), fingerprint(name)),
                Place::Shared(place) => (Some(place), SHARED),
                Place::New => (None, fingerprint(name)),
            };
            match place.and_then(|place| live.get_mut(place)) {
                Some(there) => *there = (named, new.into()),
                None => live.push((named, new.into())),
            }
            Ok((encode(live), result))
        })
    }

    /// Sets the entry of this name.
    pub fn put(&self, name: &Name, entry: &Entry, now: Millis, store: &dyn Store) {
        self.change(name, now, store, |_| Ok::<_, ()>((Some(entry.clone()), ())));
    }

    /// Removes the entry of this name.
    pub fn remove(&self, name: &Name, now: Millis, store: &dyn Store) {
        self.remove_if(name, now, store, |_| true);
    }

    /// Removes the entry of this name if `goes` returns `true` for it.
    pub fn remove_if(&self, name: &Name, now: Millis, store: &dyn Store, goes: impl Fn(&Entry) -> bool) {
        self.change(name, now, store, |found| match found {
            Some(entry) if goes(&entry) => Ok((None, ())),
            _ => Err(()),
        });
    }

    /// Removes all entries for which `goes` returns `true`.
    pub fn clear(&self, goes: impl Fn(&Entry) -> bool, store: &dyn Store) {
        for slot in 0..self.count {
            self.rewrite(slot, Millis::ZERO, store, |mut live| {
                let before = live.len();
                live.retain(|(_, entry)| !goes(&entry.to_entry()));
                if live.len() == before {
                    return Err(());
                }
                Ok((encode(live), ()))
            });
        }
    }

    /// Rewrites a slot: `edit` gets the entries that have not expired, and returns the new bytes; `Err` changes
    /// nothing. Returns `None` after too many conflicts.
    fn rewrite<T>(
        &self,
        slot: u32,
        now: Millis,
        store: &dyn Store,
        edit: impl Fn(Vec<Named<'_>>) -> Result<(Vec<u8>, T), T>,
    ) -> Option<T> {
        let unchanged = Cell::new(None);
        let changed = update(store, &self.key(slot), |bytes| {
            let entries = Entries(bytes.unwrap_or_default());
            edit(entries.filter(|(_, entry)| entry.until > now).collect())
                .map_err(|result| unchanged.set(Some(result)))
                .ok()
        });
        changed.or_else(|| unchanged.take())
    }

    fn slot(&self, name: &Name) -> u32 {
        let words = name.chunks_exact(size_of::<u32>()).skip(4);
        let words = words.filter_map(|word| word.try_into().ok().map(u32::from_le_bytes));
        let shares = [1, 16, 64, 256].map(|share| self.count.checked_div(share).unwrap_or_default().max(1));
        let offsets = words
            .zip(shares)
            .map(|(word, share)| word.checked_rem(share).unwrap_or_default());
        let offset = offsets.fold(0_u32, u32::wrapping_add);
        offset.checked_rem(self.count).unwrap_or_default()
    }

    fn key(&self, slot: u32) -> String {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(slot);
        let mut key = String::with_capacity(self.prefix.len().saturating_add(1).saturating_add(digits.len()));
        key.push_str(&self.prefix);
        key.push('.');
        key.push_str(digits);
        key
    }
}

/// An iterator over the entries of a slot, which ends at malformed bytes.
struct Entries<'a>(&'a [u8]);

/// An entry with the fingerprint of its name.
type Named<'a> = (Fingerprint, Borrowed<'a>);

type Fingerprint = [u8; 16];

#[derive(Clone, Copy)]
struct Borrowed<'a> {
    until: Millis,
    value: &'a [u8],
}

impl Borrowed<'_> {
    fn to_entry(self) -> Entry {
        Entry {
            until: self.until,
            value: self.value.to_vec(),
        }
    }
}

impl<'a> From<&'a Entry> for Borrowed<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            until: entry.until,
            value: &entry.value,
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Named<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (own, rest) = self.0.split_first_chunk()?;
        let (until, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        self.0 = rest;
        let until = Millis::from_le_bytes(*until);
        Some((*own, Borrowed { until, value }))
    }
}

/// Encodes entries for [`Entries`]. A value has at most [`u16::MAX`] bytes.
fn encode(entries: Vec<Named<'_>>) -> Vec<u8> {
    let sizes = entries.iter().map(|(_, entry)| entry.value.len().saturating_add(ENTRY));
    let mut bytes = Vec::with_capacity(sizes.sum());
    for (own, Borrowed { until, value }) in entries {
        let Ok(length) = u16::try_from(value.len()) else {
            continue;
        };
        bytes.extend(own);
        bytes.extend(until.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend_from_slice(value);
    }
    bytes
}

/// The bytes of an entry beside its value.
const ENTRY: usize = size_of::<Fingerprint>() + size_of::<u64>() + size_of::<u16>();

/// The first 16 bytes of a name, enough to identify it.
fn fingerprint(name: &Name) -> Fingerprint {
    name.first_chunk().copied().unwrap_or_default()
}

/// The fingerprint of an entry that several names share.
const SHARED: Fingerprint = [0; 16];

#[cfg(test)]
mod tests;
