//! Aggregates: what only a real Envoy can show of them.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::thread;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as Received;
use axum::response::Response as Answer;
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tempfile::tempdir;
use tollgate_e2e::bootstrap::{Bare, Form, is_native};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::raw::{self, Response, request};
use tollgate_e2e::server::{listener, runtime, serve};
use tollgate_e2e::services::Services;
use tollgate_e2e::steps::Answered;

/// A service whose answer is as large or as deep as its path says.
fn large() -> SocketAddr {
    let listener = listener();
    let address = listener.local_addr().expect("an address");
    serve(listener, Router::new().fallback(answer));
    address
}

async fn answer(request: Received) -> Answer {
    let path = request.uri().path().to_owned();
    let (kind, count) = path
        .trim_start_matches('/')
        .split_once('/')
        .expect("a kind and a number");
    let count: usize = count.parse().expect("a number");
    let text = match kind {
        "text" => format!("\"{}\"", "x".repeat(count - 2)),
        "deep" => format!("{}{}", "[".repeat(count), "]".repeat(count)),
        "items" => format!("[{}]", vec![r#"{"id":1}"#; count].join(",")),
        "open" => "[".repeat(count),
        _ => return flood(count),
    };
    Answer::new(Body::from(text))
}

/// So many mebibytes, piece by piece.
fn flood(mebibytes: usize) -> Answer {
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes, std::io::Error>::new(1);
    runtime().spawn(async move {
        let piece = Bytes::from(vec![b' '; 1 << 20]);
        for _ in 0..mebibytes {
            // Envoy closes the connection when it has had enough.
            if sender.send_data(piece.clone()).await.is_err() {
                return;
            }
        }
    });
    Answer::new(Body::new(body))
}

/// A rule for each part, by its name: an optional and a required one.
fn config(parts: &Value) -> Value {
    let names: Vec<_> = parts.as_object().expect("parts").keys().cloned().collect();
    let routes = names.iter().map(|name| {
        json!({
            "match": {"path": format!("/{name}"), "methods": ["GET", "HEAD"]},
            "public": true,
            "aggregate": {"deadline": "9s", "body": {"part": format!("{{parts.{name}}}"), "errors": "{errors}"}},
        })
    });
    json!({"version": 1, "parts": parts, "routes": routes.collect::<Vec<_>>()})
}

fn get(envoy: &Envoy, path: &str) -> Response {
    raw::get(envoy.address(), path).expect("a response")
}

fn incomplete(response: &Response) -> String {
    response.joined("x-tollgate-incomplete").unwrap_or_default()
}

#[test]
fn parts_of_any_size_and_depth_leave_the_worker_as_it_was() {
    let (echo, service) = (Echo::start("upstream"), large());
    let part = |path: &str| json!({"cluster": "large", "path": path, "timeout": "9s", "default": null});
    let with = |path: &str, max_bytes: u64| {
        let mut part = part(path);
        part["max_bytes"] = max_bytes.into();
        part
    };
    let gateway = Bare {
        clusters: vec![("large", service)],
        ..Bare::new(
            config(&json!({
                "fits": part("/text/262144"),
                "over": part("/text/262145"),
                "largest": with("/text/4194304", 4 << 20),
                "flood": part("/flood/1024"),
                "deep": with("/deep/200000", 1 << 20),
                "open": with("/open/200000", 1 << 20),
                "items": part("/items/10000"),
            })),
            &echo,
        )
    };
    let envoy = Envoy::alone(1, &gateway.bootstrap());
    let fits = get(&envoy, "/fits");
    assert_eq!(
        (fits.status, fits.body.len()),
        (200, 262_144 + r#"{"part":,"errors":[]}"#.len())
    );
    assert_eq!(incomplete(&get(&envoy, "/over")), "over;code=too_large");
    assert_eq!(get(&envoy, "/largest").body.len(), (4 << 20) + 21);
    let deep = get(&envoy, "/deep");
    assert!(
        deep.text()
            .contains(&format!("{}{}", "[".repeat(200_000), "]".repeat(200_000)))
    );
    assert_eq!(incomplete(&get(&envoy, "/open")), "open;code=not_json");
    assert_eq!(
        get(&envoy, "/items").json()["part"].as_array().map(Vec::len),
        Some(10_000)
    );
    let before = envoy.memory();
    for _ in 0..5 {
        // Envoy gives up what is larger than its own buffer; the module reads no further than it wants.
        let reason = if is_native() { "too_large" } else { "reset" };
        assert_eq!(incomplete(&get(&envoy, "/flood")), format!("flood;code={reason}"));
    }
    let grown = envoy.memory().saturating_sub(before);
    println!("five answers of 1 GiB: {grown} bytes more");
    // Envoy holds up to 32 MiB of one before it gives up.
    assert!(grown < 100 << 20, "{grown}");
    envoy.assert_no_vm_died();
}

#[test]
fn a_service_that_is_not_to_be_called_is_not_called() {
    let (echo, service) = (Echo::start("upstream"), large());
    let parts = json!({
        "open": {"cluster": "open", "path": "/text/9"},
        "empty": {"cluster": "empty", "path": "/text/9"},
        "refused": {"cluster": "refused", "path": "/text/9"},
        "optional": {"cluster": "open", "path": "/text/8", "default": 7},
    });
    let nobody = listener();
    let gone = nobody.local_addr().expect("an address");
    let gateway = Bare {
        clusters: vec![("open", service), ("empty", service), ("refused", gone)],
        ..Bare::new(config(&parts), &echo)
    };
    drop(nobody);
    let mut bootstrap = gateway.bootstrap();
    for cluster in bootstrap["static_resources"]["clusters"]
        .as_array_mut()
        .expect("clusters")
    {
        match cluster["name"].as_str() {
            Some("open") => {
                let none = json!({"max_connections": 0, "max_pending_requests": 0, "max_requests": 0});
                cluster["circuit_breakers"] = json!({"thresholds": [none]});
            }
            Some("empty") => cluster["load_assignment"]["endpoints"] = json!([]),
            _ => {}
        }
    }
    let envoy = Envoy::start(&bootstrap);
    for name in ["open", "empty"] {
        let response = get(&envoy, &format!("/{name}"));
        assert_eq!(
            (response.status, response.header("retry-after")),
            (503, Some("1")),
            "{name}"
        );
        let problem = response.json();
        assert_eq!(
            (&problem["code"], &problem["part"]),
            (&"part_unavailable".into(), &name.into())
        );
        let asked = envoy.stat(&format!("cluster.{name}.upstream_rq_total"));
        assert_eq!(asked, 0, "{name} was called");
    }
    let optional = get(&envoy, "/optional");
    assert_eq!(optional.json()["part"], 7);
    assert_eq!(incomplete(&optional), "optional;code=unavailable");
    let refused = get(&envoy, "/refused");
    assert_eq!((refused.status, &refused.json()["code"]), (502, &"part_failed".into()));
    envoy.assert_no_vm_died();
}

#[test]
fn head_is_get_without_the_body() {
    let (echo, service) = (Echo::start("upstream"), large());
    let mut config = config(&json!({
        "whole": {"cluster": "large", "path": "/text/100"},
        "partial": {"cluster": "large", "path": "/open/9", "default": null},
        "failed": {"cluster": "large", "path": "/open/9"},
    }));
    config["rate_limits"] = json!([{"name": "many", "key": ["ip"], "limit": 1000, "window": "1h"}]);
    for route in config["routes"].as_array_mut().expect("routes") {
        route["rate_limits"] = json!(["many"]);
        route["response"] = json!({"presets": ["security"]});
    }
    let gateway = Bare {
        clusters: vec![("large", service)],
        ..Bare::new(config, &echo)
    };
    let envoy = Envoy::start(&gateway.bootstrap());
    for (path, status) in [("/whole", 200), ("/partial", 200), ("/failed", 502)] {
        let send = |method: &str| envoy.send(&request(method, path, &[("host", "a"), ("x-request-id", "1")], b""));
        let (get, head) = (send("GET"), send("HEAD"));
        assert_eq!((get.status, head.status), (status, status), "{path}");
        assert!(!get.body.is_empty() && head.body.is_empty(), "{path}");
        let length = get.body.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()), "{path}");
        for name in [
            "content-type",
            "x-content-type-options",
            "ratelimit-policy",
            "cache-control",
            "x-tollgate-incomplete",
        ] {
            assert_eq!(get.joined(name), head.joined(name), "{path}: {name}");
        }
        assert!(get.header("x-content-type-options").is_some(), "{path}");
        assert!(get.header("ratelimit-policy").is_some(), "{path}");
    }
}

/// Lets every call that comes be answered.
fn answer_all(services: &Services, body: &Value) -> usize {
    let calls = services.received();
    for call in &calls {
        let answer: Answered = serde_json::from_value(json!({"to": "any", "body": body})).expect("an answer");
        services.answer(call.number, &answer);
    }
    calls.len()
}

#[test]
fn clients_that_leave_take_nothing_with_them() {
    let (echo, services) = (Echo::start("upstream"), Services::default());
    let address = services.start("held");
    let gateway = Bare {
        clusters: vec![("held", address)],
        ..Bare::new(
            config(&json!({"held": {"cluster": "held", "path": "/held", "timeout": "9s"}})),
            &echo,
        )
    };
    let envoy = Envoy::alone(2, &gateway.bootstrap());
    let whole = |services: &Services| {
        let address = envoy.address();
        let client = thread::spawn(move || raw::get(address, "/held").expect("a response"));
        eventually("it was called", || answer_all(services, &json!(1)) > 0);
        let response = client.join().expect("a response");
        assert_eq!(
            (response.status, response.json()),
            (200, json!({"errors": [], "part": 1}))
        );
    };
    whole(&services);
    let before = envoy.memory();
    let mut abandoned = 0;
    for round in 0..10 {
        let bytes = request("GET", "/held", &[("host", "a")], b"");
        let clients: Vec<_> = (0..50)
            .map(|_| {
                let mut client = TcpStream::connect(envoy.address()).expect("a connection");
                client.write_all(&bytes).expect("a request");
                client
            })
            .collect();
        let over_http2 = runtime().block_on(async {
            let mut clients = Vec::new();
            for _ in 0..50 {
                let stream = tokio::net::TcpStream::connect(envoy.address())
                    .await
                    .expect("a connection");
                let (client, connection) = h2::client::handshake(stream).await.expect("a handshake");
                let driver = tokio::spawn(connection);
                let mut client = client.ready().await.expect("ready");
                let request = Request::get("http://a/held").body(()).expect("a request");
                let response = client.send_request(request, true).expect("sent");
                clients.push((client, response, driver));
            }
            clients
        });
        eventually("all have been called", || services.received().len() >= 100);
        drop(clients);
        for (_, _, driver) in over_http2 {
            driver.abort();
        }
        eventually("all have left", || envoy.stat("http.gateway.downstream_rq_active") == 0);
        abandoned += answer_all(&services, &json!(round));
    }
    // The module's calls are their streams', and most have ended with them.
    assert!(is_native() || abandoned == 1000, "{abandoned}");
    eventually("all are counted", || {
        let counted = envoy.stats("tollgate_part_calls_total");
        let counted: u64 = counted
            .iter()
            .filter(|(name, _)| name.contains("abandoned"))
            .map(|(_, value)| value)
            .sum();
        // An answer may have come to one whose client had just left.
        if is_native() {
            counted + abandoned as u64 >= 1000
        } else {
            counted == 1000
        }
    });
    whole(&services);
    let grown = envoy.memory().saturating_sub(before);
    println!("1,000 clients that left: {grown} bytes more");
    assert!(grown < 50 << 20, "{grown}");
    envoy.assert_no_vm_died();
}

#[test]
fn a_request_ends_with_the_plan_that_it_began_with() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("tollgate.yaml");
    let (echo, services) = (Echo::start("upstream"), Services::default());
    let address = services.start("held");
    let mut gateway = Bare {
        clusters: vec![("held", address)],
        form: Form::Discovered(path.display().to_string()),
        ..Bare::new(
            config(&json!({"held": {"cluster": "held", "path": "/held", "timeout": "9s"}})),
            &echo,
        )
    };
    let replace = |text: &str| {
        let new = path.with_extension("new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, &path).expect("a file");
    };
    replace(&gateway.discovery_file());
    let envoy = Envoy::start(&gateway.bootstrap());
    let address = envoy.address();
    let client = thread::spawn(move || raw::get(address, "/held").expect("a response"));
    eventually("it was called", || !services.received().is_empty());
    gateway.config = json!({"version": 1, "routes": [{"match": {"path_prefix": "/"}, "public": true}]});
    replace(&gateway.discovery_file());
    eventually("the update is there", || {
        (0..40).all(|_| get(&envoy, "/other").header("x-upstream").is_some() || get(&envoy, "/other").status == 200)
    });
    answer_all(&services, &json!({"old": true}));
    let response = client.join().expect("a response");
    assert_eq!(response.json(), json!({"errors": [], "part": {"old": true}}));
    envoy.assert_no_vm_died();
}

#[test]
fn what_a_worker_cannot_hold_is_refused_before_the_first_call() {
    let (echo, services) = (Echo::start("upstream"), Services::default());
    let (held, large) = (services.start("held"), large());
    let mut config = config(&json!({
        "held": {"cluster": "held", "path": "/held", "timeout": "9s"},
        "other": {"cluster": "held", "path": "/other", "timeout": "9s"},
        "large": {"cluster": "large", "path": "/text/2000", "default": null},
    }));
    config["part_limits"] = json!({"requests": 3, "calls": 2, "bytes": 1000});
    config["routes"][1]["aggregate"]["body"] = json!(["{parts.held}", "{parts.other}"]);
    let gateway = Bare {
        clusters: vec![("held", held), ("large", large)],
        ..Bare::new(config, &echo)
    };
    let envoy = Envoy::with_workers(1, &gateway.bootstrap());
    // Its answer is larger than all answers together may be.
    assert_eq!(incomplete(&get(&envoy, "/large")), "large;code=too_large");
    let address = envoy.address();
    let clients: Vec<_> = (0..2)
        .map(|place| {
            let client = thread::spawn(move || raw::get(address, "/held").expect("a response"));
            eventually("it was called", || services.received().len() == place + 1);
            client
        })
        .collect();
    // All calls are taken, and so are all but one of the places.
    let other = get(&envoy, "/other");
    assert_eq!((other.status, other.header("retry-after")), (503, Some("1")));
    assert_eq!(other.json()["code"], "unavailable");
    assert_eq!(services.received().len(), 2, "no call was made");
    answer_all(&services, &json!(1));
    for client in clients {
        assert_eq!(client.join().expect("a response").status, 200);
    }
    // What was given back is there again.
    let client = thread::spawn(move || raw::get(address, "/held").expect("a response"));
    eventually("it was called", || answer_all(&services, &json!(1)) == 1);
    assert_eq!(client.join().expect("a response").status, 200);
    envoy.assert_no_vm_died();
}

#[test]
fn nothing_of_a_failed_answer_is_in_a_log() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let (echo, services) = (Echo::start("upstream"), Services::default());
    let held = services.start("held");
    let parts = json!({
        "optional": {"cluster": "held", "path": "/optional", "default": null},
        "required": {"cluster": "held", "path": "/required"},
    });
    let gateway = Bare {
        clusters: vec![("held", held)],
        access_log: Some((path.clone(), "%RESPONSE_CODE_DETAILS%\n")),
        ..Bare::new(config(&parts), &echo)
    };
    let envoy = Envoy::start(&gateway.bootstrap());
    for (name, status) in [("optional", 200), ("required", 502)] {
        let address = envoy.address();
        let client = thread::spawn(move || raw::get(address, &format!("/{name}")).expect("a response"));
        eventually("it was called", || {
            services.received().first().is_some_and(|call| {
                let answer = json!({"to": "any", "status": 500, "body": "s3cr3t", "headers": {"x-secret": "s3cr3t"}});
                services.answer(call.number, &serde_json::from_value(answer).expect("an answer"));
                true
            })
        });
        let response = client.join().expect("a response");
        assert_eq!(response.status, status);
        assert!(!format!("{response:?}").contains("s3cr3t"));
    }
    let log = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("both are logged", || log().lines().count() == 2);
    assert_eq!(
        log(),
        "tollgate{answered:optional.status}\ntollgate{part_failed:status:required}\n"
    );
    assert!(!envoy.log().contains("s3cr3t"));
}
