//! The policy: requests of GraphQL are answered in place of an upstream.

use std::sync::Arc;

use serde_json::json;

use crate::clock::Millis;
use crate::denial::{Denial, DenialKind};
use crate::http::cache_control::UNSHARED;
use crate::message::request::{Answered, Request};
use crate::message::response::Whole;
use crate::seam::{Context, WaitKind};

use super::bound::Bound;
use super::config::IntrospectionConfig;
use super::document::Document;
use super::execute::{self, Execution};
use super::fault::{self, Refusal};
use super::http::{self, Asked, Media};
use super::input::Variables;
use super::introspection;
use super::known::Known;
use super::plan::Plan;
use super::{NOT_ACCEPTABLE, PREFLIGHT_REQUIRED};
use crate::policy::parts::{Given, Services, Session, no_room};
use crate::policy::{Answers, Policy, Stop};

/// The GraphQL of one rule.
#[derive(Debug)]
pub(super) struct Graphql {
    pub(super) route: String,
    pub(super) deadline: Millis,
    pub(super) services: Arc<Services>,
    pub(super) bound: Arc<Bound>,
    pub(super) known: Known,
    pub(super) introspection: IntrospectionConfig,
    pub(super) takes_get: bool,
    /// Whether credentials come in cookies, which browsers send with requests of other sites.
    pub(super) wants_preflight: bool,
}

/// The state of one request.
#[derive(Debug)]
struct State {
    media: Media,
    execution: Execution,
}

/// Why a request is not executed, by the kind of the answer.
enum Unexecuted {
    /// By a problem document, as of all policies.
    Stop(Stop),
    /// By an answer of GraphQL.
    Refused(Media, Refusal),
}

impl Policy for Graphql {
    fn needs_place(&self) -> Option<WaitKind> {
        Some(WaitKind::Parts)
    }

    fn answers(&self) -> Answers {
        Answers::FromBody
    }

    fn on_request(&self, request: &mut Request, cx: &Context<'_>) -> Result<(), Stop> {
        let mut state = match request.memory.take::<State>() {
            Some(state) => state,
            None => match self.begin(request, cx) {
                Ok(state) => state,
                Err(Unexecuted::Stop(stop)) => return Err(stop),
                Err(Unexecuted::Refused(media, refusal)) => {
                    return Err(answer(media.refusal(&refusal), format!(":{}", refusal.code)));
                }
            },
        };
        let mut notes = std::mem::take(&mut request.notes);
        let given = self.given(request);
        let mut turn = state.execution.session().turn(&self.services, given, &mut notes, cx);
        let tickets = state.execution.advance(&mut turn);
        request.notes = notes;
        if !tickets.is_empty() {
            let stop = state.execution.session().wait(tickets);
            request.memory.put(state);
            return Err(stop);
        }
        Err(complete(&state, request))
    }
}

/// The answer when all is there.
fn complete(state: &State, request: &Request) -> Stop {
    let State { media, execution } = state;
    let about: String = execution
        .failed()
        .map(|(part, outcome)| format!(":{part}.{}", outcome.code()))
        .collect();
    if execution.is_too_large() {
        let refusal = Refusal::over("answer", execution.bound.limits.answer);
        return answer(media.executed("null", &refusal.listed(), None, UNSHARED), about);
    }
    let (data, errors, omitted) = execution.output().finish();
    let mut extensions = json!({});
    if let (false, Some(members)) = (errors.is_empty(), extensions.as_object_mut()) {
        let id = request.header("x-request-id").next();
        if let Some(id) = id.and_then(|id| std::str::from_utf8(id).ok()) {
            members.insert("request_id".into(), id.into());
        }
        if omitted > 0 {
            members.insert("errors_omitted".into(), omitted.into());
        }
    }
    let has_members = extensions.as_object().is_some_and(|members| !members.is_empty());
    let max_age = execution
        .max_age()
        .filter(|_| errors.is_empty() && request.method() != "POST");
    let cache = max_age.map_or_else(|| UNSHARED.to_owned(), |age| format!("private, max-age={}", age.get()));
    let extensions = has_members.then_some(&extensions);
    answer(media.executed(&data, &errors, extensions, &cache), about)
}

fn answer(whole: Whole, about: String) -> Stop {
    Stop::Answer(Box::new(Answered {
        response: Ok(whole),
        told: Vec::new(),
        about,
    }))
}

impl Graphql {
    fn given<'a>(&'a self, request: &'a Request) -> Given<'a> {
        Given {
            request,
            route: &self.route,
            arguments: &[],
            body: None,
        }
    }

