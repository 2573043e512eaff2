use super::*;
use proptest::prelude::*;

const ALL: [Algorithm; 4] = [
    Algorithm::SlidingWindow,
    Algorithm::ExactWindow,
    Algorithm::TokenBucket,
    Algorithm::FixedWindow,
];

/// A client and its state, as a table would keep it.
struct Client {
    algorithm: Algorithm,
    rate: Rate,
    state: Option<Entry>,
}

impl Client {
    fn new(algorithm: Algorithm, limit: u64, window: u64, burst: u64) -> Self {
        Self {
            algorithm,
            rate: Rate {
                limit,
                window: Millis::new(window),
                burst,
            },
            state: None,
        }
    }

    /// Asks at a time in milliseconds.
    fn ask(&mut self, now: u64, cost: u64) -> Verdict {
        let now = Millis::new(now);
        let live = self.state.as_ref().filter(|entry| entry.until > now);
        let (verdict, state) = self.algorithm.take(&self.rate, live, cost, now);
        assert_eq!(verdict.allowed, state.is_some(), "only what is allowed is counted");
        if state.is_some() {
            self.state = state;
        }
        verdict
    }
}

#[test]
fn a_limit_is_that_many_and_no_more() {
    for algorithm in ALL {
        let mut client = Client::new(algorithm, 10, 60_000, 10);
        let remaining: Vec<_> = (0..10).map(|_| client.ask(120_000, 1).remaining).collect();
        assert_eq!(remaining, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], "{algorithm:?}");
        let refused = client.ask(120_000, 1);
        assert!(
            !refused.allowed && refused.remaining == 0 && refused.retry_after > Millis::ZERO,
            "{algorithm:?} {refused:?}"
        );
    }
}

#[test]
fn the_edge_of_a_window() {
    // Ten requests at the end of a window, and as many as are allowed right after it.
    let admitted = |algorithm| {
        let mut client = Client::new(algorithm, 10, 1000, 10);
        (0..10).for_each(|_| assert!(client.ask(1999, 1).allowed));
        (0..20).filter(|_| client.ask(2001, 1).allowed).count()
    };
    assert_eq!(
        admitted(Algorithm::FixedWindow),
        10,
        "twice the limit within two milliseconds"
    );
    assert_eq!(
        admitted(Algorithm::SlidingWindow),
        1,
        "the first two milliseconds' share has left"
    );
    assert_eq!(admitted(Algorithm::ExactWindow), 0);
    assert_eq!(admitted(Algorithm::TokenBucket), 0);
}

#[test]
fn a_bucket_saves_its_burst_and_refills_evenly() {
    let mut client = Client::new(Algorithm::TokenBucket, 60, 60_000, 5);
    assert_eq!((0..9).filter(|_| client.ask(0, 1).allowed).count(), 5);
    assert_eq!(client.ask(0, 1).retry_after, Millis::new(1000));
    assert!(!client.ask(999, 1).allowed && client.ask(1000, 1).allowed && !client.ask(1000, 1).allowed);
    assert_eq!(
        (0..9).filter(|_| client.ask(1_000_000, 1).allowed).count(),
        5,
        "no more than the burst is saved"
    );
    assert_eq!(
        client.ask(1_000_000, 6).retry_after,
        Millis::new(60_000),
        "it never fits"
    );
}

#[test]
fn a_slow_client_is_not_refused_for_what_it_did_a_window_ago() {
    let mut client = Client::new(Algorithm::SlidingWindow, 1, 3000, 1);
    for number in 0..100 {
        assert!(client.ask(90_000 + number * 3200, 1).allowed, "{number}");
    }
    let refused = client.ask(90_000 + 99 * 3200 + 1, 1);
    assert!(
        !refused.allowed && refused.retry_after <= Millis::new(3000),
        "{refused:?}"
    );
}

#[test]
fn what_costs_more_uses_more() {
    for algorithm in ALL {
        let mut client = Client::new(algorithm, 10, 1000, 10);
        assert_eq!(client.ask(5000, 7).remaining, 3, "{algorithm:?}");
        assert!(
            !client.ask(5000, 4).allowed && client.ask(5000, 3).allowed,
            "{algorithm:?}"
        );
        assert!(client.ask(5000, 0).allowed, "what costs nothing passes");
    }
}

#[test]
fn a_state_whose_time_is_over_is_an_empty_one() {
    for algorithm in ALL {
        let mut client = Client::new(algorithm, 10, 1000, 10);
        (0..10).for_each(|_| assert!(client.ask(5000, 1).allowed));
        let (verdict, _) = algorithm.take(&client.rate, client.state.as_ref(), 1, Millis::new(9000));
        assert_eq!((verdict.allowed, verdict.remaining), (true, 9), "{algorithm:?}");
    }
}

/// Workers read the clock at different times.
#[test]
fn a_worker_that_is_late_does_not_undo_the_next_window() {
    for algorithm in ALL {
        let mut client = Client::new(algorithm, 10, 1000, 10);
        (0..6).for_each(|_| assert!(client.ask(5000, 1).allowed));
        let late = (0..9).filter(|_| client.ask(4999, 1).allowed).count();
        let after = (0..9).filter(|_| client.ask(5000, 1).allowed).count();
        assert_eq!((6 + late + after, late >= 3), (10, true), "{algorithm:?}");
    }
}

