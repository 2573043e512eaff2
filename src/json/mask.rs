//! A mask for documents: an allow-list of paths.

use super::path::{Path, Segment};
use super::tree::Node;

/// The parts of a value to keep. Everything else is removed, and so is a value of another type than a path expects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask {
    /// Whether to keep the whole value.
    whole: bool,
    members: Vec<(String, Mask)>,
    items: Option<Box<Mask>>,
}

impl Mask {
    /// A mask that keeps what these paths name.
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        let mut mask = Self::default();
        for path in paths {
            mask.add(path.segments());
        }
        mask
    }

    fn add(&mut self, path: &[Segment]) {
        let Some((first, rest)) = path.split_first() else {
            self.whole = true;
            return;
        };
        let within = match first {
            Segment::Items => self.items.get_or_insert_default(),
            Segment::Member(name) => {
                let place = self.members.iter().position(|(own, _)| *own == name.plain);
                let place = place.unwrap_or_else(|| {
                    self.members.push((name.plain.clone(), Self::default()));
                    self.members.len().saturating_sub(1)
                });
                match self.members.get_mut(place) {
                    Some((_, mask)) => mask,
                    None => return,
                }
            }
        };
        within.add(rest);
    }

    /// Removes everything else from a value. `false` if the value itself must be removed.
    pub fn apply(&self, value: &mut Node<'_>) -> bool {
        if self.whole {
            return true;
        }
        if !self.members.is_empty()
            && let Some(members) = value.members()
        {
            members.retain_mut(|member| {
                let mut masks = self.members.iter();
                let mask = masks.find(|(name, _)| member.is_named(name));
                mask.is_some_and(|(_, mask)| mask.apply(&mut member.value))
            });
            return true;
        }
        if let Some(mask) = &self.items
            && let Some(items) = value.items()
        {
            items.retain_mut(|item| mask.apply(item));
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(paths: &[&str], text: &str) -> String {
        let paths: Vec<_> = paths.iter().map(|path| Path::parse(path).unwrap()).collect();
        let mut document = Node::parse(text.as_bytes()).unwrap();
        match Mask::new(&paths).apply(&mut document) {
            true => document.to_string(),
            false => "nothing".into(),
        }
    }

    #[test]
    fn only_what_is_named_stays() {
        let text = r#"{"id":1, "user":{"name":"a","mail":"b"},"items":[{"id":1.0,"cost":2},{"id":3}],"x":null}"#;
        assert_eq!(kept(&["id"], text), r#"{"id":1}"#);
        assert_eq!(kept(&["x", "id"], text), r#"{"id":1,"x":null}"#, "in its own order");
        assert_eq!(
            kept(&["user.name", "items[*].id"], text),
            r#"{"user":{"name":"a"},"items":[{"id":1.0},{"id":3}]}"#
        );
        assert_eq!(
            kept(&["user", "user.name"], text),
            r#"{"user":{"name":"a","mail":"b"}}"#
        );
        assert_eq!(kept(&["none"], text), "{}");
        assert_eq!(kept(&["[*].id"], r#"[{"id":1,"a":2},3,{"a":4}]"#), r#"[{"id":1},{}]"#);
    }

    #[test]
    fn what_has_another_shape_than_is_named_goes() {
        assert_eq!(kept(&["user.name"], r#"{"user":"secret"}"#), "{}");
        assert_eq!(kept(&["user.name"], r#"{"user":[{"name":1}]}"#), "{}");
        assert_eq!(kept(&["user[*].name"], r#"{"user":{"name":1}}"#), "{}");
        assert_eq!(kept(&["a"], "[1]"), "nothing");
        assert_eq!(kept(&["a"], "\"a\""), "nothing");
        assert_eq!(kept(&[], r#"{"a":1}"#), "nothing");
    }

    #[test]
    fn a_name_is_the_same_however_it_is_written() {
        assert_eq!(kept(&["a"], r#"{"\u0061":1,"b":2,"a":3}"#), r#"{"\u0061":1,"a":3}"#);
        assert_eq!(kept(&[r#"["\"é"]"#], r#"{"\"\u00e9":1,"x":2}"#), r#"{"\"\u00e9":1}"#);
    }
}
