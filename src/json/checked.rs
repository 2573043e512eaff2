//! Checks of JSON text without building a tree, for documents of any size.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::strict::MAX_DEPTH;

/// Checks a JSON text as [`parse`](super::parse) does, storing only the member names of the objects that are open.
pub fn check(text: &[u8]) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Checked { depth: MAX_DEPTH }.deserialize(&mut deserializer)?;
    deserializer.end()
}

#[derive(Clone, Copy)]
struct Checked {
    depth: u8,
}

impl Checked {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        depth
            .map(|depth| Self { depth })
            .ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match value.is_finite() {
            true => Ok(()),
            false => Err(E::custom("not a finite number")),
        }
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let seed = self.deeper()?;
        while items.next_element_seed(seed)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let seed = self.deeper()?;
        let mut names = Names::default();
        while let Some(name) = members.next_key::<Name<'_>>()? {
            names.push(name);
            members.next_value_seed(seed)?;
        }
        match names.has_twins() {
            false => Ok(()),
            true => Err(A::Error::custom("duplicate member")),
        }
    }
}

/// The member names of an object: slices of the text, and decoded copies of names with escapes.
#[derive(Default)]
struct Names<'a> {
    plain: Vec<&'a str>,
    escaped: Vec<Box<str>>,
}

enum Name<'a> {
    Plain(&'a str),
    Escaped(Box<str>),
}

impl<'a> Names<'a> {
    fn push(&mut self, name: Name<'a>) {
        match name {
            Name::Plain(name) => {
                // Doubling the capacity would need three times the memory while it copies.
                if self.plain.len() == self.plain.capacity() {
                    self.plain.reserve_exact((self.plain.len() / 4).max(LEAST));
                }
                self.plain.push(name);
            }
            Name::Escaped(name) => self.escaped.push(name),
        }
    }

    fn has_twins(mut self) -> bool {
        self.plain.sort_unstable();
        self.escaped.sort_unstable();
        let (plain, escaped) = (&self.plain, &self.escaped);
        let are_twins = |pair: &[&str]| pair.first() == pair.last();
        plain.windows(2).any(are_twins)
            || escaped.windows(2).any(|pair| pair.first() == pair.last())
            || escaped.iter().any(|name| plain.binary_search(&name.as_ref()).is_ok())
    }
}

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name::Plain(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name::Escaped(name.into()))
    }
}

/// The first capacity of the list of names.
const LEAST: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn duplicates_are_found_however_they_are_written() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"\u0061":1,"b":2,"a":1}"#,
            r#"{"\u0061":1,"\u0061":1}"#,
            r#"[{"b":{"":0,"":0}}]"#,
        ] {
            assert!(check(text.as_bytes()).is_err(), "{text}");
        }
        for text in [
            r#"{"a":1,"A":1,"aa":1,"":1}"#,
            r#"{"a":{"a":{}}}"#,
            r#"[{"a":1},{"a":1}]"#,
        ] {
            assert!(check(text.as_bytes()).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_parser_that_keeps_all(text in r#"[\[\]{}:,"\\u01ab.e+ \-nultrefs]{0,40}"#) {
            prop_assert_eq!(check(text.as_bytes()).is_ok(), parse(text.as_bytes()).is_ok(), "{}", text);
        }

        #[test]
        fn and_on_documents(names in proptest::collection::vec("(a|b|\\\\u0061|\\\\n|é){0,2}", 0..6), deep in 28usize..36) {
            let members: Vec<_> = names.iter().map(|name| format!("\"{name}\":[{{}}]")).collect();
            let text = format!("{}{{{}}}{}", "[".repeat(deep), members.join(","), "]".repeat(deep));
            prop_assert_eq!(check(text.as_bytes()).is_ok(), parse(text.as_bytes()).is_ok(), "{}", text);
        }
    }
}
