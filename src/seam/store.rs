//! The store that all workers share, with compare-and-swap.

/// A process-wide map. A write with any ticket creates an absent key, so two first writers may both succeed: keys that
/// must not get lost are created before there is traffic.
pub trait Store {
    /// The value of a key, and the ticket for a write.
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)>;

    /// Writes a value; `false` if the ticket is outdated. Ticket 0 always writes.
    fn write(&self, key: &str, value: &[u8], ticket: u32) -> bool;
}

/// Changes a value by compare-and-swap, and returns the result of `change`; `None` after `MAX_TRIES` conflicts.
/// `change` gets `None` for an absent key, and returns `None` to leave the value unchanged.
pub fn update<T>(store: &dyn Store, key: &str, change: impl Fn(Option<&[u8]>) -> Option<(Vec<u8>, T)>) -> Option<T> {
    for _ in 0..MAX_TRIES {
        let found = store.read(key);
        let (value, result) = change(found.as_ref().map(|(value, _)| value.as_slice()))?;
        if store.write(key, &value, found.map_or(0, |(_, ticket)| ticket)) {
            return Some(result);
        }
    }
    None
}

/// Decodes numbers; `None` if their count differs.
pub fn numbers<const COUNT: usize>(bytes: &[u8]) -> Option<[u64; COUNT]> {
    let mut numbers = [0; COUNT];
    if bytes.len() != COUNT.checked_mul(size_of::<u64>())? {
        return None;
    }
    for (number, word) in numbers.iter_mut().zip(bytes.chunks_exact(size_of::<u64>())) {
        *number = u64::from_le_bytes(word.try_into().ok()?);
    }
    Some(numbers)
}

/// Encodes numbers for [`numbers`].
pub fn encode(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Two workers that do nothing else were seen to lose eight times in a row, once in about 200,000.
const MAX_TRIES: usize = 32;

/// A store in memory, for running the core natively.
#[cfg(not(target_arch = "wasm32"))]
pub mod memory {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use super::Store;

    /// A map in this process; clones share the same map.
    #[derive(Debug, Default, Clone)]
    pub struct Memory(Arc<Mutex<HashMap<String, Ticketed>>>);

    type Ticketed = (Vec<u8>, u32);

    impl Memory {
        fn map(&self) -> MutexGuard<'_, HashMap<String, Ticketed>> {
            // A poisoned lock is harmless: values are replaced as a whole.
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Store for Memory {
        fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
            self.map().get(key).cloned()
        }

        fn write(&self, key: &str, value: &[u8], ticket: u32) -> bool {
            let mut map = self.map();
            let current = map.get(key).map_or(0, |(_, current)| *current);
            if current != 0 && ticket != 0 && ticket != current {
                return false;
            }
            map.insert(key.into(), (value.into(), current.wrapping_add(1)));
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::memory::Memory;
    use super::*;

    #[test]
    fn workers_on_other_threads_share_it() {
        const fn is_shared<T: Send + Sync>() {}
        const { is_shared::<Memory>() };
    }

    #[test]
    fn a_lost_race_is_run_again_and_not_for_ever() {
        let store = Memory::default();
        store.write("k", b"1", 0);
        let rivals = Cell::new(3);
        let raced = update(&store, "k", |found| {
            if rivals.get() > 0 {
                rivals.set(rivals.get() - 1);
                store.write("k", b"rival", 0);
            }
            Some((b"mine".to_vec(), found.map(<[u8]>::to_vec)))
        });
        assert_eq!(raced, Some(Some(b"rival".to_vec())));
        assert_eq!(store.read("k").unwrap().0, b"mine");
        let never = update(&store, "k", |_| {
            store.write("k", b"rival", 0);
            Some((Vec::new(), ()))
        });
        assert_eq!(never, None);
        assert_eq!(update(&store, "k", |_| None::<(Vec<u8>, ())>), None);
    }
}
