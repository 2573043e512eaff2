//! A table in shared memory that never grows: shared memory has neither deletion nor a limit, so a key per client would
//! fill it for good.
//!
//! The table has a fixed number of slots, made before there is traffic. A slot holds a few entries; one more displaces
//! the entry that ends first ([`Slots::change`]), or shares one where nothing may be forgotten ([`Slots::share`]).

use std::cell::Cell;

use crate::store::{Store, update};

/// A table, by where it lies.
#[derive(Debug)]
pub struct Slots {
    prefix: String,
    count: u32,
    ways: usize,
    max_value: usize,
}

/// Names an entry: unpredictable bytes, such as an HMAC, so that nobody can choose which entries meet in a slot.
pub type Name = [u8; 32];

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Milliseconds since the epoch: from then on it may be displaced first, and is not found.
    pub until: u64,
    /// Whatever it holds.
    pub value: Vec<u8>,
}

impl Slots {
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
        let unchanged = Cell::new(None);
        let changed = update(store, &self.key(self.slot(name)), |bytes| {
            let bytes = bytes.unwrap_or_default();
            let live = || Entries(bytes).filter(|(_, entry)| entry.until > now);
            let own = live().find(|(own, _)| *own == fingerprint(name));
            match change(own.map(|(_, entry)| entry.to_entry())) {
                Ok((new, result)) => {
                    let others: Vec<_> = live().filter(|(own, _)| *own != fingerprint(name)).collect();
                    Some((self.encode(others, name, new.as_ref()), result))
                }
                Err(result) => {
                    unchanged.set(Some(result));
                    None
                }
            }
        });
        changed.or_else(|| unchanged.take())
    }

    /// Changes the entry of this name, and forgets none whose time is not over: in a full slot, names without an entry
    /// share the one that is least used, which counts for all of them from then on. `change` returns the entry after it, or
    /// `None` to leave it. `None` where the race for the slot was lost too often.
    pub fn share<T>(
        &self,
        name: &Name,
        now: u64,
        store: &dyn Store,
        usage: impl Fn(&Entry) -> u64,
        change: impl Fn(Option<&Entry>) -> (Option<Entry>, T),
    ) -> Option<T> {
        let unchanged = Cell::new(None);
        let changed = update(store, &self.key(self.slot(name)), |bytes| {
            let mut live: Vec<_> = Entries(bytes.unwrap_or_default())
                .map(|(own, entry)| (own, entry.to_entry()))
                .filter(|(_, entry)| entry.until > now)
                .collect();
            let place = |own: [u8; FINGERPRINT]| live.iter().position(|(other, _)| *other == own);
            let place = place(fingerprint(name)).or_else(|| place(SHARED)).or_else(|| {
                let least = live.iter().enumerate().min_by_key(|(_, (_, entry))| usage(entry));
                least.map(|(place, _)| place).filter(|_| live.len() >= self.ways)
            });
            let found = place.and_then(|place| live.get(place));
            let (new, result) = change(found.map(|(_, entry)| entry));
            let Some(new) = new else {
                unchanged.set(Some(result));
                return None;
            };
            match place.and_then(|place| live.get_mut(place)) {
                Some((own, entry)) if *own == fingerprint(name) => *entry = new,
                Some(shared) => *shared = (SHARED, new),
                None => live.push((fingerprint(name), new)),
            }
            let mut bytes = Vec::new();
            for (own, entry) in &live {
                append(&mut bytes, *own, entry.until, &entry.value);
            }
            Some((bytes, result))
        });
        changed.or_else(|| unchanged.take())
    }

    /// Makes this the entry of this name.
    pub fn put(&self, name: &Name, entry: &Entry, now: u64, store: &dyn Store) {
        self.change(name, now, store, |_| Ok::<_, ()>((Some(entry.clone()), ())));
    }

    /// Removes the entry of this name.
    pub fn remove(&self, name: &Name, now: u64, store: &dyn Store) {
        self.change(name, now, store, |found| match found {
            Some(_) => Ok((None, ())),
            None => Err(()),
        });
    }

    /// Removes every entry that this names.
    pub fn clear(&self, goes: impl Fn(&Entry) -> bool, store: &dyn Store) {
        for slot in 0..self.count {
            update(store, &self.key(slot), |bytes| {
                let bytes = bytes.unwrap_or_default();
                if bytes.is_empty() {
                    return None;
                }
                let mut kept = Vec::new();
                for (own, entry) in Entries(bytes).filter(|(_, entry)| !goes(&entry.to_entry())) {
                    append(&mut kept, own, entry.until, entry.value);
                }
                Some((kept, ()))
            });
        }
    }

    fn encode(&self, mut others: Vec<([u8; FINGERPRINT], Borrowed<'_>)>, name: &Name, new: Option<&Entry>) -> Vec<u8> {
        let new = new.filter(|entry| entry.value.len() <= self.max_value);
        if new.is_some() && others.len() >= self.ways {
            let first = others.iter().enumerate().min_by_key(|(_, (_, entry))| entry.until);
            if let Some((at, _)) = first {
                others.swap_remove(at);
            }
        }
        let mut bytes = Vec::new();
        if let Some(entry) = new {
            append(&mut bytes, fingerprint(name), entry.until, &entry.value);
        }
        for (own, entry) in others {
            append(&mut bytes, own, entry.until, entry.value);
        }
        bytes
    }

    fn slot(&self, name: &Name) -> u32 {
        let [.., a, b, c, d] = *name;
        u32::from_le_bytes([a, b, c, d])
            .checked_rem(self.count)
            .unwrap_or_default()
    }

    fn key(&self, slot: u32) -> String {
        format!("{}.{slot}", self.prefix)
    }
}

/// The entries of a slot. Bytes that are none end it.
struct Entries<'a>(&'a [u8]);

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

impl<'a> Iterator for Entries<'a> {
    type Item = ([u8; FINGERPRINT], Borrowed<'a>);

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

fn append(bytes: &mut Vec<u8>, own: [u8; FINGERPRINT], until: u64, value: &[u8]) {
    let Ok(length) = u16::try_from(value.len()) else {
        return;
    };
    bytes.extend(own);
    bytes.extend(until.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend_from_slice(value);
}

/// What an entry keeps of its name: nobody finds another name with the same 16 bytes.
fn fingerprint(name: &Name) -> [u8; FINGERPRINT] {
    name.first_chunk().copied().unwrap_or_default()
}

const FINGERPRINT: usize = 16;

/// The entry that several names share.
const SHARED: [u8; FINGERPRINT] = [0; FINGERPRINT];

#[cfg(test)]
mod tests;
