//! GraphQL over HTTP: what a request asks, and the status and media type of its answer (GraphQL over HTTP, stage 2 draft;
//! where the draft and its audits differ, the audits' statuses).

use serde_json::{Value, json};

use super::fault::{Kind, Refusal};
use crate::denial::{Denial, DenialKind};
use crate::http::cache_control::UNSHARED;
use crate::http::headers::media_type;
use crate::json::{self, Node};
use crate::message::request::Received;
use crate::message::response::Whole;

/// The media types of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/graphql-response+json`: the status tells whether there was an execution.
    Graphql,
    /// `application/json`: as all clients knew it before.
    Json,
}

/// What a request asks.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) query: Option<String>,
    pub(super) operation: Option<String>,
    /// The text of an object.
    pub(super) variables: Option<String>,
    /// The id of a known operation.
    pub(super) id: Option<String>,
}

/// The statuses of all answers, for both media types. This table is the one place that says them.
const fn status(media: Media, kind: Option<Kind>) -> u16 {
    match (kind, media) {
        // Executed, with or without errors.
        (None, _) => 200,
        // Body no JSON, `query` of a wrong type, and the like.
        (Some(Kind::Malformed), _) => 400,
        // Does not parse, does not validate, no such operation, variables, limits.
        (Some(Kind::Request), Media::Graphql) => 400,
        (Some(Kind::Request), Media::Json) => 200,
    }
}

impl Media {
    /// The media type that a client wants; `None` if it wants another one.
    pub(super) fn of(request: &Received) -> Option<Self> {
        let values: Vec<_> = request.header("accept").collect();
        if values.is_empty() {
            return Some(Self::Json);
        }
        let mut best: Option<(u32, Self)> = None;
        for value in values {
            let text = String::from_utf8_lossy(value);
            for range in text.split(',') {
                let media = match media_type(range).as_str() {
                    "application/graphql-response+json" => Self::Graphql,
                    "application/json" | "application/*" | "*/*" => Self::Json,
                    _ => continue,
                };
                let quality = quality(range);
                if quality > 0 && best.is_none_or(|(other, _)| quality > other) {
                    best = Some((quality, media));
                }
            }
        }
        best.map(|(_, media)| media)
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Graphql => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        }
    }

    /// The answer to a request that is not executed.
    pub(super) fn refusal(self, refusal: &Refusal) -> Whole {
        let body = json!({"errors": refusal.listed()}).to_string();
        self.whole(status(self, Some(refusal.kind)), body, UNSHARED)
    }

    /// The answer to a request that was executed.
    pub(super) fn executed(self, data: &str, errors: &[Value], extensions: Option<&Value>, cache: &str) -> Whole {
        let mut body = String::with_capacity(data.len().saturating_add(FRAME));
        body.push('{');
        if !errors.is_empty() {
            body.push_str("\"errors\":");
            body.push_str(&json!(errors).to_string());
            body.push(',');
        }
        body.push_str("\"data\":");
        body.push_str(data);
        if let Some(extensions) = extensions {
            body.push_str(",\"extensions\":");
            body.push_str(&extensions.to_string());
        }
        body.push('}');
        self.whole(status(self, None), body, cache)
    }

    fn whole(self, status: u16, body: String, cache: &str) -> Whole {
        let status = status.to_string();
        let headers = [
            (":status", status.as_str()),
            ("content-type", self.content_type()),
            ("cache-control", cache),
            ("vary", "accept"),
        ];
        Whole {
            headers: headers.into_iter().collect(),
            body: body.into_bytes(),
        }
    }
}

/// The weight of a media range, in thousandths (RFC 9110 section 12.4.2).
fn quality(range: &str) -> u32 {
    let parameters = range.split(';').skip(1);
    let weight = parameters.filter_map(|parameter| parameter.trim().strip_prefix("q="));
    let weight = weight
        .map(|weight| weight.parse::<f64>().unwrap_or(0.0))
        .next()
        .unwrap_or(1.0);
    // It is from 0 to 1000.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::as_conversions)]
    let thousandths = (weight.clamp(0.0, 1.0) * 1000.0) as u32;
    thousandths
}

