use super::*;
use crate::seam::store::memory::Memory;
use proptest::prelude::*;

fn name(number: u8) -> Name {
    [number; 32]
}

fn entry(until: u64, value: &str) -> Entry {
    Entry {
        until: Millis::new(until),
        value: value.into(),
    }
}

fn table(entries: u32) -> (Table, Memory) {
    let (slots, store) = (Table::new("t".into(), entries, 4, 100), Memory::default());
    slots.prepare(&store);
    (slots, store)
}

#[test]
fn an_entry_is_found_until_its_time_is_over() {
    let (slots, store) = table(8);
    slots.put(&name(1), &entry(100, "a"), Millis::ZERO, &store);
    slots.put(&name(2), &entry(200, ""), Millis::ZERO, &store);
    assert_eq!(slots.find(&name(1), Millis::new(99), &store), Some(entry(100, "a")));
    assert_eq!(slots.find(&name(1), Millis::new(100), &store), None);
    assert_eq!(slots.find(&name(2), Millis::new(199), &store), Some(entry(200, "")));
    slots.put(&name(1), &entry(300, "b"), Millis::ZERO, &store);
    assert_eq!(slots.find(&name(1), Millis::ZERO, &store), Some(entry(300, "b")));
    slots.remove(&name(1), Millis::ZERO, &store);
    assert_eq!(slots.find(&name(1), Millis::ZERO, &store), None);
    assert!(slots.find(&name(2), Millis::ZERO, &store).is_some());
}

#[test]
fn a_full_slot_loses_what_ends_first() {
    let (slots, store) = table(1);
    for number in 1..=4 {
        slots.put(
            &name(number),
            &entry(1000 - u64::from(number), "x"),
            Millis::ZERO,
            &store,
        );
    }
    slots.put(&name(5), &entry(10, "x"), Millis::ZERO, &store);
    let found = |now| {
        (1..=5)
            .filter(|&number| slots.find(&name(number), Millis::new(now), &store).is_some())
            .collect::<Vec<_>>()
    };
    assert_eq!(found(0), [1, 2, 3, 5]);
    slots.put(&name(6), &entry(2000, "x"), Millis::new(500), &store);
    assert_eq!(found(500), [1, 2, 3], "what is over went first");
    assert!(slots.find(&name(6), Millis::new(500), &store).is_some());
}

#[test]
fn it_never_grows() {
    let (slots, store) = table(64);
    for number in 0..10_000_u32 {
        let mut name = [0; 32];
        name[..4].copy_from_slice(&number.to_le_bytes());
        name[16..20].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_le_bytes());
        slots.put(
            &name,
            &entry(u64::from(number) + 1, &"v".repeat(100)),
            Millis::ZERO,
            &store,
        );
    }
    let sizes: Vec<_> = (0..16)
        .map(|slot| store.read(&format!("t.{slot}")).unwrap().0.len())
        .collect();
    assert!(sizes.iter().all(|&size| size == 4 * (16 + 8 + 2 + 100)), "{sizes:?}");
    assert!(store.read("t.16").is_none());
    slots.put(&name(1), &entry(u64::MAX, &"v".repeat(101)), Millis::ZERO, &store);
    assert_eq!(slots.find(&name(1), Millis::ZERO, &store), None, "too large");
}

#[test]
fn a_change_sees_what_is_there_and_may_leave_it() {
    let (slots, store) = table(4);
    let count = |limit: u8| {
        slots.change(&name(1), Millis::ZERO, &store, |found| {
            let count = found.map_or(0, |entry| entry.value[0]);
            if count >= limit {
                return Err(count);
            }
            Ok((
                Some(Entry {
                    until: Millis::new(100),
                    value: vec![count + 1],
                }),
                count + 1,
            ))
        })
    };
    assert_eq!([count(2), count(2), count(2)], [Some(1), Some(2), Some(2)]);
}

/// Entries used less often than this may be evicted.
struct Little(u8);

impl Uses for Little {
    fn usage(&self, entry: &Entry) -> u64 {
        entry.value[0].into()
    }

    fn may_be_forgotten(&self, entry: &Entry) -> bool {
        entry.value[0] < self.0
    }
}

