//! The refusals, and the one table of what a client sees of each.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::http::headers::Headers;
use crate::seam::Reply;

/// A refusal of a request. It is an outcome, not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The kind of refusal, which determines the answer.
    pub kind: DenialKind,
    /// The reason for the operator, in the log and in a metric; never shown to the client.
    pub reason: &'static str,
    /// Details of the reason, for the operator: `plan is an object`.
    pub detail: Option<Arc<str>>,
    /// What refuses the request, if the reason does not say so, for the operator: a limit's name.
    pub by: Option<Arc<str>>,
    /// Headers of the answer, such as `WWW-Authenticate` or `Allow`.
    pub headers: Vec<(&'static str, String)>,
    /// The single failures, for the client.
    pub failures: Vec<Failure>,
    /// What only few refusals have.
    pub more: Option<Box<More>>,
}

/// What only few refusals have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct More {
    /// The status in place of the kind's own, if a service's status is passed on.
    pub status: Option<u16>,
    /// Further members of the problem document.
    pub members: Vec<(&'static str, Value)>,
}

/// One validation failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Where it is.
    pub location: Location,
    /// What is wrong.
    pub detail: String,
}

/// A place in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A header, by name.
    Header(String),
    /// A query parameter, by name.
    Parameter(String),
    /// A value within the body, by JSON Pointer (RFC 6901).
    Body(String),
}

/// A kind of refusal, with one stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialKind {
    /// The request is malformed or ambiguous, so that no decision is possible.
    InvalidRequest,
    /// More than one credential.
    MultipleCredentials,
    /// No credential, though one is required.
    MissingCredentials,
    /// The token is not acceptable.
    InvalidToken,
    /// The API key is not acceptable.
    InvalidApiKey,
    /// The identity lacks a scope.
    InsufficientScope,
    /// The identity lacks a role.
    Forbidden,
    /// No rule matches the request, and there is no default.
    NoPolicy,
    /// The method is not allowed here.
    MethodNotAllowed,
    /// A required header or parameter is missing, or the body violates the schema.
    ValidationFailed,
    /// The body cannot be read.
    InvalidBody,
    /// The body is too large.
    PayloadTooLarge,
    /// The body has a media type or a coding that is not allowed here.
    UnsupportedMediaType,
    /// A rate limit is exceeded.
    RateLimited,
    /// Too many unacceptable credentials came from the same source.
    TooManyAttempts,
    /// The keys that are needed to decide are unavailable.
    KeysUnavailable,
    /// The rate limit service is unavailable.
    LimitsUnavailable,
    /// The gateway cannot decide.
    Unavailable,
    /// The upstream's response cannot be changed as the rule requires.
    UpstreamBodyUnusable,
    /// A refusal that one policy defines.
    Own(&'static Refusal),
}

/// A row of the table of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The status's reason phrase, the title of the problem.
    pub title: &'static str,
    /// The stable, documented code.
    pub code: &'static str,
    /// The status of gRPC: <https://grpc.io/docs/guides/status-codes/>
    pub grpc_status: u8,
}

impl DenialKind {
    /// Every kind except those that policies define, for the tests that compare the documentation with this table.
    pub const ALL: [Self; 19] = [
        Self::InvalidRequest,
        Self::MultipleCredentials,
        Self::MissingCredentials,
        Self::InvalidToken,
        Self::InvalidApiKey,
        Self::InsufficientScope,
        Self::Forbidden,
        Self::NoPolicy,
        Self::MethodNotAllowed,
        Self::ValidationFailed,
        Self::InvalidBody,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::RateLimited,
        Self::TooManyAttempts,
        Self::KeysUnavailable,
        Self::LimitsUnavailable,
        Self::Unavailable,
        Self::UpstreamBodyUnusable,
    ];

