//! What stands in for an upstream that fails, by rule: another cluster, the last good response, or an answer of the gateway's
//! own. It runs behind every other policy: what it sends or remembers is of the request as the upstream gets it.

mod answer;
mod cluster;
mod compile;
mod config;
mod last_good;
mod recording;
mod response;

use std::rc::Rc;

use super::{Policy, Registration, Stage, Stop};
use crate::credential::Source;
use crate::effect::applied;
use crate::headers::Headers;
use crate::policy::transform::StatusPattern;
use crate::remote::Remote;
use crate::request::Request;
use crate::world::World;

use answer::Answer;
use cluster::{Cluster, Question};
use config::Cause;
pub use config::FallbackConfig;
use last_good::{LastGood, Owner};
pub use recording::Recording;
pub use response::Response;

/// The policy's line in the registry.
pub const REGISTRATION: Registration = Registration {
    stage: Stage::Fallback,
    compile: compile::compile,
};

/// One rule's.
#[derive(Debug)]
struct Rules {
    route: String,
    when: Vec<Cause>,
    statuses: Vec<StatusPattern>,
    methods: Vec<String>,
    cluster: Option<Rc<Cluster>>,
    last_good: Option<LastGood>,
    /// Where credentials are, anywhere in the configuration.
    sources: Rc<[Source]>,
    answer: Option<Answer>,
}

#[derive(Debug)]
struct Fallback(Rc<Rules>);

/// What can stand in for the response to one request.
#[derive(Debug)]
pub struct StandIn {
    rules: Rc<Rules>,
    is_get: bool,
    is_head: bool,
    /// As the upstream gets it; where it may be sent or kept again.
    request: Option<Headers>,
    /// Whose response it is, where it can be told.
    owner: Option<Owner>,
    is_anonymous: bool,
    /// What another cluster was asked.
    question: Option<Rc<Question>>,
    has_asked: bool,
}

/// What becomes of a response.
#[derive(Debug)]
pub enum Fate {
    /// It passes.
    Passes,
    /// It passes, and is kept when it is whole.
    IsKept(Recording),
    /// Another cluster has been asked.
    Waits,
    /// This stands in for it; counted under this name.
    IsReplaced(Response, Rc<str>),
    /// Nothing stands in for it; counted under this name.
    IsLost(Rc<str>),
}

impl Policy for Fallback {
    fn on_request(&self, request: &mut Request<'_>, _: &dyn World) -> Result<(), Stop> {
        let rules = &self.0;
        // A gRPC client reads trailers, which no response here has.
        if request.speaks_grpc() {
            return Ok(());
        }
        let is_get = request.method == "GET";
        let is_read = (is_get || request.method == "HEAD") && !request.has_body;
        let may_be_answered = rules.answer.is_some() && rules.methods.iter().any(|method| method == request.method);
        let is_repeatable = is_read && (rules.cluster.is_some() || rules.last_good.is_some());
        if !may_be_answered && !is_repeatable {
            return Ok(());
        }
        let owner = (is_repeatable && rules.keeps(request)).then(|| last_good::owner(request, &rules.sources));
        request.stand_in = Some(StandIn {
            rules: Rc::clone(rules),
            is_get,
            is_head: request.method == "HEAD",
            request: is_repeatable.then(|| applied(request.headers(), &request.effects)),
            owner: owner.flatten(),
            is_anonymous: request.identity.is_none(),
            question: None,
            has_asked: false,
        });
        Ok(())
    }

    fn remotes(&self) -> Vec<Rc<dyn Remote>> {
        let cluster = self.0.cluster.iter();
        cluster.map(|cluster| Rc::clone(cluster) as Rc<dyn Remote>).collect()
    }
}

impl Rules {
    /// Whether responses to such a caller may be kept.
    fn keeps(&self, request: &Request<'_>) -> bool {
        let kept = self.last_good.as_ref();
        kept.is_some_and(|kept| kept.takes_anonymous() || request.identity.is_some())
    }
}

