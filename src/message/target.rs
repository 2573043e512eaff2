//! Checks of a request's target: hosts and paths must mean the same to Envoy, this gateway and every upstream.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use serde::Deserialize;

use crate::denial::{Denial, DenialKind};

/// What to do with path parameters: the part of a path segment after a `;` (RFC 3986 section 3.3).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum PathParameters {
    /// Requests with path parameters are refused, as servlet containers remove them before they match a path.
    #[default]
    Refuse,
    /// Path parameters are passed on. Rules match the segments without them.
    Keep,
}

/// Whether a path is one that [`check_path`] takes and that is its own [`matched_path`], for most paths at a glance: letters, digits and
/// marks without a meaning, in segments that are not empty and do not begin with a dot.
pub(crate) fn is_plain(path: &str) -> bool {
    let is_usual = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/' | b':' | b'@' | b',')
    };
    let mut before = 0;
    path.starts_with('/')
        && path.bytes().all(|byte| {
            let is_plain = is_usual(byte) && !(before == b'/' && matches!(byte, b'/' | b'.'));
            before = byte;
            is_plain
        })
}

/// Refuses ambiguous paths. A path must be absolute, in printable ASCII, without dot segments, empty segments, encoded
/// separators and encoded characters that need no encoding. Envoy's `normalize_path`, `merge_slashes` and
/// `path_with_escaped_slashes_action` produce such paths; this also works without them. The rule decides about path
/// parameters.
pub(crate) fn check_path(path: &str) -> Result<(), Denial> {
    if !path.starts_with('/') {
        return Err(invalid("path_not_absolute"));
    }
    if !path
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#')
    {
        return Err(invalid("path_character"));
    }
    let is_encoded = path.contains('%');
    let decoded = if is_encoded {
        let lower = path.to_ascii_lowercase();
        if ["%2f", "%5c", "%00"].iter().any(|encoded| lower.contains(encoded)) {
            return Err(invalid("path_encoded_separator"));
        }
        Cow::Owned(lower.replace("%2e", "."))
    } else {
        Cow::Borrowed(path)
    };
    let mut segments = decoded.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        // Segments are checked without parameters (`/..;x/`, `/;x/`), as servers may remove those.
        let name = without_parameters(segment);
        let is_inner = segments.peek().is_some();
        if name == "." || name == ".." || (name.is_empty() && (is_inner || !segment.is_empty())) {
            return Err(invalid("path_not_normalized"));
        }
    }
    if is_encoded { check_encoding(path) } else { Ok(()) }
}

