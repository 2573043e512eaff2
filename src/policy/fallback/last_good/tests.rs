use proptest::prelude::*;

use super::*;
use crate::store::memory::Memory;

fn table(entries: u32) -> LastGood {
    let config = LastGoodConfig {
        entries,
        max_bytes: 1000,
        ..LastGoodConfig::default()
    };
    LastGood::new("r", &config)
}

fn owner_number(number: u8) -> Owner {
    let mut owner = [7; OWNER];
    owner[0] = number;
    owner
}

fn response(body: &str) -> Response {
    Response {
        headers: [(":status", "200"), ("x-a", "1"), ("x-a", "2")].into_iter().collect(),
        body: body.into(),
    }
}

#[test]
fn what_is_kept_is_found_by_its_owner_until_it_is_too_old() {
    let (table, store, request) = (table(4), Memory::default(), Headers::default());
    let (own, other) = (owner_number(1), owner_number(2));
    assert_eq!(table.find(&own, &request, 0, &store), None);
    table.keep(own, &Varies::new(), &response("one"), 1000, &store);
    let found = |now| table.find(&own, &request, now, &store).map(|found| found.age);
    assert_eq!(
        (found(1000), found(601_000), found(601_001)),
        (Some(0), Some(600_000), None)
    );
    assert_eq!(
        table.find(&own, &request, 1000, &store).unwrap().response,
        response("one")
    );
    assert_eq!(table.find(&other, &request, 1000, &store), None);
    table.keep(own, &Varies::new(), &response("two"), 2000, &store);
    assert_eq!(
        table.find(&own, &request, 2000, &store).unwrap().response,
        response("two")
    );
    table.forget(&other, &store);
    assert!(found(2000).is_some());
    table.forget(&own, &store);
    assert_eq!(found(2000), None);
}

#[test]
fn a_full_set_gives_up_the_oldest() {
    let (table, store, request) = (table(4), Memory::default(), Headers::default());
    for number in 0..5 {
        table.keep(
            owner_number(number),
            &Varies::new(),
            &response("x"),
            u64::from(number) + 1,
            &store,
        );
    }
    let found = (0..5).filter(|number| table.find(&owner_number(*number), &request, 5, &store).is_some());
    assert_eq!(found.collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn who_finds_anothers_finds_nothing() {
    let (table, store) = (table(4), Memory::default());
    let own = owner_number(1);
    table.keep(own, &Varies::new(), &response("x"), 1, &store);
    // Between the index and the entry, another worker has taken the place.
    let set = table.set(&own);
    let theirs = encode(&owner_number(2), 1, &Varies::new(), &response("theirs")).unwrap();
    store.write(&format!("{set}.0"), &theirs, 0);
    assert_eq!(table.find(&own, &Headers::default(), 1, &store), None);
}

#[test]
fn what_is_too_large_is_not_kept() {
    let (table, store) = (table(4), Memory::default());
    table.keep(owner_number(1), &Varies::new(), &response(&"x".repeat(1000)), 1, &store);
    assert_eq!(table.find(&owner_number(1), &Headers::default(), 1, &store), None);
}

#[test]
fn a_worker_renews_at_most_once_a_second() {
    let (table, store, own) = (table(4), Memory::default(), owner_number(1));
    assert!(table.is_due(&own, 0));
    table.keep(own, &Varies::new(), &response("x"), 5000, &store);
    assert!(!table.is_due(&own, 5999) && table.is_due(&own, 6000));
    assert!(table.is_due(&owner_number(2), 5000));
    table.forget(&own, &store);
    assert!(table.is_due(&own, 5000));
}

#[test]
fn a_response_varies_by_what_it_says_and_by_its_encoding() {
    let request: Headers = [("accept", "a"), ("accept", "b"), ("x-user-id", "u")]
        .into_iter()
        .collect();
    let of = |lines: &[(&str, &str)]| {
        let varies = varies(&lines.iter().copied().collect(), &request);
        varies.map(|varies| {
            let line = |(name, value): (String, Vec<u8>)| format!("{name}={}", String::from_utf8(value).unwrap());
            varies.into_iter().map(line).collect::<Vec<_>>()
        })
    };
    assert_eq!(of(&[]).unwrap(), Vec::<String>::new());
    assert_eq!(
        of(&[("vary", "Accept, X-Other"), ("vary", "x-user-id,, accept")]).unwrap(),
        ["accept=a\nb", "x-other=", "x-user-id=u"]
    );
    assert_eq!(of(&[("content-encoding", "br")]).unwrap(), ["accept-encoding="]);
    assert_eq!(of(&[("vary", "accept, *")]), None);
    let headers: Headers = [(&b"vary"[..], &b"\xff"[..])].into_iter().collect();
    assert_eq!(varies(&headers, &request), None);
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_and_nothing_else_makes_it_panic(
        names in proptest::collection::vec(("[a-z]{0,5}", proptest::collection::vec(any::<u8>(), 0..9)), 0..4),
        body in proptest::collection::vec(any::<u8>(), 0..50),
        cut in 0_usize..200,
        noise in proptest::collection::vec(any::<u8>(), 0..90),
    ) {
        let own = owner_number(1);
        let response = Response { headers: names.iter().map(|(name, value)| (name, value)).collect(), body };
        let bytes = encode(&own, 9, &names, &response).unwrap();
        prop_assert_eq!(decode(&bytes, &own), Some((9, names, response)));
        let cut = cut.min(bytes.len().saturating_sub(1));
        prop_assert_eq!(decode(&bytes[..cut], &own), None);
        let _ = decode(&[&own[..], &noise[..]].concat(), &own);
        let _ = decode_index(&noise);
    }
}
