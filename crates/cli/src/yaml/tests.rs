use super::*;

fn document(text: &str) -> Node {
    parse(&"f.yaml".into(), text).unwrap().remove(0)
}

#[test]
fn everything_knows_its_place() {
    let node = document("a:\n  b: [1, {c: x}]\n  d.e: |\n    first\n     second\n");
    let place = |node: &Node| (node.place.line, node.place.column, node.place.path.clone());
    assert_eq!(place(node.select("a.b[].c")[0]), (2, 14, "a.b[1].c".into()));
    let text = node.get("a").unwrap().member("d.e").unwrap();
    assert_eq!((text.place.line, text.place.column), (3, 3));
    let literal = Content::Scalar("first\n second\n".into(), Style::Literal { indent: 4 });
    assert_eq!(text.value.content, literal);
    assert_eq!(text.value.place.line, 4, "where the text begins");
}

/// As measured with Envoy 1.40, by a node's metadata in `/config_dump`.
#[test]
fn scalars_are_what_envoy_makes_of_them() {
    for (written, envoy) in [
        ("yes", "true"),
        ("on", "true"),
        ("y", "true"),
        ("Off", "false"),
        ("TRUE", "true"),
        ("tRue", "\"tRue\""),
        ("'yes'", "\"yes\""),
        ("1.5", "\"1.5\""),
        ("1e3", "\"1e3\""),
        ("3000000000", "\"3000000000\""),
        ("2147483647", "2147483647"),
        ("-2147483648", "-2147483648"),
        ("-2147483649", "\"-2147483649\""),
        ("0x10", "16"),
        ("010", "8"),
        ("0o17", "\"0o17\""),
        ("1_000", "\"1_000\""),
        ("+5", "5"),
        ("~", "null"),
        ("", "null"),
        ("\"1\"", "\"1\""),
    ] {
        let node = document(&format!("a: {written}\n"));
        assert_eq!(
            node.get("a").unwrap().to_json(Reader::Envoy).to_string(),
            envoy,
            "{written}"
        );
    }
    let kubernetes = |text: &str| {
        document(&format!("a: {text}"))
            .get("a")
            .unwrap()
            .to_json(Reader::Kubernetes)
    };
    assert_eq!(kubernetes("1.5"), 1.5);
    assert_eq!(kubernetes("3000000000"), 3_000_000_000_u64);
    assert_eq!(kubernetes("v1.5"), "v1.5");
}

#[test]
fn what_is_not_one_document_of_one_meaning_is_refused() {
    for (text, line, message) in [
        ("a: 1\na: 2\n", 2, "the key `a` is there twice"),
        ("a: [1\nb: 2\n", 2, "is not YAML"),
        ("[a]: 1\n", 1, "is not a text"),
    ] {
        let error = parse(&"f.yaml".into(), text).unwrap_err();
        assert!(error.message.contains(message), "{text}: {}", error.message);
        assert_eq!(error.place.line, line, "{text}");
    }
    let deep = "[".repeat(200) + &"]".repeat(200);
    assert!(parse(&"f".into(), &deep).unwrap_err().message.contains("levels deep"));
    let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
        let before = format!("*a{}, ", level - 1).repeat(10);
        format!("{text}a{level}: &a{level} [{before}]\n")
    });
    assert!(parse(&"f".into(), &bomb).unwrap_err().message.contains("parts"));
}

#[test]
fn aliases_stand_for_what_they_name() {
    let node = document("a: &a { b: 1 }\nc: *a\n");
    assert_eq!(node.select("c.b")[0].text(), Some("1"));
    assert_eq!(node.select("c.b")[0].place.path, "c.b");
}
