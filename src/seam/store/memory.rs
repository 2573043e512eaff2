use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Change, Store};

/// A map in this process, in parts with a lock each; clones share the same map.
#[derive(Clone)]
pub struct Memory(Arc<[Mutex<Part>]>);

/// Values with their tickets.
type Part = HashMap<String, (Vec<u8>, u32)>;

/// Several times as many as there are workers, so that they seldom wait for each other.
const PARTS: usize = 64;

impl Memory {
    /// The part of a key. Keys of one table end with the number of a slot, so that neighbours are in different parts.
    fn part(&self, key: &str) -> Option<MutexGuard<'_, Part>> {
        let end = key.bytes().rev().take(4);
        let number = end.fold(0_usize, |number, byte| {
            number.wrapping_mul(10).wrapping_add(byte.into())
        });
        let part = self.0.get(number % PARTS)?;
        // A poisoned lock is harmless: values are replaced as a whole.
        Some(part.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self((0..PARTS).map(|_| Mutex::default()).collect())
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Memory")
    }
}

impl Store for Memory {
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.part(key)?.get(key).cloned()
    }

    fn write(&self, key: &str, value: &[u8], ticket: u32) -> bool {
        let Some(mut part) = self.part(key) else { return false };
        match part.get_mut(key) {
            Some((_, current)) if ticket != 0 && ticket != *current => false,
            Some(found) => {
                replace(found, value.to_vec());
                true
            }
            None => {
                part.insert(key.to_owned(), (value.to_vec(), 1));
                true
            }
        }
    }

    /// Nobody else can come in between: the part is locked meanwhile.
    fn change(&self, key: &str, change: &Change<'_>) -> bool {
        let Some(mut part) = self.part(key) else { return false };
        let found = part.get_mut(key);
        let Some(value) = change(found.as_ref().map(|(value, _)| value.as_slice())) else {
            return false;
        };
        match found {
            Some(found) => replace(found, value),
            None => drop(part.insert(key.to_owned(), (value, 1))),
        }
        true
    }
}

fn replace((own, ticket): &mut (Vec<u8>, u32), value: Vec<u8>) {
    *own = value;
    // Zero stands for any.
    *ticket = ticket.wrapping_add(1).max(1);
}
