//! Any bytes as a GraphQL document, its variables and the answers of services, and as a whole body: the request ends, and its answer is JSON.
#![no_main]

use std::cell::OnceCell;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tollgate::gateway::plan::Plan;
use tollgate_fuzz::{compile, go_through};

thread_local! {
    static PLAN: OnceCell<Arc<Plan>> = const { OnceCell::new() };
}

/// A schema with all kinds of types.
fn plan() -> Arc<Plan> {
    let part = |name: &str| json!({"cluster": name, "path": format!("/{name}")});
    compile(&json!({
        "version": 1,
        "parts": {
            "me": part("me"), "users": part("users"), "feed": part("feed"),
            "friend": {"cluster": "friend", "path": "/friend/{item.id}"},
            "team": {"cluster": "team", "path": "/team", "query": {"ids": "{keys}"}, "batch": {"key": "{item.team_id}", "by": "id", "max": 2}},
            "echo": {"cluster": "echo", "method": "POST", "path": "/echo", "body": {"o": "{args.o}", "l": "{args.l}", "x": "{args.x}"}},
        },
        "routes": [{"match": {"path": "/"}, "public": true, "graphql": {
            "introspection": true,
            "get": true,
            "schema": "type Query { me: User  users(first: Int! = 3): [User!]!  feed(o: O, x: X): [[Item]]  inner: Inner! }
                type Inner { me: User! }
                type User implements Node { id: ID! name: String age: Int score: Float ok: Boolean role: Role any: Any friend: User team: Team! tags: [[String!]] }
                type Team implements Node { id: ID! lead: User }
                interface Node { id: ID! }
                union Item = User | Team
                enum Role { ADMIN USER }
                scalar Any
                input O { a: Int! = 1 b: [O!] c: Role d: Any }
                input X @oneOf { a: ID b: O }
                type Mutation { echo(o: O, l: [[Int!]] = [1], x: X): Any }",
            "fields": {
                "Query.me": {"part": "me"}, "Query.users": {"part": "users", "size": "{args.first}"}, "Query.feed": {"part": "feed"},
                "Query.inner": {"group": true}, "Inner.me": {"part": "me"}, "User.friend": {"part": "friend"}, "User.team": {"part": "team"},
                "Team.lead": {"part": "friend"}, "Mutation.echo": {"part": "echo"},
            },
            "types": {"Node": {"by": "kind"}, "Item": {"by": "kind"}},
        }}],
    }))
}

fuzz_target!(|bytes: &[u8]| {
    let plan = PLAN.with(|cell| Arc::clone(cell.get_or_init(plan)));
    if bytes.first() == Some(&b'{') && bytes.get(1) == Some(&b'"') {
        go_through(&plan, "POST", "/", bytes, b"");
        return;
    }
    let mut pieces = bytes.splitn(3, |byte| *byte == 0);
    let query = String::from_utf8_lossy(pieces.next().unwrap_or_default());
    let variables: Value = serde_json::from_slice(pieces.next().unwrap_or_default()).unwrap_or_default();
    let variables = if variables.is_object() { variables } else { Value::Null };
    let body = json!({"query": query, "variables": variables}).to_string();
    go_through(&plan, "POST", "/", body.as_bytes(), pieces.next().unwrap_or_default());
});
