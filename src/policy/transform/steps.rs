//! Compiled rules for headers or query parameters.

use std::sync::Arc;

use super::config::{Kind, Rules};
use crate::http::edits::Edit;
use crate::template::{Place, Scope, Template};

/// Rules, in the order in which they run.
#[derive(Debug, Clone)]
pub(super) struct Steps(Vec<Step>);

#[derive(Debug, Clone)]
enum Step {
    Remove(Arc<str>),
    Rename(Arc<str>, Arc<str>),
    Write(Kind, Arc<str>, Template),
}

impl Steps {
    pub(super) fn new<Name: Ord + AsRef<str>>(rules: &Rules<Name>) -> Self {
        let name = |name: &Name| Arc::from(name.as_ref());
        let removed = rules.remove.iter().map(|own| Step::Remove(name(own)));
        let renamed = rules.rename.iter().map(|(from, to)| Step::Rename(name(from), name(to)));
        let written = rules.templates();
        let written = written.map(|(kind, own, template)| Step::Write(kind, name(own), template.clone()));
        Self(removed.chain(renamed).chain(written).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The edits with the values of a request. Edits without a value are omitted.
    pub(super) fn edits<'a>(&'a self, place: Place, scope: Scope<'a>) -> impl Iterator<Item = Edit> + 'a {
        self.0.iter().filter_map(move |step| {
            Some(match step {
                Step::Remove(name) => Edit::Remove(Arc::clone(name)),
                Step::Rename(from, to) => Edit::Rename(Arc::clone(from), Arc::clone(to)),
                Step::Write(kind, name, template) => {
                    let (name, value) = (Arc::clone(name), template.render(place, scope)?);
                    match kind {
                        Kind::Replace => Edit::Replace(name, value),
                        Kind::Set => Edit::Set(name, value),
                        Kind::Add => Edit::Add(name, value),
                        Kind::Append => Edit::Append(name, value),
                    }
                }
            })
        })
    }
}
