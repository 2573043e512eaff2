//! What a worker remembers of tokens, bounded in bytes.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use super::issuer::Issuer;
use crate::auth::jose::claims::Registered;
use crate::auth::jose::jwk::KeyId;
use crate::message::identity::Subject;
use crate::policy::verdict::Invalid;

/// Tokens, whole: good ones, and for a short time bad ones.
///
/// The key is the token itself, compared byte for byte. Its hash is keyed with the worker's own randomness, and computed
/// once for all that is done with a token: it is the larger part of finding one. A
/// digest as the key would be smaller, but computing SHA-256 without the processor's help costs more than all the rest
/// of a known token's way.
#[derive(Debug)]
pub(super) struct TokenCache {
    secret: RandomState,
    known: RefCell<Bounded<Rc<Known>>>,
    refused: RefCell<Bounded<(Invalid, u64)>>,
}

/// A token and its hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hashed<'a> {
    pub(super) token: &'a [u8],
    hash: u64,
}

/// A token whose signature is good. Whether it is still valid, and valid here, is another question.
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
        // Refused tokens are small and short-lived: an eighth is plenty, and a flood of them displaces no good one.
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

    pub(super) fn find(&self, token: Hashed<'_>, now: u64) -> Option<Verdict> {
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

    /// Remembers that a token is bad. Not for what may change soon: an unknown key, the time.
    pub(super) fn refuse(&self, token: Hashed<'_>, invalid: Invalid, now: u64) {
        let until = now.saturating_add(REFUSED_FOR);
        let size = invalid.detail.as_ref().map_or(0, |detail| detail.len());
        self.refused.borrow_mut().insert(token, (invalid, until), size);
    }
}

impl Known {
    /// About how many bytes it takes beside the entry itself.
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

/// A map that forgets what has not been asked for since it came to the end of the queue.
#[derive(Debug)]
struct Bounded<V> {
    limit: usize,
    used: usize,
    /// By hash. Of two tokens with the same one, which nobody can make, the later one is kept.
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

    /// An entry that was asked for goes round once more; each round clears the marks, so this ends.
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

/// For keys that are hashes already.
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

/// Seconds.
const REFUSED_FOR: u64 = 10;

/// About how many bytes an entry takes in the map and the queue.
const OVERHEAD: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    /// Four bytes, and a hash that is a number's.
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
        cache.refuse(key(1), "signature_mismatch".into(), 1000);
        assert!(matches!(
            cache.find(key(1), 1009),
            Some(Verdict::Refused(Invalid {
                reason: "signature_mismatch",
                ..
            }))
        ));
        assert!(cache.find(key(1), 1010).is_none());
    }
}
