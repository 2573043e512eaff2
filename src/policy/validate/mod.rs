//! Validation of requests before they reach the upstream.

mod config;
mod schema;

use std::sync::Arc;

use super::{Policy, Rule, Stop};
use crate::config::Report;
use crate::config::values::FieldName;
use crate::denial::{Denial, DenialKind, Failure, Location};
use crate::message::body::{DEFAULT_MAX_BYTES, MOST_HELD};
use crate::message::media_range::MediaRange;
use crate::message::request::Request;
use crate::seam::Context;
use crate::template::parameter;

pub use config::ValidateConfig;
pub use schema::Schema;

#[derive(Debug)]
struct Validate {
    headers: Vec<FieldName>,
    query: Vec<String>,
    content_types: Vec<MediaRange>,
    max_bytes: Option<usize>,
    schema: Option<Arc<Schema>>,
    needs_body: bool,
}

/// Compiles the policy of a rule with `validate`.
pub fn compile(config: &ValidateConfig, rule: &Rule<'_>, report: &mut Report) -> Option<Box<dyn Policy>> {
    report.within("validate", |report| {
        for (index, name) in config.headers.iter().enumerate() {
            if rule.managed.contains(name.as_str().as_bytes()) {
                report.error_at(
                    format!("headers[{index}]"),
                    format!("`{}` is an identity header, which no client sends", name.as_str()),
                );
            }
        }
        let schema = config.schema.as_ref().and_then(|schema| match Schema::compile(schema) {
            Ok(schema) => Some(Arc::new(schema)),
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
                format!("must be at most {MOST_HELD} with `schema`, as the body is held"),
            );
        }
        let max_bytes = config.max_bytes.or(schema.is_some().then_some(DEFAULT_MAX_BYTES));
        let policy = Validate {
            headers: config.headers.clone(),
            query: config.query.clone(),
            content_types: if config.content_types.is_empty() && config.schema.is_some() {
                MediaRange::parse("application/json").into_iter().collect()
            } else {
                config.content_types.clone()
            },
            max_bytes: max_bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            schema,
            needs_body: config.body_required,
        };
        Some(Box::new(policy) as Box<dyn Policy>)
    })
}

impl Policy for Validate {
    fn on_request(&self, request: &mut Request, _: &Context<'_>) -> Result<(), Stop> {
        self.check_presence(request)?;
        // After an upgrade, the bytes belong to another protocol.
        if !request.has_body || request.is_upgrade() {
            return Ok(());
        }
        self.check_content_type(request)?;
        if let Some(bytes) = self.max_bytes {
            request.body.limit(bytes);
        }
        if let Some(schema) = &self.schema {
            let schema = Arc::clone(schema);
            request.body.check(schema);
        }
        Ok(())
    }
}

impl Validate {
    fn check_presence(&self, request: &Request) -> Result<(), Denial> {
        let is_absent = |name: &&FieldName| request.header(name.as_str()).next().is_none();
        let headers = self.headers.iter().filter(is_absent);
        let headers = headers.map(|name| Location::Header(name.as_str().to_owned()));
        let sent = || request.query().into_iter().flat_map(|query| query.split('&'));
        let parameters = self
            .query
            .iter()
            .filter(|name| !sent().any(|pair| parameter(pair) == **name));
        let parameters = parameters.map(|name| Location::Parameter(name.clone()));
        let body =
            (self.needs_body && (!request.has_body || request.is_upgrade())).then(|| Location::Body(String::new()));
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

    /// Requires exactly one content type, which must be allowed.
    fn check_content_type(&self, request: &Request) -> Result<(), Denial> {
        if self.content_types.is_empty() {
            return Ok(());
        }
        let mut sent = request.header("content-type");
        let sent = sent.next().filter(|_| sent.next().is_none());
        let sent = sent
            .and_then(|value| std::str::from_utf8(value).ok())
            .unwrap_or_default();
        if self.content_types.iter().any(|own| own.has(sent)) {
            return Ok(());
        }
        let accepted: Vec<_> = self.content_types.iter().map(ToString::to_string).collect();
        let denial = Denial::new(DenialKind::UnsupportedMediaType, "content_type");
        Err(denial.with_header("accept", accepted.join(", ")))
    }
}

#[cfg(test)]
mod tests;
