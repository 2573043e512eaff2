//! What must not come through to an upstream.

use super::bytes::{FORGED, MANAGED};
use crate::echo::Seen;

/// What is wrong with a request that an upstream has received, if anything.
pub(super) fn fault(seen: &Seen) -> Option<String> {
    let is_managed = |name: &str| {
        let folded = name.to_ascii_lowercase().replace(['_', '.', '!'], "-");
        MANAGED.contains(&folded.as_str())
    };
    let mut all = seen.headers.iter().chain(&seen.trailers);
    let forged = all.find(|(name, value)| is_managed(name) && value.contains(FORGED));
    let in_trailers = || seen.trailers.iter().find(|(name, _)| is_managed(name));
    let reason = if let Some((name, _)) = forged.or_else(in_trailers) {
        format!("a client's `{name}` came through")
    } else if let Some(name) = MANAGED.iter().find(|name| seen.all(name).len() > 1) {
        format!("`{name}` came twice")
    } else if is_guarded(seen) && seen.all("x-user-id") != ["u1"] {
        "nobody came through to a guarded place".to_owned()
    } else {
        return None;
    };
    Some(format!("{reason}: {seen:?}"))
}

/// Whether a lenient upstream would take it for one that a rule guards.
fn is_guarded(seen: &Seen) -> bool {
    let host = seen
        .all("host")
        .first()
        .copied()
        .unwrap_or(&seen.authority)
        .to_ascii_lowercase();
    let host = host.split(':').next().unwrap_or_default().trim_end_matches('.');
    if host == "admin.test" {
        return true;
    }
    let path = seen.path.split(['?', '#']).next().unwrap_or_default();
    let path = decoded(path).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment.split([';', '\0']).next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            plain => segments.push(plain),
        }
    }
    matches!(segments.first(), Some(&("admin" | "private")))
}

fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &str, headers: &[(&str, &str)], trailers: &[(&str, &str)]) -> Seen {
        let owned = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        Seen {
            service: String::new(),
            method: "GET".into(),
            authority: String::new(),
            path: path.into(),
            headers: owned(headers),
            trailers: owned(trailers),
            body_size: 0,
            body: String::new(),
        }
    }

    #[test]
    fn it_sees_what_came_through() {
        let user = ("x-user-id", "u1");
        for (path, headers, trailers, is_fault) in [
            ("/", &[][..], &[][..], false),
            ("/private", &[], &[], true),
            ("/private", &[user], &[], false),
            ("/x", &[user, user], &[], true),
            ("/x", &[("x_user.id", "forged")], &[], true),
            ("/x", &[("x-other", "forged")], &[], false),
            ("/x", &[], &[("x-user-roles", "a")], true),
            ("/%61dmin;x/a", &[], &[], true),
            // A server decodes once.
            ("/%2561dmin", &[], &[], false),
            ("/x/..;/admin", &[], &[], true),
            ("/x\\..\\admin", &[], &[], true),
            ("/administration", &[], &[], false),
            ("/", &[("host", "ADMIN.test.:80")], &[], true),
        ] {
            assert_eq!(
                fault(&seen(path, headers, trailers)).is_some(),
                is_fault,
                "{path} {headers:?} {trailers:?}"
            );
        }
    }
}
