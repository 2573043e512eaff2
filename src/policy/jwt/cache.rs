//! A worker's cache of tokens, limited in bytes.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use super::issuer::Issuer;
use crate::auth::jose::claims::Registered;
use crate::auth::jose::jwk::KeyId;
use crate::clock::Seconds;
use crate::message::identity::Subject;
use crate::policy::verdict::Invalid;

/// A cache of verified tokens and, for a short time, of invalid ones.
///
/// The key is the whole token, compared byte for byte. Its hash is keyed with the worker's own randomness, and computed
/// once per use, as it is most of the cost of a lookup. A digest as the key would be smaller, but SHA-256 without
/// hardware support costs more than the whole rest of handling a cached token.
#[derive(Debug)]
pub(super) struct TokenCache {
    secret: RandomState,
    known: RefCell<Bounded<Rc<Known>>>,
    /// Invalid tokens, each until a time of the wall clock.
    refused: RefCell<Bounded<(Invalid, Seconds)>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Hashed<'a> {
    pub(super) token: &'a [u8],
    hash: u64,
}

/// A token with a valid signature. Times, audiences and the route are checked at every use.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) issuer: Arc<Issuer>,
    pub(super) key: KeyId,
    pub(super) claims: Registered,
    pub(super) subject: Arc<Subject>,
    pub(super) payload: Option<Arc<str>>,
}

#[derive(Debug)]
pub(super) enum Verdict {
    Known(Rc<Known>),
    Refused(Invalid),
}

impl TokenCache {
    pub(super) fn new(bytes: usize) -> Self {
        // An eighth is enough for invalid tokens, whose entries are small and short-lived; a flood of them does not
        // evict valid ones.
        Self {
            secret: RandomState::new(),
            known: RefCell::new(Bounded::new(bytes)),
            refused: RefCell::new(Bounded::new(bytes / 8)),
        }
    }

    pub(super) fn hashed<'a>(&self, token: &'a [u8]) -> Hashed<'a> {
        Hashed {
            token,
            hash: self.secret.hash_one(token),
        }
    }

    pub(super) fn find(&self, token: Hashed<'_>, now: Seconds) -> Option<Verdict> {
        if let Some(known) = self.known.borrow_mut().get(token) {
            return Some(Verdict::Known(Rc::clone(known)));
        }
        let mut refused = self.refused.borrow_mut();
        let (invalid, until) = refused.get(token)?;
        (now < *until).then(|| Verdict::Refused(invalid.clone()))
    }

    pub(super) fn know(&self, token: Hashed<'_>, known: &Rc<Known>) {
        self.known.borrow_mut().insert(token, Rc::clone(known), known.size());
    }

    /// Caches a token as invalid. Not for reasons that may change soon: an unknown key, the time.
    pub(super) fn refuse(&self, token: Hashed<'_>, invalid: Invalid, now: Seconds) {
        let until = now.saturating_add(REFUSED_FOR);
        let size = invalid.detail.as_ref().map_or(0, |detail| detail.len());
        self.refused.borrow_mut().insert(token, (invalid, until), size);
    }
}

impl Known {
    /// The approximate size of the value beside the entry itself, in bytes.
    fn size(&self) -> usize {
        let Subject {
            method: _,
            issuer,
            key_id,
            user_id,
            tenant_id,
            roles,
            scopes,
            plan,
            attributes,
        } = self.subject.as_ref();
        let optional = [issuer, key_id, tenant_id, plan].into_iter().flatten();
        let attributes = attributes
            .iter()
            .flat_map(|(name, values)| std::iter::once(name).chain(values));
        let texts = optional
            .chain([user_id])
            .chain(roles)
            .chain(scopes)
            .chain(attributes)
            .chain(&self.claims.audiences);
        let payload = self.payload.as_ref().map_or(0, |payload| payload.len());
        texts.fold(
            size_of::<Self>()
                .saturating_add(size_of::<Subject>())
                .saturating_add(payload),
            |size, text| size.saturating_add(size_of::<String>()).saturating_add(text.len()),
        )
    }
}

/// A map of limited size that evicts the oldest entry which was not used (second chance).
#[derive(Debug)]
struct Bounded<V> {
    limit: usize,
    used: usize,
    /// By hash. Of two tokens with the same hash, which clients cannot produce, the later one is kept.
    entries: HashMap<u64, Entry<V>, BuildHasherDefault<Unchanged>>,
    queue: VecDeque<u64>,
}

#[derive(Debug)]
struct Entry<V> {
    token: Box<[u8]>,
    value: V,
    size: usize,
    asked: bool,
}

