//! `cluster`: another cluster, which gets the same request if the upstream fails.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use super::config::ClusterConfig;
use super::response::{is_of_hop, passed_on};
use crate::clock::Millis;
use crate::config::Report;
use crate::http::headers::Headers;
use crate::message::body::DEFAULT_MAX_BYTES;
use crate::message::response::Whole;
use crate::seam::{Answer, Call, Caller, Context, Local, Lost, Outcome};
use crate::shared::calls::{Calls, InFlight};

#[derive(Debug)]
pub(super) struct Cluster {
    name: String,
    timeout: Duration,
    calls: Local<Calls<Question>>,
}

/// A repeated request and its answer.
#[derive(Debug)]
pub(super) struct Question {
    headers: Vec<(Cow<'static, str>, String)>,
    answer: OnceCell<Option<Whole>>,
}

impl Cluster {
    pub(super) fn compile(config: &ClusterConfig, report: &mut Report) -> Self {
        report.not_empty("name", config.name.is_empty());
        if !(Millis::new(1)..=LONGEST_TIMEOUT).contains(&config.timeout.millis()) {
            report.error_at("timeout", format!("must be from 1ms to {}ms", LONGEST_TIMEOUT.get()));
        }
        Self {
            name: config.name.clone(),
            timeout: config.timeout.0,
            calls: Local::default(),
        }
    }

    /// Sends a request again, as the upstream got it; `None` if there are too many calls already.
    pub(super) fn ask(&self, request: &Headers, cx: &Context<'_>) -> Option<Rc<InFlight<Question>>> {
        let headers = request.iter().filter_map(|(name, value)| {
            let is_passed = match name {
                b":method" | b":path" | b":authority" => true,
                name => !name.starts_with(b":") && !is_of_hop(name) && name != b"content-length",
            };
            let name = std::str::from_utf8(name).ok().filter(|_| is_passed)?;
            Some((name.to_owned().into(), std::str::from_utf8(value).ok()?.to_owned()))
        });
        let question = Question {
            headers: headers.collect(),
            answer: OnceCell::new(),
        };
        cx.local(&self.calls).ask(question, cx.wakes())
    }
}

impl Question {
    /// The other cluster's answer; `None` if it is unusable, or has not come yet.
    pub(super) fn answer(&self) -> Option<&Whole> {
        self.answer.get()?.as_ref()
    }
}

impl Caller for Cluster {
    fn next_call(&self, cx: &Context<'_>) -> Option<Call> {
        let (topic, entry) = cx.local(&self.calls).send()?;
        Some(Call {
            cluster: self.name.clone(),
            headers: entry.about.headers.clone(),
            body: Vec::new(),
            timeout: self.timeout,
            max_body: MAX_BODY,
            topic,
            ticket: Some(entry.ticket),
        })
    }

    fn answer(&self, call: &Call, answer: Result<Answer, Lost>, cx: &Context<'_>) -> Outcome {
        if let Some(entry) = cx.local(&self.calls).answered(call.topic) {
            // This cannot fail: a question has one call, and a call one answer.
            let _ = entry.about.answer.set(answer.ok().as_ref().and_then(usable));
            cx.wakes().wake(entry.ticket);
        }
        Outcome::default()
    }

    fn is_awaited(&self, cx: &Context<'_>) -> bool {
        !cx.local(&self.calls).is_empty()
    }
}

/// The answer as a response, if it is complete and not a server error.
fn usable(answer: &Answer) -> Option<Whole> {
    let status: u16 = answer.headers.first(":status")?.parse().ok()?;
    let is_usable = status < 500 && answer.body.len() <= MAX_BODY;
    is_usable.then(|| passed_on(&answer.headers, answer.body.clone()))
}

/// The longest timeout: that of a suspended request.
const LONGEST_TIMEOUT: Millis = Millis::new(2000);

/// In bytes.
#[allow(clippy::cast_possible_truncation, reason = "a constant of 32 bits")]
const MAX_BODY: usize = DEFAULT_MAX_BYTES as usize;
