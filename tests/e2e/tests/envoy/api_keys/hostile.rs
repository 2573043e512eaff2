//! Who tries keys out, and who looks for secrets.

use std::time::Instant;

use serde_json::json;
use tollgate::auth::api_key::Format;
use tollgate_e2e::envoy::eventually;
use tollgate_e2e::keys::mint;
use tollgate_e2e::publisher::{Answer, Publisher};
use tollgate_e2e::raw::send_from;

use super::*;

#[test]
fn who_tries_keys_out_is_stopped_on_every_worker_and_nobody_else_is() {
    let keys = Keys::sqlite();
    let service = keys.serve(&[]);
    let gateway = keys.gateway(service.address(), json!({"throttle": {"limit": 20, "window": "10m"}}));
    let (good, other) = (keys.create(&[]), keys.create(&[]));
    let from = |address: [u8; 4], key: &str| {
        let bytes = request("GET", "/", &[("host", "a"), ("x-api-key", key)], b"");
        send_from(address.into(), gateway.address(), &bytes).expect("an answer")
    };
    let attacker = [127, 0, 0, 7];
    assert_eq!(from(attacker, &good.key).status, 200);
    let outcomes: Vec<_> = (0..60).map(|_| from(attacker, &mint().key).status).collect();
    assert_eq!(outcomes[..20], [401; 20]);
    assert_eq!(outcomes[20..], [429; 40]);
    let stopped = from(attacker, &other.key);
    assert_eq!(
        (stopped.status, stopped.json()["code"].as_str()),
        (429, Some("too_many_attempts")),
        "good, but new there"
    );
    let seconds: u64 = stopped.header("retry-after").expect("a hint").parse().expect("seconds");
    assert!((1..=600).contains(&seconds), "{seconds}");
    for _ in 0..40 {
        assert_eq!(
            from(attacker, &good.key).status,
            200,
            "who shares the attacker's address"
        );
        assert_eq!(from([127, 0, 0, 8], &other.key).status, 200, "who does not");
    }
}

#[test]
fn who_leaves_before_the_answer_has_tried_all_the_same() {
    use std::io::Write as _;
    let keys = Keys::sqlite();
    let service = Publisher::start(Answer::Document(json!({"version": 1, "key": null})));
    let throttle = json!({"throttle": {"limit": 20, "window": "10m"}, "lookup.timeout": "30s"});
    let gateway = keys.gateway_of(1, service.address, throttle);
    eventually("the service is asked", || {
        let bytes = request("GET", "/", &[("host", "a"), ("x-api-key", &mint().key)], b"");
        let answer = send_from([127, 0, 0, 9].into(), gateway.address(), &bytes);
        answer.expect("an answer").status == 401
    });
    service.answer(Answer::Silence);
    let before = service.requests().len();
    let lookups = || {
        let requests = service.requests();
        let new = requests.iter().skip(before);
        new.filter(|path| path.contains("lookup")).count()
    };
    for number in 0..60 {
        let key = mint().key;
        let bytes = request("GET", "/", &[("host", "a"), ("x-api-key", &key)], b"");
        let mut stream = std::net::TcpStream::connect(gateway.address()).expect("a connection");
        stream.write_all(&bytes).expect("sent");
        if number < 20 {
            eventually(&format!("{number} is looked up"), || lookups() > number);
        } else {
            assert_eq!(
                raw::read(&mut stream, false).expect("an answer").status,
                429,
                "{number}"
            );
        }
    }
    assert_eq!(lookups(), 20);
    gateway.assert_no_vm_died();
}

#[test]
fn good_keys_that_are_looked_up_are_no_attempts() {
    let keys = Keys::sqlite();
    let service = keys.serve(&[]);
    let gateway = keys.gateway_of(1, service.address(), json!({"throttle": {"limit": 5, "window": "10m"}}));
    for _ in 0..20 {
        assert_eq!(status(&gateway, &keys.create(&[]).key), 200);
    }
    let bad: Vec<_> = (0..6).map(|_| status(&gateway, &mint().key)).collect();
    assert_eq!(bad, [401, 401, 401, 401, 401, 429], "each is one attempt");
}

