//! Arguments: values for the templates of parts, within bounds.

use super::config::{ArgumentConfig, Bounds};
use crate::denial::{Denial, DenialKind, Failure, Location};
use crate::policy::parts::Given;
use crate::template::{Content, Data, Lookup, Missing, Scope, Source, Template};

/// A compiled argument.
#[derive(Debug)]
pub(super) enum Argument {
    Plain(Content),
    Bounded(Template, Bounds),
}

/// The values for the templates of arguments: those of the request's body.
#[derive(Debug)]
struct OfRequest<'a>(Given<'a>);

impl From<&ArgumentConfig> for Argument {
    fn from(config: &ArgumentConfig) -> Self {
        match config {
            ArgumentConfig::Plain(content) => Self::Plain(content.clone()),
            ArgumentConfig::Bounded(template, bounds) => Self::Bounded(template.clone(), bounds.clone()),
        }
    }
}

impl Argument {
    /// The templates that it is made from.
    pub(super) fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Plain(content) => content.templates(),
            Self::Bounded(template, _) => vec![template],
        }
    }
}

impl Lookup for OfRequest<'_> {
    fn json(&self, data: &Data) -> Option<String> {
        self.0.json(data)
    }
}

/// The values of arguments as JSON, by name. `Err` if one is out of bounds.
pub(super) fn read(arguments: &[(String, Argument)], given: Given<'_>) -> Result<Vec<(String, String)>, Denial> {
    let values = OfRequest(given);
    let scope = given.scope(&values);
    let mut read = Vec::with_capacity(arguments.len());
    let mut failures = Vec::new();
    for (name, argument) in arguments {
        match argument {
            Argument::Plain(content) => {
                let mut json = String::new();
                content.write(scope, Missing::IsNull, &mut json);
                read.push((name.clone(), json));
            }
            Argument::Bounded(template, bounds) => match bounded(template, bounds, scope) {
                Ok(json) => read.push((name.clone(), json)),
                Err(detail) => failures.push(Failure {
                    location: place(name, template),
                    detail,
                }),
            },
        }
    }
    if failures.is_empty() {
        return Ok(read);
    }
    Err(Denial {
        failures,
        ..Denial::new(DenialKind::ValidationFailed, "argument")
    })
}

/// The value as JSON; `null` if it is absent. `Err` says what would be right.
fn bounded(template: &Template, bounds: &Bounds, scope: Scope<'_>) -> Result<String, String> {
    let Some(text) = template.text(scope) else {
        return Ok("null".into());
    };
    bounds.check(&text)
}

/// Where the client has sent the value.
fn place(name: &str, template: &Template) -> Location {
    match template.sources().next() {
        Some(Source::Header(name)) => Location::Header(name.as_str().to_owned()),
        Some(Source::Query(name)) => Location::Parameter(name.clone()),
        Some(Source::Data(Data::Body(Some(path)))) => {
            let path = path.as_ref().replace('~', "~0").replace('/', "~1").replace('.', "/");
            Location::Body(format!("/{path}"))
        }
        _ => Location::Parameter(name.to_owned()),
    }
}
