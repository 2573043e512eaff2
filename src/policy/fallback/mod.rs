//! Fallbacks for failed upstreams: another cluster, the last good response, or the gateway's own answer. They run after
//! all other policies, so that they send and store requests as the upstream gets them.

mod answer;
mod cluster;
mod compile;
mod config;
mod last_good;
mod recording;
mod response;

use std::rc::Rc;
use std::sync::Arc;

use super::{Policy, Stop};
use crate::auth::credential::Source;
use crate::http::headers::Headers;
use crate::http::piece::Chunk;
use crate::message::request::{OnResponse, Request};
use crate::message::response::{Response, Tap, Whole};
use crate::policy::transform::StatusPattern;
use crate::seam::{Caller, Context, Note, Wait, WaitKind};
use crate::shared::calls::InFlight;

use crate::shared::kept::Owner;
use answer::Answer;
use cluster::{Cluster, Question};
pub use compile::compile;
use config::Cause;
pub use config::FallbackConfig;
use last_good::LastGood;
use recording::Recording;
use response::{marked, of_head};

/// The fallback of one rule.
#[derive(Debug)]
struct Rules {
    route: String,
    when: Vec<Cause>,
    statuses: Vec<StatusPattern>,
    methods: Vec<String>,
    cluster: Option<Arc<Cluster>>,
    last_good: Option<LastGood>,
    /// The credential sources of the whole configuration.
    sources: Arc<[Source]>,
    answer: Option<Answer>,
}

#[derive(Debug)]
struct Fallback(Arc<Rules>);

/// The hook that can replace the response to one request.
#[derive(Debug)]
struct StandIn {
    rules: Arc<Rules>,
    is_get: bool,
    is_head: bool,
    /// The request's headers as the upstream gets them, if it may be repeated.
    request: Option<Headers>,
    /// The owner of the response, if it may be kept and is known.
    owner: Option<Owner>,
    is_anonymous: bool,
    /// The call to the other cluster.
    question: Option<Rc<InFlight<Question>>>,
    has_asked: bool,
}

/// A tap that keeps a good response when it is complete.
#[derive(Debug)]
struct Keeping {
    rules: Arc<Rules>,
    recording: Recording,
}

impl Policy for Fallback {
    fn on_request(&self, request: &mut Request, _: &Context<'_>) -> Result<(), Stop> {
        let rules = &self.0;
        // gRPC clients need trailers, which replacements do not have.
        if request.speaks_grpc() {
            return Ok(());
        }
        let method = request.method();
        let is_get = method == "GET";
        let is_head = method == "HEAD";
        let is_read = (is_get || is_head) && !request.has_body;
        let may_be_answered = rules.answer.is_some() && rules.methods.iter().any(|own| own == method);
        let is_repeatable = is_read && (rules.cluster.is_some() || rules.last_good.is_some());
        if !may_be_answered && !is_repeatable {
            return Ok(());
        }
        let owner = (is_repeatable && rules.keeps(request)).then(|| last_good::owner(request, &rules.sources));
        let stand_in = StandIn {
            rules: Arc::clone(rules),
            is_get,
            is_head,
            request: is_repeatable.then(|| request.changes.applied_to(request.headers()).collect()),
            owner: owner.flatten(),
            is_anonymous: request.identity.is_none(),
            question: None,
            has_asked: false,
        };
        request.hooks.push(Box::new(stand_in));
        Ok(())
    }

    fn callers(&self) -> Vec<Arc<dyn Caller>> {
        let cluster = self.0.cluster.iter();
        cluster.map(|cluster| Arc::clone(cluster) as Arc<dyn Caller>).collect()
    }
}

impl Rules {
    /// Whether responses to this request's caller may be kept.
    fn keeps(&self, request: &Request) -> bool {
        let kept = self.last_good.as_ref();
        kept.is_some_and(|kept| kept.takes_anonymous() || request.identity.is_some())
    }
}

