//! `answer`: the gateway's own answer.

use super::config::AnswerConfig;
use crate::config::Report;
use crate::message::response::Whole;

#[derive(Debug)]
pub(super) struct Answer(Whole);

impl Answer {
    pub(super) fn compile(config: &AnswerConfig, report: &mut Report) -> Self {
        if !(200..=599).contains(&config.status) {
            report.error_at("status", format!("{} is not a status from 200 to 599", config.status));
        }
        let (content_type, body) = match &config.body {
            serde_json::Value::Null => (None, String::new()),
            serde_json::Value::String(text) => (Some("text/plain; charset=utf-8"), text.clone()),
            other => (Some("application/json"), other.to_string()),
        };
        if !body.is_empty() && BODILESS.contains(&config.status) {
            report.error_at("body", format!("a response of {} has none", config.status));
        }
        for (name, value) in &config.headers {
            if !value.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control()) {
                report.error_at(format!("headers.{}", name.as_str()), "has a control character");
            }
        }
        let named = config
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let content_type = content_type.filter(|_| !named.clone().any(|(name, _)| name == "content-type"));
        let status = config.status.to_string();
        let fields = [(":status", status.as_str())].into_iter().chain(named);
        let fields = fields.chain(content_type.map(|content_type| ("content-type", content_type)));
        Self(Whole {
            headers: fields.collect(),
            body: body.into_bytes(),
        })
    }

    pub(super) fn response(&self) -> &Whole {
        &self.0
    }
}

/// Statuses of responses without a body.
const BODILESS: [u16; 3] = [204, 205, 304];
