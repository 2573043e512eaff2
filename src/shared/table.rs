//! A table in shared memory that never grows: shared memory has neither deletion nor a limit, so a key per client would
//! fill it for good.
//!
//! The table has a fixed number of slots, made before there is traffic. A slot holds a few entries; one more displaces
//! the entry that ends first ([`Table::change`]), or the one that is least used, or shares that one where it may not be forgotten
//! ([`Table::share`]).

use std::cell::Cell;

use crate::seam::store::{Store, update};

/// A table, by where it lies.
#[derive(Debug)]
pub struct Table {
    prefix: String,
    count: u32,
    ways: usize,
    max_value: usize,
}

/// Names an entry: unpredictable bytes, such as an HMAC, so that nobody can choose which entries meet in a slot. The first half tells entries
/// apart; the last four words choose the slot, from coarse to fine: names that have the first in common are within a sixteenth of the table,
/// with the second too within a quarter of that, with the third within a quarter of that again.
pub type Name = [u8; 32];

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Milliseconds of the clock that callers go by: from then on it is not found, and makes room.
    pub until: u64,
    /// Whatever it holds.
    pub value: Vec<u8>,
}

/// How much of what it counts an entry has used.
pub trait Uses {
    /// For comparison with other entries.
    fn usage(&self, entry: &Entry) -> u64;

    /// Whether it is so little that the entry may be forgotten where there is no room.
    fn may_be_forgotten(&self, entry: &Entry) -> bool;
}

/// Where an entry is, or comes.
#[derive(Clone, Copy)]
enum Place {
    Own(usize),
    /// In place of one that is forgotten.
    Left(usize),
    Shared(usize),
    New,
}

impl Table {
    /// A table for about so many entries of no more than `max_value` bytes, `ways` in each slot.
    pub fn new(prefix: String, entries: u32, ways: u16, max_value: usize) -> Self {
        Self {
            prefix,
            count: entries.div_ceil(ways.max(1).into()).max(1),
            ways: ways.max(1).into(),
            max_value: max_value.min(u16::MAX.into()),
        }
    }

    /// Makes the slots that are not there: two first writers of one slot would lose an entry.
    pub fn prepare(&self, store: &dyn Store) {
        for slot in 0..self.count {
            let key = self.key(slot);
            if store.read(&key).is_none() {
                store.write(&key, &[], 0);
            }
        }
    }

    /// The entry of this name, unless its time is over.
    pub fn find(&self, name: &Name, now: u64, store: &dyn Store) -> Option<Entry> {
        let (bytes, _) = store.read(&self.key(self.slot(name)))?;
        let mut entries = Entries(&bytes);
        entries
            .find(|(own, entry)| *own == fingerprint(name) && entry.until > now)
            .map(|(_, entry)| entry.to_entry())
    }

    /// Changes the entry of this name. `change` sees `None` where there is none or its time is over, and returns the new
    /// entry, or `None` to remove it; `Err` leaves everything as it is.
    pub fn change<T>(
        &self,
        name: &Name,
        now: u64,
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

    /// Changes the entry of this name. In a full slot, a name without an entry takes the place of the one that is least used, if that may be
    /// forgotten; otherwise it shares that one, which counts for all who share it from then on. `change` sees what is there, and whether it is
    /// shared, and returns the entry after it, or `None` to leave it. `None` where the race for the slot was lost too often.
    pub fn share<T>(
        &self,
        name: &Name,
        now: u64,
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

    /// Makes this the entry of this name.
    pub fn put(&self, name: &Name, entry: &Entry, now: u64, store: &dyn Store) {
        self.change(name, now, store, |_| Ok::<_, ()>((Some(entry.clone()), ())));
    }

    /// Removes the entry of this name.
    pub fn remove(&self, name: &Name, now: u64, store: &dyn Store) {
        self.remove_if(name, now, store, |_| true);
    }

    /// Removes the entry of this name if it is such a one.
    pub fn remove_if(&self, name: &Name, now: u64, store: &dyn Store, goes: impl Fn(&Entry) -> bool) {
        self.change(name, now, store, |found| match found {
            Some(entry) if goes(&entry) => Ok((None, ())),
            _ => Err(()),
        });
    }

    /// Removes every entry that this names.
    pub fn clear(&self, goes: impl Fn(&Entry) -> bool, store: &dyn Store) {
        for slot in 0..self.count {
            self.rewrite(slot, 0, store, |mut live| {
                let before = live.len();
                live.retain(|(_, entry)| !goes(&entry.to_entry()));
                if live.len() == before {
                    return Err(());
                }
                Ok((encode(live), ()))
            });
        }
    }

    /// Reads a slot's entries whose time is not over, and writes what `edit` makes of them; `Err` leaves the slot as it is.
    /// `None` where the race for it was lost too often.
    fn rewrite<T>(
        &self,
        slot: u32,
        now: u64,
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
        format!("{}.{slot}", self.prefix)
    }
}

/// The entries of a slot. Bytes that are none end it.
struct Entries<'a>(&'a [u8]);

/// An entry and what it keeps of its name.
type Named<'a> = (Fingerprint, Borrowed<'a>);

type Fingerprint = [u8; 16];

#[derive(Clone, Copy)]
struct Borrowed<'a> {
    until: u64,
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
        let until = u64::from_le_bytes(*until);
        Some((*own, Borrowed { until, value }))
    }
}

/// What [`Entries`] reads. A value has at most [`u16::MAX`] bytes.
fn encode(entries: Vec<Named<'_>>) -> Vec<u8> {
    let mut bytes = Vec::new();
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

/// What an entry keeps of its name: nobody finds another name with the same 16 bytes.
fn fingerprint(name: &Name) -> Fingerprint {
    name.first_chunk().copied().unwrap_or_default()
}

/// The entry that several names share.
const SHARED: Fingerprint = [0; 16];

#[cfg(test)]
mod tests;
