//! Documents that need not be parsed: those of the configuration, and those that a worker has parsed before.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::bound::Bound;
use super::document::Document;
use super::fault::Refusal;
use super::http::Asked;
use crate::seam::{Context, Local};

/// The documents of one rule.
#[derive(Debug)]
pub(super) struct Known {
    /// Those of the configuration, by id.
    pub(super) listed: BTreeMap<String, Arc<Document>>,
    /// Whether there are no others.
    pub(super) only: bool,
    parsed: Local<RefCell<Parsed>>,
}

/// The documents that a worker has parsed, the newest last.
#[derive(Debug, Default)]
struct Parsed {
    by_text: HashMap<Arc<str>, Arc<Document>>,
    order: VecDeque<Arc<str>>,
    bytes: usize,
}

impl Known {
    pub(super) fn new(listed: BTreeMap<String, Arc<Document>>, only: bool) -> Self {
        Self {
            listed,
            only,
            parsed: Local::default(),
        }
    }

    /// The document of a request.
    pub(super) fn find(&self, bound: &Bound, asked: &Asked, cx: &Context<'_>) -> Result<Arc<Document>, Refusal> {
        if let Some(document) = asked.id.as_ref().and_then(|id| self.listed.get(id)) {
            return Ok(Arc::clone(document));
        }
        let Some(text) = &asked.query else {
            return Err(Refusal::new(
                "PERSISTED_QUERY_NOT_FOUND",
                "There is no operation of this id.",
            ));
        };
        if self.only {
            return Err(Refusal::new(
                "OPERATION_NOT_ALLOWED",
                "Only listed operations are allowed here.",
            ));
        }
        let parsed = cx.local(&self.parsed);
        if let Some(document) = parsed.borrow().by_text.get(text.as_str()) {
            return Ok(Arc::clone(document));
        }
        let document = Arc::new(Document::parse(bound, text)?);
        parsed.borrow_mut().keep(text, &document);
        Ok(document)
    }
}

impl Parsed {
    fn keep(&mut self, text: &str, document: &Arc<Document>) {
        if text.len() > LONGEST {
            return;
        }
        while self.order.len() >= MOST || self.bytes.saturating_add(text.len()) > MOST_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            self.by_text.remove(&oldest);
            self.bytes = self.bytes.saturating_sub(oldest.len());
        }
        let text: Arc<str> = text.into();
        self.bytes = self.bytes.saturating_add(text.len());
        self.order.push_back(Arc::clone(&text));
        self.by_text.insert(text, Arc::clone(document));
    }
}

/// The number of documents that a worker keeps.
const MOST: usize = 256;

/// The texts that a worker keeps, in bytes: what is parsed of them takes some ten times as much.
const MOST_BYTES: usize = 512 << 10;

/// The longest text that is kept, in bytes.
const LONGEST: usize = 16 << 10;
