//! Changes of header fields, in the order that the configuration promises: remove, rename, replace, set, add, append.

use std::collections::BTreeMap;

/// One change. Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// No value of it is left.
    Remove(String),
    /// Its values go to another name, whose own are lost; nothing where there are none.
    Rename(String, String),
    /// The one value of what is there.
    Replace(String, Vec<u8>),
    /// The one value, whether or not it was there.
    Set(String, Vec<u8>),
    /// The value of what is not there.
    Add(String, Vec<u8>),
    /// One more value.
    Append(String, Vec<u8>),
}

/// A field's values, each of its own line.
pub type Values = Vec<Vec<u8>>;

/// What the fields that have changed are after these changes. `read` tells what they are before.
pub fn apply<'a>(edits: impl IntoIterator<Item = &'a Edit>, read: impl Fn(&str) -> Values) -> Vec<(String, Values)> {
    let mut changed: BTreeMap<&str, Values> = BTreeMap::new();
    for edit in edits {
        let now = |name: &str| changed.get(name).cloned().unwrap_or_else(|| read(name));
        match edit {
            Edit::Remove(name) => {
                changed.insert(name, Values::new());
            }
            Edit::Rename(from, to) => {
                let values = now(from);
                if !values.is_empty() && from != to {
                    changed.insert(to, values);
                    changed.insert(from, Values::new());
                }
            }
            Edit::Replace(name, value) => {
                if !now(name).is_empty() {
                    changed.insert(name, vec![value.clone()]);
                }
            }
            Edit::Set(name, value) => {
                changed.insert(name, vec![value.clone()]);
            }
            Edit::Add(name, value) => {
                if now(name).is_empty() {
                    changed.insert(name, vec![value.clone()]);
                }
            }
            Edit::Append(name, value) => {
                let mut values = now(name);
                values.push(value.clone());
                changed.insert(name, values);
            }
        }
    }
    let differs = |(name, values): &(&str, Values)| *values != read(name);
    let changed = changed.into_iter().filter(differs);
    changed.map(|(name, values)| (name.to_owned(), values)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(edits: &[Edit], fields: &[(&str, &str)]) -> Vec<(String, Vec<String>)> {
        let read = |name: &str| {
            let own = fields.iter().filter(|(own, _)| *own == name);
            own.map(|(_, value)| value.as_bytes().to_vec()).collect()
        };
        let text = |values: Values| {
            values
                .into_iter()
                .map(|value| String::from_utf8(value).unwrap())
                .collect()
        };
        let changed = apply(edits, read).into_iter();
        changed.map(|(name, values)| (name, text(values))).collect()
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