impl StandIn {
    /// Whether another cluster has been asked, and has not answered yet.
    pub fn is_waiting(&self) -> bool {
        self.question.as_ref().is_some_and(|question| !question.is_settled())
    }

    /// Looks at a response. Told again when what it waited for is there, or will not be.
    pub fn judge(&mut self, response: &Headers, has_body: bool, may_wait: bool, world: &dyn World) -> Fate {
        let Some(status) = response.first(":status").and_then(|status| status.parse().ok()) else {
            return Fate::Passes;
        };
        match self.failure(status, world) {
            Some(failure) => self.replace(failure, may_wait, world),
            None => self.learn(status, response, has_body, world),
        }
    }

    /// How the upstream has failed, if it has.
    fn failure(&self, status: u16, world: &dyn World) -> Option<&'static str> {
        if status < 400 {
            return None;
        }
        let Some(flags) = world.response_flags() else {
            let mut statuses = self.rules.statuses.iter();
            return statuses.any(|pattern| pattern.matches(status)).then_some("status");
        };
        let failure = Cause::ALL.into_iter().find(|failure| failure.flag() & flags != 0)?;
        self.rules.when.contains(&failure).then(|| failure.name())
    }

    fn replace(&mut self, failure: &'static str, may_wait: bool, world: &dyn World) -> Fate {
        let rules = Rc::clone(&self.rules);
        let count = |served: &str| -> Rc<str> {
            let route = &rules.route;
            format!("tollgate_fallbacks_total;route={route};failure={failure};served={served};").into()
        };
        let replaced = |response: &Response, served: &str, age| {
            let response = response.marked(served, age);
            let response = if self.is_head { response.of_head() } else { response };
            Fate::IsReplaced(response, count(served))
        };
        // Whose time is up does not wait any longer.
        if let Some(response) = self.question.take().as_ref().and_then(|question| question.answer()) {
            return replaced(response, "cluster", None);
        }
        if let (Some(cluster), Some(request), true) = (&rules.cluster, &self.request, may_wait && !self.has_asked) {
            self.has_asked = true;
            self.question = cluster.ask(request);
            if self.question.is_some() {
                return Fate::Waits;
            }
        }
        if let (Some(kept), Some(request), Some(owner)) = (&rules.last_good, &self.request, &self.owner)
            && let Some(found) = kept.find(owner, request, world.monotonic_millis(), world.store())
        {
            return replaced(&found.response, "last_good", Some(found.age / 1000));
        }
        match &rules.answer {
            Some(answer) => replaced(answer.response(), "answer", None),
            None => Fate::IsLost(count("none")),
        }
    }

    /// A good response may be kept; whatever else the upstream says ends what was kept before.
    fn learn(&self, status: u16, response: &Headers, has_body: bool, world: &dyn World) -> Fate {
        let (Some(kept), Some(request), Some(owner), true) =
            (&self.rules.last_good, &self.request, self.owner, self.is_get)
        else {
            return Fate::Passes;
        };
        let now = world.monotonic_millis();
        match status {
            200 if !kept.is_due(&owner, now) => Fate::Passes,
            200 => match Recording::begin(owner, self.is_anonymous, request, response, kept.max_bytes()) {
                Some(recording) if has_body => Fate::IsKept(recording),
                Some(recording) => {
                    recording.keep(kept, world);
                    Fate::Passes
                }
                None => {
                    kept.forget(&owner, world.store());
                    Fate::Passes
                }
            },
            // As before; or a failure, which says nothing of what there is.
            304 | 500.. => Fate::Passes,
            _ => {
                kept.forget(&owner, world.store());
                Fate::Passes
            }
        }
    }

    /// A response that was recorded is whole.
    pub fn keep(&self, recording: Recording, world: &dyn World) {
        if let Some(kept) = &self.rules.last_good {
            recording.keep(kept, world);
        }
    }
}

#[cfg(test)]
mod tests;
