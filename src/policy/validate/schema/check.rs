//! A value against rules.

use serde_json::{Number, Value};

use super::compile::escaped;
use super::{Rule, same};
use crate::denial::{Failure, Location};

/// What is wrong with a value of a text of so many bytes; the first [`MOST`] of it.
pub(super) fn check(rules: &[Rule], value: &Value, bytes: usize) -> Vec<Failure> {
    let mut checker = Checker {
        rules,
        fuel: bytes.saturating_mul(STEPS_PER_BYTE).saturating_add(STEPS),
        failures: Vec::new(),
    };
    if let Some(rule) = rules.first() {
        checker.value(rule, value, "", 0);
    }
    if checker.fuel == 0 {
        checker.failures.clear();
        checker.fail("", "takes too many steps to check".into());
    }
    checker.failures
}

struct Checker<'a> {
    rules: &'a [Rule],
    /// Steps that are left: alternatives within alternatives multiply.
    fuel: usize,
    failures: Vec<Failure>,
}

impl<'a> Checker<'a> {
    fn fail(&mut self, pointer: &str, detail: String) {
        if self.failures.len() < MOST {
            self.failures.push(Failure {
                location: Location::Body(pointer.to_owned()),
                detail,
            });
        }
    }

    /// Whether a value is right, without saying why not.
    fn passes(&mut self, rule: &'a Rule, value: &Value, depth: usize) -> bool {
        let before = std::mem::take(&mut self.failures);
        self.value(rule, value, "", depth);
        std::mem::replace(&mut self.failures, before).is_empty()
    }

    fn value(&mut self, rule: &'a Rule, value: &Value, pointer: &str, depth: usize) {
        self.fuel = self.fuel.saturating_sub(1);
        // References that lead to themselves.
        if depth > MAX_DEPTH {
            self.fuel = 0;
        }
        if self.fuel == 0 {
            return;
        }
        let depth = depth.saturating_add(1);
        if rule.never {
            return self.fail(pointer, "is not allowed".into());
        }
        if !rule.types.is_empty() && !rule.types.iter().any(|own| own.has(value)) {
            let names: Vec<_> = rule.types.iter().map(|own| own.name()).collect();
            return self.fail(pointer, format!("is not of type {}", names.join(" or ")));
        }
        if rule
            .allowed
            .as_ref()
            .is_some_and(|allowed| !allowed.iter().any(|own| same(own, value)))
        {
            self.fail(pointer, "is none of the allowed values".into());
        }
        let referred = rule.reference.and_then(|place| self.rules.get(place));
        for rule in rule.all_of.iter().chain(referred) {
            self.value(rule, value, pointer, depth);
        }
        if !rule.any_of.is_empty() && !rule.any_of.iter().any(|rule| self.passes(rule, value, depth)) {
            self.fail(pointer, "fits none of the alternatives".into());
        }
        if !rule.one_of.is_empty() {
            let fitting = rule
                .one_of
                .iter()
                .filter(|rule| self.passes(rule, value, depth))
                .count();
            if fitting != 1 {
                self.fail(pointer, format!("fits {fitting} of the alternatives instead of one"));
            }
        }
        if let Some(rule) = &rule.not
            && self.passes(rule, value, depth)
        {
            self.fail(pointer, "is what it must not be".into());
        }
        match value {
            Value::Number(number) => self.number(rule, number, pointer),
            Value::String(text) => self.text(rule, text, pointer),
            Value::Array(items) => self.array(rule, items, pointer, depth),
            Value::Object(members) => self.object(rule, members, pointer, depth),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn number(&mut self, rule: &Rule, number: &Number, pointer: &str) {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let bounds = &rule.numbers;
        for (bound, refused, what) in [
            (&bounds.minimum, &[Less][..], "is below the minimum of"),
            (&bounds.maximum, &[Greater], "is above the maximum of"),
            (&bounds.exclusive_minimum, &[Less, Equal], "is not above"),
            (&bounds.exclusive_maximum, &[Greater, Equal], "is not below"),
        ] {
            if let Some(bound) = bound
                && refused.contains(&compared(number, bound))
            {
                self.fail(pointer, format!("{what} {bound}"));
            }
        }
        if let Some(unit) = &bounds.multiple_of
            && !is_multiple(number, unit)
        {
            self.fail(pointer, format!("is not a multiple of {unit}"));
        }
    }

    fn text(&mut self, rule: &Rule, text: &str, pointer: &str) {
        let rule = &rule.text;
        if rule.min_length.is_some() || rule.max_length.is_some() {
            self.count(
                text.chars().count(),
                rule.min_length,
                rule.max_length,
                "characters",
                pointer,
            );
        }
        if rule.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(text)) {
            self.fail(pointer, "does not fit the pattern".into());
        }
        if let Some(format) = rule.format
            && !format.has(text)
        {
            self.fail(pointer, format!("is not of format {}", format.name()));
        }
    }

    fn array(&mut self, rule: &'a Rule, items: &[Value], pointer: &str, depth: usize) {
        let rule = &rule.array;
        self.count(items.len(), rule.min_items, rule.max_items, "items", pointer);
        if let Some(rule) = &rule.items {
            for (place, item) in items.iter().enumerate() {
                self.value(rule, item, &format!("{pointer}/{place}"), depth);
            }
        }
    }

    fn object(&mut self, rule: &'a Rule, members: &serde_json::Map<String, Value>, pointer: &str, depth: usize) {
        let rule = &rule.object;
        self.count(
            members.len(),
            rule.min_properties,
            rule.max_properties,
            "properties",
            pointer,
        );
        for name in &rule.required {
            if !members.contains_key(name) {
                self.fail(&format!("{pointer}/{}", escaped(name)), "is required".into());
            }
        }
        for (name, value) in members {
            let own = rule
                .properties
                .iter()
                .find(|(own, _)| own == name)
                .map(|(_, rule)| rule);
            if let Some(rule) = own.or(rule.additional.as_deref()) {
                self.value(rule, value, &format!("{pointer}/{}", escaped(name)), depth);
            }
        }
    }

    fn count(&mut self, found: usize, least: Option<u64>, most: Option<u64>, what: &str, pointer: &str) {
        let found = u64::try_from(found).unwrap_or(u64::MAX);
        if let Some(least) = least.filter(|least| found < *least) {
            self.fail(pointer, format!("has fewer than {least} {what}"));
        }
        if let Some(most) = most.filter(|most| found > *most) {
            self.fail(pointer, format!("has more than {most} {what}"));
        }
    }
}

fn compared(one: &Number, other: &Number) -> std::cmp::Ordering {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => {
            let float = |number: &Number| number.as_f64().unwrap_or_default();
            float(one).total_cmp(&float(other))
        }
    }
}

/// Of fractions as near as doubles tell: 0.3 is a multiple of 0.1.
fn is_multiple(number: &Number, unit: &Number) -> bool {
    if let (Some(number), Some(unit)) = (number.as_i128(), unit.as_i128()) {
        return number.checked_rem(unit) == Some(0);
    }
    let quotient = number.as_f64().zip(unit.as_f64()).map(|(number, unit)| number / unit);
    quotient.is_some_and(|quotient| (quotient - quotient.round()).abs() <= f64::EPSILON * quotient.abs().max(1.0))
}

/// Failures that a client is told of.
pub(super) const MOST: usize = 20;

/// Steps that any body may take.
const STEPS: usize = 100_000;

const STEPS_PER_BYTE: usize = 8;

/// Rules within rules: levels of a body, each with references on the way.
const MAX_DEPTH: usize = 256;
