//! The answer of an aggregate: the document, or the refusal.

use std::cell::RefCell;
use std::fmt::Write as _;

use serde_json::Value;

use super::State;
use crate::denial::{Denial, DenialKind, More};
use crate::http::cache_control::UNSHARED;
use crate::json::{Node, Path};
use crate::message::request::{Answered, Request};
use crate::message::response::Whole;
use crate::policy::parts::{Failed, Given, PART_REFUSED, Run};
use crate::template::{Data, Lookup, Missing};

/// The parts of an answer, taken apart as far as templates look into them.
#[derive(Debug)]
struct Document<'a> {
    given: Given<'a>,
    nodes: Vec<(&'a str, RefCell<Node<'a>>)>,
    errors: String,
}

/// The refusal of an aggregate whose required part has failed.
pub(super) fn refuse(failure: Failed<'_>, run: &Run) -> Denial {
    let passed = failure.status.filter(|_| failure.passes);
    let kind = match passed {
        Some(_) => DenialKind::Own(&PART_REFUSED),
        None => DenialKind::Own(failure.outcome.refusal()),
    };
    let mut denial = Denial::new(kind, failure.outcome.code());
    denial.detail = Some(failure.part.into());
    let mut members = vec![("part", failure.part.into())];
    let done = run.done();
    if !done.is_empty() {
        members.push(("done", done.into()));
    }
    let status = passed;
    denial.more = Some(Box::new(More { status, members }));
    if kind.refusal().status == UNAVAILABLE {
        denial.headers.push(("retry-after", "1".into()));
    }
    denial
}

/// The answer when all parts are there.
pub(super) fn complete(state: &State, request: &Request, route: &str, varies: &[String]) -> Answered {
    let State {
        arguments, body, run, ..
    } = state;
    let given = Given {
        request,
        route,
        arguments,
        body: body.as_deref(),
    };
    let failed = run.failed();
    let text = write(state, given, &failed);
    let mut headers = vec![
        (":status", "200".to_owned()),
        ("content-type", "application/json".to_owned()),
        ("cache-control", UNSHARED.to_owned()),
    ];
    if !varies.is_empty() {
        headers.push(("vary", varies.join(", ")));
    }
    let mut told = Vec::new();
    if !failed.is_empty() {
        let parts = failed
            .iter()
            .map(|failed| format!("{};code={}", failed.part, failed.outcome.code()));
        told.push(("x-tollgate-incomplete", parts.collect::<Vec<_>>().join(", ")));
        told.push(("cache-control", UNSHARED.to_owned()));
    }
    let mut about = String::new();
    for failed in &failed {
        // Writing to a string cannot fail.
        let _ = write!(about, ":{}.{}", failed.part, failed.outcome.code());
    }
    Answered {
        response: Ok(Whole {
            headers: headers.iter().map(|(name, value)| (*name, value)).collect(),
            body: text.into_bytes(),
        }),
        told,
        about,
    }
}

fn write(state: &State, given: Given<'_>, failed: &[Failed<'_>]) -> String {
    let values = state.shape.units.0.iter().map(|unit| {
        let name = unit.part.name.as_str();
        (name, state.run.value(name))
    });
    let values: Vec<_> = values.collect();
    let nodes = values.iter().map(|(name, value)| {
        let text = value.as_deref().unwrap_or(NULL);
        (*name, RefCell::new(Node::Text(text)))
    });
    let document = Document {
        given,
        nodes: nodes.collect(),
        errors: errors(failed),
    };
    for (source, each, values) in state.run.joined() {
        if let (Some(name), Some(node)) = (&each.name, document.node(source))
            && let Some(items) = node.borrow_mut().at(each.array()).and_then(Node::items)
        {
            for (item, value) in items.iter_mut().zip(values) {
                item.put(name, Node::Text(value));
            }
        }
    }
    let mut text = String::new();
    state
        .shape
        .body
        .write(given.scope(&document), Missing::IsNull, &mut text);
    if state.shape.merge.is_empty() {
        return text;
    }
    let mut merged = Node::Object(Vec::new());
    for part in &state.shape.merge {
        if let Some(node) = document.node(part) {
            merged.merge(&mut node.borrow_mut());
        }
    }
    merged.merge(&mut Node::Text(&text));
    merged.to_string()
}

/// `{errors}`.
fn errors(failed: &[Failed<'_>]) -> String {
    let errors = failed.iter().map(|failed| {
        let status = failed.status.map(|status| ("status", Value::from(status)));
        let items = failed.items.map(|items| ("items", Value::from(items)));
        let own = [("part", failed.part.into()), ("code", failed.outcome.code().into())];
        let members = own.into_iter().chain(status).chain(items);
        Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect())
    });
    Value::from(errors.collect::<Vec<_>>()).to_string()
}

impl<'a> Document<'a> {
    fn node(&self, part: &str) -> Option<&RefCell<Node<'a>>> {
        let found = self.nodes.iter().find(|(name, _)| *name == part);
        found.map(|(_, node)| node)
    }
}

impl Lookup for Document<'_> {
    fn json(&self, data: &Data) -> Option<String> {
        let (name, path) = match data {
            Data::Part(name, path) => (name, path),
            Data::Errors => return Some(self.errors.clone()),
            _ => return self.given.json(data),
        };
        let mut node = self.node(name)?.borrow_mut();
        let found = node.at(path.as_ref().map(Path::segments).unwrap_or_default())?;
        Some(found.to_string()).filter(|json| json != NULL)
    }
}

const NULL: &str = "null";
const UNAVAILABLE: u16 = 503;
