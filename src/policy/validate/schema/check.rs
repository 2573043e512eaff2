//! A value against rules, as it is read: nothing of it is kept but its text.

mod numbers;
mod parts;
mod place;
mod text;

use serde::de::Deserializer as _;
use serde_json::{Number, Value};

use super::pattern::Pattern;
use super::{Rule, same};
use crate::denial::{Failure, Location};
use crate::json;
use numbers::{compared, is_multiple};
use parts::{Items, Members, Names};
use place::{At, Step};
use text::decoded;

/// What is wrong with a text that is JSON; the first [`MOST`] of it. `None` where that takes too many steps to tell.
pub(super) fn check(rules: &[Rule], text: &str) -> Option<Vec<Failure>> {
    let mut checker = Checker {
        rules,
        steps: text.len().saturating_mul(STEPS_PER_BYTE).saturating_add(STEPS),
        is_quiet: false,
        has_failed: false,
        failures: Vec::new(),
    };
    if let Some(rule) = rules.first() {
        checker.value(rule, text.trim_ascii(), &At::ROOT, 0);
    }
    (checker.steps > 0).then_some(checker.failures)
}

struct Checker<'r> {
    rules: &'r [Rule],
    /// Steps that are left, of about a tenth of a microsecond each: alternatives within alternatives multiply.
    steps: usize,
    /// Whether nobody is told what is wrong.
    is_quiet: bool,
    has_failed: bool,
    failures: Vec<Failure>,
}

impl<'r> Checker<'r> {
    fn fail(&mut self, at: &At<'_>, detail: impl FnOnce() -> String) {
        self.has_failed = true;
        if !self.is_quiet && self.failures.len() < MOST {
            self.failures.push(Failure {
                location: Location::Body(at.pointer()),
                detail: detail(),
            });
        }
    }

    fn charge(&mut self, steps: usize) {
        self.steps = self.steps.saturating_sub(steps);
    }

    /// Whether nothing more is to be found out.
    fn is_done(&self) -> bool {
        self.steps == 0 || self.is_quiet && self.has_failed
    }

    /// Whether a value is right, without saying why not.
    fn passes(&mut self, rule: &'r Rule, text: &str, depth: usize) -> bool {
        let (was_quiet, had_failed) = (self.is_quiet, self.has_failed);
        (self.is_quiet, self.has_failed) = (true, false);
        self.value(rule, text, &At::ROOT, depth);
        let passes = !self.has_failed;
        (self.is_quiet, self.has_failed) = (was_quiet, had_failed);
        passes
    }

    /// What costs least comes first.
    fn value(&mut self, rule: &'r Rule, text: &str, at: &At<'_>, depth: usize) {
        self.charge(1);
        // References that lead to themselves.
        if depth > MAX_DEPTH {
            self.steps = 0;
        }
        if self.is_done() {
            return;
        }
        let depth = depth.saturating_add(1);
        if rule.never {
            return self.fail(at, || "is not allowed".into());
        }
        if !rule.types.is_empty() && !rule.types.iter().any(|own| own.has(text)) {
            let names = || rule.types.iter().map(|own| own.name()).collect::<Vec<_>>().join(" or ");
            return self.fail(at, || format!("is not of type {}", names()));
        }
        if let Some(allowed) = &rule.allowed {
            self.allowed(allowed, text, at);
        }
        match text.as_bytes().first() {
            Some(b'"') if !rule.text.is_empty() => self.text(rule, text, at),
            Some(b'[') => self.array(rule, text, at, depth),
            Some(b'{') => self.object(rule, text, at, depth),
            Some(b'-' | b'0'..=b'9') if !rule.numbers.is_empty() => match serde_json::from_str(text) {
                Ok(number) => self.number(rule, &number, at),
                Err(_) => self.steps = 0,
            },
            _ => {}
        }
        self.applied(rule, text, at, depth);
    }

    /// The rules that a rule is made of.
    fn applied(&mut self, rule: &'r Rule, text: &str, at: &At<'_>, depth: usize) {
        let referred = rule.reference.and_then(|place| self.rules.get(place));
        for rule in rule.all_of.iter().chain(referred) {
            self.value(rule, text, at, depth);
        }
        if self.is_done() {
            return;
        }
        if !rule.any_of.is_empty() && !rule.any_of.iter().any(|rule| self.passes(rule, text, depth)) {
            self.fail(at, || "fits none of the alternatives".into());
        }
        if !rule.one_of.is_empty() {
            let alternatives = rule.one_of.iter();
            let fitting = alternatives.filter(|rule| self.passes(rule, text, depth)).count();
            if fitting != 1 {
                self.fail(at, || format!("fits {fitting} of the alternatives instead of one"));
            }
        }
        if let Some(rule) = &rule.not
            && self.passes(rule, text, depth)
        {
            self.fail(at, || "is what it must not be".into());
        }
    }

