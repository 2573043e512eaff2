//! Edits of header fields, in the documented order: remove, rename, replace, set, add, append.

use std::sync::Arc;

/// One edit. Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Removes all values.
    Remove(Arc<str>),
    /// Moves all values to another name in place of its own; no effect without values.
    Rename(Arc<str>, Arc<str>),
    /// Sets the only value if the field exists.
    Replace(Arc<str>, Vec<u8>),
    /// Sets the only value.
    Set(Arc<str>, Vec<u8>),
    /// Sets the only value if the field does not exist.
    Add(Arc<str>, Vec<u8>),
    /// Adds a value.
    Append(Arc<str>, Vec<u8>),
}

impl Edit {
    /// The field that it names first.
    fn name(&self) -> &Arc<str> {
        match self {
            Self::Remove(name)
            | Self::Rename(name, _)
            | Self::Replace(name, _)
            | Self::Set(name, _)
            | Self::Add(name, _)
            | Self::Append(name, _) => name,
        }
    }
}

/// A field's values, one for each line.
pub type Values = Vec<Vec<u8>>;

/// Applies edits. Returns the fields that differ afterwards, with their new values; `read` returns a field's old
/// values.
pub fn apply<'h>(
    edits: impl IntoIterator<Item = Edit>,
    read: impl Fn(&str) -> Vec<&'h [u8]>,
) -> Vec<(Arc<str>, Values)> {
    // Only fields that edits name, which are few. Each is read once.
    let mut fields: Vec<Field<'h>> = Vec::with_capacity(USUAL);
    let take = |fields: &mut Vec<Field<'h>>, name: Arc<str>| {
        let place = fields.iter().position(|field| field.name == name);
        let field = place.map(|place| fields.swap_remove(place));
        field.unwrap_or_else(|| Field {
            before: read(&name),
            name,
            now: None,
        })
    };
    for edit in edits {
        let mut field = take(&mut fields, Arc::clone(edit.name()));
        let is_empty = field.is_empty();
        match edit {
            Edit::Remove(_) => field.now = Some(Values::new()),
            Edit::Set(_, value) => field.now = Some(vec![value]),
            Edit::Replace(_, value) if !is_empty => field.now = Some(vec![value]),
            Edit::Add(_, value) if is_empty => field.now = Some(vec![value]),
            Edit::Append(_, value) => {
                let mut values = field.values();
                values.push(value);
                field.now = Some(values);
            }
            Edit::Rename(from, to) if !is_empty && from != to => {
                let mut new = take(&mut fields, to);
                new.now = Some(field.values());
                field.now = Some(Values::new());
                fields.push(new);
            }
            Edit::Rename(..) | Edit::Replace(..) | Edit::Add(..) => {}
        }
        fields.push(field);
    }
    let changed = fields.into_iter().filter_map(|field| {
        let Field { name, before, now } = field;
        let now = now.filter(|now| !now.iter().map(Vec::as_slice).eq(before))?;
        Some((name, now))
    });
    let mut changed: Vec<_> = changed.collect();
    changed.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    changed
}

/// A field that some edit names.
struct Field<'h> {
    name: Arc<str>,
    before: Vec<&'h [u8]>,
    /// The new values; `None` if unchanged.
    now: Option<Values>,
}

impl Field<'_> {
    fn is_empty(&self) -> bool {
        self.now.as_ref().map_or(self.before.is_empty(), Vec::is_empty)
    }

    fn values(&self) -> Values {
        let before = || self.before.iter().map(|value| value.to_vec()).collect();
        self.now.clone().unwrap_or_else(before)
    }
}

/// Changes the first item for which `is` holds, and removes the others; `false` if there is none.
pub fn change_one<T>(items: &mut Vec<T>, is: impl Fn(&T) -> bool, change: impl FnOnce(&mut T)) -> bool {
    let mut change = Some(change);
    items.retain_mut(|item| !is(item) || change.take().map(|change| change(item)).is_some());
    change.is_none()
}

/// The usual number of fields in a rule.
const USUAL: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(edits: &[Edit], fields: &[(&str, &str)]) -> Vec<(String, Vec<String>)> {
        let read = |name: &str| {
            let own = fields.iter().filter(|(own, _)| *own == name);
            own.map(|(_, value)| value.as_bytes()).collect()
        };
        let text = |values: Values| {
            values
                .into_iter()
                .map(|value| String::from_utf8(value).unwrap())
                .collect()
        };
        let changed = apply(edits.iter().cloned(), read).into_iter();
        changed.map(|(name, values)| (name.to_string(), text(values))).collect()
    }

    fn one(name: &str, values: &[&str]) -> Vec<(String, Vec<String>)> {
        vec![(name.into(), values.iter().map(ToString::to_string).collect())]
    }

    #[test]
    fn each_change_does_what_it_says() {
        let fields = &[("a", "1"), ("b", "2"), ("a", "3")];
        let value = || b"x".to_vec();
        assert_eq!(after(&[Edit::Remove("a".into())], fields), one("a", &[]));
        assert_eq!(after(&[Edit::Remove("c".into())], fields), []);
        let renamed = after(&[Edit::Rename("a".into(), "b".into())], fields);
        assert_eq!(renamed, [one("a", &[]), one("b", &["1", "3"])].concat());
        assert_eq!(after(&[Edit::Rename("c".into(), "b".into())], fields), []);
        assert_eq!(after(&[Edit::Rename("a".into(), "a".into())], fields), []);
        assert_eq!(after(&[Edit::Replace("a".into(), value())], fields), one("a", &["x"]));
        assert_eq!(after(&[Edit::Replace("c".into(), value())], fields), []);
        assert_eq!(after(&[Edit::Set("a".into(), value())], fields), one("a", &["x"]));
        assert_eq!(after(&[Edit::Set("c".into(), value())], fields), one("c", &["x"]));
        assert_eq!(after(&[Edit::Set("b".into(), b"2".to_vec())], fields), [], "as it was");
        assert_eq!(after(&[Edit::Add("a".into(), value())], fields), []);
        assert_eq!(after(&[Edit::Add("c".into(), value())], fields), one("c", &["x"]));
        assert_eq!(
            after(&[Edit::Append("a".into(), value())], fields),
            one("a", &["1", "3", "x"])
        );
        assert_eq!(after(&[Edit::Append("c".into(), value())], fields), one("c", &["x"]));
    }

    #[test]
    fn each_sees_what_those_before_it_have_done() {
        let edits = [
            Edit::Remove("a".into()),
            Edit::Rename("a".into(), "c".into()),
            Edit::Rename("b".into(), "a".into()),
            Edit::Add("b".into(), b"x".to_vec()),
            Edit::Append("b".into(), b"y".to_vec()),
        ];
        let expected = [one("a", &["2"]), one("b", &["x", "y"])].concat();
        assert_eq!(after(&edits, &[("a", "1"), ("b", "2")]), expected);
    }

    proptest! {
        #[test]
        fn nothing_changes_nothing(fields in proptest::collection::vec(("[a-c]", "[0-9]{0,2}"), 0..6)) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            prop_assert_eq!(after(&[], &fields), []);
        }
    }
}
