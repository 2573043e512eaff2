//! Changes of requests and responses, by rule. It runs behind every policy that may refuse; the proof, which
//! is made of the result, and the fallback alone come after it.

mod body;
mod compile;
mod config;
mod response;
mod steps;
mod target;

use std::rc::Rc;

use super::{Policy, Registration, Stage, Stop};
use crate::denial::{Denial, DenialKind};
use crate::effect::Effect;
use crate::fields::{self, Edit};
use crate::request::Request;
use crate::target::check_path;
use crate::template::{Place, Scope};
use crate::world::World;

pub use body::BodyChange;
use body::BodyRules;
use config::PathConfig;
pub use config::{RequestConfig, ResponseConfig, Rules, StatusPattern};
pub use response::ResponseChange;
use steps::Steps;
use target::{PathPattern, edit_query, strip_prefix};

/// The policy's line in the registry.
pub const REGISTRATION: Registration = Registration {
    stage: Stage::Transform,
    compile: compile::compile,
};

#[derive(Debug)]
struct Transform {
    route: String,
    headers: Steps,
    query: Steps,
    path: PathConfig,
    method: Option<String>,
    pattern: Option<PathPattern>,
    presets: Rc<[Edit]>,
    response: Steps,
    statuses: Rc<[(StatusPattern, u16)]>,
    request_body: Option<Rc<BodyRules>>,
    response_body: Option<(Rc<[StatusPattern]>, Rc<BodyRules>)>,
}

impl Policy for Transform {
    fn on_request(&self, request: &mut Request<'_>, _: &dyn World) -> Result<(), Stop> {
        let captures = self.pattern.as_ref().and_then(|pattern| pattern.captures(request.path));
        let scope = Scope {
            request,
            route: &self.route,
            captures: captures.as_deref().unwrap_or_default(),
        };
        let query: Vec<_> = self.query.edits(Place::Query, scope).collect();
        let path = self.path(captures.is_some(), scope)?;
        let response = ResponseChange {
            presets: Rc::clone(&self.presets),
            edits: self.response.edits(Place::Header, scope).collect(),
            statuses: Rc::clone(&self.statuses),
            body: self
                .response_body
                .as_ref()
                .map(|(statuses, rules)| (Rc::clone(statuses), rules.ready(scope))),
        };
        let body = self.request_body.as_ref().map(|rules| rules.ready(scope));
        if !self.headers.is_empty() {
            let changed = fields::apply(self.headers.edits(Place::Header, scope), |name| request.now(name));
            let changed = changed.into_iter();
            request
                .effects
                .extend(changed.map(|(name, values)| Effect::SetHeaders(name, values)));
        }
        if path.is_some() || !query.is_empty() {
            retarget(path, &query, request);
        }
        if let Some(method) = &self.method {
            request
                .effects
                .push(Effect::SetHeader(":method".into(), method.clone().into_bytes()));
        }
        if let Some(change) = body
            && !request.is_upgrade()
        {
            request.body.change(change);
        }
        if response.has_body() {
            // A part of a document, or a compressed one, could not be changed.
            let unwanted = WHOLE_AND_PLAIN.iter().filter(|name| !request.now(name).is_empty());
            let removed: Vec<_> = unwanted
                .map(|name| Effect::RemoveHeader(name.as_bytes().to_vec()))
                .collect();
            request.effects.extend(removed);
        }
        request.response = Some(response).filter(|response| !response.is_empty());
        Ok(())
    }
}

impl Transform {
    /// The new path, if there is one.
    fn path(&self, matches: bool, scope: Scope<'_>) -> Result<Option<String>, Denial> {
        let path = match (&self.path.rewrite, &self.path.strip_prefix) {
            (Some(template), _) if matches => template.render(Place::Path, scope),
            (None, Some(prefix)) => strip_prefix(scope.request.path, prefix).map(|path| path.as_bytes().to_vec()),
            _ => None,
        };
        let Some(path) = path else {
            return Ok(None);
        };
        // What comes of a value must have one meaning, as what came had.
        let path = String::from_utf8(path).ok().filter(|path| check_path(path).is_ok());
        let path = path.ok_or(Denial::new(DenialKind::InvalidRequest, "path_rewritten"))?;
        Ok(Some(path))
    }
}

/// Changes path and query, of which a credential may have been taken out already.
fn retarget(path: Option<String>, query: &[Edit], request: &mut Request<'_>) {
    let now = request.now(":path").into_iter().next().unwrap_or_default();
    let now = String::from_utf8_lossy(now).into_owned();
    let (own, own_query) = match now.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (now.as_str(), None),
    };
    let path = path.unwrap_or_else(|| own.to_owned());
    let target = match edit_query(own_query, query) {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    if target != now {
        request
            .effects
            .push(Effect::SetHeader(":path".into(), target.into_bytes()));
    }
}

/// What asks for anything else than a whole, plain document.
const WHOLE_AND_PLAIN: [&str; 3] = ["accept-encoding", "if-range", "range"];

#[cfg(test)]
mod tests;
