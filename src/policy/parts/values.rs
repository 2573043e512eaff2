//! The values that templates of parts name.

use super::run::Run;
use crate::json::{Node, Path, Segment};
use crate::message::request::Request;
use crate::template::{Data, Lookup, Scope};

/// What templates of parts can name besides the answers of others.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The request.
    pub request: &'a Request,
    /// The rule's name.
    pub route: &'a str,
    /// Arguments by name, as JSON.
    pub arguments: &'a [(String, String)],
    /// The request's body.
    pub body: Option<&'a str>,
}

/// The values of a run, for the templates of one call.
#[derive(Debug)]
pub struct Values<'a> {
    /// The answers of other parts, if there can be any.
    pub run: Option<&'a Run>,
    /// What they can name besides.
    pub given: Given<'a>,
    /// The item.
    pub item: Option<&'a str>,
    /// The keys of a batch, as a JSON array.
    pub keys: Option<&'a str>,
}

impl<'a> Given<'a> {
    /// The scope of a template with these values.
    pub fn scope(self, data: &'a dyn Lookup) -> Scope<'a> {
        Scope {
            request: self.request,
            route: self.route,
            captures: &[],
            data: Some(data),
        }
    }

    /// The values for a call that refers to no other part.
    pub const fn values<'b>(self, item: Option<&'b str>, keys: Option<&'b str>) -> Values<'b>
    where
        'a: 'b,
    {
        Values {
            run: None,
            given: self,
            item,
            keys,
        }
    }

    /// An argument, or a value in the body; `None` for other values.
    pub fn json(self, data: &Data) -> Option<String> {
        match data {
            Data::Argument(path) => {
                let (name, path) = path.split_first()?;
                let (_, json) = self.arguments.iter().find(|(own, _)| own == name)?;
                pick(json, path.as_ref())
            }
            Data::Body(path) => pick(self.body?, path.as_ref()),
            _ => None,
        }
    }
}

impl Lookup for Values<'_> {
    fn json(&self, data: &Data) -> Option<String> {
        match data {
            Data::Item(path) => pick(self.item?, path.as_ref()),
            Data::Keys => self.keys.map(str::to_owned),
            Data::Part(name, path) => pick(&self.run?.value(name)?, path.as_ref()),
            Data::Argument(_) | Data::Body(_) | Data::Errors => self.given.json(data),
        }
    }
}

/// A value in a JSON text; `None` if it is absent or `null`.
fn pick(text: &str, path: Option<&Path>) -> Option<String> {
    walk(text, path.map(Path::segments).unwrap_or_default())
}

/// The value at a path in a JSON text; `None` if it is absent or `null`.
pub(super) fn walk(text: &str, path: &[Segment]) -> Option<String> {
    let mut node = Node::Text(text);
    let found = node.at(path)?;
    Some(found.to_string()).filter(|json| json != "null")
}
