//! Changes of requests and responses, by rule. They run after every policy that may refuse; only the proof, which
//! covers the result, and the fallback run later.

mod body;
mod compile;
mod config;
mod response;
mod steps;
mod target;

use std::rc::Rc;
use std::sync::Arc;

use super::{Policy, Stop};
use crate::denial::{Denial, DenialKind};
use crate::http::edits::{self, Edit};
use crate::message::request::Request;
use crate::message::target::check_path;
use crate::seam::Context;
use crate::template::{Place, Scope};

use body::BodyRules;
pub use body::{BodyChange, BodyConfig};
pub use compile::compile;
use config::PathConfig;
pub use config::{RequestConfig, ResponseConfig, Rules, StatusPattern};
pub use response::ResponseChange;
use steps::Steps;
use target::{PathPattern, edit_query, strip_prefix};

#[derive(Debug)]
struct Transform {
    route: String,
    headers: Steps,
    query: Steps,
    path: PathConfig,
    method: Option<String>,
    pattern: Option<PathPattern>,
    presets: Arc<[Edit]>,
    response: Steps,
    statuses: Arc<[(StatusPattern, u16)]>,
    request_body: Option<Arc<BodyRules>>,
    response_body: Option<(Arc<[StatusPattern]>, Arc<BodyRules>)>,
}

impl Policy for Transform {
    fn on_request(&self, request: &mut Request, _: &Context<'_>) -> Result<(), Stop> {
        let received = Rc::clone(request.received());
        let captures = self
            .pattern
            .as_ref()
            .and_then(|pattern| pattern.captures(received.path()));
        let scope = Scope {
            request,
            route: &self.route,
            captures: captures.as_deref().unwrap_or_default(),
            data: None,
        };
        let query: Vec<_> = self.query.edits(Place::Query, scope).collect();
        let path = self.path(captures.is_some(), scope)?;
        let response = ResponseChange {
            presets: Arc::clone(&self.presets),
            edits: self.response.edits(Place::Header, scope).collect(),
            statuses: Arc::clone(&self.statuses),
            body: self
                .response_body
                .as_ref()
                .map(|(statuses, rules)| (Arc::clone(statuses), rules.ready(scope))),
        };
        let body = self.request_body.as_ref().map(|rules| rules.ready(scope));
        if !self.headers.is_empty() {
            let changed = edits::apply(self.headers.edits(Place::Header, scope), |name| request.current(name));
            for (name, values) in changed {
                request.changes.set(name, values);
            }
        }
        if path.is_some() || !query.is_empty() {
            retarget(path, &query, request);
        }
        if let Some(method) = &self.method {
            request.changes.set_one(":method", method.as_str());
        }
        if let Some(change) = body
            && !request.is_upgrade()
        {
            request.body.change(Box::new(change));
        }
        if response.has_body() {
            // Parts of a document and compressed documents cannot be changed.
            for name in WHOLE_AND_PLAIN {
                if !request.current(name).is_empty() {
                    request.changes.remove(name);
                }
            }
        }
        if !response.is_empty() {
            request.hooks.push(Box::new(response));
        }
        Ok(())
    }
}

impl Transform {
    /// The new path, if there is one.
    fn path(&self, matches: bool, scope: Scope<'_>) -> Result<Option<String>, Denial> {
        let path = match (&self.path.rewrite, &self.path.strip_prefix) {
            (Some(template), _) if matches => template.render(Place::Path, scope),
            (None, Some(prefix)) => strip_prefix(scope.request.path(), prefix).map(|path| path.as_bytes().to_vec()),
            _ => None,
        };
        let Some(path) = path else {
            return Ok(None);
        };
        // The new path must be as unambiguous as the received one.
        let path = String::from_utf8(path).ok().filter(|path| check_path(path).is_ok());
        let path = path.ok_or(Denial::new(DenialKind::InvalidRequest, "path_rewritten"))?;
        Ok(Some(path))
    }
}

/// Changes path and query, from which a credential may have been removed already.
fn retarget(path: Option<String>, query: &[Edit], request: &mut Request) {
    let now = request.current(":path").into_iter().next().unwrap_or_default();
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
        request.changes.set_one(":path", target);
    }
}

/// Headers that ask for a part of a document or for a compressed one.
const WHOLE_AND_PLAIN: [&str; 3] = ["accept-encoding", "if-range", "range"];

#[cfg(test)]
mod tests;
