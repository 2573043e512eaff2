//! Traces, as a collector gets them.

use serde_json::json;
use tollgate_e2e::bootstrap::Bare;
use tollgate_e2e::bundled::Bundled;
use tollgate_e2e::collector::Span;
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::issuer::{Issuer, TokenSpec};
use tollgate_e2e::policies::Policies;
use tollgate_e2e::raw::request;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn token() -> String {
    let claims = json!({"sub": "alice", "tenant_id": "acme", "scope": "orders.read"});
    Issuer::shared().token(&TokenSpec {
        claims: claims.as_object().cloned().expect("an object"),
        ..TokenSpec::default()
    })
}

/// The gateway's span of the request that has this path.
fn span(gateway: &Bundled, path: &str) -> Span {
    let found = || {
        let spans = gateway.collector.spans().into_iter();
        let of_path = |span: &Span| span.attribute("http.url").is_some_and(|url| url.contains(path));
        spans.filter(of_path).collect::<Vec<_>>()
    };
    eventually(&format!("a span for {path}"), || !found().is_empty());
    let spans = found();
    assert_eq!(spans.len(), 1, "{spans:?}");
    spans[0].clone()
}

#[test]
fn a_trace_goes_on_from_the_client_through_the_gateway_to_the_service() {
    let gateway = Bundled::start(|_| {});
    let authorization = format!("Bearer {}", token());
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let get = |path: &str, headers: &[(&str, &str)]| {
        let headers = [&[("host", "a"), ("authorization", &authorization)], headers].concat();
        gateway.envoy.send(&request("GET", path, &headers, b""))
    };
    let seen = get(
        "/api/users/1",
        &[("traceparent", &traceparent), ("tracestate", "vendor=1")],
    )
    .json();
    let sent = |seen: &serde_json::Value, name: &str| {
        let headers = seen["headers"].as_array().expect("headers").iter();
        let own: Vec<_> = headers
            .filter(|header| header[0] == name)
            .map(|header| header[1].as_str().expect("text").to_owned())
            .collect();
        assert_eq!(own.len(), 1, "{name}: {own:?}");
        own[0].clone()
    };
    let of_gateway = span(&gateway, "/api/users/1");
    assert_eq!(of_gateway.service, "api-gateway");
    assert_eq!(
        (of_gateway.trace_id.as_str(), of_gateway.parent_id.as_str()),
        (TRACE, PARENT)
    );
    assert_eq!(
        (of_gateway.attribute("user_id"), of_gateway.attribute("tenant_id")),
        (Some("alice"), Some("acme"))
    );
    assert_eq!(of_gateway.attribute("http.status_code"), Some("200"));
    assert_eq!(
        sent(&seen, "traceparent"),
        format!("00-{TRACE}-{}-01", of_gateway.span_id)
    );
    assert_eq!(sent(&seen, "tracestate"), "vendor=1");
    assert_eq!(
        of_gateway.attribute("guid:x-request-id"),
        Some(sent(&seen, "x-request-id").as_str())
    );

    // Without one, or with one that is none, a trace begins here.
    for (path, traceparent) in [
        ("/api/users/2", None),
        ("/api/users/3", Some("00-zz-1-01")),
        ("/api/users/4", Some("\"{")),
    ] {
        let headers = traceparent.map(|traceparent| ("traceparent", traceparent));
        let response = get(path, headers.as_slice());
        assert_eq!(response.status, 200);
        if headers.is_none() {
            let first = span(&gateway, path);
            assert_eq!((first.parent_id.as_str(), first.trace_id.len()), ("", 32));
            assert!(sent(&response.json(), "traceparent").contains(&first.trace_id));
        }
    }
    // Whoever has decided not to be traced is followed.
    get("/api/users/5", &[("traceparent", &format!("00-{TRACE}-{PARENT}-00"))]);
    // A refused request has its span, with nothing of a service.
    let refused = gateway
        .envoy
        .send(&request("GET", "/api/orders/6", &[("host", "a")], b""));
    assert_eq!(refused.status, 401);
    let refused = span(&gateway, "/api/orders/6");
    assert_eq!(
        (refused.attribute("http.status_code"), refused.attribute("user_id")),
        (Some("401"), None)
    );
    let untraced = gateway.collector.spans().into_iter();
    let untraced = untraced.filter(|span| {
        span.attribute("http.url")
            .is_some_and(|url| url.contains("/api/users/5"))
    });
    assert_eq!(untraced.count(), 0);
}

