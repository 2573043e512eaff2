//! The article's query, beside the same by a GraphQL service written for it behind the same Envoy.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tollgate_e2e::attack::documents::documents;
use tollgate_e2e::bootstrap::{Bare, buffer, direct, listener, to_upstream};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::raw::request;

use crate::backend::Backend;
use crate::measure::{ROUNDS, cost, median};
use crate::{Row, calibration, instructions};

/// What a plugin must ask of Envoy for it.
const CALLS: &str = "headers
ask parts /profile
ask parts /orders
ask parts /metrics";

const QUERY: &str = "query Dashboard($limit: Int!) { dashboard { profile { id name avatar } \
    recentOrders(limit: $limit) { id total status } metrics { visits revenue } } }";

const FRONT: usize = 1;
const CALIBRATION: usize = 2;

/// Known by its hash; known to the worker by its text; sent for the first time.
const LISTED: &str = "listed";
const FREE: &str = "free";
const FIRST: &str = "first";

/// Three services behind one address, and the article's schema.
pub(crate) fn config() -> Value {
    let part = |path: &str| json!({"cluster": "parts", "path": path});
    json!({
        "version": 1,
        "parts": {
            "profile": part("/profile"),
            "orders": {"cluster": "parts", "path": "/orders", "query": {"limit": "{args.limit}"}},
            "metrics": part("/metrics"),
        },
        "routes": [{"match": {"path_prefix": "/"}, "public": true, "graphql": {
            "schema": "
                type Query { dashboard: Dashboard! }
                type Dashboard { profile: Profile recentOrders(limit: Int!): [Order!] metrics: Metrics }
                type Profile { id: ID! name: String! email: String avatar: String }
                type Order { id: ID! total: Float! status: String }
                type Metrics { visits: Int revenue: Float }",
            "fields": {
                "Query.dashboard": {"group": true},
                "Dashboard.profile": {"part": "profile"},
                "Dashboard.recentOrders": {"part": "orders", "size": "{args.limit}", "args": {"limit": {"integer": [1, 50]}}},
                "Dashboard.metrics": {"part": "metrics"},
            },
            "operations": {"documents": [{"id": format!("sha256:{}", hash()), "document": QUERY}]},
        }}],
    })
}

/// The paths of the services.
pub(crate) const PATHS: [&str; 3] = ["/profile", "/orders", "/metrics"];

