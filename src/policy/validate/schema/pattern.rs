//! Regular expressions, and how much they may cost.

use std::iter::Peekable;
use std::str::Chars;

use regex_lite::{Regex, RegexBuilder};

/// A regular expression, and how much it may cost.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) regex: Regex,
    /// As many as its automaton has, or a few more.
    pub(super) states: usize,
}

impl Pattern {
    /// The library bounds an automaton by its bytes, of which a state has fewer in the plugin than in `tollgate check`. Both must come to the same,
    /// so states are counted in the text; the library's bound is behind that, for what is counted wrongly.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        let states = states(text);
        if states > MOST_STATES {
            return Err(format!(
                "is a pattern of too many states, about {states} where {MOST_STATES} are allowed: repeat less, or leave counting to `maxLength`"
            ));
        }
        let size = states.saturating_mul(BYTES_OF_A_STATE).saturating_add(text.len());
        let regex = RegexBuilder::new(text).size_limit(size).build();
        regex
            .map(|regex| Self { regex, states })
            .map_err(|error| format!("is not a pattern: {error}"))
    }
}

/// The states of a group: of its last part, which a repetition is about, and of those before it.
#[derive(Debug, Default)]
struct Group {
    before: usize,
    last: usize,
    /// Whether the library tells what it matches.
    is_captured: bool,
}

impl Group {
    fn push(&mut self, states: usize) {
        self.before = self.states();
        self.last = states;
    }

    /// A repetition is as many copies, each with a way around it.
    fn repeat(&mut self, times: usize) {
        let copy = self.last.saturating_add(1);
        self.last = copy.saturating_mul(times.max(1)).saturating_add(REPETITION);
    }

    fn states(&self) -> usize {
        self.before.saturating_add(self.last)
    }
}

/// How many states the library makes of a pattern, or a few more. What is no pattern has any number of them.
fn states(pattern: &str) -> usize {
    let mut rest = pattern.chars().peekable();
    let mut outer: Vec<Group> = Vec::new();
    let mut inner = Group::default();
    while let Some(character) = rest.next() {
        match character {
            '(' => {
                if let Some(group) = group(&mut rest) {
                    outer.push(std::mem::replace(&mut inner, group));
                }
            }
            ')' => {
                let own = if inner.is_captured { CAPTURE } else { 0 };
                let states = inner.states().max(1).saturating_add(own);
                inner = outer.pop().unwrap_or_default();
                inner.push(states);
            }
            '|' => {
                let is_first = usize::from(inner.states() == 0);
                inner.push(ALTERNATIVE.saturating_add(is_first));
            }
            '[' => inner.push(class(&mut rest)),
            '\\' => {
                skip_escape(&mut rest);
                inner.push(1);
            }
            '*' | '+' | '?' => inner.repeat(1),
            '{' => inner.repeat(times(&mut rest)),
            _ => inner.push(1),
        }
    }
    let open = outer.iter().chain([&inner]).map(Group::states);
    open.fold(WHOLE, usize::saturating_add)
}

/// The group that a parenthesis begins, behind its name or its flags; `None` for flags alone, as in `(?i)`.
fn group(rest: &mut Peekable<Chars<'_>>) -> Option<Group> {
    let is_plain = rest.next_if_eq(&'?').is_none();
    let end = (!is_plain).then(|| rest.find(|character| ":>)".contains(*character)));
    let is_captured = is_plain || end == Some(Some('>'));
    (end != Some(Some(')'))).then(|| Group {
        is_captured,
        ..Group::default()
    })
}

/// The rest of a class: one state, however many there are in it, but one that takes the longer.
fn class(rest: &mut Peekable<Chars<'_>>) -> usize {
    let _ = rest.next_if_eq(&'^');
    // There is no empty class.
    let mut size = usize::from(rest.next_if_eq(&']').is_some());
    while let Some(character) = rest.next() {
        let more = match character {
            ']' => break,
            '\\' => rest.next().map_or(0, |_| RANGES_OF_A_CLASS),
            '[' => rest.by_ref().take_while(|&character| character != ']').count(),
            _ => 1,
        };
        size = size.saturating_add(more);
    }
    (size / RANGES_OF_A_STATE).saturating_add(1)
}

