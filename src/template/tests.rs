use super::*;
use crate::http::headers::Headers;
use crate::message::managed_names::ManagedNames;
use proptest::prelude::*;

const HEADERS: [(&str, &str); 7] = [
    (":method", "PUT"),
    (":authority", "A.example:80"),
    (":path", "/a/x%20y/z?q=1%2B2+3&q=2&e=&n"),
    ("x-country", "d e&/é"),
    ("x-country", "second"),
    ("x-empty", ""),
    ("x-request-id", "r-1"),
];

const CAPTURES: [(&str, &str); 2] = [("id", "x%20y"), ("rest", "b/c%2Bd")];

/// Renders a template; `None` if a value is missing.
fn render(template: &str, place: Place) -> Option<String> {
    let headers: Headers = HEADERS.into_iter().collect();
    let request = Request::simulated(headers, ManagedNames::default());
    let scope = Scope {
        request: &request,
        route: "orders",
        captures: &CAPTURES,
        data: None,
    };
    let rendered = Template::parse(template).unwrap().render(place, scope)?;
    Some(String::from_utf8(rendered).unwrap())
}

#[test]
fn values_come_from_the_request() {
    for (template, expected) in [
        ("", Some("")),
        ("text", Some("text")),
        ("a{{b}}c", Some("a{b}c")),
        ("{method} {host} {route} {request_id}", Some("PUT a.example orders r-1")),
        ("{headers.X-Country}", Some("d e&/é")),
        ("{headers.x-empty}", Some("")),
        ("{headers.x-none}", None),
        ("{headers.x-none|no one}", Some("no one")),
        ("{headers.x-none|}", Some("")),
        ("{query.q}/{query.e}/{query.n}", Some("1%2B2+3//")),
        ("{query.x}", None),
        ("{path.id}", Some("x%20y")),
        ("{path.x|none}", Some("none")),
        ("{identity.user_id}", None),
        ("{claims.email|none}", Some("none")),
    ] {
        assert_eq!(render(template, Place::Header).as_deref(), expected, "{template}");
    }
}

#[test]
fn a_value_stays_one_value_wherever_it_goes() {
    for (template, query, path) in [
        ("{headers.x-country}", "d%20e%26%2F%C3%A9", "d%20e%26%2F%C3%A9"),
        ("{query.q}", "1%2B2+3", "1%2B2%203"),
        ("{path.id}", "x%20y", "x%20y"),
        ("{path.rest}", "b%2Fc%2Bd", "b/c%2Bd"),
        ("v-{route}.~_", "v-orders.~_", "v-orders.~_"),
    ] {
        assert_eq!(render(template, Place::Query).as_deref(), Some(query), "{template}");
        assert_eq!(render(template, Place::Path).as_deref(), Some(path), "{template}");
    }
}

#[test]
fn what_is_no_template_says_why() {
    for (template, expected) in [
        ("{", "has an unmatched brace"),
        ("a}b", "has an unmatched brace"),
        ("{headers.x", "has an unmatched brace"),
        ("{}", "\"\" is not a value; there is `headers.NAME`"),
        ("{user}", "\"user\" is not a value"),
        ("{headers.}", "\"headers.\" is not a value"),
        ("{headers.content-length}", "\"headers.content-length\" is not a value"),
        ("{headers.a b}", "\"headers.a b\" is not a value"),
        ("{identity.password}", "\"identity.password\" is not a value"),
        ("{query.}", "\"query.\" is not a value"),
        ("a\r\nb", "has a character that a header cannot have"),
        ("{route|\n}", "has a character that a header cannot have"),
        ("é", "has a character that a header cannot have"),
    ] {
        let error = Template::parse(template).unwrap_err();
        assert!(error.starts_with(expected), "{template}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,40}") {
        let _ = Template::parse(&text);
    }

    #[test]
    fn text_without_braces_is_itself(text in "[ -z|~]{0,40}") {
        prop_assert_eq!(render(&text, Place::Header), Some(text));
    }

    #[test]
    fn nothing_escapes_its_place(value in "[ -~é]{1,20}") {
        let written = plain(value.as_bytes());
        prop_assert!(written.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
        prop_assert_eq!(percent_decode(written.as_bytes()).decode_utf8().unwrap(), value);
    }
}