    /// The row of this kind.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::InvalidRequest => refusal(400, "Bad Request", "invalid_request", 3),
            Self::MultipleCredentials => refusal(400, "Bad Request", "multiple_credentials", 3),
            Self::MissingCredentials => refusal(401, "Unauthorized", "missing_credentials", 16),
            Self::InvalidToken => refusal(401, "Unauthorized", "invalid_token", 16),
            Self::InvalidApiKey => refusal(401, "Unauthorized", "invalid_api_key", 16),
            Self::InsufficientScope => refusal(403, "Forbidden", "insufficient_scope", 7),
            Self::Forbidden => refusal(403, "Forbidden", "forbidden", 7),
            Self::NoPolicy => refusal(403, "Forbidden", "no_policy", 7),
            Self::MethodNotAllowed => refusal(405, "Method Not Allowed", "method_not_allowed", 12),
            Self::ValidationFailed => refusal(400, "Bad Request", "validation_failed", 3),
            Self::InvalidBody => refusal(400, "Bad Request", "invalid_body", 3),
            Self::PayloadTooLarge => refusal(413, "Content Too Large", "payload_too_large", 8),
            Self::UnsupportedMediaType => refusal(415, "Unsupported Media Type", "unsupported_media_type", 3),
            Self::RateLimited => refusal(429, "Too Many Requests", "rate_limited", 8),
            Self::TooManyAttempts => refusal(429, "Too Many Requests", "too_many_attempts", 8),
            Self::KeysUnavailable => refusal(503, "Service Unavailable", "keys_unavailable", 14),
            Self::LimitsUnavailable => refusal(503, "Service Unavailable", "limits_unavailable", 14),
            Self::Unavailable => refusal(503, "Service Unavailable", "unavailable", 14),
            Self::Own(refusal) => *refusal,
            Self::UpstreamBodyUnusable => refusal(502, "Bad Gateway", "upstream_body_unusable", 14),
        }
    }
}

const fn refusal(status: u16, title: &'static str, code: &'static str, grpc_status: u8) -> Refusal {
    Refusal {
        status,
        title,
        code,
        grpc_status,
    }
}

impl Denial {
    /// A refusal without headers.
    pub const fn new(kind: DenialKind, reason: &'static str) -> Self {
        Self {
            kind,
            reason,
            detail: None,
            by: None,
            headers: Vec::new(),
            failures: Vec::new(),
            more: None,
        }
    }

    /// The same refusal by a limit of this name.
    #[must_use]
    pub fn by(mut self, name: Arc<str>) -> Self {
        self.by = Some(name);
        self
    }

    /// The same refusal with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer: problem details (RFC 9457), or a short text that Envoy turns into `grpc-message`.
    pub fn reply(self, request_id: Option<&str>, grpc: bool) -> Reply {
        let More { status, members } = self.more.map(|more| *more).unwrap_or_default();
        let refusal = self.kind.refusal();
        let refusal = status.map_or(refusal, |status| Refusal {
            status,
            title: title(status),
            ..refusal
        });
        let own = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let mut headers: Vec<_> = own.chain([("cache-control", "no-store")]).collect();
        let body = if grpc {
            refusal.code.to_owned()
        } else {
            headers.push(("content-type", "application/problem+json"));
            problem(refusal, request_id, &self.failures, members)
        };
        Reply {
            status: refusal.status,
            headers: headers.into_iter().collect::<Headers>(),
            body: body.into_bytes(),
            grpc_status: grpc.then_some(refusal.grpc_status),
            details: details(
                refusal.code,
                self.by.as_deref().unwrap_or(self.reason),
                self.detail.as_deref(),
            ),
        }
    }
}

/// The response code details for Envoy's access log, without white space: `tollgate{invalid_token:expired}`.
fn details(code: &str, why: &str, detail: Option<&str>) -> String {
    let plain = |character: char| {
        if character.is_ascii_alphanumeric() || "-_.".contains(character) {
            character
        } else {
            '_'
        }
    };
    let why = [Some(why), detail].into_iter().flatten();
    let why: Vec<String> = why.map(|text| text.chars().map(plain).collect()).collect();
    format!("tollgate{{{code}:{}}}", why.join(":"))
}