impl OnResponse for StandIn {
    fn on_response(&mut self, response: &mut Response, cx: &Context<'_>) -> Result<(), Stop> {
        let Some(status) = response.status() else {
            return Ok(());
        };
        match self.failure(status, cx) {
            Some(failure) => self.replace(failure, response, cx),
            None => {
                self.learn(status, response, cx);
                Ok(())
            }
        }
    }
}

impl StandIn {
    /// The failure, if it is one that this rule handles.
    fn failure(&self, status: u16, cx: &Context<'_>) -> Option<&'static str> {
        if status < 400 {
            return None;
        }
        let Some(flags) = cx.host.response_flags() else {
            let mut statuses = self.rules.statuses.iter();
            return statuses.any(|pattern| pattern.matches(status)).then_some("status");
        };
        let failure = Cause::ALL.into_iter().find(|failure| failure.flag() & flags != 0)?;
        self.rules.when.contains(&failure).then(|| failure.name())
    }

    fn replace(&mut self, failure: &'static str, response: &mut Response, cx: &Context<'_>) -> Result<(), Stop> {
        let rules = Arc::clone(&self.rules);
        let count = |served: &str| {
            let route = &rules.route;
            Note::Count(format!("tollgate_fallbacks_total;route={route};failure={failure};served={served};").into())
        };
        let is_head = self.is_head;
        let serve = |response: &mut Response, whole: &Whole, served: &str, age| {
            let whole = marked(whole, served, age);
            response.replace(if is_head { of_head(whole) } else { whole });
            response.notes.push(count(served));
        };
        // A request whose time is over does not ask or wait again.
        let asked = self.question.take();
        if let Some(whole) = asked.as_ref().and_then(|entry| entry.about.answer()) {
            serve(response, whole, "cluster", None);
            return Ok(());
        }
        if let (Some(cluster), Some(request), true) =
            (&rules.cluster, &self.request, response.may_wait && !self.has_asked)
        {
            self.has_asked = true;
            self.question = cluster.ask(request, cx);
            if let Some(entry) = &self.question {
                return Err(Stop::Wait(Wait {
                    kind: WaitKind::Response,
                    tickets: vec![entry.ticket],
                    until: None,
                }));
            }
        }
        if let (Some(kept), Some(request), Some(owner)) = (&rules.last_good, &self.request, &self.owner)
            && let Some(found) = kept.find(owner, request, cx)
        {
            serve(response, &found.response, "last_good", Some(found.age.seconds()));
            return Ok(());
        }
        match &rules.answer {
            Some(answer) => serve(response, answer.response(), "answer", None),
            None => response.notes.push(count("none")),
        }
        Ok(())
    }

    /// Keeps a good response; another answer of the upstream drops the kept one.
    fn learn(&self, status: u16, response: &mut Response, cx: &Context<'_>) {
        let (Some(kept), Some(request), Some(owner), true) =
            (&self.rules.last_good, &self.request, self.owner, self.is_get)
        else {
            return;
        };
        match status {
            200 if !kept.is_due(&owner, cx) => {}
            200 => {
                let recording =
                    Recording::begin(owner, self.is_anonymous, request, response.headers(), kept.max_bytes());
                match recording {
                    Some(recording) if response.has_body => {
                        response.tap = Some(Box::new(Keeping {
                            rules: Arc::clone(&self.rules),
                            recording,
                        }));
                    }
                    Some(recording) => recording.keep(kept, cx),
                    None => kept.forget(&owner, cx),
                }
            }
            // Unchanged, or a failure, which says nothing about the resource.
            304 | 500.. => {}
            _ => kept.forget(&owner, cx),
        }
    }
}

impl Tap for Keeping {
    fn take(self: Box<Self>, chunk: &Chunk<'_>) -> Option<Box<dyn Tap>> {
        let Self { rules, recording } = *self;
        let recording = recording.take(chunk)?;
        Some(Box::new(Self { rules, recording }))
    }

    fn finish(self: Box<Self>, cx: &Context<'_>) {
        if let Some(kept) = &self.rules.last_good {
            self.recording.keep(kept, cx);
        }
    }
}

#[cfg(test)]
mod tests;
