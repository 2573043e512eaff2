//! What the services of the bundled gateway know: answers to the calls that its aggregates make.

/// The answer of a service to a call, as JSON text; `None` for any other call.
pub(crate) fn known(service: &str, path: &str) -> Option<String> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let user = |end: &str| {
        path.strip_prefix("/v1/users/")?
            .strip_suffix(end)
            .filter(|id| !id.contains('/'))
    };
    Some(match service {
        "user-service" => format!(
            r#"{{"id":"{}","name":"Ada Lovelace","email":"ada@example.com","avatar_url":"/avatars/7.png","password_hash":"$2b$10$"}}"#,
            user("")?
        ),
        "order-service" | "order-service-canary" if path == "/v1/orders" => {
            let limit = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("limit=")?.parse().ok());
            let orders: Vec<_> = ORDERS.iter().take(limit.unwrap_or(usize::MAX)).copied().collect();
            format!(r#"{{"items":[{}],"next":null}}"#, orders.join(","))
        }
        "analytics-service" => {
            user("/dashboard")?;
            r#"{"visits":128,"revenue":4711.50,"cohort":"b"}"#.into()
        }
        "product-service" if path == "/v1/products" => {
            let ids = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("ids="))
                .unwrap_or_default();
            let products = ids.split(',').filter_map(|id| {
                let (_, product) = PRODUCTS.iter().find(|(own, _)| *own == id)?;
                Some(*product)
            });
            format!(r#"{{"products":[{}]}}"#, products.collect::<Vec<_>>().join(","))
        }
        _ => return None,
    })
}

const ORDERS: [&str; 4] = [
    r#"{"id":"o4","total":25.90,"status":"shipped","placed_at":"2026-11-20T08:00:00Z","product_id":"p1","margin":0.4}"#,
    r#"{"id":"o3","total":9.00,"status":"delivered","placed_at":"2026-11-02T08:00:00Z","product_id":"p2","margin":0.2}"#,
    r#"{"id":"o2","total":25.90,"status":"delivered","placed_at":"2026-10-11T08:00:00Z","product_id":"p1","margin":0.4}"#,
    r#"{"id":"o1","total":120.00,"status":"returned","placed_at":"2026-10-01T08:00:00Z","product_id":"p9","margin":0.1}"#,
];

const PRODUCTS: [(&str, &str); 2] = [
    ("p1", r#"{"id":"p1","title":"Lamp","price":25.90,"supplier":"s7"}"#),
    ("p2", r#"{"id":"p2","title":"Bulb","price":4.50,"supplier":"s7"}"#),
];