/// Refuses encoded characters that need no encoding (RFC 3986 section 2.3), as servers decode them, and malformed
/// encodings.
fn check_encoding(path: &str) -> Result<(), Denial> {
    for rest in path.split('%').skip(1) {
        match encoded_byte(rest) {
            None => return Err(invalid("path_encoding_malformed")),
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                return Err(invalid("path_encoded_unreserved"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The byte of the two hexadecimal digits after a percent sign.
fn encoded_byte(digits: &str) -> Option<u8> {
    let digits = digits.get(..2)?;
    // `from_str_radix` would accept a sign.
    let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    are_digits.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

pub(crate) fn has_parameters(path: &str) -> bool {
    path.contains(';')
}

/// A checked path as rules match it: without path parameters, and in one encoding, as upstreams treat `/a%40b` and
/// `/a@b`, or `/caf%C3%A9` and `/caf%c3%a9`, as equal.
pub(crate) fn matched_path(path: &str) -> Cow<'_, str> {
    if !path.contains(['%', ';']) {
        return Cow::Borrowed(path);
    }
    let mut matched = String::with_capacity(path.len());
    for (place, segment) in path.split('/').enumerate() {
        if place > 0 {
            matched.push('/');
        }
        let mut parts = without_parameters(segment).split('%');
        matched.push_str(parts.next().unwrap_or_default());
        for part in parts {
            match encoded_byte(part) {
                // An encoded percent sign stays encoded, as it begins no encoding.
                Some(byte) if byte.is_ascii_graphic() && byte != b'%' => matched.push(char::from(byte)),
                _ => {
                    matched.push('%');
                    matched.push_str(&part.get(..2).unwrap_or_default().to_ascii_uppercase());
                }
            }
            matched.push_str(part.get(2..).unwrap_or_default());
        }
    }
    Cow::Owned(matched)
}

fn without_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or_default()
}

/// The host of an authority as rules match it (RFC 3986 section 3.2): in lower case, without port and trailing dot,
/// IPv6 addresses in brackets and in their canonical form. Everything that is not a host with at most one port is
/// refused.
pub(crate) fn host_of(authority: &str) -> Result<String, Denial> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or_else(|| invalid("host_malformed"))?;
            (
                plain_address(address),
                rest.strip_prefix(':').or((!rest.is_empty()).then_some("")),
            )
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (plain_name(host), Some(port)),
            None => (plain_name(authority), None),
        },
    };
    if port.is_some_and(|port| !is_port(port)) {
        return Err(invalid("port_malformed"));
    }
    host.ok_or_else(|| invalid("host_malformed"))
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn plain_address(address: &str) -> Option<String> {
    let address: Ipv6Addr = address.parse().ok()?;
    Some(format!("[{address}]"))
}

fn plain_name(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    // Labels are not empty.
    let mut before = b'.';
    let are_labels = name.bytes().all(|byte| {
        let is_part = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || byte == b'.' && before != b'.';
        before = byte;
        is_part
    });
    (are_labels && before != b'.').then(|| name.to_ascii_lowercase())
}

/// The refusal of an ambiguous or malformed request.
pub(crate) const fn invalid(reason: &'static str) -> Denial {
    Denial::new(DenialKind::InvalidRequest, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reason<T>(result: Result<T, Denial>) -> Option<&'static str> {
        result.err().map(|denial| denial.reason)
    }

    #[test]
    fn paths_with_two_meanings_are_refused() {
        for (path, expected) in [
            ("", "path_not_absolute"),
            ("*", "path_not_absolute"),
            ("a", "path_not_absolute"),
            ("http://h/a", "path_not_absolute"),
            ("/a//b", "path_not_normalized"),
            ("//a", "path_not_normalized"),
            ("/..", "path_not_normalized"),
            ("/a/../b", "path_not_normalized"),
            ("/a/./b", "path_not_normalized"),
            ("/a/%2e%2E/b", "path_not_normalized"),
            ("/a/.%2e/b", "path_not_normalized"),
            ("/a/..;x/b", "path_not_normalized"),
            ("/;x/admin", "path_not_normalized"),
            ("/admin/;x", "path_not_normalized"),
            ("/a%2fb", "path_encoded_separator"),
            ("/a%5Cb", "path_encoded_separator"),
            ("/a%00", "path_encoded_separator"),
            ("/a\\b", "path_character"),
            ("/a#b", "path_character"),
            ("/a b", "path_character"),
            ("/é", "path_character"),
            ("/a\u{7f}", "path_character"),
            ("/%61dmin", "path_encoded_unreserved"),
            ("/%7Ea", "path_encoded_unreserved"),
            ("/a%2eb", "path_encoded_unreserved"),
            ("/a%", "path_encoding_malformed"),
            ("/a%4", "path_encoding_malformed"),
            ("/a%+1", "path_encoding_malformed"),
            ("/a%zz", "path_encoding_malformed"),
        ] {
            assert_eq!(reason(check_path(path)), Some(expected), "{path}");
        }
        for path in ["/", "/a/", "/a..b/.c", "/a%20b", "/a%252fb", "/caf%C3%A9", "/a;b=c/d"] {
            assert_eq!(reason(check_path(path)), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_is_taken_as_it_is(path in "(/[-a-z.;%~:/\\\\#,@]{0,3}){0,4}") {
            if is_plain(&path) {
                prop_assert_eq!(reason(check_path(&path)), None);
                prop_assert_eq!(&matched_path(&path), &path);
            }
        }
    }

    #[test]
    fn rules_match_one_spelling_without_parameters() {
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("/a;x=1;y/b;z", "/a/b"),
            ("/a%40b", "/a@b"),
            ("/a%3Bb", "/a;b"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%20b%2520c", "/a%20b%2520c"),
            ("/a%2aé", "/a*é"),
        ] {
            assert_eq!(matched_path(path), expected);
        }
    }

    #[test]
    fn hosts_have_one_spelling() {
        for (authority, expected) in [
            ("A.example", "a.example"),
            ("a.example:8080", "a.example"),
            ("a.example.", "a.example"),
            ("a.example.:80", "a.example"),
            ("a_b-1:65535", "a_b-1"),
            ("[::1]:80", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(host_of(authority).unwrap(), expected, "{authority}");
        }
        for authority in [
            "",
            ".",
            "a..",
            "a..b",
            ".a",
            "a.:",
            ":80",
            "a b",
            "a,b",
            "u@h",
            "h/x",
            "é",
            "%61",
            "a*",
            "[::1",
            "::1",
            "[::1]80",
            "[::1].",
            "[a]",
            "[::1%eth0]",
            "a:80:80",
            "a:8a",
            "a:-1",
            "a:+1",
            "a:0",
            "a:65536",
            "a:",
            "[::1]:",
            "a:80.",
        ] {
            assert!(host_of(authority).is_err(), "{authority}");
        }
    }

    proptest! {
        #[test]
        fn no_target_makes_it_panic(authority in ".{0,20}", path in "/?.{0,40}") {
            let _ = host_of(&authority);
            let _ = matched_path(&path);
            let _ = check_path(&path);
        }

        #[test]
        fn a_matched_path_is_a_path_in_one_spelling(path in "(/[a-c;@%.é]{0,4}(%[0-9a-fA-F]{2})?){1,4}") {
            if check_path(&path).is_ok() {
                let matched = matched_path(&path).into_owned();
                prop_assert!(matched.starts_with('/'));
                let slashes = |path: &str| path.matches('/').count();
                prop_assert_eq!(slashes(&matched), slashes(&path));
            }
        }
    }
}
