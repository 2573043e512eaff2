//! How many bad keys a source may send: whoever tries keys out is stopped before any lookup, and whoever shares an
//! address with them is not.

use std::cell::RefCell;
use std::collections::HashMap;

use super::config::ThrottleConfig;
use crate::auth::api_key::Secrets;
use crate::auth::api_key::secrets::Digest;
use crate::client_network::ClientNetwork;
use crate::clock::{Millis, Seconds};
use crate::seam::store::Store;
use crate::seam::{Context, Local};
use crate::shared::table::{Entry, Table};

/// Counts bad keys by their source. Times are of the wall clock.
#[derive(Debug)]
pub(super) struct Throttle {
    limit: u32,
    window: Millis,
    /// How long a key that was good from a source is trusted from there.
    trust: Millis,
    secrets: Secrets,
    /// Bad keys by source, and lookups by key id, in this window.
    counts: Table,
    /// Pairs of a source and a key that was good from there.
    trusted: Table,
    /// The pairs that this worker need not tell the others about, and until when.
    told: Local<RefCell<HashMap<Pair, Millis>>>,
}

type Pair = (ClientNetwork, Digest);

/// The window in which an attempt was counted, by when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charge(Millis);

impl Throttle {
    pub(super) fn new(config: ThrottleConfig, trust: Millis, secrets: &Secrets, prefix: &str) -> Self {
        Self {
            limit: config.limit,
            window: config.window.millis(),
            trust,
            secrets: secrets.clone(),
            counts: Table::new(format!("{prefix}.counts"), ENTRIES, WAYS, size_of::<u32>()),
            trusted: Table::new(format!("{prefix}.trusted"), ENTRIES, WAYS, 0),
            told: Local::default(),
        }
    }

    pub(super) fn prepare(&self, store: &dyn Store) {
        self.counts.prepare(store);
        self.trusted.prepare(store);
    }

    /// Whether a key may be looked at; `Err` holds the time until it may.
    pub(super) fn check(&self, origin: ClientNetwork, key: &Digest, cx: &Context<'_>) -> Result<(), Seconds> {
        let (now, store) = (cx.wall(), cx.store());
        if self.is_told(origin, key, cx) {
            return Ok(());
        }
        match self.excess(&self.origin(origin), now, store) {
            Some(_) if self.trusted.find(&self.pair(origin, key), now, store).is_some() => Ok(()),
            Some(pause) => Err(pause),
            None => Ok(()),
        }
    }

    /// A key was good: it stays so from there, whoever else tries keys out there.
    pub(super) fn trust(&self, origin: ClientNetwork, key: &Digest, cx: &Context<'_>) {
        let (now, store) = (cx.wall(), cx.store());
        if self.is_told(origin, key, cx) {
            return;
        }
        let entry = Entry {
            until: now.saturating_add(self.trust),
            value: Vec::new(),
        };
        self.trusted.put(&self.pair(origin, key), &entry, now, store);
        let told = cx.local(&self.told);
        let mut told = told.borrow_mut();
        if told.len() >= MOST_TOLD {
            told.clear();
        }
        // Told again before the others forget it.
        told.insert((origin, *key), now.saturating_add(Millis::new(self.trust.get() / 2)));
    }

    /// A key was bad, or may be. `None` where it could not be counted.
    pub(super) fn count(&self, origin: ClientNetwork, now: Millis, store: &dyn Store) -> Option<Charge> {
        self.add(&self.origin(origin), now, store).map(Charge)
    }

    /// A key was good that was counted while nobody knew. With its window, the charge is over.
    pub(super) fn give_back(&self, origin: ClientNetwork, Charge(until): Charge, now: Millis, store: &dyn Store) {
        self.counts
            .change(&self.origin(origin), now, store, |found| match found {
                Some(entry) if entry.until == until => {
                    Ok((Some(counted(count_of(&entry).saturating_sub(1), until)), ()))
                }
                _ => Err(()),
            });
    }

    /// Whether the key service may be asked for a key of this id once more; `Err` holds the time until it may.
    pub(super) fn lookup(&self, id: &str, now: Millis, store: &dyn Store) -> Result<(), Seconds> {
        let name = self.secrets.digest("id", id.as_bytes());
        self.excess(&name, now, store).map_or(Ok(()), Err)?;
        self.add(&name, now, store);
        Ok(())
    }

    /// The time until the window ends, at least a second, where its limit is reached.
    fn excess(&self, name: &Digest, now: Millis, store: &dyn Store) -> Option<Seconds> {
        let entry = self.counts.find(name, now, store)?;
        let left = entry.until.saturating_sub(now).min(self.window).seconds_up();
        (count_of(&entry) >= self.limit).then_some(left.max(Seconds::new(1)))
    }

    /// Counts one more, in a new window where there is none; when the window ends.
    fn add(&self, name: &Digest, now: Millis, store: &dyn Store) -> Option<Millis> {
        self.counts.change(name, now, store, |found| {
            let count = found.as_ref().map_or(0, count_of).saturating_add(1);
            let until = found.map_or_else(|| now.saturating_add(self.window), |entry| entry.until);
            Ok((Some(counted(count, until)), until))
        })
    }

