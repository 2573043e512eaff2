//! Credential sources: finding a credential in a request, and removing it.

use std::borrow::Cow;

use serde::Deserialize;

use crate::config::values::HeaderName;
use crate::http::changes::HeaderChanges;
use crate::http::headers::Headers;
use crate::message::request::Received;

/// A place in a request that may hold a credential.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Source {
    /// A request header.
    Header {
        /// Its name.
        name: HeaderName,
        /// The authentication scheme before the credential, compared without case (RFC 9110 section 11.1); the whole
        /// value if absent. Default for `authorization`: `Bearer`.
        #[serde(default)]
        scheme: Option<String>,
    },
    /// A cookie of this name.
    Cookie(String),
    /// A query parameter of this name. Tokens in URLs end up in logs.
    Query(String),
}

/// The credentials found in a source.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// No credential of this kind.
    None,
    /// Exactly one.
    One(Cow<'a, [u8]>),
    /// More than one: the upstream might use another one than the gateway.
    Several,
}

impl Source {
    /// `Authorization: Bearer` (RFC 6750).
    pub fn bearer() -> Self {
        Self::Header {
            name: HeaderName::constant("authorization"),
            scheme: Some("Bearer".into()),
        }
    }

    /// The same source with the default scheme written out.
    #[must_use]
    pub fn normalized(self) -> Self {
        match self {
            Self::Header { name, scheme: None } if name.as_str() == "authorization" => Self::bearer(),
            other => other,
        }
    }

    /// Whether the header, cookie or parameter is present.
    pub fn is_named(&self, request: &Received) -> bool {
        match self {
            Self::Header { name, .. } => request.header(name.as_str()).next().is_some(),
            Self::Cookie(name) => cookies(request).any(|(key, _)| key == name.as_bytes()),
            Self::Query(name) => parameters(request).any(|(key, _)| key == *name),
        }
    }

    /// Looks for a credential. Empty values are ignored.
    pub fn find<'a>(&self, request: &'a Received) -> Found<'a> {
        match self {
            Self::Header { name, scheme } => {
                // Envoy joins repeated `authorization` lines with commas, but not those of other headers. Our
                // credentials contain no commas.
                let values = request.header(name.as_str()).flat_map(list);
                let (mut count, mut ours) = (0_usize, None);
                for value in values.filter(|value| !value.is_empty()) {
                    count = count.saturating_add(1);
                    ours = ours.or_else(|| match scheme {
                        Some(scheme) => strip_scheme(value, scheme),
                        None => Some(value),
                    });
                }
                match ours {
                    None => Found::None,
                    Some(credential) if count == 1 => Found::One(credential.into()),
                    // The upstream may use one of the others.
                    Some(_) => Found::Several,
                }
            }
            Self::Cookie(name) => one(cookies(request)
                .filter(|(key, value)| key == &name.as_bytes() && !value.is_empty())
                .map(|(_, value)| value.into())),
            Self::Query(name) => one(parameters(request)
                .filter(|(key, value)| key == name && !value.is_empty())
                .map(|(_, value)| Cow::Owned(value.into_owned().into_bytes()))),
        }
    }
}

/// Takes out of a request whatever stands in these places, so that neither an upstream nor an access log sees it. Where nothing stands, nothing
/// changes.
pub fn remove<'s>(sources: impl IntoIterator<Item = &'s Source>, headers: &Headers, changes: &mut HeaderChanges) {
    let mut lost_cookies = Vec::new();
    let mut lost_parameters = Vec::new();
    for source in sources {
        match source {
            Source::Header { name, .. } => {
                if changes.current(headers, name.as_str()).next().is_some() {
                    changes.remove(name.shared());
                }
            }
            Source::Cookie(name) => lost_cookies.push(name.as_bytes()),
            Source::Query(name) => lost_parameters.push(name.as_str()),
        }
    }
    if !lost_cookies.is_empty() {
        remove_cookies(&lost_cookies, headers, changes);
    }
    if !lost_parameters.is_empty() {
        remove_parameters(&lost_parameters, headers, changes);
    }
}

fn remove_cookies(lost: &[&[u8]], headers: &Headers, changes: &mut HeaderChanges) {
    let is_lost = |(name, _): &(&[u8], &[u8])| lost.contains(name);
    let cookies = || changes.current(headers, "cookie").flat_map(pairs);
    if !cookies().any(|cookie| is_lost(&cookie)) {
        return;
    }
    let kept = cookies().filter(|cookie| !is_lost(cookie));
    let kept: Vec<_> = kept.map(|(name, value)| [name, value].join(&b'=')).collect();
    match kept.is_empty() {
        true => changes.remove("cookie"),
        false => changes.set_one("cookie", kept.join(&b"; "[..])),
    }
}