    /// Begins to answer a request.
    fn begin(&self, request: &mut Request, cx: &Context<'_>) -> Result<State, Unexecuted> {
        let Some(media) = Media::of(request) else {
            return Err(Denial::new(DenialKind::Own(&NOT_ACCEPTABLE), "accept").into());
        };
        let is_query_alone = ["GET", "HEAD"].contains(&request.method());
        let asked = match request.method() {
            "POST" => self.posted(request)?,
            _ if is_query_alone && self.takes_get => {
                self.check_get(request)?;
                Asked::from_query(request.query().unwrap_or_default())
            }
            _ => return Err(not_allowed(if self.takes_get { "GET, POST" } else { "POST" }).into()),
        };
        let refused = |refusal| Unexecuted::Refused(media, refusal);
        let asked = asked.map_err(refused)?;
        let document = match self.known.find(&self.bound, &asked, cx) {
            Ok(document) => document,
            Err(_) if is_query_alone && Document::has_mutation(&asked, &self.bound.limits) => {
                return Err(not_allowed("POST").into());
            }
            Err(refusal) => return Err(refused(refusal)),
        };
        let prepared = document.operation(asked.operation.as_deref()).map_err(refused)?;
        let operation = &prepared.operation;
        if is_query_alone && !operation.is_query() {
            return Err(not_allowed("POST").into());
        }
        prepared.check(&self.bound.limits).map_err(refused)?;
        let variables = Variables::read(&self.bound.schema, operation, asked.variables.as_deref());
        let variables = variables.map_err(|reason| refused(Refusal::new(fault::BAD_INPUT, reason)))?;
        let plan = prepared.plan(&self.bound, &document, &variables).map_err(refused)?;
        plan.check(&self.bound, &variables).map_err(refused)?;
        let told = self
            .introspect(request, &document, operation, &plan, &variables)
            .map_err(refused)?;
        let begin = || Session::begin(plan.first_calls(), self.deadline, &self.services, cx);
        let Some(session) = request.may_wait.then(begin).flatten() else {
            return Err(no_room().into());
        };
        let asked = execute::Operation {
            is_serial: operation.is_mutation(),
            document: Arc::clone(&document),
            plan,
            variables,
        };
        let execution = Execution::begin(&self.bound, asked, session, &told, self.given(request));
        Ok(State { media, execution })
    }

    /// What a POST asks; the body is read first.
    fn posted(&self, request: &mut Request) -> Result<Result<Asked, Refusal>, Unexecuted> {
        if let Some(bytes) = request.whole_body.take() {
            return Ok(Asked::from_body(&bytes));
        }
        http::check_content_type(request)?;
        if !request.has_body {
            return Ok(Err(Refusal::malformed("There is no body.")));
        }
        request
            .body
            .limit(usize::try_from(self.bound.limits.body).unwrap_or(usize::MAX));
        Err(Unexecuted::Stop(Stop::Read))
    }

    /// A GET that a page of another site can make must not use the credentials that browsers add by themselves.
    fn check_get(&self, request: &Request) -> Result<(), Denial> {
        if request.header("content-type").next().is_some() {
            http::check_content_type(request)?;
        }
        let has = |name: &&str| request.header(name).next().is_some();
        // Browsers add Basic credentials by themselves, but no bearer tokens.
        let mut authorizations = request.header("authorization");
        let has_token = authorizations.any(|value| {
            value
                .get(..BEARER.len())
                .is_some_and(|own| own.eq_ignore_ascii_case(BEARER))
        });
        match !self.wants_preflight || has_token || PREFLIGHT.iter().any(has) {
            true => Ok(()),
            false => Err(Denial::new(DenialKind::Own(&PREFLIGHT_REQUIRED), "preflight_missing")),
        }
    }

    /// The answers of root fields about the schema, by response name.
    fn introspect(
        &self,
        request: &Request,
        document: &Document,
        operation: &apollo_compiler::executable::Operation,
        plan: &Plan,
        variables: &Variables,
    ) -> Result<Vec<(String, String)>, Refusal> {
        if !plan.asks_for_schema() {
            return Ok(Vec::new());
        }
        let is_allowed = match &self.introspection {
            IntrospectionConfig::Off => false,
            IntrospectionConfig::On => true,
            IntrospectionConfig::Require(require) => require.holds(request.identity.as_ref()),
        };
        if !is_allowed {
            let message = "Clients may not ask for the schema here.";
            return Err(Refusal::new("INTROSPECTION_DISABLED", message));
        }
        introspection::answer(&self.bound, &document.valid, operation, variables)
    }
}

fn not_allowed(allow: &str) -> Denial {
    Denial::new(DenialKind::MethodNotAllowed, "method_not_for_operation").with_header("allow", allow.to_owned())
}

impl From<Denial> for Unexecuted {
    fn from(denial: Denial) -> Self {
        Self::Stop(denial.into())
    }
}

const BEARER: &[u8] = b"Bearer ";

/// Headers that a page of another site cannot send without a preflight request.
const PREFLIGHT: [&str; 3] = [
    "graphql-require-preflight",
    "apollo-require-preflight",
    "x-requested-with",
];
