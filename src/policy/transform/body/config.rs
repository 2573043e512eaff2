//! The configuration of changes of JSON bodies.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::config::{Kind, StatusPattern};
use super::form::Convert;
use crate::config::values;
use crate::http::edits::Edit;
use crate::json::{Path, Segment};
use crate::message::body::{MOST_HELD, OnFault};
use crate::template::{Content, Source, Template};

/// Changes of a JSON body. They run in the order of this list, each on the result of the previous ones.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct BodyConfig {
    /// Conversion of the format: `form_to_json` or `json_to_form`. The other changes apply to the JSON.
    #[serde(deserialize_with = "values::present")]
    pub convert: Option<Convert>,
    /// Replaces the body by the value at this path, if it exists.
    #[serde(deserialize_with = "values::present")]
    pub unwrap: Option<Path>,
    /// Keeps only these paths.
    #[serde(deserialize_with = "values::present")]
    pub keep: Option<Vec<Path>>,
    /// Keeps only one of several lists of paths.
    #[serde(deserialize_with = "values::present")]
    pub mask: Option<MaskConfig>,
    /// Removes these paths.
    pub remove: Vec<Path>,
    /// Renames members in place: `user.id: uid`.
    pub rename: BTreeMap<Path, String>,
    /// Moves members: `user.address.city: city`. Both paths must have the same `[*]`, if any.
    pub r#move: BTreeMap<Path, Path>,
    /// Replaces existing values.
    pub replace: BTreeMap<Path, Content>,
    /// Sets values, whether or not they exist.
    pub set: BTreeMap<Path, Content>,
    /// Sets values that do not exist.
    pub add: BTreeMap<Path, Content>,
    /// Appends items to arrays; another value becomes an array first.
    pub append: BTreeMap<Path, Content>,
    /// Wraps the body in an object as the only member, with this name.
    #[serde(deserialize_with = "values::present")]
    pub wrap: Option<String>,
    /// For responses: the statuses whose body changes. Default `[2xx]`.
    #[serde(deserialize_with = "values::present")]
    pub statuses: Option<Vec<StatusPattern>>,
    /// Maximum size of the body, in bytes. Default 1048576.
    #[serde(deserialize_with = "values::integer_if_present")]
    pub max_bytes: Option<u64>,
    /// What to do with a body that is larger, compressed, or not JSON: `deny` (default) or `pass`.
    pub on_fault: OnFault,
}

/// Lists of paths to keep, and the choice between them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct MaskConfig {
    /// The name of the list, made from the request: `{headers.x-client}`, `{identity.plan}`.
    pub by: Template,
    /// The lists, by name: paths, or `all`.
    pub shapes: BTreeMap<String, Shape>,
    /// The name of the list to use if `by` names none.
    pub default: String,
}

/// A list of paths to keep.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a list of paths, or `all`")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Shape {
    /// Keep everything.
    All(All),
    /// Keep these paths.
    Only(Vec<Path>),
}

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum All {
    /// `all`.
    All,
}

impl BodyConfig {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        let Self {
            convert,
            unwrap,
            keep,
            mask,
            remove,
            rename,
            r#move,
            wrap,
            ..
        } = self;
        convert.is_none()
            && unwrap.is_none()
            && keep.is_none()
            && mask.is_none()
            && remove.is_empty()
            && rename.is_empty()
            && r#move.is_empty()
            && wrap.is_none()
            && self.contents().next().is_none()
    }

    pub(super) fn contents(&self) -> impl Iterator<Item = (Kind, &Path, &Content)> {
        Kind::each([&self.replace, &self.set, &self.add, &self.append])
    }

    /// Every template, with the path of its setting.
    pub fn templates(&self) -> impl Iterator<Item = (String, &Template)> {
        let contents = self.contents().flat_map(|(kind, path, content)| {
            let at = format!("{kind}.{path}");
            content
                .templates()
                .into_iter()
                .map(move |template| (at.clone(), template))
        });
        let mask = self.mask.iter().map(|mask| ("mask.by".to_owned(), &mask.by));
        contents.chain(mask)
    }

    /// The edits of `vary`, for caches, if headers of the request choose the mask (RFC 9110 section 12.5.5).
    pub fn varies_by(&self) -> Vec<Edit> {
        let sources = self.mask.iter().flat_map(|mask| mask.by.sources());
        let names = sources.filter_map(|source| match source {
            Source::Header(name) => Some(Edit::Append("vary".into(), name.as_str().as_bytes().to_vec())),
            _ => None,
        });
        names.collect()
    }

    /// All errors, each with the path of its setting.
    pub fn mistakes(&self) -> Vec<(String, String)> {
        let mut mistakes = Vec::new();
        let mut say = |at: String, what: &str| mistakes.push((at, what.to_owned()));
        if let Some(mask) = &self.mask
            && !mask.shapes.contains_key(&mask.default)
        {
            say("mask.default".into(), "names none of the `shapes`");
        }
        if self.keep.is_some() && self.mask.is_some() {
            say("mask".into(), "excludes `keep`; remove one of them");
        }
        if let Some(path) = &self.unwrap
            && path.segments().contains(&Segment::Items)
        {
            say("unwrap".into(), "must name one value, without `[*]`");
        }
        for path in self.rename.keys() {
            if path.segments().last() == Some(&Segment::Items) {
                say(format!("rename.{path}"), "must end at a member");
            }
        }
        for (kind, path, _) in self.contents() {
            if path.segments().last() == Some(&Segment::Items) && kind != Kind::Replace {
                say(
                    format!("{kind}.{path}"),
                    "must end at a member; only `replace` allows items",
                );
            }
        }
        for (from, to) in &self.r#move {
            let ((items, from_names), (to_items, to_names)) = (from.split_items(), to.split_items());
            if items != to_items || from_names.is_empty() || to_names.is_empty() {
                say(
                    format!("move.{from}"),
                    "must go to a path with the same `[*]`, and both must end at a member",
                );
            } else if to.is_within(from) {
                say(format!("move.{from}"), "cannot go into itself");
            }
        }
        if self.convert.is_some() && self.on_fault == OnFault::Pass {
            say(
                "on_fault".into(),
                "must be `deny` with `convert`: the new content type is sent before the body",
            );
        }
        if self.max_bytes.is_some_and(|bytes| !(1..=MOST_HELD).contains(&bytes)) {
            say("max_bytes".into(), &format!("must be from 1 to {MOST_HELD}"));
        }
        mistakes
    }
}
