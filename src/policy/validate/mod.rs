//! What a request must look like, before it costs an upstream anything.

mod config;
mod schema;

use std::rc::Rc;

use super::{Policy, Registration, RouteContext, Stage, Stop};
use crate::body::{DEFAULT_MAX_BYTES, MOST_HELD};
use crate::config::Report;
use crate::config::values::FieldName;
use crate::denial::{Denial, DenialKind, Failure, Location};
use crate::headers::media_type;
use crate::request::Request;
use crate::template::parameter;
use crate::world::World;

pub use config::ValidateConfig;
pub use schema::Schema;

/// The policy's line in the registry.
pub const REGISTRATION: Registration = Registration {
    stage: Stage::Validate,
    compile,
};

#[derive(Debug)]
struct Validate {
    headers: Vec<FieldName>,
    query: Vec<String>,
    /// Media types, in lower case; `application/*` too.
    content_types: Vec<String>,
    max_bytes: Option<usize>,
    schema: Option<Rc<Schema>>,
    needs_body: bool,
}

fn compile(route: &RouteContext<'_>, report: &mut Report) -> Option<Box<dyn Policy>> {
    let config = route.validate?;
    report.within("validate", |report| {
        for (index, name) in config.headers.iter().enumerate() {
            if route.definitions.identity.managed.contains(name.as_str().as_bytes()) {
                report.error_at(
                    format!("headers[{index}]"),
                    format!("`{}` is an identity header, which no client sends", name.as_str()),
                );
            }
        }
        for (index, media_type) in config.content_types.iter().enumerate() {
            if !is_media_type(media_type) {
                report.error_at(
                    format!("content_types[{index}]"),
                    format!("\"{media_type}\" is not a media type such as application/json or text/*"),
                );
            }
        }
        let schema = config.schema.as_ref().and_then(|schema| match Schema::compile(schema) {
            Ok(schema) => Some(Rc::new(schema)),
            Err(mistakes) => {
                for (pointer, message) in mistakes {
                    report.error_at("schema", format!("#{pointer} {message}"));
                }
                None
            }
        });
        if config.schema.is_some() && config.max_bytes.is_some_and(|bytes| bytes > MOST_HELD) {
            report.error_at(
                "max_bytes",
                format!("is at most {MOST_HELD} beside `schema`: the body is held"),
            );
        }
        let max_bytes = config.max_bytes.or(schema.is_some().then_some(DEFAULT_MAX_BYTES));
        let policy = Validate {
            headers: config.headers.clone(),
            query: config.query.clone(),
            content_types: if config.content_types.is_empty() && config.schema.is_some() {
                vec!["application/json".into()]
            } else {
                config
                    .content_types
                    .iter()
                    .map(|own| own.to_ascii_lowercase())
                    .collect()
            },
            max_bytes: max_bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            schema,
            needs_body: config.body_required,
        };
        Some(Box::new(policy) as Box<dyn Policy>)
    })
}

fn is_media_type(text: &str) -> bool {
    let is_token = |text: &str| !text.is_empty() && text.bytes().all(crate::config::values::is_token);
    text.split_once('/')
        .is_some_and(|(kind, own)| is_token(kind) && kind != "*" && is_token(own))
}

impl Policy for Validate {
    fn on_request(&self, request: &mut Request<'_>, _: &dyn World) -> Result<(), Stop> {
        self.check_presence(request)?;
        if !request.has_body {
            return Ok(());
        }
        self.check_content_type(request)?;
        if let Some(bytes) = self.max_bytes {
            request.body.limit(bytes);
        }
        if let Some(schema) = &self.schema {
            request.body.check(Rc::clone(schema));
        }
        Ok(())
    }
}

impl Validate {
    fn check_presence(&self, request: &Request<'_>) -> Result<(), Denial> {
        let is_absent = |name: &&FieldName| request.header(name.as_str()).next().is_none();
        let headers = self.headers.iter().filter(is_absent);
        let headers = headers.map(|name| Location::Header(name.as_str().to_owned()));
        let sent = || request.query.into_iter().flat_map(|query| query.split('&'));
        let parameters = self
            .query
            .iter()
            .filter(|name| !sent().any(|pair| parameter(pair) == **name));
        let parameters = parameters.map(|name| Location::Parameter(name.clone()));
        let body = (self.needs_body && !request.has_body).then(|| Location::Body(String::new()));
        let missing = headers.chain(parameters).chain(body);
        let failures: Vec<_> = missing
            .map(|location| Failure {
                location,
                detail: "is required".into(),
            })
            .collect();
        if failures.is_empty() {
            return Ok(());
        }
        let mut denial = Denial::new(DenialKind::ValidationFailed, "missing");
        denial.failures = failures;
        Err(denial)
    }

    /// Exactly one content type, of those that are listed.
    fn check_content_type(&self, request: &Request<'_>) -> Result<(), Denial> {
        if self.content_types.is_empty() {
            return Ok(());
        }
        let mut sent = request.header("content-type");
        let sent = sent.next().filter(|_| sent.next().is_none());
        let sent = sent
            .and_then(|value| std::str::from_utf8(value).ok())
            .unwrap_or_default();
        let sent = media_type(sent);
        let fits = |own: &String| match own.strip_suffix('*') {
            Some(kind) => sent.len() > kind.len() && sent.starts_with(kind),
            None => sent == *own,
        };
        if self.content_types.iter().any(fits) {
            return Ok(());
        }
        let denial = Denial::new(DenialKind::UnsupportedMediaType, "content_type");
        Err(denial.with_header("accept", self.content_types.join(", ")))
    }
}

#[cfg(test)]
mod tests;
