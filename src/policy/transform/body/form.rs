//! Conversion of forms to JSON and back (`application/x-www-form-urlencoded` of the URL standard).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// A conversion of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Convert {
    /// From a form to JSON: an object of strings; a repeated name becomes an array of strings.
    FormToJson,
    /// From JSON to a form: each item of an array becomes a pair of its name; other values than strings become JSON
    /// text.
    JsonToForm,
}

impl Convert {
    /// The media type of the result.
    pub fn writes(self) -> &'static str {
        match self {
            Self::FormToJson => JSON,
            Self::JsonToForm => FORM,
        }
    }
}

/// Converts a form to JSON, with its names in the order of their first pair.
pub(super) fn to_json(form: &[u8]) -> String {
    let mut names: Vec<String> = Vec::new();
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(form) {
        let own = values.entry(name.clone().into_owned()).or_default();
        if own.is_empty() {
            names.push(name.into_owned());
        }
        own.push(value.into_owned());
    }
    let members = names.into_iter().filter_map(|name| {
        let mut own = values.remove(&name)?;
        let value = match own.len() {
            1 => Value::from(own.pop()?),
            _ => Value::from(own),
        };
        Some(format!("{}:{value}", Value::from(name)))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// Converts a JSON object to a form; `None` if the text is not an object.
pub(super) fn of_json(text: &str) -> Option<String> {
    let members: Map<String, Value> = serde_json::from_str(text).ok()?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &members {
        let items = match value {
            Value::Array(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        for item in items {
            match item {
                Value::String(text) => form.append_pair(name, text),
                other => form.append_pair(name, &other.to_string()),
            };
        }
    }
    Some(form.finish())
}

/// The media type of forms.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_become_objects() {
        for (form, json) in [
            ("", "{}"),
            ("b=1&a=%41+%2B&b=2", r#"{"b":["1","2"],"a":"A +"}"#),
            ("a&=x&é=%22", r#"{"a":"","":"x","é":"\""}"#),
        ] {
            assert_eq!(to_json(form.as_bytes()), json);
        }
    }

    #[test]
    fn objects_become_forms() {
        for (json, form) in [
            ("{}", Some("")),
            (
                r#"{"a":"A +","b":[1,"2",null],"c":{"d":[]},"e":true}"#,
                Some("a=A+%2B&b=1&b=2&b=null&c=%7B%22d%22%3A%5B%5D%7D&e=true"),
            ),
            ("[1]", None),
            ("1", None),
        ] {
            assert_eq!(of_json(json).as_deref(), form);
        }
    }

    proptest! {
        #[test]
        fn a_form_comes_back_as_it_was_meant(pairs in proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..5)) {
            let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
            let back = of_json(&to_json(form.as_bytes())).unwrap();
            let back: BTreeMap<String, String> = form_urlencoded::parse(back.as_bytes()).into_owned().collect();
            prop_assert_eq!(back, pairs);
        }
    }
}