/// Checks the content type of a POST. Others than JSON could be sent by a page of another site without asking.
pub(super) fn check_content_type(request: &Received) -> Result<(), Denial> {
    let types: Vec<_> = request.header("content-type").collect();
    let is_json = matches!(types.as_slice(), [only] if std::str::from_utf8(only).is_ok_and(|only| media_type(only) == "application/json"));
    match is_json {
        true => Ok(()),
        false => Err(Denial::new(DenialKind::UnsupportedMediaType, "body_of_other_type")),
    }
}

impl Asked {
    /// Reads the body of a POST.
    pub(super) fn from_body(body: &[u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(body).map_err(|_| Refusal::malformed("The body is not UTF-8."))?;
        if let Err(error) = json::check(body) {
            return Err(Refusal::malformed(format!("The body is not JSON: {error}.")));
        }
        let mut node = Node::Text(text.trim());
        if node.items().is_some() {
            return Err(Refusal::malformed("Batches of requests are not supported."));
        }
        if node.members().is_none() {
            return Err(Refusal::malformed("The body is not a JSON object."));
        }
        let mut member = |name: &str| node.member(name).map(|value| value.to_string());
        let text = |name: &str, value: Option<String>| match value.as_deref() {
            None | Some("null") => Ok(None),
            Some(value) => serde_json::from_str::<String>(value)
                .map(Some)
                .map_err(|_| Refusal::malformed(format!("\"{name}\" is not a string."))),
        };
        let mut asked = Self {
            query: text("query", member("query"))?,
            operation: text("operationName", member("operationName"))?,
            variables: map("variables", member("variables"))?,
            id: text("documentId", member("documentId"))?,
        };
        asked.add_hash(map("extensions", member("extensions"))?)?;
        asked.checked()
    }

    /// Reads the query parameters of a GET.
    pub(super) fn from_query(query: &str) -> Result<Self, Refusal> {
        let mut members: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let is_known = NAMES.contains(&name.as_ref());
            if is_known && members.iter().any(|(own, _)| *own == name) {
                return Err(Refusal::malformed(format!("\"{name}\" is there twice.")));
            }
            if is_known {
                members.push((name.into_owned(), value.into_owned()));
            }
        }
        let mut member = |name: &str| {
            let place = members.iter().position(|(own, _)| own == name)?;
            Some(members.swap_remove(place).1).filter(|value| !value.is_empty())
        };
        let mut asked = Self {
            query: member("query"),
            operation: member("operationName"),
            variables: map("variables", checked("variables", member("variables"))?)?,
            id: member("documentId"),
        };
        asked.add_hash(map("extensions", checked("extensions", member("extensions"))?)?)?;
        asked.checked()
    }

    /// Takes the hash of a known operation from `extensions`, as Apollo's clients send it.
    fn add_hash(&mut self, extensions: Option<String>) -> Result<(), Refusal> {
        let Some(extensions) = extensions else { return Ok(()) };
        let mut node = Node::Text(&extensions);
        let Some(persisted) = node.member("persistedQuery") else {
            return Ok(());
        };
        let hash = persisted.member("sha256Hash").map(|hash| hash.to_string());
        let hash: Option<String> = hash.and_then(|hash| serde_json::from_str(&hash).ok());
        let hash = hash.ok_or_else(|| Refusal::malformed("\"extensions.persistedQuery\" has no \"sha256Hash\"."))?;
        self.id.get_or_insert(format!("sha256:{hash}"));
        Ok(())
    }

    fn checked(self) -> Result<Self, Refusal> {
        match self.query.is_none() && self.id.is_none() {
            true => Err(Refusal::malformed("There is no \"query\".")),
            false => Ok(self),
        }
    }
}

/// A parameter's text, which must be JSON.
fn checked(name: &str, text: Option<String>) -> Result<Option<String>, Refusal> {
    match text.as_ref().is_none_or(|text| json::check(text.as_bytes()).is_ok()) {
        true => Ok(text),
        false => Err(no_map(name)),
    }
}

/// The text of a map; `None` if it is absent or null.
fn map(name: &str, json: Option<String>) -> Result<Option<String>, Refusal> {
    let text = json.as_deref().map(str::trim).filter(|text| *text != "null");
    match text {
        Some(text) if !text.starts_with('{') => Err(no_map(name)),
        text => Ok(text.map(str::to_owned)),
    }
}

fn no_map(name: &str) -> Refusal {
    Refusal::malformed(format!("\"{name}\" is not a JSON object."))
}

/// The parameters of a request.
const NAMES: [&str; 5] = ["query", "operationName", "variables", "extensions", "documentId"];

const FRAME: usize = 64;
