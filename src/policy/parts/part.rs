//! A compiled part, and the calls that are made from its templates.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::cache::Cache;
use super::config::Join;
use super::outcome::Outcome;
use crate::clock::{Millis, Seconds};
use crate::message::request::Request;
use crate::message::target::check_path;
use crate::policy::proof::Proof;
use crate::policy::transform::{BodyChange, StatusPattern};
use crate::seam::{Call, Context, Note};
use crate::template::{Content, Data, Missing, Place, Scope, Source, Template, plain};

/// A compiled part.
#[derive(Debug)]
pub struct Part {
    /// The name.
    pub name: String,
    /// Whether its method is safe (RFC 9110 section 9.2.1).
    pub is_safe: bool,
    /// JSON that stands in for the answer if the part fails; `None` if the part is required.
    pub default: Option<String>,
    /// One call for many items.
    pub batch: Option<Batch>,
    /// The names of the members that its answer keeps, if it says so.
    pub kept: Vec<String>,
    pub(super) cluster: String,
    pub(super) authority: String,
    pub(super) method: String,
    pub(super) path: Template,
    pub(super) query: Vec<(String, Template)>,
    pub(super) headers: Vec<(String, Template)>,
    pub(super) body: Option<Content>,
    pub(super) authorization: Option<Secret>,
    pub(super) timeout: Millis,
    /// Whether the configuration names the timeout.
    pub(super) has_own_timeout: bool,
    pub(super) max_bytes: usize,
    pub(super) ok: Vec<StatusPattern>,
    pub(super) none: Vec<StatusPattern>,
    pub(super) pass: Vec<StatusPattern>,
    pub(super) change: Option<BodyChange>,
    pub(super) when: Option<Template>,
    pub(super) cache: Option<Cache>,
    /// The headers that tell the service who the caller is; `None` for an anonymous part.
    pub(super) caller: Option<Arc<[String]>>,
    pub(super) proof: Option<Arc<Proof>>,
    pub(super) metrics: Metrics,
}

/// The names of a part's metrics, built once.
#[derive(Debug)]
pub(super) struct Metrics {
    /// The histogram of its calls' duration.
    pub(super) duration: Arc<str>,
    /// The counter of the usual outcome.
    ok: Arc<str>,
}

/// One call for many items.
#[derive(Debug)]
pub struct Batch {
    /// The key of an item.
    pub key: Template,
    /// The member by which an item's object is found in the answer.
    pub by: String,
    /// Maximum number of keys in one call.
    pub max: usize,
    pub(super) join: Join,
}

/// A header's value that is not shown.
#[derive(Clone)]
pub(super) struct Secret(pub(super) String);

impl Part {
    /// Every template that its call is made from.
    pub fn templates(&self) -> Vec<&Template> {
        let fields = self.query.iter().chain(&self.headers).map(|(_, template)| template);
        let body = self.body.iter().flat_map(Content::templates);
        let key = self.batch.as_ref().map(|batch| &batch.key);
        let own = [Some(&self.path), self.when.as_ref(), key].into_iter().flatten();
        own.chain(fields).chain(body).collect()
    }

    /// The values of parts and aggregates that its templates name.
    pub fn data(&self) -> impl Iterator<Item = &Data> {
        let sources = self.templates().into_iter().flat_map(Template::sources);
        sources.filter_map(|source| match source {
            Source::Data(data) => Some(data),
            _ => None,
        })
    }

    /// The names of the parts that its templates name.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.data().filter_map(|data| match data {
            Data::Part(name, _) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// How long its answers are used again; `None` if they are not.
    pub fn max_age(&self) -> Option<Seconds> {
        self.cache.as_ref().map(Cache::max_age)
    }

    /// Whether its answer is an object, whatever the service says.
    pub fn wraps(&self) -> bool {
        self.change.as_ref().is_some_and(BodyChange::wraps)
    }

    /// The name of Envoy's cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The timeout that the configuration names.
    pub fn own_timeout(&self) -> Option<Millis> {
        self.has_own_timeout.then_some(self.timeout)
    }

