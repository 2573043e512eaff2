//! The Rate Limit Service, as one worker sees it: questions, each of one request about one limit, and their answers.

use std::cell::OnceCell;
use std::rc::Rc;

use super::config::RateLimitServiceConfig;
use super::descriptor::Descriptor;
use super::protocol::{PATH, Told, question, read};
use crate::breaker::Breaker;
use crate::config::Report;
use crate::effect::Effect;
use crate::grpc;
use crate::limit::Rate;
use crate::questions::Questions;
use crate::remote::{Answer, Awaited, Call, Outcome, Remote, Wait};
use crate::request::Request;
use crate::store::Store;

/// A Rate Limit Service behind an Envoy cluster.
#[derive(Debug)]
pub struct RateLimitService {
    cluster: String,
    authority: String,
    domain: String,
    timeout: std::time::Duration,
    breaker: Breaker,
    questions: Questions<Question>,
}

/// A question, and its answer once there is one.
#[derive(Debug)]
pub(super) struct Question {
    body: Vec<u8>,
    trace: Vec<(&'static str, String)>,
    rate: Rate,
    told: OnceCell<Result<Told, &'static str>>,
}

impl RateLimitService {
    /// Checks a `rate_limit_service` section.
    pub fn compile(config: &RateLimitServiceConfig, report: &mut Report) -> Self {
        if config.cluster.is_empty() {
            report.error_at("cluster", "must not be empty");
        }
        if config.domain.is_empty() {
            report.error_at("domain", "must not be empty");
        }
        if !(1..=LONGEST_TIMEOUT).contains(&config.timeout.as_millis()) {
            report.error_at("timeout", format!("must be from 1ms to {LONGEST_TIMEOUT}ms"));
        }
        Self {
            cluster: config.cluster.clone(),
            authority: config.authority.clone().unwrap_or_else(|| config.cluster.clone()),
            domain: config.domain.clone(),
            timeout: config.timeout.0,
            breaker: Breaker::new(&format!("tollgate.rls.{}", config.cluster)),
            questions: Questions::default(),
        }
    }

    /// Asks for a request that can wait for the answer. `Err` is the reason why there will be none.
    pub(super) fn ask(
        &self,
        descriptor: &Descriptor,
        rate: &Rate,
        cost: u64,
        request: &Request<'_>,
        now: u64,
        store: &dyn Store,
    ) -> Result<Rc<Question>, &'static str> {
        if self.breaker.open_for(now, store).is_some() {
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
        self.questions.push(question).ok_or("busy")
    }

    /// The seconds after which it is worth asking again.
    pub(super) fn pause(&self, now: u64, store: &dyn Store) -> u64 {
        self.breaker.open_for(now, store).unwrap_or(1)
    }
}

impl Question {
    /// What the server says. `Err` is the reason why it says nothing, or not yet.
    pub(super) fn told(&self) -> Result<Told, &'static str> {
        self.told.get().copied().unwrap_or(Err("no_answer"))
    }
}

impl Remote for RateLimitService {
    fn prepare(&self, _: &dyn Store) {}

    fn synchronize(&self, _: &dyn Store) {}

    fn call(&self, _: u64, _: &dyn Store) -> Option<Call> {
        let (topic, question) = self.questions.send()?;
        let mut headers = grpc::headers(&self.authority, PATH, self.timeout);
        headers.extend_from_slice(&question.trace);
        Some(Call {
            cluster: self.cluster.clone(),
            headers: headers.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            body: question.body.clone(),
            timeout: self.timeout,
            max_body: MAX_BODY,
            topic,
        })
    }

    fn answer(&self, call: &Call, answer: Option<&Answer>, now: u64, store: &dyn Store) -> Outcome {
        let Some(question) = self.questions.answered(call.topic) else {
            return Outcome::default();
        };
        let told = answer
            .ok_or("cluster")
            .and_then(|answer| grpc::message(answer, call.max_body))
            .and_then(|response| read(&response, &question.rate));
        let (outcome, reason) = match told {
            Ok(told) => (if told.verdict.allowed { "ok" } else { "over_limit" }, "ok"),
            Err(reason) => ("failed", reason),
        };
        let name = format!("tollgate_rls_calls_total;outcome={outcome};reason={reason};");
        let mut effects = vec![Effect::Count(name.into())];
        if told.is_ok() {
            self.breaker.succeeded(store);
        } else {
            // Of many that fail together, those are told that were asked while nobody knew.
            if self.breaker.open_for(now, store).is_none() {
                let message =
                    format!("rate limit service: a call failed ({reason}); each limit does what its `on_fault` says");
                effects.push(Effect::Log(log::Level::Warn, message));
            }
            self.breaker.failed(now, store);
        }
        // A question has one call, and a call one answer.
        let _ = question.told.set(told);
        Outcome { effects, next: None }
    }

    fn is_awaited(&self, _: u64) -> bool {
        !self.questions.is_empty()
    }
}

/// Answers that one request waits for.
#[derive(Debug)]
pub(super) struct Answers(pub(super) Vec<Rc<Question>>);

impl Awaited for Answers {
    fn kind(&self) -> Wait {
        Wait::Limit
    }

    fn is_settled(&self, _: &dyn Store) -> bool {
        self.0.iter().all(|question| question.told.get().is_some())
    }
}

/// Milliseconds.
const LONGEST_TIMEOUT: u64 = 1000;

/// Bytes of an answer.
const MAX_BODY: usize = 16 * 1024;