#[test]
fn no_span_has_a_credential() {
    let policies = Policies::bundled();
    policies.change("gateway", |file| {
        file["policy"]["jwt"]["issuers"][0]["from"] = json!([{"query": "access_token"}]);
    });
    policies.build().expect("good policies");
    let gateway = Bundled::with(policies, |_| {});
    let token = token();
    let bad = format!("{token}x");
    // The last is refused before anybody looks at its token.
    for (place, (more, token)) in [("", &token), ("", &bad), (";x", &token)].into_iter().enumerate() {
        let path = format!("/api/users/q{place}{more}?access_token={token}&a=b");
        gateway.envoy.send(&request("GET", &path, &[("host", "a")], b""));
        let span = span(&gateway, &format!("/api/users/q{place}"));
        let told = format!("{:?}", span.attributes);
        assert!(!told.contains(token.rsplit('.').next().expect("a signature")), "{told}");
        assert!(!told.contains("eyJ"), "{told}");
    }
}

#[test]
fn requests_are_served_while_there_is_no_collector() {
    let gateway = Bundled::start(|bootstrap| {
        let clusters = bootstrap["static_resources"]["clusters"]
            .as_array_mut()
            .expect("clusters");
        let cluster = clusters
            .iter_mut()
            .find(|cluster| cluster["name"] == "otel-collector")
            .expect("a cluster");
        let endpoint = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        endpoint["address"]["socket_address"]["port_value"] = 1.into();
    });
    for _ in 0..500 {
        let response = gateway
            .envoy
            .send(&request("GET", "/api/products/1", &[("host", "a")], b""));
        assert_eq!(response.status, 200);
    }
    let log = gateway.envoy.log();
    let said = log.lines().filter(|line| !line.starts_with('{')).count();
    println!("500 requests without a collector: {said} lines in Envoy's own log");
    assert!(said < 100, "{log}");
}

#[test]
fn what_is_asked_for_a_request_carries_its_trace() {
    let (upstream, keys, limits) = (Echo::start("upstream"), Echo::start("keys"), Echo::start("limits"));
    let config = json!({
        "version": 1,
        "api_keys": {
            "opaque": true,
            "secrets": [{"id": "v1", "env": "SECRET"}],
            "lookup": {"cluster": "keys", "token": {"env": "TOKEN"}},
        },
        "rate_limit_service": {"cluster": "limits", "timeout": "500ms"},
        "rate_limits": [{"name": "all", "key": ["route"], "limit": 5, "window": "1m", "backend": "rls", "on_fault": "allow"}],
        "routes": [
            {"match": {"path_prefix": "/limited"}, "public": true, "rate_limits": ["all"]},
            {"match": {"path_prefix": "/"}, "auth": {"any": ["api_key"]}},
        ],
    });
    let mut bare = Bare::new(config, &upstream);
    bare.clusters.push(("keys", keys.address));
    bare.http2_clusters.push(("limits".into(), limits.address));
    for name in ["SECRET", "TOKEN"] {
        bare.environment
            .insert(name.into(), "a-secret-of-thirty-two-bytes-or-more".into());
    }
    let envoy = Envoy::start(&bare.bootstrap());
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    for (path, service) in [("/keyed", &keys), ("/limited", &limits)] {
        for sent in [
            &[("traceparent", traceparent.as_str()), ("tracestate", "vendor=1")][..],
            &[],
        ] {
            let own = [
                ("host", "a"),
                ("x-api-key", "an-opaque-key-of-somebody"),
                ("x-forwarded-for", "192.0.2.1"),
            ];
            envoy.send(&request("GET", path, &[&own, sent].concat(), b""));
            let asked: Vec<_> = service
                .take()
                .into_iter()
                .filter(|seen| seen.method == "POST")
                .collect();
            if sent.is_empty() && path == "/keyed" {
                // Known by now to be nobody's, or left alone for a while: not asked again.
                continue;
            }
            let asked = asked.first().unwrap_or_else(|| panic!("{path}: nobody was asked"));
            for (name, value) in [("traceparent", traceparent.as_str()), ("tracestate", "vendor=1")] {
                assert_eq!(
                    asked.all(name),
                    if sent.is_empty() { vec![] } else { vec![value] },
                    "{path} {name}"
                );
            }
            assert_eq!(asked.all("x-request-id").len(), 1, "{path}");
        }
    }
}
