//! Another cluster, which is sent the same request when the upstream fails.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use super::config::ClusterConfig;
use super::response::{Response, is_of_hop};
use crate::body::DEFAULT_MAX_BYTES;
use crate::config::Report;
use crate::headers::Headers;
use crate::questions::Questions;
use crate::remote::{Answer, Call, Outcome, Remote};
use crate::store::Store;

/// One rule's other cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    name: String,
    timeout: Duration,
    questions: Questions<Question>,
}

/// A request that is sent again, and what came of it.
#[derive(Debug)]
pub(super) struct Question {
    headers: Vec<(Cow<'static, str>, String)>,
    answer: OnceCell<Option<Response>>,
}

impl Cluster {
    pub(super) fn compile(config: &ClusterConfig, report: &mut Report) -> Self {
        if config.name.is_empty() {
            report.error_at("name", "must not be empty");
        }
        if !(1..=LONGEST_TIMEOUT).contains(&config.timeout.as_millis()) {
            report.error_at("timeout", format!("must be from 1ms to {LONGEST_TIMEOUT}ms"));
        }
        Self {
            name: config.name.clone(),
            timeout: config.timeout.0,
            questions: Questions::default(),
        }
    }

    /// Sends a request again, as the upstream got it. `None` where there is too much to do already.
    pub(super) fn ask(&self, request: &Headers) -> Option<Rc<Question>> {
        let headers = request.iter().filter_map(|(name, value)| {
            let is_passed = match name {
                b":method" | b":path" | b":authority" => true,
                name => !name.starts_with(b":") && !is_of_hop(name) && name != b"content-length",
            };
            let name = std::str::from_utf8(name).ok().filter(|_| is_passed)?;
            Some((name.to_owned().into(), std::str::from_utf8(value).ok()?.to_owned()))
        });
        self.questions.push(Question {
            headers: headers.collect(),
            answer: OnceCell::new(),
        })
    }
}

impl Question {
    /// What the other cluster says; `None` where it says nothing of use, or not yet.
    pub(super) fn answer(&self) -> Option<&Response> {
        self.answer.get()?.as_ref()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.answer.get().is_some()
    }
}

impl Remote for Cluster {
    fn prepare(&self, _: &dyn Store) {}

    fn synchronize(&self, _: &dyn Store) {}

    fn call(&self, _: u64, _: &dyn Store) -> Option<Call> {
        let (topic, question) = self.questions.send()?;
        Some(Call {
            cluster: self.name.clone(),
            headers: question.headers.clone(),
            body: Vec::new(),
            timeout: self.timeout,
            max_body: MAX_BODY,
            topic,
        })
    }

    fn answer(&self, call: &Call, answer: Option<&Answer>, _: u64, _: &dyn Store) -> Outcome {
        if let Some(question) = self.questions.answered(call.topic) {
            // A question has one call, and a call one answer.
            let _ = question.answer.set(answer.and_then(usable));
        }
        Outcome::default()
    }

    fn is_awaited(&self, _: u64) -> bool {
        !self.questions.is_empty()
    }
}

/// An answer that is none of a failure, whole.
fn usable(answer: &Answer) -> Option<Response> {
    let status: u16 = answer.headers.first(":status")?.parse().ok()?;
    let is_usable = status < 500 && answer.body.len() <= MAX_BODY;
    is_usable.then(|| Response::of(&answer.headers, answer.body.clone()))
}

/// Milliseconds: as long as the host holds anything.
const LONGEST_TIMEOUT: u64 = 2000;

/// Bytes.
#[allow(clippy::cast_possible_truncation, reason = "a constant of 32 bits")]
const MAX_BODY: usize = DEFAULT_MAX_BYTES as usize;