/// The same bytes, and no difference in time that would tell them apart.
#[test]
fn a_wrong_secret_and_an_unknown_id_look_alike() {
    let keys = Keys::sqlite();
    let service = keys.serve(&[]);
    let gateway = keys.gateway(service.address(), json!({}));
    let known: Vec<_> = (0..8).map(|_| keys.create(&[])).collect();
    for made in &known {
        assert_eq!(status(&gateway, &made.key), 200);
    }
    let mut answers = [Vec::new(), Vec::new()];
    let mut times = [Vec::new(), Vec::new()];
    for number in 0..2000 {
        let unknown = mint().key;
        let wrong = with_id(&unknown, &known[number % known.len()].id);
        // In turn, so that whatever else the machine does meets both.
        for (place, key) in [wrong, unknown].iter().enumerate() {
            let asked = Instant::now();
            let response = ask(gateway.address(), key);
            times[place].push(asked.elapsed());
            assert_eq!(response.status, 401, "{}", response.text());
            let mut body = response.json();
            body["request_id"] = "".into();
            let mut headers = response.headers.clone();
            headers.retain(|(name, _)| name != "date");
            answers[place].push((headers, body.to_string()));
        }
    }
    assert_eq!(answers[0], answers[1]);
    for (what, times) in ["wrong secret", "unknown id"].iter().zip(&mut times) {
        times.sort_unstable();
        println!(
            "{what}: p5 {:?}, median {:?}, p95 {:?}",
            times[100], times[1000], times[1900]
        );
    }
    let ratio = times[0][1000].as_secs_f64() / times[1][1000].as_secs_f64();
    assert!((0.5..2.0).contains(&ratio), "the medians differ by {ratio}");
}

/// The same key with another id, and its checksum made right.
fn with_id(key: &str, id: &str) -> String {
    let secret = &key["tg_live_0123456789ab_".len()..key.len() - 6];
    let unsigned = format!("tg_live_{id}_{secret}");
    let mut sum = crc32fast::hash(unsigned.as_bytes());
    let mut digits = Vec::new();
    for _ in 0..6 {
        let alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        digits.insert(0, alphabet[(sum % 62) as usize]);
        sum /= 62;
    }
    let key = unsigned + std::str::from_utf8(&digits).expect("ASCII");
    let format = Format::new("tg", "live", false).expect("a format");
    assert!(format.read(key.as_bytes()).is_ok(), "the checksum is wrong");
    key
}

fn read_to_string(file: &tempfile::NamedTempFile) -> String {
    std::fs::read_to_string(file.path()).expect("a file")
}

/// Not in a log at the finest level, not in a statistic, not in the configuration that Envoy shows, not in an access log.
#[test]
fn no_secret_is_seen_anywhere() {
    let keys = Keys::sqlite();
    let service = keys.serve(&[]);
    let (good, revoked) = (keys.create(&[]), keys.create(&["--scope", "a"]));
    keys.run(&["revoke", &revoked.id]);
    let mut bare = keys.bare(
        service.address(),
        json!({"from": [{"header": {"name": "x-api-key"}}, {"query": "key"}, {"cookie": "key"}]}),
    );
    bare.config["routes"][0]["require"] = json!({"scopes": {"all": ["b"]}});
    bare.config["routes"].as_array_mut().expect("routes").insert(
        0,
        json!({"match": {"path_prefix": "/open"}, "auth": {"any": ["api_key"]}}),
    );
    let log = tempfile::NamedTempFile::new().expect("a file");
    bare.access_log = Some((
        log.path().into(),
        "%REQ(:PATH)% %REQ(X-API-KEY)% %REQ(COOKIE)% %RESPONSE_CODE%\n",
    ));
    // By Envoy's own environment: values in the configuration would be shown.
    let environment = std::mem::take(&mut bare.environment);
    bare.host_environment = environment.keys().cloned().collect();
    let options = Options {
        concurrency: WORKERS,
        environment,
    };
    let gateway = Envoy::start_with(&bare.bootstrap(), &options);
    let wrong = with_id(&mint().key, &good.id);
    for key in [&good.key, &revoked.key, &wrong] {
        for path in ["/", "/open"] {
            ask(gateway.address(), key);
            let send = |path: &str, headers: &[(&str, &str)]| {
                raw::send(gateway.address(), &request("GET", path, headers, b""))
                    .expect("an answer")
                    .status
            };
            let cookie = format!("a=b; key={key}");
            send(&format!("{path}?a=1&key={key}"), &[("host", "a")]);
            send(path, &[("host", "a"), ("cookie", &cookie)]);
            assert_eq!(
                send(
                    &format!("{path}?key={key}"),
                    &[("host", "a"), ("x-api-key", key), ("cookie", &cookie)]
                ),
                400
            );
        }
    }
    assert_eq!(status(&gateway, &good.key), 403);
    let lines = 3 * 2 * 4 + 1;
    eventually("the access log is written", || {
        read_to_string(&log).lines().count() == lines
    });
    let access = read_to_string(&log);
    assert!(
        access.contains("200") && access.contains("401") && access.contains("403") && access.contains("400"),
        "{access}"
    );
    let secrets = [
        &good.key[22..],
        &revoked.key[22..],
        &wrong[22..],
        SECRET.1,
        LOOKUP,
        ADMIN,
    ];
    for (place, text) in [
        ("the access log", access),
        ("the service's log", service.log()),
        ("the statistics", gateway.admin("/stats").text()),
        ("the configuration", gateway.admin("/config_dump").text()),
        (
            "Tollgate's log",
            gateway
                .log()
                .lines()
                .filter(|line| line.contains("wasm log"))
                .collect::<Vec<_>>()
                .join("\n"),
        ),
    ] {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in {place}:\n{text}");
        }
    }
}