/// Of a target that may be anything: not even its path has been looked at where that is why the request is refused.
fn remove_parameters(lost: &[&str], headers: &Headers, changes: &mut HeaderChanges) {
    let is_lost = |pair: &&[u8]| form_urlencoded::parse(pair).any(|(name, _)| lost.contains(&name.as_ref()));
    let target = changes.current(headers, ":path").next().unwrap_or_default();
    let mark = target.iter().position(|&byte| byte == b'?');
    let Some((path, [_, query @ ..])) = mark.and_then(|mark| target.split_at_checked(mark)) else {
        return;
    };
    let parameters = || query.split(|&byte| byte == b'&');
    if !parameters().any(|pair| is_lost(&pair)) {
        return;
    }
    let kept: Vec<_> = parameters().filter(|pair| !is_lost(pair)).collect();
    let target = match kept.is_empty() {
        true => path.to_vec(),
        false => [path, &kept.join(&b'&')].join(&b'?'),
    };
    changes.set_one(":path", target);
}

fn one<'a>(mut values: impl Iterator<Item = Cow<'a, [u8]>>) -> Found<'a> {
    match (values.next(), values.next()) {
        (None, _) => Found::None,
        (Some(value), None) => Found::One(value),
        (Some(_), Some(_)) => Found::Several,
    }
}

/// The items of a list, separated by commas.
fn list(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let (item, after) = match memchr::memchr(b',', line) {
            Some(comma) => (line.get(..comma)?, line.get(comma.saturating_add(1)..)),
            None => (line, None),
        };
        rest = after;
        Some(item.trim_ascii())
    })
}

/// The credential after the scheme and at least one space; `None` for another scheme, and for the scheme alone.
fn strip_scheme<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (head, rest) = value.split_at_checked(scheme.len())?;
    let is_scheme = head.eq_ignore_ascii_case(scheme.as_bytes()) && rest.starts_with(b" ");
    let credential = rest.trim_ascii();
    (is_scheme && !credential.is_empty()).then_some(credential)
}

/// The name-value pairs of all `cookie` headers: HTTP/2 clients may split them (RFC 9113 section 8.2.3).
fn cookies(request: &Received) -> impl Iterator<Item = (&[u8], &[u8])> {
    request.header("cookie").flat_map(pairs)
}

/// The pairs of a `cookie` header.
fn pairs(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    line.split(|&byte| byte == b';').filter_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        let (name, value) = pair.split_at_checked(equals)?;
        Some((name, value.get(1..)?))
    })
}

