//! Files of several steps through a real Envoy: requests under way, and services that answer when a step says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use tollgate_e2e::bootstrap::{Bare, Form, buffer};
use tollgate_e2e::case::{Case, CaseFile};
use tollgate_e2e::echo::{Echo, Seen};
use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::raw::{self, Response};
use tollgate_e2e::services::Services;
use tollgate_e2e::steps::{self, Answered, Received, World};

use super::{bytes, compare};

#[test]
fn every_step_holds_through_envoy() {
    let mut failures = Vec::new();
    for (name, file) in CaseFile::of_steps() {
        // A machine that is too slow says nothing of the gateway, which holds requests for two seconds.
        let outcome = (0..ATTEMPTS).find_map(|_| attempt(&file));
        let differences = outcome.unwrap_or_else(|| vec![format!("this machine is too slow, {ATTEMPTS} times")]);
        failures.extend(differences.iter().map(|difference| format!("{name}: {difference}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// `None` where what differs may be because of the time that it took.
fn attempt(file: &CaseFile) -> Option<Vec<String>> {
    let (echo, services) = (Echo::start("upstream"), Services::default());
    let clusters = file.services.iter();
    let clusters = clusters.map(|name| (name.clone(), services.start(name)));
    let has_bodies = file
        .steps
        .iter()
        .any(|step| step.case().is_some_and(|case| !case.body.is_empty()));
    let gateway = Bare {
        environment: file.environment.clone(),
        http2_clusters: clusters.collect(),
        route_names: file.route_names(),
        // As text, which keeps the order of members.
        form: Form::Text,
        // So that a request whose body is read does not go on with its headers.
        filters: if has_bodies { vec![buffer(1 << 20)] } else { vec![] },
        ..Bare::new(file.config.clone(), &echo)
    };
    let envoy = Envoy::start(&gateway.bootstrap());
    let mut real = Real {
        envoy: &envoy,
        echo,
        services,
        requests: BTreeMap::new(),
        seen: Vec::new(),
        stepped: Instant::now(),
        slowest: Duration::ZERO,
    };
    let differences = steps::run(file, &mut real);
    envoy.assert_no_vm_died();
    (differences.is_empty() || real.slowest < SLOW).then_some(differences)
}

struct Real<'a> {
    envoy: &'a Envoy,
    echo: Echo,
    services: Services,
    requests: BTreeMap<String, Sent>,
    seen: Vec<Seen>,
    /// When something was last sent or answered.
    stepped: Instant,
    /// The longest time after that in which something was still waited for.
    slowest: Duration,
}

/// A request, and its response once that is there.
struct Sent {
    coming: Receiver<Response>,
    response: Option<Response>,
}

impl World for Real<'_> {
    fn send(&mut self, case: &Case) {
        let (sender, coming) = channel();
        let (address, bytes) = (self.envoy.address(), bytes(case, &[(NAME, &case.name)]));
        thread::spawn(move || {
            let response = raw::send(address, &bytes).unwrap_or_else(|error| panic!("a request: {error}"));
            // The test may be over.
            let _ = sender.send(response);
        });
        let sent = Sent { coming, response: None };
        self.requests.insert(case.name.clone(), sent);
        self.stepped = Instant::now();
    }

    fn received(&self) -> Vec<Received> {
        self.services.received()
    }

    fn answer(&mut self, number: usize, answer: &Answered) {
        self.services.answer(number, answer);
        self.stepped = Instant::now();
    }

    fn waiting(&self) -> BTreeSet<String> {
        let waiting = self.requests.iter().filter(|(_, sent)| sent.response.is_none());
        waiting.map(|(name, _)| name.clone()).collect()
    }

    fn differences(&mut self, case: &Case) -> Vec<String> {
        self.seen.extend(self.echo.take());
        let seen = self.seen.iter().filter(|seen| seen.all(NAME) == [&case.name]);
        let seen: Vec<_> = seen.cloned().collect();
        match self.requests[&case.name].response.as_ref() {
            Some(response) => compare(case, response, &seen),
            None => vec!["waits".into()],
        }
    }

    fn pass(&mut self, time: Duration) -> bool {
        if time > LONGEST_SLEEP {
            return false;
        }
        thread::sleep(time);
        self.stepped = Instant::now();
        true
    }

    fn settle(&mut self) -> bool {
        thread::sleep(Duration::from_millis(5));
        for sent in self.requests.values_mut() {
            sent.response = sent.response.take().or_else(|| sent.coming.try_recv().ok());
        }
        self.slowest = self.slowest.max(self.stepped.elapsed());
        self.stepped.elapsed() < PATIENCE
    }
}

/// The header that tells requests apart at the upstream.
const NAME: &str = "x-case";

const ATTEMPTS: usize = 5;

/// From when on a difference may be the machine's: half of the time for which the gateway holds a request.
const SLOW: Duration = Duration::from_secs(1);

/// For something to happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A longer time ends the steps here; the rest is the native run's.
const LONGEST_SLEEP: Duration = Duration::from_secs(3);
