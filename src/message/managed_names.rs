//! Managed names: headers that only the gateway may set.

use crate::http::changes::HeaderChanges;
use crate::http::headers::Headers;

/// A set of header names that clients may not send. Each name includes all of its spellings.
#[derive(Debug, Default)]
pub struct ManagedNames {
    names: Vec<String>,
    /// A bit for each length of a name, those beyond 62 together: most headers have another one.
    lengths: u64,
}

impl ManagedNames {
    /// A set of these names.
    pub fn of(names: &[&str]) -> Self {
        let mut set = Self::default();
        for name in names {
            set.add(name);
        }
        set
    }

    /// Adds a name; `false` if the set has it already, in any spelling.
    pub fn add(&mut self, name: &str) -> bool {
        let is_new = !self.contains(name.as_bytes());
        if is_new {
            self.lengths |= length_bit(name.len());
            self.names.push(plain(name));
        }
        is_new
    }

    /// Whether a name is in the set. All separators are equal: servers that turn headers into variables (CGI, RFC 3875
    /// section 4.1.18) read `x_user_id`, and some of them `x.user.id` or `x!user!id`, as `x-user-id`.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.lengths & length_bit(name.len()) != 0
            && self
                .names
                .iter()
                .any(|own| own.len() == name.len() && own.bytes().zip(name).all(|(own, &byte)| own == folded(byte)))
    }

    /// The spellings of managed names in these headers, each once.
    pub fn found_in(&self, headers: &Headers) -> Vec<Vec<u8>> {
        let mut found: Vec<Vec<u8>> = Vec::new();
        for (name, _) in headers.iter() {
            if self.contains(name) && !found.iter().any(|earlier| earlier == name) {
                found.push(name.to_vec());
            }
        }
        found
    }
}

fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

fn plain(name: &str) -> String {
    name.bytes().map(|byte| char::from(folded(byte))).collect()
}

fn folded(byte: u8) -> u8 {
    match byte.is_ascii_alphanumeric() {
        true => byte.to_ascii_lowercase(),
        false => b'-',
    }
}

/// Removes unusual options from `Connection`, which names headers that the next hop must drop (RFC 9110 section 7.6.1).
/// Envoy forwards it with `Upgrade`, so a client could make the upstream drop an identity header.
pub fn cut_connection(headers: &Headers, changes: &mut HeaderChanges) {
    let mut options = headers
        .all("connection")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .peekable();
    if options.peek().is_none() {
        return;
    }
    let mut upgrade = false;
    let mut other = false;
    for option in options {
        upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        other |= !USUAL_OPTIONS.iter().any(|usual| option.eq_ignore_ascii_case(usual));
    }
    match (other, upgrade) {
        (true, true) => changes.set_one("connection", "upgrade"),
        (true, false) => changes.remove("connection"),
        (false, _) => {}
    }
}

const USUAL_OPTIONS: [&[u8]; 5] = [b"upgrade", b"keep-alive", b"close", b"te", b""];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_managed_name_is_found() {
        let names = ManagedNames::of(&["x-user-id", "X_User_Roles"]);
        let headers: Headers = [
            ("x-user-id", "1"),
            ("x_user_id", "2"),
            ("x-user_id", "3"),
            ("x-user-id", "4"),
            ("x-user-ids", "5"),
            ("x.user!id", "6"),
            ("x-user-roles", "7"),
        ]
        .into_iter()
        .collect();
        let expected: [&[u8]; 5] = [b"x-user-id", b"x_user_id", b"x-user_id", b"x.user!id", b"x-user-roles"];
        assert_eq!(names.found_in(&headers), expected);
        assert!(names.contains(b"X-User-Id") && !names.contains(b"x-user-i\xff"));
    }

    #[test]
    fn unusual_connection_options_are_cut_down() {
        let changed = |values: &[&str]| {
            let headers: Headers = values.iter().map(|value| ("connection", *value)).collect();
            let mut changes = HeaderChanges::default();
            cut_connection(&headers, &mut changes);
            changes.get(b"connection").cloned()
        };
        assert_eq!(changed(&[]), None);
        for usual in ["Upgrade", "keep-alive, Upgrade", "close", "", "TE"] {
            assert_eq!(changed(&[usual]), None, "{usual}");
        }
        let upgrade = Some(vec![b"upgrade".to_vec()]);
        assert_eq!(changed(&["Upgrade, X-User-Id"]), upgrade);
        assert_eq!(changed(&["Upgrade", "x-user-id"]), upgrade);
        assert_eq!(changed(&["close, x-user-id"]), Some(Vec::new()));
    }
}