fn parameters(request: &Received) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(request.query().unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::managed_names::ManagedNames;
    use crate::message::request::Request;

    fn with<T>(headers: &[(&str, &str)], path: &str, test: impl FnOnce(&mut Request) -> T) -> T {
        let headers: Headers = [(":method", "GET"), (":authority", "h"), (":path", path)]
            .iter()
            .chain(headers)
            .copied()
            .collect();
        test(&mut Request::simulated(headers, ManagedNames::default()))
    }

    fn find(source: &Source, headers: &[(&str, &str)], path: &str) -> Option<String> {
        with(headers, path, |request| match source.find(request) {
            Found::None => None,
            Found::One(value) => Some(String::from_utf8_lossy(&value).into_owned()),
            Found::Several => Some("several".into()),
        })
    }

    #[test]
    fn the_scheme_is_compared_without_case_and_stands_apart() {
        let bearer = Source::bearer();
        let find = |value| find(&bearer, &[("authorization", value)], "/");
        for value in ["Bearer t", "bearer t", "BEARER   t", " Bearer t "] {
            assert_eq!(find(value).as_deref(), Some("t"), "{value}");
        }
        for value in [
            "",
            "t",
            "Basic t",
            "xBearer t",
            "Bearert",
            "Basic Bearer t",
            "Bearer\tt",
        ] {
            assert_eq!(find(value), None, "{value}");
        }
        for value in ["Bearer", "Bearer ", "Bearer,", ",", " , Bearer"] {
            assert_eq!(find(value), None, "{value}");
        }
        for value in ["Bearer a,", ",Bearer a", "Bearer a, ,", " ,, Bearer a"] {
            assert_eq!(find(value).as_deref(), Some("a"), "{value}");
        }
        for value in [
            "Bearer a, Bearer b",
            "Bearer a,Basic b",
            "Basic a,Bearer b",
            "Bearer a, Bearer",
        ] {
            assert_eq!(find(value).as_deref(), Some("several"), "{value}");
        }
        assert_eq!(find("Digest a=\"b\", c=d"), None);
    }

    #[test]
    fn two_of_anything_are_several() {
        let two = [("authorization", "Bearer a"), ("authorization", "Basic b")];
        assert_eq!(find(&Source::bearer(), &two, "/").as_deref(), Some("several"));
        let cookie = Source::Cookie("t".into());
        assert_eq!(
            find(&cookie, &[("cookie", "t=a; x=b; t=c")], "/").as_deref(),
            Some("several")
        );
        assert_eq!(
            find(&cookie, &[("cookie", "t=a"), ("cookie", "t=b")], "/").as_deref(),
            Some("several")
        );
        let query = Source::Query("t".into());
        assert_eq!(find(&query, &[], "/?t=a&%74=b").as_deref(), Some("several"));
        for empty in ["t=; x=b; t=c", "t=c; t= ", "t; t=c"] {
            assert_eq!(
                find(&cookie, &[("cookie", empty)], "/").as_deref(),
                Some("c"),
                "{empty}"
            );
        }
        for empty in ["/?t&t=c", "/?t=c&t=", "/?t=&%74=c"] {
            assert_eq!(find(&query, &[], empty).as_deref(), Some("c"), "{empty}");
        }
        for lines in [["", "Bearer c"], ["Bearer c", ""], [" ", "bearer  c"]] {
            let lines = lines.map(|line| ("authorization", line));
            assert_eq!(find(&Source::bearer(), &lines, "/").as_deref(), Some("c"), "{lines:?}");
        }
    }

    #[test]
    fn a_whole_header_a_cookie_and_a_parameter() {
        let whole = Source::Header {
            name: HeaderName::parse("x-jwt").unwrap(),
            scheme: None,
        };
        assert_eq!(find(&whole, &[("x-jwt", "t")], "/").as_deref(), Some("t"));
        let cookie = Source::Cookie("t".into());
        assert_eq!(
            find(&cookie, &[("cookie", "a=b;t=c=d; tt=e")], "/").as_deref(),
            Some("c=d")
        );
        let query = Source::Query("t".into());
        assert_eq!(find(&query, &[], "/?a=b&t=c%2Ed").as_deref(), Some("c.d"));
        assert_eq!(find(&query, &[], "/"), None);
    }

    /// What is left of a header, if that changes.
    fn left(source: Source, headers: &[(&str, &str)], path: &str, name: &str) -> Option<Vec<String>> {
        let headers: Headers = [(":path", path)].iter().chain(headers).copied().collect();
        let mut changes = HeaderChanges::default();
        remove([&source], &headers, &mut changes);
        assert_eq!(changes.len(), usize::from(changes.get(name.as_bytes()).is_some()));
        let values = changes.get(name.as_bytes())?.iter();
        Some(
            values
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .collect(),
        )
    }

    #[test]
    fn a_removed_credential_leaves_everything_else() {
        let none = Some(Vec::new());
        let one = |value: &str| Some(vec![value.to_owned()]);
        let authorization = |headers: &[(&str, &str)]| left(Source::bearer(), headers, "/", "authorization");
        // Another scheme, and a token without one, are not for a log either.
        for value in ["Bearer a", "Basic a", "a"] {
            assert_eq!(authorization(&[("authorization", value)]), none);
        }
        assert_eq!(authorization(&[("x-other", "a")]), None);
        let cookie = |headers: &[(&str, &str)]| left(Source::Cookie("t".into()), headers, "/", "cookie");
        assert_eq!(cookie(&[("cookie", "a=b; t=c"), ("cookie", "d=e")]), one("a=b; d=e"));
        assert_eq!(cookie(&[("cookie", "t=c")]), none);
        assert_eq!(cookie(&[("cookie", "a=b; tt=c")]), None);
        let query = |path| left(Source::Query("t".into()), &[], path, ":path");
        assert_eq!(query("/a?x=%20&t=c&y"), one("/a?x=%20&y"));
        assert_eq!(query("/a?t=c"), one("/a"));
        assert_eq!(query("//a#?x?y&%74=c&t"), one("//a#?x?y"));
        for other in ["/a", "/a?", "/a?x=t", "/t=c"] {
            assert_eq!(query(other), None, "{other}");
        }
    }

    #[test]
    fn what_has_changed_already_stays_changed() {
        let headers: Headers = [(":path", "/a?t=c"), ("cookie", "t=c"), ("authorization", "Bearer c")]
            .into_iter()
            .collect();
        let mut changes = HeaderChanges::default();
        changes.set_one(":path", "/b?x=y&t=c");
        changes.remove("cookie");
        changes.remove("authorization");
        let before = changes.clone();
        let sources = [Source::bearer(), Source::Cookie("t".into()), Source::Query("t".into())];
        remove(&sources, &headers, &mut changes);
        assert_eq!(changes.get(b":path"), Some(&vec![b"/b?x=y".to_vec()]));
        changes.set_one(":path", "/b?x=y&t=c");
        assert_eq!(changes, before);
    }
}
