use super::*;
use crate::policy::transform::BodyChange;
use crate::policy::validate::Schema;
use serde_json::json;

const JSON: (&str, &str) = ("content-type", "application/json");

fn change(on_fault: &str) -> BodyChange {
    BodyChange::of(json!({"remove": ["a"], "max_bytes": 20, "on_fault": on_fault}))
}

fn changing(direction: Direction, on_fault: &str) -> Body {
    let mut body = Body::new(direction);
    body.change(Box::new(change(on_fault)));
    body
}

fn checking(schema: &serde_json::Value, limit: usize) -> Body {
    let mut body = Body::new(Direction::Request);
    body.limit(limit);
    body.check(Arc::new(Schema::compile(schema).unwrap()));
    body
}

fn begin(body: &mut Body, headers: &[(&str, &str)]) -> (HeaderChanges, Vec<Note>) {
    let headers: Headers = headers.iter().copied().collect();
    let (mut changes, mut notes) = Default::default();
    body.begin("r", &headers, &mut changes, &mut notes).unwrap();
    (changes, notes)
}

/// The result for a body in these pieces; `Err` is the code of the refusal.
fn run(mut body: Body, headers: &[(&str, &str)], pieces: &[&str]) -> Result<String, &'static str> {
    let headers: Headers = headers.iter().copied().collect();
    let code = |denial: Denial| denial.kind.refusal().code;
    let (mut changes, mut notes) = Default::default();
    body.begin("r", &headers, &mut changes, &mut notes).map_err(code)?;
    let (mut held, mut passed) = (String::new(), String::new());
    for (place, piece) in pieces.iter().enumerate() {
        held.push_str(piece);
        if !body.is_watched() {
            passed.push_str(&std::mem::take(&mut held));
            continue;
        }
        let size = if body.is_held() { held.len() } else { piece.len() };
        let chunk = Chunk {
            size,
            ends: place + 1 == pieces.len(),
            read: &|| Some(held.as_bytes().to_vec()),
        };
        match body.on_chunk("r", &chunk, &mut notes).map_err(code)? {
            Fate::Held => continue,
            Fate::Becomes(bytes) | Fate::Whole(bytes) => held = String::from_utf8(bytes).unwrap(),
            Fate::Passes => {}
        }
        passed.push_str(&std::mem::take(&mut held));
    }
    assert_eq!(held, "", "something is held for ever");
    Ok(passed)
}

