use std::rc::Rc;

use serde_json::json;

use crate::config::Environment;
use crate::exchange::Exchange;
use crate::gateway::plan::Plan;
use crate::gateway::worker::Worker;
use crate::http::headers::Headers;
use crate::seam::simulated::Simulated;
use crate::seam::{Event, Step, StreamId};

/// What becomes of a request to a gateway that takes credentials from everywhere.
fn step(method: &str, path: &[u8], more: &[(&str, &str)]) -> Step {
    let limit = json!({"name": "each", "key": ["header:x-client"], "limit": 1, "window": "1m", "on_missing": "deny"});
    let config = json!({
        "version": 1,
        "jwt": {"issuers": [{
            "name": "main", "issuer": "i", "audiences": ["a"], "algorithms": ["ES256"],
            "jwks": {"remote": {"cluster": "c", "url": "https://i/keys"}},
            "from": [{"header": {"name": "authorization"}}, {"cookie": "session"}, {"query": "access_token"}],
        }]},
        "api_keys": {"secrets": [{"id": "v1", "env": "S"}], "from": [{"header": {"name": "x-api-key"}}]},
        "rate_limits": [limit],
        "routes": [
            {"match": {"path_prefix": "/office"}, "auth": {"any": ["jwt"]}, "network": {"allow": ["10.0.0.0/8"]}},
            {"match": {"path_prefix": "/limited"}, "auth": {"any": ["jwt"]}, "rate_limits": ["each"]},
            {"match": {"path_prefix": "/read", "methods": ["GET"]}, "auth": {"any": ["jwt"]}},
            {"match": {"path_prefix": "/public"}, "public": true, "validate": {"headers": ["x-tenant"]}},
        ],
    });
    let environment = Environment::from([("S".to_owned(), "s".repeat(32))]);
    let worker = Rc::new(Worker::new(Plan::of(&config, &environment).unwrap()));
    let own: [(&[u8], &[u8]); 3] = [(b":method", method.as_bytes()), (b":authority", b"h"), (b":path", path)];
    let more = more.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let headers: Headers = own.into_iter().chain(more).collect();
    let event = Event::RequestHeaders {
        headers: Rc::new(headers),
        route_name: None,
        has_body: false,
    };
    Exchange::new(worker, StreamId(0)).on(event, &Simulated::default())
}

#[test]
fn a_refused_request_loses_its_credentials_whatever_refuses_it() {
    let credentials = [
        ("authorization", "Bearer secret"),
        ("cookie", "theme=dark; session=secret"),
        ("x-api-key", "secret"),
    ];
    for (method, path, refusal) in [
        ("GET", "/office", "network_refused:network_not_allowed"),
        ("GET", "/limited", "forbidden:"),
        ("POST", "/read", "method_not_allowed:method_not_listed"),
        ("GET", "/none", "no_policy:no_rule"),
        ("GET", "/read;x=1", "invalid_request:path_parameters"),
        ("GET", "/read//x", "invalid_request:path_not_normalized"),
        ("TRACE", "/read", "method_not_allowed:method_refused"),
        ("get", "/read", "invalid_request:method_malformed"),
        ("GET", "/read", "multiple_credentials:"),
        ("GET", "/public", "validation_failed:"),
    ] {
        let target = format!("{path}?a=b&access_token=secret");
        let step = step(method, target.as_bytes(), &credentials);
        let details = &step.reply().unwrap_or_else(|| panic!("{path}: {step:?}")).details;
        assert!(details.contains(refusal), "{path}: {details}");
        let changed: Vec<_> = step
            .headers
            .iter()
            .map(|(name, values)| {
                let values = values.iter().map(|value| String::from_utf8_lossy(value).into_owned());
                (String::from_utf8_lossy(name).into_owned(), values.collect::<Vec<_>>())
            })
            .collect();
        let expected = [
            ("authorization", vec![]),
            ("x-api-key", vec![]),
            ("cookie", vec!["theme=dark".to_owned()]),
            (":path", vec![format!("{path}?a=b")]),
        ];
        assert_eq!(
            changed,
            expected.map(|(name, values)| (name.to_owned(), values)),
            "{path}"
        );
    }
}

#[test]
fn a_path_that_is_no_text_loses_them_too() {
    let step = step("GET", b"/\xff?access_token=secret", &[]);
    assert!(step.reply().is_some());
    assert_eq!(step.headers.get(b":path"), Some(&vec![b"/\xff".to_vec()]));
}

#[test]
fn a_refused_request_without_credentials_stays_as_it_is() {
    for path in ["/office?a=access_token", "/none", "/read", "/read//x?", "/public"] {
        let step = step("GET", path.as_bytes(), &[("cookie", "theme=session")]);
        assert!(step.reply().is_some() && step.headers.is_empty(), "{path}: {step:?}");
    }
}