/// The problem document. `type` is `about:blank`, as the status and `code` identify the problem; `errors` follows the
/// example in RFC 9457 section 3.
fn problem(
    refusal: Refusal,
    request_id: Option<&str>,
    failures: &[Failure],
    members: Vec<(&'static str, Value)>,
) -> String {
    #[derive(serde::Serialize)]
    struct Error<'a> {
        detail: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        pointer: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        header: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        parameter: Option<&'a str>,
    }
    #[derive(serde::Serialize)]
    struct Problem<'a> {
        r#type: &'static str,
        title: &'a str,
        status: u16,
        code: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        errors: Vec<Error<'a>>,
        #[serde(flatten)]
        members: Map<String, Value>,
    }
    let errors = failures.iter().map(|Failure { location, detail }| {
        let mut error = Error {
            detail,
            pointer: None,
            header: None,
            parameter: None,
        };
        match location {
            Location::Header(name) => error.header = Some(name),
            Location::Parameter(name) => error.parameter = Some(name),
            Location::Body(pointer) => error.pointer = Some(format!("#{pointer}")),
        }
        error
    });
    let errors = errors.collect();
    let request_id = request_id.filter(|id| id.len() <= MAX_REQUEST_ID);
    serde_json::to_string(&Problem {
        r#type: "about:blank",
        title: refusal.title,
        status: refusal.status,
        code: refusal.code,
        request_id,
        errors,
        members: members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    })
    .unwrap_or_default()
}

/// The reason phrase of a status of a service's answer (RFC 9110 section 15).
fn title(status: u16) -> &'static str {
    let phrases = PHRASES.iter();
    let phrase = phrases
        .filter(|(own, _)| *own == status)
        .map(|(_, phrase)| *phrase)
        .next();
    phrase.unwrap_or(match status {
        400..=499 => "Client Error",
        500..=599 => "Server Error",
        _ => "Unexpected Status",
    })
}

const PHRASES: [(u16, &str); 20] = [
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (409, "Conflict"),
    (410, "Gone"),
    (412, "Precondition Failed"),
    (413, "Content Too Large"),
    (415, "Unsupported Media Type"),
    (422, "Unprocessable Content"),
    (423, "Locked"),
    (428, "Precondition Required"),
    (429, "Too Many Requests"),
    (451, "Unavailable For Legal Reasons"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
];

/// Maximum length of a request id, in bytes; Envoy's own have 36.
const MAX_REQUEST_ID: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_problem_document() {
        let reply = Denial::new(DenialKind::InvalidToken, "expired")
            .with_header("www-authenticate", "Bearer".into())
            .reply(Some("a\"b"), false);
        assert_eq!(reply.status, 401);
        let body = String::from_utf8(reply.body.clone()).unwrap();
        assert_eq!(
            body,
            r#"{"type":"about:blank","title":"Unauthorized","status":401,"code":"invalid_token","request_id":"a\"b"}"#
        );
        assert_eq!(reply.details, "tollgate{invalid_token:expired}");
        let limited = Denial::new(DenialKind::RateLimited, "rate_limited").by("per user}".into());
        assert_eq!(limited.reply(None, false).details, "tollgate{rate_limited:per_user_}");
        let mut malformed = Denial::new(DenialKind::InvalidToken, "claim_malformed");
        malformed.detail = Some("plan is an object".into());
        let details = malformed.reply(None, false).details;
        assert_eq!(details, "tollgate{invalid_token:claim_malformed:plan_is_an_object}");
        assert_eq!(reply.headers.first("www-authenticate"), Some("Bearer"));
        assert!(!body.contains("expired"), "the reason is for the operator");
        assert!(reply.headers.iter().all(|(_, value)| value != b"expired"));
    }

    #[test]
    fn a_grpc_client_gets_a_status_and_a_short_text() {
        let reply = Denial::new(DenialKind::NoPolicy, "no_rule").reply(Some("1"), true);
        assert_eq!((reply.grpc_status, reply.body.as_slice()), (Some(7), &b"no_policy"[..]));
    }

    #[test]
    fn an_overlong_request_id_is_left_out() {
        let reply = Denial::new(DenialKind::NoPolicy, "no_rule").reply(Some(&"x".repeat(200)), false);
        assert!(!String::from_utf8_lossy(&reply.body).contains("request_id"));
    }

    #[test]
    fn codes_are_unique() {
        let mut codes: Vec<_> = DenialKind::ALL.iter().map(|kind| kind.refusal().code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), DenialKind::ALL.len());
    }
}
