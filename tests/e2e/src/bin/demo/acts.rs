//! What happens around requests: certificates, services that die, policies that change, and what is told of it all.

use super::token;
use serde_json::{Value, json};
use tollgate_e2e::bundled::Bundled;
use tollgate_e2e::envoy::eventually;
use tollgate_e2e::raw::{Response, request};
use tollgate_e2e::tls::{Certificates, client, send};

/// One act: what it is called, and whether it went as it should.
type Act = (&'static str, fn(&mut Bundled) -> bool);

const ACTS: [Act; 8] = [
    (
        "over TLS, by a certificate of scripts/certs; behind the gateway it is mutual TLS",
        over_tls,
    ),
    (
        "the product service dies: its readers get what it said last, or that it is away",
        upstream_dies,
    ),
    (
        "a team's mistake is refused, and the policy that is there goes on",
        team_errs,
    ),
    (
        "one dashboard of four services: for the web, for phones, for partners",
        dashboards,
    ),
    (
        "what a page wants in one query: three services side by side, and one call for the products",
        query,
    ),
    (
        "the analytics service dies: the dashboard comes without its figures, and says so",
        part_dies,
    ),
    ("the access log of a request that was refused for want of a scope", log),
    ("a trace that a client began goes on to the service", trace),
];

/// Plays them all; how many went as they should, and how many there are.
pub(crate) fn play(gateway: &mut Bundled) -> (usize, usize) {
    let mut held = 0;
    for (title, act) in ACTS {
        println!("# {title}");
        let holds = act(gateway);
        println!("{}\n", if holds { "ok" } else { "NOT AS EXPECTED" });
        held += usize::from(holds);
    }
    (held, ACTS.len())
}

fn over_tls(gateway: &mut Bundled) -> bool {
    let edge = gateway.envoy.listener(1);
    println!(
        "$ curl -i --cacert target/certs/ca.crt https://localhost:{}/api/products/7",
        edge.port()
    );
    let trusting = client(&Certificates::shared().authority(), None, &[]);
    let message = request("GET", "/api/products/7", &[("host", "localhost")], b"");
    send(edge, "localhost", &trusting, &message).is_ok_and(|response| {
        println!(
            "{}\n{} received GET /api/products/7",
            response.status,
            response.json()["service"].as_str().unwrap_or("?")
        );
        response.status == 200
    })
}

fn get(gateway: &Bundled, path: &str, headers: &[(&str, &str)]) -> Response {
    let client = headers.iter().find(|(name, _)| *name == "x-client");
    let client = client
        .map(|(name, value)| format!(" -H '{name}: {value}'"))
        .unwrap_or_default();
    println!("$ curl -i http://{}{path}{client}", gateway.envoy.address());
    let response = gateway.envoy.send(&request(
        "GET",
        path,
        &[&[("host", "localhost")], headers].concat(),
        b"",
    ));
    println!("{}", response.status);
    response
}

fn upstream_dies(gateway: &mut Bundled) -> bool {
    gateway.services.get_mut("product-service").expect("a service").die();
    eventually("the health checks have found out", || {
        gateway.envoy.stat("cluster.product-service.membership_healthy") == 0
    });
    let mut holds = true;
    for (path, status, expected) in [
        ("/api/products/7", 200, "last_good"),
        ("/api/products/8", 503, "answer"),
    ] {
        let response = get(gateway, path, &[]);
        let fallback = response.header("x-tollgate-fallback");
        println!("x-tollgate-fallback: {}", fallback.unwrap_or("-"));
        holds &= (response.status, fallback) == (status, Some(expected));
    }
    gateway.services.get_mut("product-service").expect("a service").revive();
    eventually("the service is back", || {
        gateway.envoy.stat("cluster.product-service.membership_healthy") == 1
    });
    holds
}

fn team_errs(gateway: &mut Bundled) -> bool {
    gateway.policies.change("users", |file| {
        file["routes"][0]["require"] = json!({"scopes": {"al": ["users.read"]}})
    });
    println!("$ tollgate build envoy/policies/*.yaml --output target/policies/tollgate.yaml");
    let refused = gateway.policies.build();
    let told = refused.err().unwrap_or_default();
    let line = told
        .lines()
        .find(|line| line.contains("users"))
        .unwrap_or("nothing was refused");
    // Without the folder, which is a temporary one here.
    println!("{}", line.rsplit('/').next().unwrap_or(line));
    let response = get(gateway, "/api/users/1", &[]);
    told.contains("users") && response.status == 401
}

/// A dashboard, with what is said of its being whole.
fn dashboard(gateway: &Bundled, path: &str, headers: &[(&str, &str)], expected: &Value) -> bool {
    let response = get(gateway, path, headers);
    let incomplete = response.header("x-tollgate-incomplete");
    if let Some(incomplete) = incomplete {
        println!("x-tollgate-incomplete: {incomplete}");
    }
    println!("{}", response.text());
    response.status == 200 && response.json() == *expected
}

fn order(id: &str, total: f64, status: &str, placed_at: &str, product_id: &str) -> Value {
    json!({"id": id, "total": total, "status": status, "placed_at": placed_at, "product_id": product_id})
}

/// The newest orders, with their products where the shape has them.
fn orders(count: usize, with_products: bool) -> Value {
    let lamp = json!({"id": "p1", "title": "Lamp", "price": 25.9});
    let bulb = json!({"id": "p2", "title": "Bulb", "price": 4.5});
    let orders = [
        (order("o4", 25.9, "shipped", "2026-11-20T08:00:00Z", "p1"), lamp.clone()),
        (order("o3", 9.0, "delivered", "2026-11-02T08:00:00Z", "p2"), bulb),
        (order("o2", 25.9, "delivered", "2026-10-11T08:00:00Z", "p1"), lamp),
        (
            order("o1", 120.0, "returned", "2026-10-01T08:00:00Z", "p9"),
            Value::Null,
        ),
    ];
    let orders = orders.into_iter().take(count).map(|(mut order, product)| {
        if with_products {
            order["product"] = product;
        }
        order
    });
    orders.collect()
}

fn profile() -> Value {
    json!({"id": "user_abc123", "name": "Ada Lovelace", "email": "ada@example.com", "avatar": "/avatars/7.png"})
}

fn dashboards(gateway: &mut Bundled) -> bool {
    let bearer = format!("Bearer {}", token(&json!({})));
    let key = gateway.create_key(&json!({"user_id": "partner_9"}));
    let web = json!({
        "profile": profile(), "recentOrders": orders(2, true), "metrics": {"visits": 128, "revenue": 4711.5}, "errors": [],
    });
    let mobile = json!({"name": "Ada Lovelace", "avatar": "/avatars/7.png", "recentOrders": orders(3, false)});
    let partner =
        json!({"version": 1, "customer": {"id": "partner_9", "name": "Ada Lovelace"}, "orders": orders(4, false)});
    let authorization = ("authorization", bearer.as_str());
    let mut holds = dashboard(gateway, "/api/dashboard?limit=2", &[authorization], &web);
    holds &= dashboard(
        gateway,
        "/api/dashboard",
        &[authorization, ("x-client", "mobile")],
        &mobile,
    );
    holds &= dashboard(gateway, "/partner/v1/dashboard", &[("x-api-key", &key)], &partner);
    holds
}

/// The article's query, and a part of it that calls one service alone.
fn query(gateway: &mut Bundled) -> bool {
    let bearer = format!("Bearer {}", token(&json!({})));
    let query = "query($n: Int! = 5) { dashboard { profile { name } recentOrders(limit: $n) { id total placedAt product { title } } \
                 metrics { visits revenue } } }";
    let first = json!({"id": "o4", "total": 25.9, "placedAt": "2026-11-20T08:00:00Z", "product": {"title": "Lamp"}});
    let second = json!({"id": "o3", "total": 9.0, "placedAt": "2026-11-02T08:00:00Z", "product": {"title": "Bulb"}});
    let asked = graphql(gateway, &bearer, &json!({"query": query, "variables": {"n": 2}}));
    let mut holds = asked["data"]
        == json!({"dashboard": {
            "profile": {"name": "Ada Lovelace"},
            "recentOrders": [first, second],
            "metrics": {"visits": 128, "revenue": null},
        }});
    // Who may see how much was earned is said at the field.
    holds &= asked["errors"][0]["extensions"]["code"] == "FORBIDDEN";
    let before = gateway.envoy.stat("cluster.order-service.upstream_rq_total");
    let asked = graphql(
        gateway,
        &bearer,
        &json!({"query": "{ dashboard { profile { name email } } }"}),
    );
    holds &= asked == json!({"data": {"dashboard": {"profile": {"name": "Ada Lovelace", "email": "ada@example.com"}}}});
    holds && gateway.envoy.stat("cluster.order-service.upstream_rq_total") == before
}

fn graphql(gateway: &Bundled, bearer: &str, asked: &Value) -> Value {
    println!(
        "$ curl http://{}/graphql -H 'content-type: application/json' -d '{asked}'",
        gateway.envoy.address()
    );
    let headers = [
        ("host", "localhost"),
        ("authorization", bearer),
        ("content-type", "application/json"),
    ];
    let response = gateway
        .envoy
        .send(&request("POST", "/graphql", &headers, asked.to_string().as_bytes()));
    println!("{}\n{}", response.status, response.text());
    response.json()
}

fn part_dies(gateway: &mut Bundled) -> bool {
    gateway.services.get_mut("analytics-service").expect("a service").die();
    eventually("the health checks have found out", || {
        gateway.envoy.stat("cluster.analytics-service.membership_healthy") == 0
    });
    // Another user: what was said of the first one is kept for ten seconds.
    let bearer = format!("Bearer {}", token(&json!({"sub": "user_xyz"})));
    let mut other = profile();
    other["id"] = "user_xyz".into();
    let without = json!({
        "profile": other, "recentOrders": orders(1, true), "metrics": null, "errors": [{"part": "metrics", "code": "unavailable"}],
    });
    let holds = dashboard(
        gateway,
        "/api/dashboard?limit=1",
        &[("authorization", &bearer)],
        &without,
    );
    gateway
        .services
        .get_mut("analytics-service")
        .expect("a service")
        .revive();
    eventually("the service is back", || {
        gateway.envoy.stat("cluster.analytics-service.membership_healthy") == 1
    });
    holds
}

fn log(gateway: &mut Bundled) -> bool {
    let of_scope = |line: &Value| {
        line["decision"]
            .as_str()
            .is_some_and(|decision| decision.contains("insufficient_scope"))
    };
    eventually("the line is written", || {
        gateway.envoy.access_log().iter().any(of_scope)
    });
    let line = gateway
        .envoy
        .access_log()
        .into_iter()
        .find(of_scope)
        .unwrap_or_default();
    println!("{line}");
    line["user_id"] == "user_abc123" && line["status"] == 403 && line["path"] == "/api/orders"
}

fn trace(gateway: &mut Bundled) -> bool {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let sent = format!("00-{trace}-b7ad6b7169203331-01");
    let response = get(gateway, "/api/products/9", &[("traceparent", &sent)]);
    let seen = response.json();
    let headers = seen["headers"].as_array().cloned().unwrap_or_default();
    let got = headers.iter().find(|header| header[0] == "traceparent");
    let got = got.and_then(|header| header[1].as_str()).unwrap_or_default().to_owned();
    println!("the client said    {sent}\nthe service heard  {got}");
    let spans = || {
        gateway
            .collector
            .spans()
            .into_iter()
            .filter(|span| span.trace_id == trace)
            .collect::<Vec<_>>()
    };
    eventually("the collector has the span", || !spans().is_empty());
    let span = spans().remove(0);
    println!("the collector has  {} {} {}", span.service, span.trace_id, span.span_id);
    got.contains(trace) && got.contains(&span.span_id)
}
