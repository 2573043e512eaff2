//! Case files of several steps: requests that wait, what other services are asked and answer, and time. One runner for
//! every shell that the core runs in; `tests/cases/README.md` describes the format.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::case::{Case, CaseFile};

/// One step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Happening {
    /// Sends a request whose name no other one has.
    Send(Box<Case>),
    /// Sends one and expects that it is over without any other step.
    Ask(Box<Case>),
    /// A service was called, and has not answered.
    Called(Expected),
    /// The service answers the call of this name.
    Answer(Answered),
    /// There is no further call.
    Quiet(Selected),
    /// These requests wait, and no others.
    Waiting(BTreeSet<String>),
    /// These requests are over, and what they expect has come of them.
    Over(Vec<String>),
    /// So many milliseconds go by.
    Pass(u64),
}

impl Happening {
    /// The request that it sends.
    pub fn case(&self) -> Option<&Case> {
        match self {
            Self::Send(case) | Self::Ask(case) => Some(case),
            _ => None,
        }
    }
}

/// Calls of a service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selected {
    /// Envoy's cluster.
    pub service: String,
    /// With the query; without one, any query. All paths otherwise.
    #[serde(default)]
    pub path: Option<String>,
}

/// The oldest call of a service that no step has mentioned.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Envoy's cluster.
    pub service: String,
    /// As [`Selected::path`].
    #[serde(default)]
    pub path: Option<String>,
    /// What `answer` calls it; the service's name otherwise.
    #[serde(default, rename = "as")]
    pub name: Option<String>,
    /// Its method.
    #[serde(default)]
    pub method: Option<String>,
    /// Headers of it; `null` is an absent one.
    #[serde(default)]
    pub headers: BTreeMap<String, Option<String>>,
    /// Its body, as JSON.
    #[serde(default)]
    pub body: Option<Value>,
}

/// An answer to a call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// The call's name.
    pub to: String,
    /// `200` otherwise.
    #[serde(default = "ok")]
    pub status: u16,
    /// Headers besides.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A text as it is, anything else as JSON; `$keys` is the issuer's published key set.
    #[serde(default)]
    pub body: Value,
    /// In place of an answer: the connection breaks in the middle of it.
    #[serde(default)]
    pub reset: bool,
    /// In place of a body: what a Rate Limit Service says.
    #[serde(default)]
    pub rate_limit: Option<Decision>,
}

/// What a Rate Limit Service says of all descriptors together.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// `OK`.
    Ok,
    /// `OVER_LIMIT`.
    OverLimit,
}

/// A call as a service has received it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its number, by which it is answered.
    pub number: usize,
    /// Envoy's cluster.
    pub service: String,
    /// With pseudo-headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What the steps run in: the core by itself, or with a shell and a host around it.
pub trait World {
    /// Sends a request.
    fn send(&mut self, case: &Case);

    /// Calls that services have received, and that are under way.
    fn received(&self) -> Vec<Received>;

    /// Answers a call.
    fn answer(&mut self, number: usize, answer: &Answered);

    /// Requests that have no response yet.
    fn waiting(&self) -> BTreeSet<String>;

    /// What differs from what a request expects, which is over.
    fn differences(&mut self, case: &Case) -> Vec<String>;

    /// Lets time go by; `false` where that would take too long.
    fn pass(&mut self, time: Duration) -> bool;

    /// Waits a little for something to happen that has not happened yet; `false` where nothing can, or where it took too long.
    fn settle(&mut self) -> bool;
}

/// Runs the steps of a file; what differs from what they expect, with the step's number.
pub fn run(file: &CaseFile, world: &mut impl World) -> Vec<String> {
    let mut run = Run {
        world,
        cases: BTreeMap::new(),
        calls: BTreeMap::new(),
        mentioned: BTreeSet::new(),
    };
    let mut differences = Vec::new();
    for (place, happening) in file.steps.iter().enumerate() {
        match run.step(happening) {
            Ok(true) => {}
            Ok(false) => break,
            Err(found) => {
                // What follows builds on it.
                let found = found.into_iter();
                differences.extend(found.map(|difference| format!("step {}: {difference}", place + 1)));
                break;
            }
        }
    }
    differences
}

struct Run<'a, W> {
    world: &'a mut W,
    cases: BTreeMap<&'a str, &'a Case>,
    /// Calls by name.
    calls: BTreeMap<&'a str, usize>,
    mentioned: BTreeSet<usize>,
}

