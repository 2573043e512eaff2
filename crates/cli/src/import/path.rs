//! A path of one of Kong's routes: a prefix, or a regular expression.

/// A path of a route.
pub(super) struct Path {
    pub(super) written: String,
    /// What every path begins with that it takes.
    pub(super) prefix: String,
    /// A regular expression; `None` for a prefix, and where Envoy cannot have it.
    pub(super) pattern: Option<String>,
    pub(super) looks: bool,
}

impl Path {
    /// Before Kong 3, a path with anything but the characters of plain ones is a regular expression, as Kong's own migration has it.
    pub(super) fn read(path: &str, is_old: bool) -> Self {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~/%".contains(&byte);
        let written = match is_old && !path.bytes().all(is_plain) {
            true => format!("~{path}"),
            false => path.to_owned(),
        };
        let Some(pattern) = written.strip_prefix('~') else {
            return Self {
                prefix: written.clone(),
                pattern: None,
                looks: false,
                written,
            };
        };
        let carried = pattern_of(pattern);
        Self {
            prefix: beginning(pattern),
            looks: carried.is_none(),
            pattern: carried,
            written,
        }
    }
}

/// What a pattern begins with that is plain.
fn beginning(pattern: &str) -> String {
    let pattern = pattern.trim_start_matches('^');
    let end = pattern.find(|character: char| "\\.[](){}?*+|$^".contains(character));
    let is_optional = |end: usize| pattern.get(end..).is_some_and(|rest| rest.starts_with(['?', '*', '{']));
    let plain = match end {
        None => pattern,
        // Anything may stand in its place.
        Some(_) if pattern.contains('|') => "/",
        Some(end) => {
            let plain = pattern.get(..end).unwrap_or_default();
            let last = plain.char_indices().last().map_or(0, |(last, _)| last);
            if is_optional(end) {
                plain.get(..last).unwrap_or_default()
            } else {
                plain
            }
        }
    };
    if plain.starts_with('/') {
        plain.to_owned()
    } else {
        "/".to_owned()
    }
}

/// Kong's regular expressions begin where the path does. Envoy's look neither ahead nor back.
fn pattern_of(pattern: &str) -> Option<String> {
    let looks = ["(?=", "(?!", "(?<=", "(?<!"];
    let can = !looks.iter().any(|look| pattern.contains(look));
    can.then(|| pattern.replace("(?<", "(?P<"))
}

/// A pattern for what begins with this one. `$` has its meaning within.
pub(super) fn whole(pattern: &str) -> String {
    format!("{}.*", grouped(pattern))
}

/// A pattern that another may stand before or behind.
pub(super) fn grouped(pattern: &str) -> String {
    match pattern.contains('|') {
        true => format!("(?:{pattern})"),
        false => pattern.trim_start_matches('^').to_owned(),
    }
}

pub(super) fn escape(text: &str) -> String {
    regex_lite::escape(text)
}
