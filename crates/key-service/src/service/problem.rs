//! Error answers in the format of RFC 9457.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::Error;
use crate::log;

/// An error answer of type `application/problem+json`.
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(detail) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            Error::NotFound(detail) => Self::new(StatusCode::NOT_FOUND, detail),
            Error::Conflict(detail) => Self::new(StatusCode::CONFLICT, detail),
            Error::Failed(detail) => {
                log::line(&format!("a request failed: {detail}; it is answered with 503"));
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the key service cannot answer now; try again later",
                )
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