/// Counts a use of a name; returns the count.
fn used(slots: &Table, store: &Memory, name: Name, now: u64) -> u8 {
    let count = slots.share(&name, Millis::new(now), store, &Little(0), |found, _| {
        let count = found.map_or(0, |entry| entry.value[0]) + 1;
        let entry = Entry {
            until: Millis::new(100),
            value: vec![count],
        };
        (Some(entry), count)
    });
    count.unwrap()
}

#[test]
fn in_a_full_slot_names_share_the_least_used_entry_and_nobody_is_forgotten() {
    let (slots, store) = table(1);
    for number in 1..=4 {
        for _ in 0..=number {
            used(&slots, &store, name(number), 0);
        }
    }
    assert_eq!(used(&slots, &store, name(9), 0), 3, "what 1 has used counts for 9 too");
    assert_eq!(used(&slots, &store, name(8), 0), 4);
    assert_eq!(used(&slots, &store, name(1), 0), 5, "and the other way");
    assert_eq!(used(&slots, &store, name(4), 0), 6, "the others are their own");
    assert_eq!(used(&slots, &store, name(9), 100), 1, "until its time is over");
}

#[test]
fn what_is_little_used_is_forgotten_before_anything_is_shared() {
    let (slots, store) = table(1);
    let used = |number: u8| {
        let change = |found: Option<&Entry>, is_shared: bool| {
            let count = found.map_or(0, |entry| entry.value[0]) + 1;
            let value = vec![count];
            (
                Some(Entry {
                    until: Millis::new(100),
                    value,
                }),
                (count, is_shared),
            )
        };
        slots
            .share(&name(number), Millis::ZERO, &store, &Little(3), change)
            .unwrap()
    };
    for number in 1..=4 {
        let _: Vec<_> = (0..number).map(|_| used(number)).collect();
    }
    assert_eq!(used(9), (1, false), "in place of the first");
    assert_eq!(used(1), (1, false), "in place of that one");
    let _: Vec<_> = (0..5).map(|_| (used(1), used(2))).collect();
    let shared = used(8);
    assert_eq!(shared, (4, true), "the least of those that are used");
    assert_eq!(used(7), (5, true));
    assert_eq!(used(4), (5, false), "the others are their own");
}

#[test]
fn names_with_words_in_common_stay_in_a_part_of_the_table() {
    let slots = Table::new("t".into(), 1 << 16, 8, 8);
    let mut seed = 1_u64;
    let mut random = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 32) as u32
    };
    let mut reached = |common: usize| {
        let fixed = [7, 77, 777];
        let slots: std::collections::BTreeSet<_> = (0..20_000)
            .map(|_| {
                let mut name = Name::default();
                for word in 0..4 {
                    let value = if word < common { fixed[word] } else { random() };
                    name[16 + word * 4..][..4].copy_from_slice(&value.to_le_bytes());
                }
                slots.slot(&name)
            })
            .collect();
        slots.len()
    };
    let [all, coarse, middle, fine] = [0, 1, 2, 3].map(&mut reached);
    assert!(all > 7000, "{all} of 8192");
    assert!((500..=8192 / 16 + 8192 / 64 + 8192 / 256).contains(&coarse), "{coarse}");
    assert!((120..=8192 / 64 + 8192 / 256).contains(&middle), "{middle}");
    assert_eq!(fine, 8192 / 256);
}

#[test]
fn clearing_takes_what_it_is_told_to() {
    let (slots, store) = table(64);
    for number in 0..20 {
        slots.put(
            &name(number),
            &entry(1000, if number % 2 == 0 { "even" } else { "odd" }),
            Millis::ZERO,
            &store,
        );
    }
    slots.clear(|entry| entry.value == b"odd", &store);
    let left: Vec<_> = (0..20)
        .filter(|&number| slots.find(&name(number), Millis::ZERO, &store).is_some())
        .collect();
    assert!(
        !left.is_empty() && left.iter().all(|number| number % 2 == 0),
        "{left:?}"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (slots, store) = table(1);
        store.write("t.0", &bytes, 0);
        slots.put(&name(1), &entry(u64::MAX, "x"), Millis::ZERO, &store);
        prop_assert!(slots.find(&name(1), Millis::ZERO, &store).is_some());
    }
}