#[test]
fn a_json_body_is_held_and_changed() {
    let run = |pieces: &[&str]| run(changing(Direction::Request, "deny"), &[JSON], pieces);
    assert_eq!(run(&[r#"{"a":1,"b":2}"#]).unwrap(), r#"{"b":2}"#);
    assert_eq!(run(&["{\"a\"", ":1,", "\"b\":2}", ""]).unwrap(), r#"{"b":2}"#);
    assert_eq!(run(&[""]).unwrap(), "", "no body is no fault");
}

#[test]
fn other_types_are_a_fault_unless_they_are_listed() {
    let passing = [
        ("content-type", "Text/Event-Stream; a=b"),
        ("content-encoding", "gzip"),
        ("content-length", "999"),
    ];
    let long = "x".repeat(100);
    for direction in [Direction::Request, Direction::Response] {
        let found = run(changing(direction, "deny"), &passing, &[&long, "y"]);
        assert_eq!(found.unwrap(), format!("{long}y"));
    }
    for content_type in [
        "text/plain",
        "application/xml",
        "text/javascript",
        "application/jsonx",
        "application/x-ndjson",
        "text/event-stream2",
    ] {
        let other = [("content-type", content_type)];
        let run = |direction, on_fault| run(changing(direction, on_fault), &other, &["{\"a\":1}"]);
        assert_eq!(
            run(Direction::Request, "deny"),
            Err("unsupported_media_type"),
            "{content_type}"
        );
        assert_eq!(
            run(Direction::Response, "deny"),
            Err("upstream_body_unusable"),
            "{content_type}"
        );
        assert_eq!(run(Direction::Response, "pass").unwrap(), "{\"a\":1}", "{content_type}");
    }
    let two = [passing[0], JSON];
    assert_eq!(
        run(changing(Direction::Request, "deny"), &two, &["{}"]),
        Err("unsupported_media_type"),
        "which one an upstream reads is unknown"
    );
    for content_type in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/problem+json",
        "text/json",
        "",
    ] {
        let headers = [("content-type", content_type)];
        let found = run(changing(Direction::Request, "deny"), &headers, &["{\"a\":1}"]);
        assert_eq!(found.unwrap(), "{}", "{content_type}");
    }
    let untyped = |text| run(changing(Direction::Response, "deny"), &[], &[text]);
    assert_eq!(untyped("{\"a\":1}").unwrap(), "{}");
    assert_eq!(untyped("<a/>"), Err("upstream_body_unusable"));
    assert_eq!(untyped("").unwrap(), "", "no body has no type");
}

#[test]
fn a_byte_order_mark_is_read_over_in_answers() {
    let text = "\u{feff}{\"a\":1}";
    assert_eq!(
        run(changing(Direction::Response, "deny"), &[JSON], &[text]).unwrap(),
        "{}"
    );
    assert_eq!(
        run(changing(Direction::Request, "deny"), &[JSON], &[text]),
        Err("invalid_body")
    );
    assert_eq!(
        run(checking(&json!({}), 99), &[JSON], &["\u{feff}{}"]),
        Err("invalid_body")
    );
}

#[test]
fn a_fault_is_refused_or_passes_as_it_is() {
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(20));
    let gzip = [JSON, ("content-encoding", "gzip")];
    let declared = [JSON, ("content-length", "21")];
    let one = &[JSON][..];
    for (headers, pieces, fault) in [
        (one, &[&*long][..], Fault::TooLarge),
        (one, &["{\"a\":\"xxxxxxx", "xxxxxxxxxxxx\"}"], Fault::TooLarge),
        (&declared, &["{}"], Fault::TooLarge),
        (&gzip, &["{}"], Fault::Encoded),
        (one, &["{\"a\":"], Fault::NotJson),
    ] {
        let run = |direction, on_fault| run(changing(direction, on_fault), headers, pieces);
        let code = match fault {
            Fault::TooLarge => "payload_too_large",
            Fault::Encoded => "unsupported_media_type",
            Fault::OtherType => "unsupported_media_type",
            Fault::NotJson => "invalid_body",
        };
        assert_eq!(run(Direction::Request, "deny"), Err(code));
        assert_eq!(run(Direction::Response, "deny"), Err("upstream_body_unusable"));
        assert_eq!(run(Direction::Request, "pass").unwrap(), pieces.concat(), "{fault:?}");
    }
    let (_, notes) = begin(&mut changing(Direction::Response, "pass"), &gzip);
    assert_eq!(
        notes,
        [Note::Count(
            "tollgate_bodies_unchanged_total;route=r;direction=response;reason=body_encoded;".into()
        )]
    );
    assert_eq!(
        run(
            changing(Direction::Request, "deny"),
            &[JSON, ("content-encoding", "identity")],
            &["{\"a\":1}"]
        )
        .unwrap(),
        "{}"
    );
}

#[test]
fn a_limit_counts_what_is_not_held() {
    let limited = |pieces: &[&str], declared: &str| {
        let mut body = Body::new(Direction::Request);
        body.limit(5);
        assert!(body.is_watched() && !body.is_held());
        run(body, &[("content-length", declared)], pieces)
    };
    assert_eq!(limited(&["abc", "de"], "5").unwrap(), "abcde");
    assert_eq!(limited(&["abc", "def"], ""), Err("payload_too_large"));
    assert_eq!(limited(&["a"], "6"), Err("payload_too_large"));
}

#[test]
fn what_is_checked_never_passes_unchecked() {
    let schema = json!({"type": "object", "required": ["b"]});
    let check = |headers: &[(&str, &str)], text: &str| {
        let mut body = checking(&schema, 10);
        body.change(Box::new(change("pass")));
        run(body, headers, &[text])
    };
    assert_eq!(check(&[JSON], r#"{"b":1}"#).unwrap(), r#"{"b":1}"#);
    assert_eq!(check(&[JSON], "{}"), Err("validation_failed"));
    assert_eq!(check(&[JSON], ""), Err("invalid_body"));
    assert_eq!(check(&[JSON], "{"), Err("invalid_body"));
    assert_eq!(check(&[JSON], r#"{"b":1,"b":2}"#), Err("payload_too_large"));
    assert_eq!(
        run(checking(&schema, 99), &[JSON], &[r#"{"b":1,"b":2}"#]),
        Err("invalid_body"),
        "which one?"
    );
    assert_eq!(
        check(&[JSON, ("content-encoding", "gzip")], r#"{"b":1}"#),
        Err("unsupported_media_type")
    );
    assert_eq!(
        run(checking(&schema, 99), &[("content-type", "text/plain")], &["x"]),
        Err("invalid_body")
    );
}

#[test]
fn headers_stay_true() {
    let stale = [
        JSON,
        ("content-length", "9"),
        ("etag", "\"1\""),
        ("digest", "x"),
        ("accept-ranges", "bytes"),
        ("x-other", "1"),
    ];
    let removed = |direction| {
        let (changes, notes) = begin(&mut changing(direction, "deny"), &stale);
        assert_eq!(notes, []);
        changes
    };
    let mut expected = HeaderChanges::default();
    expected.remove_all(["accept-ranges", "content-length", "digest"]);
    assert_eq!(removed(Direction::Request), expected);
    expected.set_one("etag", "W/\"1\"");
    assert_eq!(removed(Direction::Response), expected);
    let weak = [JSON, ("etag", "W/\"1\"")];
    let (changes, _) = begin(&mut changing(Direction::Response, "deny"), &weak);
    assert!(changes.is_empty(), "it is weak");
    let plain = [
        ("content-type", "text/event-stream"),
        ("content-length", "9"),
        ("etag", "\"1\""),
    ];
    let (changes, _) = begin(&mut changing(Direction::Response, "deny"), &plain);
    assert!(changes.is_empty());
}