fn hash() -> String {
    let digest = Sha256::digest(QUERY.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The body of a request of this kind. The number tells those apart that come for the first time.
pub(crate) fn body(case: &str, number: usize) -> String {
    let variables = json!({"limit": 5});
    let persisted = json!({"persistedQuery": {"version": 1, "sha256Hash": hash()}});
    let body = match case {
        LISTED => json!({"extensions": persisted, "variables": variables}),
        FREE => json!({"query": QUERY, "variables": variables}),
        FIRST => {
            json!({"query": QUERY.replacen("Dashboard", &format!("Dashboard{number}"), 1), "variables": variables})
        }
        other => panic!("{other:?} is no kind of request"),
    };
    body.to_string()
}

/// What a service answers at this path: more than anybody asks for, as of services that were there before.
pub(crate) fn document(path: &str) -> Value {
    match path.split('?').next() {
        Some("/profile") => json!({
            "id": "u-1", "name": "Ada Lovelace", "email": "ada@example.com", "avatar": "https://images.example/u-1.png",
            "phone": "+44 20 7946 0000", "language": "en", "created_at": "2024-03-01T09:30:00Z", "is_active": true,
            "address": {"street": "12 St James's Square", "city": "London", "postcode": "SW1Y 4JH", "country": "GB"},
        }),
        Some("/orders") => {
            let order = |number: i32| {
                json!({
                    "id": format!("o-{number}"), "total": 12.5, "status": "shipped", "currency": "EUR", "placed_at": "2026-11-01T08:00:00Z",
                    "items": [{"sku": "a-1", "count": 2, "price": 5.0}, {"sku": "b-7", "count": 1, "price": 2.5}],
                })
            };
            (1..=5).map(order).collect()
        }
        _ => json!({"visits": 1024, "revenue": 2048.5, "bounce_rate": 0.31, "days": 30}),
    }
}

pub(crate) fn run() -> Vec<Row> {
    let mut rows = compared();
    rows.push(attacked());
    let counts = [
        (LISTED, "instructions of the core for a listed operation"),
        (FREE, "instructions of the core for a query that its worker knows"),
        (
            FIRST,
            "instructions of the core for a query that its worker does not know",
        ),
    ];
    rows.extend(counts.map(|(case, what)| Row::new("graphql", what, instructions::of(case), "instructions")));
    rows
}

/// The processor time of the document that takes most, of those that attack.
fn attacked() -> Row {
    let mut bare = Bare::new(config(), &Echo::start("nobody"));
    bare.clusters = vec![("parts", bare.upstream)];
    bare.filters = vec![buffer(1 << 20)];
    let envoy = Envoy::alone(1, &bare.bootstrap());
    let times = documents().into_iter().map(|(name, document)| {
        let body = json!({"query": document}).to_string();
        let headers = [("host", "gateway.example"), ("content-type", "application/json")];
        let message = request("POST", "/", &headers, body.as_bytes());
        let before = envoy.processor_time();
        for _ in 0..ATTACKS {
            let sent = tollgate_e2e::raw::send(envoy.listener(0), &message).expect("an answer");
            assert!(!sent.text().contains("\"data\""), "{name}: {}", sent.text());
        }
        let each = (envoy.processor_time() - before).as_secs_f64() * 1e3 / f64::from(ATTACKS);
        eprintln!("  {name}: {each:.2} ms");
        (name, each)
    });
    let most = times.max_by(|one, other| one.1.total_cmp(&other.1));
    let (name, most) = most.expect("documents that attack");
    let mut row = Row::new(
        "graphql",
        format!("the dearest document of those that attack: {name}"),
        most,
        "ms",
    );
    (row.bar, row.holds) = (Some(10.0), Some(most <= 10.0));
    row
}

/// How often each of them is sent.
const ATTACKS: u32 = 20;

fn services() -> Envoy {
    let route = |path: &str| {
        json!({
            "match": {"prefix": path},
            "direct_response": {"status": 200, "body": {"inline_string": document(path).to_string()}},
            "response_headers_to_add": [{
                "header": {"key": "content-type", "value": "application/json"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }],
        })
    };
    let nothing = json!({"version": 1, "routes": [{"match": {"path_prefix": "/"}, "public": true}]});
    let mut bare = Bare::new(nothing, &Echo::start("nobody"));
    bare.listeners = vec![listener("services", vec![], PATHS.map(route).to_vec())];
    Envoy::alone(1, &bare.bootstrap())
}

fn message(case: &str) -> Vec<u8> {
    let headers = [
        ("host", "gateway.example"),
        ("user-agent", "bench"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip"),
        ("content-type", "application/json"),
    ];
    request("POST", "/", &headers, body(case, 0).as_bytes())
}

/// What requests of one kind cost in one round: Tollgate, the Envoy before the service, the service, nothing but the calls.
type Round = [f64; 4];

fn compared() -> Vec<Row> {
    let services = services();
    let backend = Backend::start("graphql-service", services.listener(1));
    let mut bare = Bare::new(config(), &Echo::start("nobody"));
    bare.clusters = vec![("parts", services.listener(1))];
    bare.routes = Some(vec![direct()]);
    // As in the bundled gateway: it holds the request while the plugin reads the body.
    bare.filters = vec![buffer(65536)];
    bare.upstream = backend.address;
    bare.listeners = vec![listener("front", vec![], vec![to_upstream()]), calibration(CALLS)];
    let envoy = Envoy::alone(1, &bare.bootstrap());
    // The service learns the query by its text.
    let answers = [(0, FREE), (FRONT, FREE), (0, LISTED), (FRONT, LISTED)].map(|(place, case)| {
        // With the hash, so that the service knows the text by it.
        let mut body: Value = serde_json::from_str(&body(case, 0)).expect("JSON");
        body["extensions"] = json!({"persistedQuery": {"version": 1, "sha256Hash": hash()}});
        let headers = [("host", "gateway.example"), ("content-type", "application/json")];
        let message = request("POST", "/", &headers, body.to_string().as_bytes());
        tollgate_e2e::raw::send(envoy.listener(place), &message)
            .expect("an answer")
            .json()
    });
    assert!(
        answers[0]["data"]["dashboard"]["recentOrders"][4]["total"] == 12.5,
        "{}",
        answers[0]
    );
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    let kinds = [LISTED, FREE].map(|case| vec![message(case); 3000]);
    let mut rounds: Vec<[Round; 2]> = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("  the article's query, round {} of {ROUNDS}", round + 1);
        rounds.push(kinds.each_ref().map(|messages| {
            let ours = cost(&envoy, 0, messages);
            let [front, service] = backend.cost(messages.len(), || cost(&envoy, FRONT, messages));
            [ours, front, service, cost(&envoy, CALIBRATION, messages)]
        }));
    }
    let kinds = [("a listed operation", 0, Some(0.7)), ("a query that is known", 1, None)];
    kinds
        .into_iter()
        .flat_map(|(kind, place, bar)| {
            let rounds: Vec<_> = rounds.iter().map(|round| round[place]).collect();
            rows(kind, &rounds, bar)
        })
        .collect()
}

fn rows(kind: &str, rounds: &[Round], bar: Option<f64>) -> Vec<Row> {
    let column = |place: usize| median(&rounds.iter().map(|round| round[place]).collect::<Vec<_>>());
    let pairs = |ratio: fn(&Round) -> f64| rounds.iter().map(ratio).collect::<Vec<_>>();
    let both = median(&pairs(|[_, front, service, _]| front + service));
    let row = |what: String, value| Row::new("graphql", what, value, "us/request");
    vec![
        row(
            format!("{kind}, processor time against a service for it and the Envoy before it"),
            column(0),
        )
        .against(both, &pairs(|[ours, front, service, _]| ours / (front + service)), bar),
        row(format!("{kind}, against the service alone"), column(0)).against(
            column(2),
            &pairs(|[ours, _, service, _]| ours / service),
            None,
        ),
        row(
            format!("{kind}, against nothing but the calls that a plugin needs"),
            column(0),
        )
        .against(column(3), &pairs(|[ours, .., calls]| ours / calls), None),
        row(
            format!("{kind}, nothing but the calls, against a service for it and the Envoy before it"),
            column(3),
        )
        .against(
            both,
            &pairs(|[_, front, service, calls]| calls / (front + service)),
            None,
        ),
    ]
}
