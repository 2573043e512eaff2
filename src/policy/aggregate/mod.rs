//! Aggregates: one answer made of the answers of parts. They are the last policy of a rule, and answer in place of an
//! upstream.

mod answer;
mod arguments;
mod compile;
mod config;

use std::sync::Arc;

use super::parts::{Given, Run, Services, Units, no_room};
use super::{Answers, Policy, Stop};
use crate::clock::Millis;
use crate::denial::{Denial, DenialKind};
use crate::http::headers::media_type;
use crate::json;
use crate::message::request::{Answered, Request};
use crate::seam::{Context, WaitKind};
use crate::template::{Content, Scope, Template};

use arguments::Argument;
pub use compile::{compile, parts_of};
pub use config::{AggregateConfig, Bounds};

/// The aggregate of one rule.
#[derive(Debug)]
struct Aggregate {
    route: String,
    deadline: Millis,
    services: Arc<Services>,
    /// Chooses the shape; `None` if there is one only.
    by: Option<Template>,
    default: String,
    shapes: Vec<(String, Arc<Shape>)>,
    /// The headers of the request that choose the shape.
    varies: Vec<String>,
    reads_body: bool,
}

/// One shape of the answer.
#[derive(Debug)]
struct Shape {
    arguments: Vec<(String, Argument)>,
    units: Arc<Units>,
    merge: Vec<String>,
    body: Content,
}

/// The state of one request.
#[derive(Debug)]
struct State {
    shape: Arc<Shape>,
    arguments: Vec<(String, String)>,
    body: Option<String>,
    run: Run,
}

impl Policy for Aggregate {
    fn needs_place(&self) -> Option<WaitKind> {
        Some(WaitKind::Parts)
    }

    fn answers(&self) -> Answers {
        match self.reads_body {
            true => Answers::FromBody,
            false => Answers::FromHeaders,
        }
    }

    fn on_request(&self, request: &mut Request, cx: &Context<'_>) -> Result<(), Stop> {
        let mut state = match request.memory.take::<State>() {
            Some(state) => state,
            None => self.begin(request, cx)?,
        };
        let mut notes = std::mem::take(&mut request.notes);
        let State {
            arguments, body, run, ..
        } = &mut state;
        let given = Given {
            request,
            route: &self.route,
            arguments,
            body: body.as_deref(),
        };
        let tickets = run.advance(&self.services, given, &mut notes, cx);
        request.notes = notes;
        if let Some(failure) = state.run.failure() {
            let refused = answer::refuse(failure, &state.run);
            return Err(Stop::Answer(Box::new(Answered {
                response: Err(refused),
                told: Vec::new(),
                about: String::new(),
            })));
        }
        if !tickets.is_empty() {
            let stop = state.run.session().wait(tickets);
            request.memory.put(state);
            return Err(stop);
        }
        let answered = answer::complete(&state, request, &self.route, &self.varies);
        Err(Stop::Answer(Box::new(answered)))
    }
}

impl Aggregate {
    /// Begins to answer a request.
    fn begin(&self, request: &mut Request, cx: &Context<'_>) -> Result<State, Stop> {
        if request.speaks_grpc() {
            return Err(Denial::new(DenialKind::UnsupportedMediaType, "grpc").into());
        }
        let body = match self.reads_body {
            true => Some(self.body(request)?),
            false => None,
        };
        let shape = Arc::clone(self.shape(request)?);
        let given = Given {
            request,
            route: &self.route,
            arguments: &[],
            body: body.as_deref(),
        };
        let arguments = arguments::read(&shape.arguments, given)?;
        let begin = || Run::begin(&shape.units, self.deadline, &self.services, cx);
        let Some(run) = request.may_wait.then(begin).flatten() else {
            return Err(no_room().into());
        };
        Ok(State {
            shape,
            arguments,
            body,
            run,
        })
    }

    /// The request's body, which must be JSON.
    fn body(&self, request: &mut Request) -> Result<String, Stop> {
        let Some(bytes) = request.whole_body.take() else {
            let types = request.header("content-type");
            let is_json = |value: &[u8]| {
                let own = std::str::from_utf8(value).map(media_type).unwrap_or_default();
                own == "application/json" || own.ends_with("+json")
            };
            let types: Vec<_> = types.map(is_json).collect();
            if types != [true] {
                return Err(Denial::new(DenialKind::UnsupportedMediaType, "body_of_other_type").into());
            }
            if !request.has_body {
                return Err(Denial::new(DenialKind::InvalidBody, "body_missing").into());
            }
            request.body.limit(LARGEST_BODY);
            return Err(Stop::Read);
        };
        let invalid = |reason| Stop::from(Denial::new(DenialKind::InvalidBody, reason));
        json::check(&bytes).map_err(|_| invalid("body_not_json"))?;
        String::from_utf8(bytes).map_err(|_| invalid("body_not_json"))
    }

    fn shape(&self, request: &Request) -> Result<&Arc<Shape>, Denial> {
        let scope = Scope {
            request,
            route: &self.route,
            captures: &[],
            data: None,
        };
        let name = self.by.as_ref().and_then(|by| by.text(scope));
        let find = |name: &str| self.shapes.iter().find(|(own, _)| own == name);
        let named = name.and_then(|name| find(&name)).or_else(|| find(&self.default));
        named
            .map(|(_, shape)| shape)
            .ok_or(Denial::new(DenialKind::Unavailable, "no_shape"))
    }
}

/// Maximum size of a request's body that an aggregate reads, in bytes.
const LARGEST_BODY: usize = 64 << 10;

#[cfg(test)]
mod tests;