impl<V> Bounded<V> {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            used: 0,
            entries: HashMap::default(),
            queue: VecDeque::new(),
        }
    }

    fn get(&mut self, token: Hashed<'_>) -> Option<&V> {
        let entry = self.entries.get_mut(&token.hash)?;
        if *entry.token != *token.token {
            return None;
        }
        entry.asked = true;
        Some(&entry.value)
    }

    fn insert(&mut self, Hashed { token, hash }: Hashed<'_>, value: V, size: usize) {
        let size = size.saturating_add(token.len()).saturating_add(OVERHEAD);
        if size > self.limit {
            return;
        }
        match self.entries.insert(
            hash,
            Entry {
                token: token.into(),
                value,
                size,
                asked: false,
            },
        ) {
            Some(old) => self.used = self.used.saturating_sub(old.size),
            None => self.queue.push_back(hash),
        }
        self.used = self.used.saturating_add(size);
        self.shrink();
    }

    /// Evicts entries until the size fits. A used entry goes to the end of the queue without its mark, so this ends.
    fn shrink(&mut self) {
        while self.used > self.limit {
            let Some(hash) = self.queue.pop_front() else {
                return;
            };
            match self.entries.get_mut(&hash) {
                Some(entry) if entry.asked => {
                    entry.asked = false;
                    self.queue.push_back(hash);
                }
                _ => {
                    if let Some(entry) = self.entries.remove(&hash) {
                        self.used = self.used.saturating_sub(entry.size);
                    }
                }
            }
        }
    }
}

/// A hasher for keys that are already hashes.
#[derive(Debug, Default)]
struct Unchanged(u64);

impl Hasher for Unchanged {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|&byte| self.0 = self.0.rotate_left(8) ^ u64::from(byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// How long a token is refused without being looked at again.
const REFUSED_FOR: Seconds = Seconds::new(10);

/// The approximate size of an entry in the map and the queue, in bytes.
const OVERHEAD: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    /// A token of four bytes, with a hash made from the number.
    fn key(number: u32) -> Hashed<'static> {
        Hashed {
            token: Box::leak(Box::new(number.to_le_bytes())),
            hash: number.into(),
        }
    }

    #[test]
    fn it_stays_within_its_bytes() {
        let mut cache = Bounded::new(100 * (OVERHEAD + 4 + 36));
        for number in 0..10_000 {
            cache.insert(key(number), number, 36);
            assert!(cache.used <= cache.limit && cache.entries.len() == cache.queue.len());
        }
        assert_eq!(cache.entries.len(), 100);
        assert_eq!(cache.get(key(9_999)), Some(&9_999));
        assert_eq!(cache.get(key(0)), None);
    }

    #[test]
    fn what_is_asked_for_stays() {
        let mut cache = Bounded::new(100 * (OVERHEAD + 4));
        for number in 0..1_000 {
            cache.insert(key(number), number, 0);
            assert_eq!(cache.get(key(7)).is_some(), number >= 7);
        }
    }

    #[test]
    fn an_entry_may_be_replaced_and_one_that_is_too_large_is_not_kept() {
        let mut cache = Bounded::new(10 * OVERHEAD);
        for _ in 0..50 {
            cache.insert(key(1), 1, OVERHEAD);
        }
        assert_eq!((cache.entries.len(), cache.used), (1, 2 * OVERHEAD + 4));
        cache.insert(key(2), 2, 100 * OVERHEAD);
        assert_eq!(cache.get(key(2)), None);
        let mut none = Bounded::new(0);
        none.insert(key(1), 1, 0);
        assert_eq!(none.get(key(1)), None);
    }

    #[test]
    fn two_tokens_of_one_hash_are_two() {
        let mut cache = Bounded::new(10 * OVERHEAD);
        cache.insert(key(1), 1, 0);
        let other = Hashed { hash: 1, ..key(2) };
        assert_eq!(cache.get(other), None);
        cache.insert(other, 2, 0);
        assert_eq!(cache.get(key(1)), None);
        assert_eq!((cache.entries.len(), cache.used), (1, OVERHEAD + 4));
        assert_eq!(cache.get(other), Some(&2));
    }

    #[test]
    fn a_refusal_is_forgotten_soon() {
        let cache = TokenCache::new(100_000);
        cache.refuse(key(1), "signature_mismatch".into(), Seconds::new(1000));
        assert!(matches!(
            cache.find(key(1), Seconds::new(1009)),
            Some(Verdict::Refused(Invalid {
                reason: "signature_mismatch",
                ..
            }))
        ));
        assert!(cache.find(key(1), Seconds::new(1010)).is_none());
    }
}