#[test]
fn very_large_limits_do_not_overflow() {
    for algorithm in [Algorithm::SlidingWindow, Algorithm::TokenBucket, Algorithm::FixedWindow] {
        for limit in [3_000_000_000, u64::MAX / 2, u64::MAX] {
            let mut client = Client::new(algorithm, limit, 86_400_000, limit);
            assert!(client.ask(u64::MAX / 4_000_000, 1).allowed, "{algorithm:?} {limit}");
        }
    }
}

proptest! {
    /// `apart` is the interval of two requests in thousandths of `window / limit`, at least 1000.
    #[test]
    fn who_comes_evenly_within_the_limit_is_never_refused(
        limit in prop_oneof![1u64..=10, 1u64..=1000],
        window in prop_oneof![Just(1000u64), Just(3000), Just(60_000), 1000u64..100_000],
        apart in prop_oneof![Just(1000u64), 1000u64..1100, 1000u64..5000],
        phase in 0u64..1_000_000,
    ) {
        for algorithm in ALL {
            if algorithm == Algorithm::ExactWindow && limit > MOST_EXACT {
                continue;
            }
            let mut client = Client::new(algorithm, limit, window, limit);
            for number in 0..(4 * limit).max(20) {
                let micros = u128::from(number) * u128::from(window) * u128::from(apart) / u128::from(limit);
                let now = u64::try_from((u128::from(phase) + micros) / 1000).unwrap() + 10 * window;
                prop_assert!(client.ask(now, 1).allowed, "{:?}: {} of {} in {}", algorithm, number, limit, window);
            }
        }
    }

    /// No state and no clock causes a panic, and an empty state is a new client.
    #[test]
    fn no_state_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), now: u64, cost: u64, limit in 1_u64.., window in 1_u64.., burst in 1_u64..) {
        for algorithm in ALL {
            let (window, now) = (Millis::new(window), Millis::new(now));
            let rate = Rate { limit, window, burst };
            let entry = Entry { until: Millis::new(u64::MAX), value: bytes.clone() };
            let cost = if algorithm == Algorithm::ExactWindow { cost % 200 } else { cost };
            let (_, state) = algorithm.take(&rate, Some(&entry), cost, now);
            algorithm.give_back(&rate, &entry, cost, now);
            algorithm.usage(&entry);
            if let Some(state) = state {
                prop_assert!(state.value.len() <= algorithm.state_size(limit).max(bytes.len()));
            }
        }
    }

    /// Each algorithm keeps its bound in any window, checked against a list of the admitted requests.
    #[test]
    fn each_holds_its_bound_in_every_window(
        gaps in proptest::collection::vec((0_u64..400, 1_u64..4), 1..400), limit in 1_u64..30, burst in 1_u64..30,
    ) {
        const WINDOW: u64 = 1000;
        for algorithm in ALL {
            let mut client = Client::new(algorithm, limit, WINDOW, burst);
            let (mut now, mut admitted) = (10_000, Vec::new());
            for (gap, cost) in &gaps {
                now += gap * gap / 400;
                if client.ask(now, *cost).allowed {
                    admitted.push((now, *cost));
                }
            }
            let most = admitted.iter().map(|(start, _)| {
                let within = admitted.iter().filter(|(at, _)| at >= start && *at < start + WINDOW);
                within.map(|(_, cost)| cost).sum::<u64>()
            }).max().unwrap_or(0);
            let bound = match algorithm {
                Algorithm::ExactWindow => limit,
                Algorithm::TokenBucket => limit + burst,
                Algorithm::SlidingWindow | Algorithm::FixedWindow => 2 * limit,
            };
            prop_assert!(most <= bound, "{algorithm:?} admitted {most}, bound {bound}");
        }
    }

    /// A request is refused before `retry_after`, and allowed then.
    #[test]
    fn retry_after_is_when_it_fits(
        gaps in proptest::collection::vec((0_u64..300, 1_u64..4), 1..100), limit in 4_u64..30, burst in 4_u64..30,
    ) {
        for algorithm in ALL {
            let mut client = Client::new(algorithm, limit, 1000, burst);
            let mut now = 10_000;
            for (gap, cost) in &gaps {
                now += gap;
                let verdict = client.ask(now, *cost);
                if !verdict.allowed {
                    let then = |at: u64| {
                        let at = Millis::new(at);
                        let live = client.state.as_ref().filter(|entry| entry.until > at);
                        algorithm.take(&client.rate, live, *cost, at).0.allowed
                    };
                    let wait = verdict.retry_after.get();
                    prop_assert!(then(now + wait), "{algorithm:?} not after {wait}");
                    prop_assert!(!then(now + wait - 1), "{algorithm:?} before {wait}");
                }
            }
        }
    }

    /// Giving back restores the state before taking.
    #[test]
    fn giving_back_undoes_taking(costs in proptest::collection::vec(1_u64..4, 0..20), cost in 1_u64..4, limit in 4_u64..40) {
        for algorithm in ALL {
            let mut client = Client::new(algorithm, limit, 1000, limit);
            for cost in &costs {
                client.ask(10_000, *cost);
            }
            let before = client.ask(10_000, 0).remaining;
            if client.ask(10_000, cost).allowed {
                client.state = algorithm.give_back(&client.rate, &client.state.take().unwrap(), cost, Millis::new(10_000));
                prop_assert_eq!(client.ask(10_000, 0).remaining, before, "{:?}", algorithm);
            }
        }
    }
}