impl<'a, W: World> Run<'a, W> {
    /// `Ok(false)` where the rest cannot be run in this world.
    fn step(&mut self, happening: &'a Happening) -> Result<bool, Vec<String>> {
        match happening {
            Happening::Send(case) => self.send(case)?,
            Happening::Ask(case) => {
                self.send(case)?;
                self.over(&case.name)?;
            }
            Happening::Called(expected) => self.called(expected)?,
            Happening::Answer(answer) => {
                let number = self.calls.remove(answer.to.as_str());
                let number = number.ok_or_else(|| vec![format!("no call is named {:?}", answer.to)])?;
                self.world.answer(number, answer);
            }
            Happening::Quiet(Selected { service, path }) => {
                for _ in 0..TURNS {
                    self.world.settle();
                }
                if let Some(call) = self.next_call(service, path.as_deref()) {
                    return Err(vec![format!("there is a call: {:?}", call.headers)]);
                }
            }
            Happening::Waiting(names) => {
                while self.world.waiting().difference(names).next().is_some() && self.world.settle() {}
                let waiting = self.world.waiting();
                if waiting != *names {
                    return Err(vec![format!("{waiting:?} wait instead of {names:?}")]);
                }
            }
            Happening::Over(names) => {
                for name in names {
                    self.over(name)?;
                }
            }
            Happening::Pass(millis) => return Ok(self.world.pass(Duration::from_millis(*millis))),
        }
        Ok(true)
    }

    fn send(&mut self, case: &'a Case) -> Result<(), Vec<String>> {
        if self.cases.insert(&case.name, case).is_some() {
            return Err(vec![format!("{:?} was sent before", case.name)]);
        }
        self.world.send(case);
        Ok(())
    }

    fn over(&mut self, name: &str) -> Result<(), Vec<String>> {
        let case = self.cases.get(name);
        let case = case.ok_or_else(|| vec![format!("{name:?} was not sent")])?;
        while self.world.waiting().contains(name) {
            if !self.world.settle() {
                return Err(vec![format!("{name:?} still waits")]);
            }
        }
        let differences = self.world.differences(case);
        let differences: Vec<_> = differences.iter().map(|found| format!("{name}: {found}")).collect();
        if differences.is_empty() {
            Ok(())
        } else {
            Err(differences)
        }
    }

    fn next_call(&self, service: &str, path: Option<&str>) -> Option<Received> {
        let fits = |call: &Received| {
            let found = call.header(":path").unwrap_or_default();
            let matches = |wanted: &str| match wanted.contains('?') {
                true => wanted == found,
                false => found.split('?').next() == Some(wanted),
            };
            call.service == service && path.is_none_or(matches) && !self.mentioned.contains(&call.number)
        };
        self.world.received().into_iter().find(fits)
    }

    fn called(&mut self, expected: &'a Expected) -> Result<(), Vec<String>> {
        let call = loop {
            match self.next_call(&expected.service, expected.path.as_deref()) {
                Some(call) => break call,
                None if self.world.settle() => {}
                None => return Err(vec![format!("{} was not called", expected.service)]),
            }
        };
        self.mentioned.insert(call.number);
        let name = expected.name.as_deref().unwrap_or(&expected.service);
        self.calls.insert(name, call.number);
        let mut differences = Vec::new();
        let method = expected.method.iter().map(|method| (":method", Some(method.as_str())));
        let headers = expected.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_deref()));
        for (name, value) in method.chain(headers) {
            if call.header(name) != value {
                let found = call.header(name);
                differences.push(format!("the call's {name} is {found:?} instead of {value:?}"));
            }
        }
        if let Some(body) = &expected.body
            && serde_json::from_slice::<Value>(&call.body).ok().as_ref() != Some(body)
        {
            let found = String::from_utf8_lossy(&call.body);
            differences.push(format!("the call's body is {found} instead of {body}"));
        }
        if differences.is_empty() {
            Ok(())
        } else {
            Err(differences)
        }
    }
}

impl Received {
    fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

impl Answered {
    /// The body's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match (&self.rate_limit, &self.body) {
            // A frame that is not compressed, and in it the first field of `RateLimitResponse`.
            (Some(decision), _) => vec![0, 0, 0, 0, 2, 8, decision.code()],
            (None, Value::Null) => Vec::new(),
            (None, Value::String(text)) => text.clone().into_bytes(),
            (None, body) => body.to_string().into_bytes(),
        }
    }

    /// Its headers, without the status.
    pub fn all_headers(&self) -> Vec<(String, String)> {
        let content_type = match self.rate_limit {
            Some(_) => "application/grpc",
            None => "application/json",
        };
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
        let is_told = self.headers.contains_key("content-type");
        let default = (!is_told).then(|| ("content-type".to_owned(), content_type.to_owned()));
        default.into_iter().chain(headers).collect()
    }

    /// Its trailers.
    pub fn trailers(&self) -> Vec<(&'static str, &'static str)> {
        self.rate_limit.iter().map(|_| ("grpc-status", "0")).collect()
    }
}

impl Decision {
    fn code(self) -> u8 {
        match self {
            Self::Ok => 1,
            Self::OverLimit => 2,
        }
    }
}

/// How often a world settles before nothing is taken to have happened.
const TURNS: usize = 20;

fn ok() -> u16 {
    200
}