    fn allowed(&mut self, allowed: &[Value], text: &str, at: &At<'_>) {
        self.charge(allowed.len().saturating_add(text.len() / BYTES_PER_STEP));
        let is_allowed = match text.as_bytes().first() {
            Some(b'"') => {
                let own = decoded(text);
                allowed
                    .iter()
                    .any(|other| other.as_str() == own.as_deref() && own.is_some())
            }
            Some(b'[' | b'{') => {
                let is_long = text.len() > LONGEST_ALLOWED;
                let value = json::parse(text.as_bytes()).ok().filter(|_| !is_long);
                value.is_some_and(|value| allowed.iter().any(|own| same(own, &value)))
            }
            _ => {
                let value = serde_json::from_str(text).ok();
                value.is_some_and(|value: Value| allowed.iter().any(|own| same(own, &value)))
            }
        };
        if !is_allowed {
            self.fail(at, || "is none of the allowed values".into());
        }
    }

    fn number(&mut self, rule: &Rule, number: &Number, at: &At<'_>) {
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
                self.fail(at, || format!("{what} {bound}"));
            }
        }
        if let Some(unit) = &bounds.multiple_of
            && !is_multiple(number, unit)
        {
            self.fail(at, || format!("is not a multiple of {unit}"));
        }
    }

    fn text(&mut self, rule: &Rule, text: &str, at: &At<'_>) {
        self.charge(text.len() / BYTES_PER_STEP);
        let Some(own) = decoded(text) else {
            self.steps = 0;
            return;
        };
        let rule = &rule.text;
        if rule.min_length.is_some() || rule.max_length.is_some() {
            let count = own.chars().count();
            if !self.count(count, rule.min_length, rule.max_length, "characters", at) {
                return;
            }
        }
        if let Some(format) = rule.format
            && !format.has(&own)
        {
            self.fail(at, || format!("is not of format {}", format.name()));
        }
        if let Some(pattern) = &rule.pattern {
            self.pattern(pattern, &own, at);
        }
    }

    /// Of the states of a pattern, a few are under way at most places of a text; all of them may be.
    fn pattern(&mut self, pattern: &Pattern, text: &str, at: &At<'_>) {
        let worst = text.len().saturating_mul(pattern.states);
        if worst > MOST_OF_A_PATTERN {
            self.steps = 0;
        }
        self.charge(worst / STATES_PER_STEP);
        if !self.is_done() && !pattern.regex.is_match(text) {
            self.fail(at, || "does not fit the pattern".into());
        }
    }

    fn array(&mut self, rule: &'r Rule, text: &str, at: &At<'_>, depth: usize) {
        let rule = &rule.array;
        if rule.items.is_none() && rule.min_items.is_none() && rule.max_items.is_none() {
            return;
        }
        self.charge(text.len() / BYTES_PER_STEP);
        let items = Items {
            checker: self,
            rule: rule.items.as_deref(),
            at,
            depth,
        };
        let count = serde_json::Deserializer::from_str(text).deserialize_seq(items);
        match count {
            Ok(count) => drop(self.count(count, rule.min_items, rule.max_items, "items", at)),
            Err(_) => self.steps = 0,
        }
    }

    fn object(&mut self, rule: &'r Rule, text: &str, at: &At<'_>, depth: usize) {
        let rule = &rule.object;
        if !rule.required.is_empty() || rule.min_properties.is_some() || rule.max_properties.is_some() {
            self.charge(text.len() / BYTES_PER_STEP);
            let mut missing: Vec<_> = rule.required.iter().collect();
            let names = Names(&mut missing);
            match serde_json::Deserializer::from_str(text).deserialize_map(names) {
                Ok(count) => drop(self.count(count, rule.min_properties, rule.max_properties, "properties", at)),
                Err(_) => self.steps = 0,
            }
            for name in missing {
                let within = At {
                    within: Some(at),
                    step: Step::Member(name),
                };
                self.fail(&within, || "is required".into());
            }
        }
        let has_rules = !rule.properties.is_empty() || rule.additional.is_some();
        if has_rules && !self.is_done() {
            self.charge(text.len() / BYTES_PER_STEP);
            let members = Members {
                checker: self,
                rule,
                at,
                depth,
            };
            if serde_json::Deserializer::from_str(text)
                .deserialize_map(members)
                .is_err()
            {
                self.steps = 0;
            }
        }
    }

    /// Whether a number of parts is right.
    fn count(&mut self, found: usize, least: Option<u64>, most: Option<u64>, what: &str, at: &At<'_>) -> bool {
        let found = u64::try_from(found).unwrap_or(u64::MAX);
        let (below, above) = (least.filter(|least| found < *least), most.filter(|most| found > *most));
        if let Some(least) = below {
            self.fail(at, || format!("has fewer than {least} {what}"));
        }
        if let Some(most) = above {
            self.fail(at, || format!("has more than {most} {what}"));
        }
        below.is_none() && above.is_none()
    }
}

/// Failures that a client is told of.
pub(super) const MOST: usize = 20;

/// Steps that any body may take.
const STEPS: usize = 100_000;

const STEPS_PER_BYTE: usize = 4;

/// Bytes that are read over in one step.
const BYTES_PER_STEP: usize = 16;

/// States of a pattern at one place of a text, of which a sixteenth is under way, in one step.
const STATES_PER_STEP: usize = 64;

/// States of a pattern at all places of one text: about a tenth of a second, were all of them under way.
const MOST_OF_A_PATTERN: usize = 1 << 22;

/// Rules within rules: levels of a body, each with references on the way.
const MAX_DEPTH: usize = 256;

/// Bytes of an array or object that is compared as a whole.
const LONGEST_ALLOWED: usize = 1 << 16;
