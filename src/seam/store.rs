//! The store that all workers share, with compare-and-swap.

use std::cell::Cell;

/// A process-wide map. A write with any ticket creates an absent key, so two first writers may both succeed: keys that
/// must not get lost are created before there is traffic.
pub trait Store {
    /// The value of a key, and the ticket for a write.
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)>;

    /// Writes a value; `false` if the ticket is outdated. Ticket 0 always writes.
    fn write(&self, key: &str, value: &[u8], ticket: u32) -> bool;

    /// Changes a value as [`update`] does; `false` after too many conflicts, or if nothing changes.
    fn change(&self, key: &str, change: &Change<'_>) -> bool {
        for _ in 0..MAX_TRIES {
            let found = self.read(key);
            let Some(value) = change(found.as_ref().map(|(value, _)| value.as_slice())) else {
                return false;
            };
            if self.write(key, &value, found.map_or(0, |(_, ticket)| ticket)) {
                return true;
            }
        }
        false
    }
}

/// Makes a value of the present one; `None` leaves it.
pub type Change<'a> = dyn Fn(Option<&[u8]>) -> Option<Vec<u8>> + 'a;

/// Changes a value, and returns the result of `change`; `None` after too many conflicts. `change` gets `None` for an absent key, and returns `None`
/// to leave the value unchanged. It may be called several times, and must not use the store.
pub fn update<T>(store: &dyn Store, key: &str, change: impl Fn(Option<&[u8]>) -> Option<(Vec<u8>, T)>) -> Option<T> {
    let result = Cell::new(None);
    let is_done = store.change(key, &|found| {
        let (value, changed) = change(found)?;
        result.set(Some(changed));
        Some(value)
    });
    result.take().filter(|_| is_done)
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

/// A store in the memory of this process, for running the core natively.
#[cfg(not(target_arch = "wasm32"))]
pub mod memory;

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

    /// A store that is elsewhere: there is no lock to hold.
    #[derive(Default)]
    struct Elsewhere(Memory);

    impl Store for Elsewhere {
        fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
            self.0.read(key)
        }

        fn write(&self, key: &str, value: &[u8], ticket: u32) -> bool {
            self.0.write(key, value, ticket)
        }
    }

    #[test]
    fn threads_that_change_one_value_lose_nothing() {
        let (here, elsewhere) = (Memory::default(), Elsewhere::default());
        let stores: [&(dyn Store + Sync); 2] = [&here, &elsewhere];
        for store in stores {
            store.write("k", &[0, 0], 0);
            let count = |found: Option<&[u8]>| {
                let number = u16::from_le_bytes(found.unwrap().try_into().unwrap());
                Some(((number + 1).to_le_bytes().to_vec(), ()))
            };
            let counted = || (0..1000).filter(|_| update(store, "k", count).is_some()).count();
            let counted: usize = std::thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(counted));
                threads.map(|thread| thread.join().unwrap()).iter().sum()
            });
            let (value, _) = store.read("k").unwrap();
            assert_eq!(usize::from(u16::from_le_bytes(value.try_into().unwrap())), counted);
        }
    }

    #[test]
    fn a_lost_race_is_run_again_and_not_for_ever() {
        let store = Elsewhere::default();
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
