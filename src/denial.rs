//! The closed set of refusals, and the only table from a refusal to what the client sees.

use crate::effect::Reply;

/// Why a request is refused: the client's fault, an outcome and not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What the client is told.
    pub kind: DenialKind,
    /// What the operator is told, in the log and in a metric; never shown to the client.
    pub reason: &'static str,
    /// `WWW-Authenticate`, `Allow` and the like.
    pub headers: Vec<(&'static str, String)>,
}

/// What the client is told; each kind has one stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialKind {
    /// The request is not one that a decision can be made about.
    InvalidRequest,
    /// More than one credential where exactly one is wanted.
    MultipleCredentials,
    /// A credential is needed and none was sent.
    MissingCredentials,
    /// The token is not acceptable.
    InvalidToken,
    /// The API key is not acceptable.
    InvalidApiKey,
    /// The identity lacks a scope.
    InsufficientScope,
    /// The identity lacks a role.
    Forbidden,
    /// No rule names this request, and there is no default.
    NoPolicy,
    /// The method is not allowed here.
    MethodNotAllowed,
    /// The client has used what it may.
    RateLimited,
    /// Too many credentials from the same source were not acceptable.
    TooManyAttempts,
    /// The keys that would decide cannot be had.
    KeysUnavailable,
    /// The service that counts cannot be asked.
    LimitsUnavailable,
    /// The gateway cannot decide, so it refuses.
    Unavailable,
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
    /// <https://grpc.io/docs/guides/status-codes/>
    pub grpc_status: u8,
}

impl DenialKind {
    /// Every kind, for the tests that hold the documentation to this table.
    pub const ALL: [Self; 14] = [
        Self::InvalidRequest,
        Self::MultipleCredentials,
        Self::MissingCredentials,
        Self::InvalidToken,
        Self::InvalidApiKey,
        Self::InsufficientScope,
        Self::Forbidden,
        Self::NoPolicy,
        Self::MethodNotAllowed,
        Self::RateLimited,
        Self::TooManyAttempts,
        Self::KeysUnavailable,
        Self::LimitsUnavailable,
        Self::Unavailable,
    ];

    /// What the client sees.
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
            Self::RateLimited => refusal(429, "Too Many Requests", "rate_limited", 8),
            Self::TooManyAttempts => refusal(429, "Too Many Requests", "too_many_attempts", 8),
            Self::KeysUnavailable => refusal(503, "Service Unavailable", "keys_unavailable", 14),
            Self::LimitsUnavailable => refusal(503, "Service Unavailable", "limits_unavailable", 14),
            Self::Unavailable => refusal(503, "Service Unavailable", "unavailable", 14),
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
    /// A refusal without headers of its own.
    pub const fn new(kind: DenialKind, reason: &'static str) -> Self {
        Self {
            kind,
            reason,
            headers: Vec::new(),
        }
    }

    /// The same refusal with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer: problem details (RFC 9457), or a short text that Envoy turns into `grpc-message`.
    pub fn reply(self, request_id: Option<&str>, grpc: bool) -> Reply {
        let Refusal {
            status,
            title,
            code,
            grpc_status,
        } = self.kind.refusal();
        let mut headers = self.headers;
        headers.push(("cache-control", "no-store".into()));
        let body = if grpc {
            code.to_owned()
        } else {
            headers.push(("content-type", "application/problem+json".into()));
            problem(status, title, code, request_id)
        };
        Reply {
            status,
            headers,
            body,
            grpc_status: grpc.then_some(grpc_status),
            details: format!("tollgate{{{code}}}"),
        }
    }
}

/// `type` is `about:blank`: the status says all there is to know of the type, `code` the rest.
fn problem(status: u16, title: &str, code: &str, request_id: Option<&str>) -> String {
    #[derive(serde::Serialize)]
    struct Problem<'a> {
        r#type: &'static str,
        title: &'a str,
        status: u16,
        code: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    }
    let request_id = request_id.filter(|id| id.len() <= MAX_REQUEST_ID);
    serde_json::to_string(&Problem {
        r#type: "about:blank",
        title,
        status,
        code,
        request_id,
    })
    .unwrap_or_default()
}

/// Bytes; Envoy's own identifiers have 36.
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
        assert_eq!(
            reply.body,
            r#"{"type":"about:blank","title":"Unauthorized","status":401,"code":"invalid_token","request_id":"a\"b"}"#
        );
        assert_eq!(reply.details, "tollgate{invalid_token}");
        assert_eq!(reply.headers.first(), Some(&("www-authenticate", "Bearer".to_owned())));
        assert!(
            !format!("{reply:?}").contains("expired"),
            "the reason is for the operator"
        );
    }

    #[test]
    fn a_grpc_client_gets_a_status_and_a_short_text() {
        let reply = Denial::new(DenialKind::NoPolicy, "no_rule").reply(Some("1"), true);
        assert_eq!((reply.grpc_status, reply.body.as_str()), (Some(7), "no_policy"));
    }

    #[test]
    fn an_overlong_request_id_is_left_out() {
        let reply = Denial::new(DenialKind::NoPolicy, "no_rule").reply(Some(&"x".repeat(200)), false);
        assert!(!reply.body.contains("request_id"));
    }

    #[test]
    fn codes_are_unique() {
        let mut codes: Vec<_> = DenialKind::ALL.iter().map(|kind| kind.refusal().code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), DenialKind::ALL.len());
    }
}
