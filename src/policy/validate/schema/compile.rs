//! From a schema as it is written to rules.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Number, Value};

use super::pattern::Pattern;
use super::{Format, Rule, Type, named};

/// The rules of a schema, that of the whole first.
pub(super) fn compile(schema: &Value) -> Result<Vec<Rule>, Vec<(String, String)>> {
    let mut compiler = Compiler {
        root: schema,
        references: BTreeMap::from([("#".to_owned(), 0)]),
        waiting: vec!["#".to_owned()],
        mistakes: Vec::new(),
    };
    let mut rules = Vec::new();
    while let Some(reference) = compiler.waiting.get(rules.len()).cloned() {
        let pointer = reference.trim_start_matches('#').to_owned();
        let rule = match schema.pointer(&pointer) {
            Some(schema) => compiler.rule(schema, &pointer),
            None => Rule::default(),
        };
        rules.push(rule);
    }
    if compiler.mistakes.is_empty() {
        Ok(rules)
    } else {
        Err(compiler.mistakes)
    }
}

struct Compiler<'a> {
    root: &'a Value,
    /// By what is written after `$ref`: the place among the rules.
    references: BTreeMap<String, usize>,
    /// References in the order of their places.
    waiting: Vec<String>,
    mistakes: Vec<(String, String)>,
}

