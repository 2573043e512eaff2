//! The caller of the Rate Limit Service: each question is about one request and one limit.

use std::cell::OnceCell;
use std::rc::Rc;

use super::config::RateLimitServiceConfig;
use super::descriptor::Descriptor;
use super::protocol::{PATH, Told, question, read};
use crate::clock::{Millis, Seconds};
use crate::config::Report;
use crate::limit::Rate;
use crate::message::grpc;
use crate::message::request::Request;
use crate::seam::{Answer, Call, Caller, Context, Local, Lost, Note, Outcome};
use crate::shared::breaker::Breaker;
use crate::shared::calls::{Calls, InFlight};

/// A Rate Limit Service behind an Envoy cluster.
#[derive(Debug)]
pub struct RateLimitService {
    cluster: String,
    authority: String,
    domain: String,
    timeout: std::time::Duration,
    breaker: Breaker,
    calls: Local<Calls<Question>>,
}

/// A question, with its answer once there is one.
#[derive(Debug)]
pub(super) struct Question {
    body: Vec<u8>,
    trace: Vec<(&'static str, String)>,
    rate: Rate,
    told: OnceCell<Result<Told, &'static str>>,
}

impl RateLimitService {
    /// Compiles a `rate_limit_service` section.
    pub fn compile(config: &RateLimitServiceConfig, report: &mut Report) -> Self {
        report.not_empty("cluster", config.cluster.is_empty());
        report.not_empty("domain", config.domain.is_empty());
        if !(Millis::new(1)..=LONGEST_TIMEOUT).contains(&config.timeout.millis()) {
            report.error_at("timeout", format!("must be from 1ms to {}ms", LONGEST_TIMEOUT.get()));
        }
        Self {
            cluster: config.cluster.clone(),
            authority: config.authority.clone().unwrap_or_else(|| config.cluster.clone()),
            domain: config.domain.clone(),
            timeout: config.timeout.0,
            breaker: Breaker::new(&format!("tollgate.rls.{}", config.cluster)),
            calls: Local::default(),
        }
    }

    /// Asks about a request that can wait for the answer. `Err` is the reason why there is no call.
    pub(super) fn ask(
        &self,
        descriptor: &Descriptor,
        rate: &Rate,
        cost: u64,
        request: &Request,
        cx: &Context<'_>,
    ) -> Result<Rc<InFlight<Question>>, &'static str> {
        if self.breaker.open_for(cx.wall(), cx.store()).is_some() {
            return Err("breaker_open");
        }
        if !request.may_wait {
            return Err("busy");
        }
        let question = Question {
            body: grpc::frame(&question(&self.domain, descriptor, rate, cost)),
            trace: request.trace(),
            rate: *rate,
            told: OnceCell::new(),
        };
        cx.local(&self.calls).ask(question, cx.wakes()).ok_or("busy")
    }

    /// The time until the service may be called again.
    pub(super) fn pause(&self, cx: &Context<'_>) -> Seconds {
        let pause = self.breaker.open_for(cx.wall(), cx.store());
        pause.unwrap_or(Seconds::new(1))
    }
}

impl Question {
    /// The server's answer. `Err` is the reason why there is none, or none yet.
    pub(super) fn told(&self) -> Result<Told, &'static str> {
        self.told.get().copied().unwrap_or(Err("no_answer"))
    }

    pub(super) fn is_answered(&self) -> bool {
        self.told.get().is_some()
    }
}

impl Caller for RateLimitService {
    fn next_call(&self, cx: &Context<'_>) -> Option<Call> {
        let (topic, entry) = cx.local(&self.calls).send()?;
        let question = &entry.about;
        let mut headers = grpc::headers(&self.authority, PATH, self.timeout);
        headers.extend_from_slice(&question.trace);
        Some(Call {
            cluster: self.cluster.clone(),
            headers: headers.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            body: question.body.clone(),
            timeout: self.timeout,
            max_body: MAX_BODY,
            topic,
            ticket: Some(entry.ticket),
        })
    }

    fn answer(&self, call: &Call, answer: Result<Answer, Lost>, cx: &Context<'_>) -> Outcome {
        let Some(entry) = cx.local(&self.calls).answered(call.topic) else {
            return Outcome::default();
        };
        let (question, now, store) = (&entry.about, cx.wall(), cx.store());
        if let Err(Lost::Abandoned) = answer {
            let notes = vec![Note::Count(
                "tollgate_rls_calls_total;outcome=abandoned;reason=nobody_waits;".into(),
            )];
            return Outcome { notes, next: None };
        }
        let told = answer
            .map_err(|_| "cluster")
            .and_then(|answer| grpc::message(&answer, call.max_body))
            .and_then(|response| read(&response, &question.rate));
        let (outcome, reason) = match told {
            Ok(told) => (if told.verdict.allowed { "ok" } else { "over_limit" }, "ok"),
            Err(reason) => ("failed", reason),
        };
        let name = format!("tollgate_rls_calls_total;outcome={outcome};reason={reason};");
        let mut notes = vec![Note::Count(name.into())];
        if told.is_ok() {
            self.breaker.succeeded(store);
        } else {
            // Failures are logged only while the breaker is closed.
            if self.breaker.open_for(now, store).is_none() {
                let message =
                    format!("rate limit service: a call failed ({reason}): the `on_fault` of each limit applies");
                notes.push(Note::Log(log::Level::Warn, message));
            }
            self.breaker.failed(now, store);
        }
        // This cannot fail: a question has one call, and a call one answer.
        let _ = question.told.set(told);
        cx.wakes().wake(entry.ticket);
        Outcome { notes, next: None }
    }

    fn is_awaited(&self, cx: &Context<'_>) -> bool {
        !cx.local(&self.calls).is_empty()
    }
}

/// The longest timeout.
const LONGEST_TIMEOUT: Millis = Millis::new(1000);

/// Maximum size of an answer, in bytes.
const MAX_BODY: usize = 16 * 1024;