/// What follows a backslash. The braces of `\u{e9}` repeat nothing.
fn skip_escape(rest: &mut Peekable<Chars<'_>>) {
    let is_number = rest.next().is_some_and(|kind| "xuU".contains(kind));
    if is_number && rest.peek() == Some(&'{') {
        rest.find(|&character| character == '}');
    }
}

/// The largest number within the braces of a repetition.
fn times(rest: &mut Peekable<Chars<'_>>) -> usize {
    let (mut most, mut number) = (0, 0_usize);
    for character in rest.take_while(|&character| character != '}') {
        number = match character.to_digit(10) {
            Some(digit) => number.saturating_mul(10).saturating_add(digit as usize),
            None if character.is_whitespace() => number,
            None => 0,
        };
        most = number.max(most);
    }
    most
}

/// States of a pattern.
const MOST_STATES: usize = 1200;

/// States that there are beside those of what is in it: of a whole pattern, of a group that is captured, of an alternative, and of a repetition.
const WHOLE: usize = 4;
const CAPTURE: usize = 2;
const ALTERNATIVE: usize = 3;
const REPETITION: usize = 3;

/// Ranges of a class that take about as long as a state.
const RANGES_OF_A_STATE: usize = 8;

/// The most ranges that a class such as `\W` stands for.
const RANGES_OF_A_CLASS: usize = 5;

/// At most, with the ranges that it may have.
const BYTES_OF_A_STATE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn states_are_counted_alike_on_every_machine() {
        for (pattern, expected) in [
            ("", 4),
            ("abc", 7),
            (".{1,500}", 1007),
            ("^[^@]{1,64}@[a-z0-9.-]{1,190}$", 711),
            ("(a|b){2}", 23),
            ("(?:|a){2}", 19),
            ("(?i)a\\u{e9}{3}\\b{start}", 19),
            ("(?P<name>[[:alpha:]x]{2,}){3}", 43),
            ("[]{9}]\\]{9}", 26),
        ] {
            assert_eq!(states(pattern), expected, "{pattern}");
        }
        // A state has 20 bytes in the plugin and 32 in `tollgate check`.
        assert!(Pattern::compile(".{1,450}").is_ok());
        let refused = Pattern::compile(".{1,600}").unwrap_err();
        assert!(refused.contains("about 1207 where 1200 are allowed"), "{refused}");
    }

    const PARTS: [&str; 23] = [
        "a",
        "b",
        "é",
        "^",
        "$",
        "\\.",
        "\\x41",
        "\\u{e9}",
        "\\b{start}",
        "(",
        "(",
        "(?:",
        "(?P<n>",
        ")",
        ")",
        ")",
        "|",
        "*",
        "+?",
        "{2}",
        "{0}",
        "{1,9}",
        "{2,}?",
    ];
    const CLASSES: [&str; 10] = [
        ".",
        "\\d",
        "\\W",
        "(?i)",
        "[a-z]",
        "[^\\W0-9_]",
        "[]a]",
        "[^]]",
        "[[:^punct:](]",
        "[\\]{9}acegikm]",
    ];

    fn pattern(parts: Vec<&'static str>) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(parts), 0..12).prop_map(|parts| parts.concat())
    }

    fn fits(pattern: &str, size: usize) -> bool {
        RegexBuilder::new(pattern).size_limit(size).build().is_ok()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_pattern_is_refused_for_its_states_alone(pattern in pattern([&PARTS[..], &CLASSES].concat())) {
            if fits(&pattern, 1 << 22) {
                let states = states(&pattern);
                prop_assert_eq!(Pattern::compile(&pattern).is_ok(), states <= MOST_STATES, "{}", states);
            }
        }

        /// What is no class has at most this many bytes for each state on this machine.
        #[test]
        fn no_pattern_has_more_states_than_are_counted(pattern in pattern(PARTS.into())) {
            if fits(&pattern, 1 << 22) {
                prop_assert!(fits(&pattern, 40 * states(&pattern)), "{}", states(&pattern));
            }
        }
    }
}
