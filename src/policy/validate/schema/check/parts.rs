//! Arrays and objects, taken apart as they are read.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Checker;
use super::place::{At, Step};
use super::text::Text;
use crate::policy::validate::schema::{Object, Rule};

/// An array, item by item; how many there are.
pub(super) struct Items<'c, 'r> {
    pub(super) checker: &'c mut Checker<'r>,
    pub(super) rule: Option<&'r Rule>,
    pub(super) at: &'c At<'c>,
    pub(super) depth: usize,
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = usize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<usize, A::Error> {
        let mut count = 0_usize;
        while let Some(item) = sequence.next_element::<&RawValue>()? {
            if let Some(rule) = self.rule {
                let at = At {
                    within: Some(self.at),
                    step: Step::Item(count),
                };
                self.checker.value(rule, item.get(), &at, self.depth);
            }
            count = count.saturating_add(1);
        }
        Ok(count)
    }
}

/// The names of an object, which are crossed off a list in order; how many there are.
pub(super) struct Names<'c, 'r>(pub(super) &'c mut Vec<&'r String>);

impl<'de> Visitor<'de> for Names<'_, '_> {
    type Value = usize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
        let mut count = 0_usize;
        while let Some((Text(name), IgnoredAny)) = map.next_entry()? {
            if let Ok(place) = self.0.binary_search_by(|own| own.as_str().cmp(&name)) {
                self.0.remove(place);
            }
            count = count.saturating_add(1);
        }
        Ok(count)
    }
}

/// An object, member by member.
pub(super) struct Members<'c, 'r> {
    pub(super) checker: &'c mut Checker<'r>,
    pub(super) rule: &'r Object,
    pub(super) at: &'c At<'c>,
    pub(super) depth: usize,
}

impl<'de> Visitor<'de> for Members<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((Text(name), value)) = map.next_entry::<_, &RawValue>()? {
            let own = self.rule.properties.get(name.as_ref());
            if let Some(rule) = own.or(self.rule.additional.as_deref()) {
                let at = At {
                    within: Some(self.at),
                    step: Step::Member(&name),
                };
                self.checker.value(rule, value.get(), &at, self.depth);
            }
        }
        Ok(())
    }
}
