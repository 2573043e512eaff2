use proptest::prelude::*;

use super::*;
use crate::seam::simulated::Simulated;

fn table(entries: u32) -> LastGood {
    let config = LastGoodConfig {
        entries,
        max_bytes: 1000,
        ..LastGoodConfig::default()
    };
    LastGood::new("r", &config)
}

fn owner_number(number: u8) -> Owner {
    let mut owner = [7; 16];
    owner[0] = number;
    owner
}

fn response(body: &str) -> Whole {
    Whole {
        headers: [(":status", "200"), ("x-a", "1"), ("x-a", "2")].into_iter().collect(),
        body: body.into(),
    }
}

#[test]
fn what_is_kept_is_found_by_its_owner_until_it_is_too_old() {
    let (table, host, request) = (table(4), Simulated::default(), Headers::default());
    let (own, other) = (owner_number(1), owner_number(2));
    assert_eq!(table.find(&own, &request, &host.at(0)), None);
    table.keep(own, &Varies::new(), &response("one"), &host.at(1000));
    let found = |now| table.find(&own, &request, &host.at(now)).map(|found| found.age.get());
    assert_eq!(
        (found(1000), found(601_000), found(601_001)),
        (Some(0), Some(600_000), None)
    );
    assert_eq!(
        table.find(&own, &request, &host.at(1000)).unwrap().response,
        response("one")
    );
    assert_eq!(table.find(&other, &request, &host.at(1000)), None);
    table.keep(own, &Varies::new(), &response("two"), &host.at(2000));
    assert_eq!(
        table.find(&own, &request, &host.at(2000)).unwrap().response,
        response("two")
    );
    table.forget(&other, &host.cx());
    assert!(found(2000).is_some());
    table.forget(&own, &host.cx());
    assert_eq!(found(2000), None);
}

#[test]
fn a_full_set_gives_up_the_oldest() {
    let (table, host, request) = (table(4), Simulated::default(), Headers::default());
    for number in 0..5 {
        table.keep(
            owner_number(number),
            &Varies::new(),
            &response("x"),
            &host.at(u64::from(number) + 1),
        );
    }
    let found = (0..5).filter(|number| table.find(&owner_number(*number), &request, &host.at(5)).is_some());
    assert_eq!(found.collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn what_is_too_large_is_not_kept() {
    let (table, host) = (table(4), Simulated::default());
    table.keep(
        owner_number(1),
        &Varies::new(),
        &response(&"x".repeat(1000)),
        &host.at(1),
    );
    assert_eq!(table.find(&owner_number(1), &Headers::default(), &host.at(1)), None);
}

#[test]
fn a_worker_renews_at_most_once_a_second() {
    let (table, host, own) = (table(4), Simulated::default(), owner_number(1));
    assert!(table.is_due(&own, &host.at(0)));
    table.keep(own, &Varies::new(), &response("x"), &host.at(5000));
    assert!(!table.is_due(&own, &host.at(5999)) && table.is_due(&own, &host.at(6000)));
    assert!(table.is_due(&owner_number(2), &host.at(5000)));
    table.forget(&own, &host.cx());
    assert!(table.is_due(&own, &host.at(5000)));
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
        let response = Whole { headers: names.iter().map(|(name, value)| (name, value)).collect(), body };
        let bytes = encode(&names, &response).unwrap();
        prop_assert_eq!(decode(&bytes), Some((names, response)));
        let cut = cut.min(bytes.len().saturating_sub(1));
        prop_assert_eq!(decode(&bytes[..cut]), None);
        let _ = decode(&noise);
    }
}