impl Compiler<'_> {
    fn mistake(&mut self, pointer: &str, message: impl Into<String>) {
        self.mistakes.push((pointer.to_owned(), message.into()));
    }

    fn rule(&mut self, schema: &Value, pointer: &str) -> Rule {
        let mut rule = Rule::default();
        match schema {
            Value::Bool(allows) => rule.never = !allows,
            Value::Object(keywords) => {
                for (keyword, value) in keywords {
                    self.keyword(&mut rule, keyword, value, &format!("{pointer}/{}", escaped(keyword)));
                }
            }
            _ => self.mistake(pointer, "is not a schema, which is an object, `true` or `false`"),
        }
        rule
    }

    fn keyword(&mut self, rule: &mut Rule, keyword: &str, value: &Value, pointer: &str) {
        match keyword {
            "type" => rule.types = self.types(value, pointer),
            "const" => rule.allowed = Some(vec![value.clone()]),
            "enum" => match value {
                Value::Array(values) => rule.allowed = Some(values.clone()),
                _ => self.mistake(pointer, "is not a list"),
            },
            "$ref" => rule.reference = self.reference(value, pointer),
            "allOf" => rule.all_of = self.rules(value, pointer),
            "anyOf" => rule.any_of = self.rules(value, pointer),
            "oneOf" => rule.one_of = self.rules(value, pointer),
            "not" => rule.not = Some(Box::new(self.rule(value, pointer))),
            "minimum" => rule.numbers.minimum = self.number(value, pointer),
            "maximum" => rule.numbers.maximum = self.number(value, pointer),
            "exclusiveMinimum" => rule.numbers.exclusive_minimum = self.number(value, pointer),
            "exclusiveMaximum" => rule.numbers.exclusive_maximum = self.number(value, pointer),
            "multipleOf" => rule.numbers.multiple_of = self.positive(value, pointer),
            "minLength" => rule.text.min_length = self.count(value, pointer),
            "maxLength" => rule.text.max_length = self.count(value, pointer),
            "pattern" => rule.text.pattern = self.pattern(value, pointer),
            "format" => rule.text.format = self.format(value, pointer),
            "items" => rule.array.items = Some(Box::new(self.rule(value, pointer))),
            "minItems" => rule.array.min_items = self.count(value, pointer),
            "maxItems" => rule.array.max_items = self.count(value, pointer),
            "properties" => rule.object.properties = self.properties(value, pointer),
            "required" => rule.object.required = self.names(value, pointer),
            "additionalProperties" => rule.object.additional = Some(Box::new(self.rule(value, pointer))),
            "minProperties" => rule.object.min_properties = self.count(value, pointer),
            "maxProperties" => rule.object.max_properties = self.count(value, pointer),
            "$defs" | "definitions" => drop(self.object(value, pointer)),
            _ if ANNOTATIONS.contains(&keyword) => {}
            _ => self.mistake(
                pointer,
                "is not checked by this gateway; docs/TRANSFORMATION.md lists what is",
            ),
        }
    }

    fn types(&mut self, value: &Value, pointer: &str) -> Vec<Type> {
        let names = match value {
            Value::Array(names) => names.as_slice(),
            one => std::slice::from_ref(one),
        };
        let types: Vec<_> = names.iter().filter_map(|name| named(&Type::ALL, name)).collect();
        if types.len() != names.len() || types.is_empty() {
            self.mistake(
                pointer,
                "is none of null, boolean, integer, number, string, array, object",
            );
        }
        types
    }

    fn reference(&mut self, value: &Value, pointer: &str) -> Option<usize> {
        let reference = value.as_str().filter(|text| *text == "#" || text.starts_with("#/"));
        let within = reference.and_then(|text| self.root.pointer(text.trim_start_matches('#')));
        let (Some(reference), Some(_)) = (reference, within) else {
            self.mistake(pointer, "names nothing within this schema, as `#/$defs/NAME` does");
            return None;
        };
        let next = self.waiting.len();
        let place = *self.references.entry(reference.to_owned()).or_insert(next);
        if place == next {
            self.waiting.push(reference.to_owned());
        }
        Some(place)
    }

    fn rules(&mut self, value: &Value, pointer: &str) -> Vec<Rule> {
        let schemas = value.as_array().filter(|schemas| !schemas.is_empty());
        let Some(schemas) = schemas else {
            self.mistake(pointer, "is not a list of schemas");
            return Vec::new();
        };
        let schemas = schemas.iter().enumerate();
        schemas
            .map(|(place, schema)| self.rule(schema, &format!("{pointer}/{place}")))
            .collect()
    }

    fn properties(&mut self, value: &Value, pointer: &str) -> BTreeMap<String, Rule> {
        let members = self.object(value, pointer).into_iter();
        members
            .map(|(name, schema)| {
                let own = self.rule(&schema, &format!("{pointer}/{}", escaped(&name)));
                (name, own)
            })
            .collect()
    }

    fn names(&mut self, value: &Value, pointer: &str) -> BTreeSet<String> {
        match value.as_array() {
            Some(names) if names.iter().all(Value::is_string) => {
                let names = names.iter().filter_map(Value::as_str);
                names.map(ToOwned::to_owned).collect()
            }
            _ => {
                self.mistake(pointer, "is not a list of names");
                BTreeSet::new()
            }
        }
    }

    fn pattern(&mut self, value: &Value, pointer: &str) -> Option<Pattern> {
        let Some(text) = value.as_str() else {
            self.mistake(pointer, "is not text");
            return None;
        };
        Pattern::compile(text)
            .map_err(|error| self.mistake(pointer, error))
            .ok()
    }

    fn format(&mut self, value: &Value, pointer: &str) -> Option<Format> {
        let format = named(&Format::ALL, value);
        if format.is_none() {
            let names = Format::ALL.map(|(name, _)| name).join(", ");
            self.mistake(pointer, format!("is none of the formats that are checked: {names}"));
        }
        format
    }

    fn object(&mut self, value: &Value, pointer: &str) -> Map<String, Value> {
        match value {
            Value::Object(members) => members.clone(),
            _ => {
                self.mistake(pointer, "is not an object");
                Map::new()
            }
        }
    }

    /// Envoy's YAML reader makes text of what is beyond 32 bits.
    fn number(&mut self, value: &Value, pointer: &str) -> Option<Number> {
        let number = match value {
            Value::Number(number) => Some(number.clone()),
            Value::String(text) => serde_json::from_str(text).ok(),
            _ => None,
        };
        if number.is_none() {
            self.mistake(pointer, "is not a number");
        }
        number
    }

    fn positive(&mut self, value: &Value, pointer: &str) -> Option<Number> {
        let number = self.number(value, pointer);
        let is_positive = |number: &Number| number.as_f64().is_some_and(|number| number > 0.0);
        if !number.iter().all(is_positive) {
            self.mistake(pointer, "is not above 0");
        }
        number
    }

    fn count(&mut self, value: &Value, pointer: &str) -> Option<u64> {
        let count = self.number(value, pointer)?.as_u64();
        if count.is_none() {
            self.mistake(pointer, "is not a whole number of at least 0");
        }
        count
    }
}

/// A token of a JSON Pointer (RFC 6901 section 3).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// What says nothing of a value.
const ANNOTATIONS: [&str; 10] = [
    "$comment",
    "$id",
    "$schema",
    "default",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];
