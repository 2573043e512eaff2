//! What operators write about changes of JSON bodies.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::config::{Kind, StatusPattern};
use super::content::Content;
use super::form::Convert;
use crate::config::values;
use crate::http::edits::Edit;
use crate::json::{Path, Segment};
use crate::message::body::{MOST_HELD, OnFault};
use crate::template::{Source, Template};

/// Changes of a JSON body. They run in the order in which they stand here, each seeing what those before it have done.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct BodyConfig {
    /// Another format: `form_to_json` or `json_to_form`. The other changes are of the JSON.
    #[serde(deserialize_with = "values::present")]
    pub convert: Option<Convert>,
    /// The body becomes the value of this path, if it is there.
    #[serde(deserialize_with = "values::present")]
    pub unwrap: Option<Path>,
    /// Everything else is taken out.
    #[serde(deserialize_with = "values::present")]
    pub keep: Option<Vec<Path>>,
    /// One of several lists of what is kept.
    #[serde(deserialize_with = "values::present")]
    pub mask: Option<MaskConfig>,
    /// What is taken out.
    pub remove: Vec<Path>,
    /// Other names, in the same place: `user.id: uid`.
    pub rename: BTreeMap<Path, String>,
    /// Other places: `user.address.city: city`. Both have the same `[*]`, if any.
    pub r#move: BTreeMap<Path, Path>,
    /// Other values for what is there.
    pub replace: BTreeMap<Path, Content>,
    /// Values, whether or not they were there.
    pub set: BTreeMap<Path, Content>,
    /// Values for what is not there.
    pub add: BTreeMap<Path, Content>,
    /// Further items of arrays; what is no array becomes one.
    pub append: BTreeMap<Path, Content>,
    /// The body becomes the one member of an object, of this name.
    #[serde(deserialize_with = "values::present")]
    pub wrap: Option<String>,
    /// Of responses: those whose body changes. Default `[2xx]`.
    #[serde(deserialize_with = "values::present")]
    pub statuses: Option<Vec<StatusPattern>>,
    /// Bytes that are held at most. Default 1048576.
    #[serde(deserialize_with = "values::integer_if_present")]
    pub max_bytes: Option<u64>,
    /// What becomes of a body that is larger, compressed, or not JSON: `deny` (default) or `pass`.
    pub on_fault: OnFault,
}

/// Lists of what is kept, and which of them counts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct MaskConfig {
    /// What names the list, made from the request: `{headers.x-client}`, `{identity.plan}`.
    pub by: Template,
    /// The lists, by name: paths, or `all`.
    pub shapes: BTreeMap<String, Shape>,
    /// The name of the list that counts where `by` names none.
    pub default: String,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a list of paths, or `all`")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Shape {
    /// Everything.
    All(All),
    /// These.
    Only(Vec<Path>),
}

/// The word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum All {
    /// `all`
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

    /// Every template, with where it is written.
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

    /// What a response differs by, for caches, where a header of the request chooses the mask (RFC 9110 section 12.5.5).
    pub fn varies_by(&self) -> Vec<Edit> {
        let sources = self.mask.iter().flat_map(|mask| mask.by.sources());
        let names = sources.filter_map(|source| match source {
            Source::Header(name) => Some(Edit::Append("vary".into(), name.as_str().as_bytes().to_vec())),
            _ => None,
        });
        names.collect()
    }

    /// What is wrong with it, and where.
    pub fn mistakes(&self) -> Vec<(String, String)> {
        let mut mistakes = Vec::new();
        let mut say = |at: String, what: &str| mistakes.push((at, what.to_owned()));
        if let Some(mask) = &self.mask
            && !mask.shapes.contains_key(&mask.default)
        {
            say("mask.default".into(), "is the name of none of the `shapes`");
        }
        if self.keep.is_some() && self.mask.is_some() {
            say("mask".into(), "beside `keep`; keep one");
        }
        if let Some(path) = &self.unwrap
            && path.segments().contains(&Segment::Items)
        {
            say("unwrap".into(), "names one value, so it has no `[*]`");
        }
        for path in self.rename.keys() {
            if path.segments().last() == Some(&Segment::Items) {
                say(format!("rename.{path}"), "ends at a member, which has a name");
            }
        }
        for (kind, path, _) in self.contents() {
            if path.segments().last() == Some(&Segment::Items) && kind != Kind::Replace {
                say(format!("{kind}.{path}"), "ends at a member; `replace` takes items");
            }
        }
        for (from, to) in &self.r#move {
            let ((items, from_names), (to_items, to_names)) = (from.split_items(), to.split_items());
            if items != to_items || from_names.is_empty() || to_names.is_empty() {
                say(
                    format!("move.{from}"),
                    "goes to a place with the same `[*]`, and both end at a member",
                );
            } else if to.is_within(from) {
                say(format!("move.{from}"), "cannot go into itself");
            }
        }
        if self.convert.is_some() && self.on_fault == OnFault::Pass {
            say(
                "on_fault".into(),
                "is `deny` beside `convert`: the new content type goes ahead of the body",
            );
        }
        if self.max_bytes.is_some_and(|bytes| !(1..=MOST_HELD).contains(&bytes)) {
            say("max_bytes".into(), &format!("is from 1 to {MOST_HELD}"));
        }
        mistakes
    }
}
