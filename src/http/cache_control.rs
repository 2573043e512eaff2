//! `Cache-Control` of a response (RFC 9111 section 5.2).

use super::headers::Headers;
use crate::clock::Seconds;

/// Whether it has a directive, with or without an argument.
pub fn has(headers: &Headers, directive: &str) -> bool {
    arguments(headers, directive).next().is_some()
}

/// The argument of a directive, in seconds; `None` if it is absent or malformed.
pub fn seconds(headers: &Headers, directive: &str) -> Option<Seconds> {
    let argument = arguments(headers, directive).next()??;
    argument.trim_matches('"').parse().ok().map(Seconds::new)
}

/// The arguments of a directive, `None` for one without.
fn arguments(headers: &Headers, directive: &str) -> impl Iterator<Item = Option<String>> {
    let lines = headers.all("cache-control").map(String::from_utf8_lossy);
    let all = lines.flat_map(|line| line.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>());
    all.filter_map(move |item| {
        let (name, argument) = match item.split_once('=') {
            Some((name, argument)) => (name.trim_end(), Some(argument.trim().to_owned())),
            None => (item.as_str(), None),
        };
        name.eq_ignore_ascii_case(directive).then_some(argument)
    })
}

/// The value for a response that is one caller's.
pub const UNSHARED: &str = "private, no-store";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_found_in_all_lines() {
        let headers: Headers = [
            ("cache-control", "Public, max-age=5"),
            ("cache-control", " no-cache=\"x\" ,S-MaxAge = \"7\""),
        ]
        .into_iter()
        .collect();
        assert!(has(&headers, "public") && has(&headers, "no-cache") && !has(&headers, "private"));
        assert_eq!(seconds(&headers, "max-age"), Some(Seconds::new(5)));
        assert_eq!(seconds(&headers, "s-maxage"), Some(Seconds::new(7)));
        assert_eq!(seconds(&headers, "public"), None);
    }
}
