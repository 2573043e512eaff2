//! Documents of GraphQL that took servers down, or seconds of their time.

/// Each with a name; each is over a limit of the gateway, or wrong.
pub fn documents() -> Vec<(&'static str, String)> {
    let chain = (0..10_000).map(|number| format!("fragment f{number} on Query {{ ...f{} }}", number + 1));
    let short = (0..150).map(|number| format!("fragment f{number} on Query {{ ...f{} }}", number + 1));
    let doubling = (0..30).map(|number| format!("fragment f{number} on Query {{ ...f{0} ...f{0} }}", number + 1));
    let inline = "... on Query { ".repeat(100);
    vec![
        (
            "10,000 chained fragments",
            format!("{{ ...f0 }} {}", chain.collect::<String>()),
        ),
        (
            "200 x 100 inline fragments",
            format!(
                "{{ {} }}",
                format!("{inline}__typename {} ", "} ".repeat(100)).repeat(200)
            ),
        ),
        ("5,000 directives", format!("{{ __typename {} }}", "@a ".repeat(5000))),
        ("10,000 brackets", "{".repeat(10_000)),
        (
            "150 chained fragments",
            format!(
                "{{ ...f0 }} {} fragment f150 on Query {{ __typename }}",
                short.collect::<String>()
            ),
        ),
        (
            "30 doubling fragments",
            format!(
                "{{ ...f0 }} {} fragment f30 on Query {{ __typename }}",
                doubling.collect::<String>()
            ),
        ),
        ("990 equal fields", format!("{{ {} }}", "__typename ".repeat(990))),
        (
            "lists in lists",
            format!(
                "{{ dashboard {{ recentOrders(limit: {}1{}) {{ id }} }} }}",
                "[".repeat(900),
                "]".repeat(900)
            ),
        ),
        (
            "objects in objects",
            format!(
                "{{ dashboard {{ recentOrders(limit: {}1{}) {{ id }} }} }}",
                "{a:".repeat(600),
                "}".repeat(600)
            ),
        ),
        ("a long name", "a".repeat(60_000)),
        ("an endless text", format!("{{ a(b: \"{}", "\\u{1F600}".repeat(5000))),
        ("a fragment in itself", "{ ...a } fragment a on Query { ...a }".into()),
    ]
}