    fn is_told(&self, origin: ClientNetwork, key: &Digest, cx: &Context<'_>) -> bool {
        let told = cx.local(&self.told);
        let until = told.borrow().get(&(origin, *key)).copied();
        until.is_some_and(|until| cx.wall() < until)
    }

    fn origin(&self, origin: ClientNetwork) -> Digest {
        self.secrets.digest("origin", &origin.bytes())
    }

    fn pair(&self, origin: ClientNetwork, key: &Digest) -> Digest {
        self.secrets.digest("pair", &[&origin.bytes(), &key[..]].concat())
    }
}

fn counted(count: u32, until: Millis) -> Entry {
    Entry {
        until,
        value: count.to_le_bytes().to_vec(),
    }
}

fn count_of(entry: &Entry) -> u32 {
    entry.value.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// In each of the two tables, and in each of their slots.
const ENTRIES: u32 = 8192;
const WAYS: u16 = 4;

/// Pairs; beyond, a worker tells them all anew.
const MOST_TOLD: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::api_key::SecretConfig;
    use crate::config::Report;
    use crate::config::values::Duration;
    use crate::seam::simulated::Simulated;

    fn throttle(host: &Simulated) -> Throttle {
        let secret = SecretConfig {
            id: "v1".into(),
            env: "S".into(),
        };
        let environment = [("S".to_owned(), "s".repeat(32))].into();
        let secrets = Secrets::compile(&[secret], &environment, &mut Report::default());
        let config = ThrottleConfig {
            limit: 3,
            window: Duration::from_secs(60),
        };
        let throttle = Throttle::new(config, Millis::new(60_000), &secrets, "t");
        throttle.prepare(&host.store);
        throttle
    }

    fn origin(address: &str) -> ClientNetwork {
        Some(address.parse().unwrap()).into()
    }

    const KEY: Digest = [1; 32];
    const OTHER: Digest = [2; 32];

    #[test]
    fn a_source_is_stopped_at_its_limit_until_the_window_ends() {
        let host = Simulated::default();
        let (first, second) = (throttle(&host), throttle(&host));
        let (here, there) = (origin("192.0.2.1"), origin("192.0.2.2"));
        for worker in [&first, &second, &first] {
            assert_eq!(worker.check(here, &KEY, &host.at(1000)), Ok(()));
            worker.count(here, Millis::new(1000), &host.store);
        }
        assert_eq!(second.check(here, &KEY, &host.at(1001)), Err(Seconds::new(60)));
        assert_eq!(first.check(here, &OTHER, &host.at(60_500)), Err(Seconds::new(1)));
        assert_eq!(first.check(there, &KEY, &host.at(1001)), Ok(()));
        assert_eq!(first.check(here, &KEY, &host.at(61_000)), Ok(()));
    }

    #[test]
    fn a_key_that_was_good_from_there_passes_on_every_worker() {
        let host = Simulated::default();
        let (first, second) = (throttle(&host), throttle(&host));
        let here = origin("192.0.2.1");
        first.trust(here, &KEY, &host.at(0));
        for _ in 0..3 {
            first.count(here, Millis::new(1000), &host.store);
        }
        for worker in [&first, &second] {
            assert_eq!(worker.check(here, &KEY, &host.at(2000)), Ok(()));
            assert_eq!(worker.check(here, &OTHER, &host.at(2000)), Err(Seconds::new(59)));
        }
        assert_eq!(
            second.check(here, &KEY, &host.at(60_000)),
            Err(Seconds::new(1)),
            "not for ever"
        );
    }

    #[test]
    fn what_is_given_back_is_of_its_own_window() {
        let host = Simulated::default();
        let throttle = throttle(&host);
        let here = origin("192.0.2.1");
        let full = || {
            let charges = [(); 3].map(|()| throttle.count(here, Millis::new(1000), &host.store));
            charges[0].unwrap()
        };
        throttle.give_back(here, full(), Millis::new(2000), &host.store);
        assert_eq!(throttle.check(here, &KEY, &host.at(2000)), Ok(()));
        let charge = throttle.count(here, Millis::new(3000), &host.store).unwrap();
        assert_eq!(throttle.check(here, &KEY, &host.at(3000)), Err(Seconds::new(58)));
        // Its window is over: none begins with it.
        throttle.give_back(here, charge, Millis::new(70_000), &host.store);
        for _ in 0..3 {
            throttle.count(here, Millis::new(80_000), &host.store);
        }
        assert_eq!(throttle.check(here, &KEY, &host.at(80_000)), Err(Seconds::new(60)));
        // Nor is it one of the next.
        throttle.give_back(here, charge, Millis::new(81_000), &host.store);
        assert_eq!(throttle.check(here, &KEY, &host.at(81_000)), Err(Seconds::new(59)));
    }

    #[test]
    fn lookups_of_one_id_are_bounded() {
        let (host, now) = (Simulated::default(), Millis::new(5000));
        let throttle = throttle(&host);
        assert_eq!(
            [(); 4].map(|()| throttle.lookup("a", now, &host.store)),
            [Ok(()), Ok(()), Ok(()), Err(Seconds::new(60))]
        );
        assert_eq!(throttle.lookup("b", now, &host.store), Ok(()));
    }
}