    /// The names of arguments that its templates need, as they have no default for them.
    pub fn arguments_needed(&self) -> Vec<String> {
        let mut names = Vec::new();
        for source in self.templates().into_iter().flat_map(Template::needed) {
            if let Source::Data(Data::Argument(path)) = source
                && let Some((name, _)) = path.split_first()
                && !names.iter().any(|own| own == name)
            {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// What the counter of its calls says of an outcome.
    pub fn counted(&self, outcome: Outcome) -> Note {
        Note::Count(match outcome {
            Outcome::Ok => Arc::clone(&self.metrics.ok),
            _ => Metrics::calls(&self.name, outcome),
        })
    }

    /// The key of an item; `None` if it has none.
    pub fn key(&self, scope: Scope<'_>) -> Option<String> {
        self.batch.as_ref()?.key.json(scope)
    }

    /// Makes the call. `Err` is why there is none: [`Outcome::Skipped`] or [`Outcome::Target`].
    pub fn call(&self, scope: Scope<'_>) -> Result<Call, Outcome> {
        if let Some(when) = &self.when {
            let text = when.text(scope).unwrap_or_default();
            if ["", "false", "0"].contains(&text.trim()) {
                return Err(Outcome::Skipped);
            }
        }
        let path = self.target(scope)?;
        let mut headers: Vec<(Cow<'static, str>, String)> = vec![
            (":method".into(), self.method.clone()),
            (":path".into(), path),
            (":authority".into(), self.authority.clone()),
            ("accept".into(), "application/json".into()),
        ];
        let mut body = String::new();
        if let Some(content) = &self.body {
            if !content.write(scope, Missing::IsLeftOut, &mut body) {
                body.push_str("null");
            }
            headers.push(("content-type".into(), "application/json".into()));
        }
        if let Some(Secret(authorization)) = &self.authorization {
            headers.push(("authorization".into(), authorization.clone()));
        }
        for (name, template) in &self.headers {
            if let Some(value) = template.render(Place::Header, scope) {
                headers.retain(|(own, _)| own != name);
                headers.push((name.clone().into(), visible(&value)));
            }
        }
        for name in self.caller.iter().flat_map(|caller| caller.iter()) {
            for value in scope.request.current(name) {
                headers.push((name.clone().into(), visible(value)));
            }
        }
        Ok(Call {
            cluster: self.cluster.clone(),
            headers,
            body: body.into_bytes(),
            timeout: std::time::Duration::from_millis(self.timeout.get()),
            max_body: self.max_bytes,
            topic: 0,
            ticket: None,
        })
    }

    /// Adds what differs with every request, and is thus no part of a call's identity: tracing headers and the proof.
    pub(super) fn finish(&self, call: &mut Call, request: &Request, cx: &Context<'_>) {
        let trace = request.trace().into_iter();
        call.headers.extend(trace.map(|(name, value)| (name.into(), value)));
        if let Some(proof) = &self.proof {
            let value = proof.of(cx.wall_seconds(), |name| {
                let own = call.headers.iter().filter(|(own, _)| own == name);
                own.map(|(_, value)| value.as_bytes()).collect()
            });
            let value = value.map(|value| (Cow::from(proof.header().to_owned()), value));
            call.headers.extend(value);
        }
    }

    /// The path with the query.
    fn target(&self, scope: Scope<'_>) -> Result<String, Outcome> {
        let path = self.path.render(Place::Path, scope).ok_or(Outcome::Skipped)?;
        if self.path.has_empty_value(Place::Path, scope) {
            return Err(Outcome::Target);
        }
        let path = String::from_utf8(path).ok();
        let path = path.filter(|path| path.len() <= LONGEST_PATH && check_path(path).is_ok());
        let mut target = path.ok_or(Outcome::Target)?;
        let mut separator = '?';
        let mut add = |name: &str, value: &str| {
            target.push(std::mem::replace(&mut separator, '&'));
            target.push_str(&plain(name.as_bytes()));
            target.push('=');
            target.push_str(value);
        };
        for (name, template) in &self.query {
            let repeats = matches!(&self.batch, Some(Batch { join: Join::Repeat, .. }));
            match template.only() {
                Some((source @ Source::Data(Data::Keys), _)) if repeats => {
                    let keys = source.parameters(scope);
                    keys.iter().for_each(|key| add(name, key));
                }
                _ => {
                    if let Some(value) = template.render(Place::Query, scope) {
                        add(name, &String::from_utf8_lossy(&value));
                    }
                }
            }
        }
        if target.len() > LONGEST_TARGET {
            return Err(Outcome::Target);
        }
        Ok(target)
    }
}

impl Metrics {
    pub(super) fn of(part: &str) -> Self {
        Self {
            duration: format!("tollgate_part_duration_ms;part={part};").into(),
            ok: Self::calls(part, Outcome::Ok),
        }
    }

    fn calls(part: &str, outcome: Outcome) -> Arc<str> {
        format!("tollgate_part_calls_total;part={part};outcome={};", outcome.code()).into()
    }
}

/// A header's value in visible ASCII and spaces: any other byte is percent-encoded.
fn visible(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    for &byte in value {
        match byte {
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&plain(&[byte])),
        }
    }
    text
}

// `Debug` does not show the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// Maximum length of a path without its query, in bytes.
const LONGEST_PATH: usize = 2048;

/// Maximum length of a path with its query, in bytes.
const LONGEST_TARGET: usize = 8192;
