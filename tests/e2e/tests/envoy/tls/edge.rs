//! What clients find at the gateway's own port for TLS.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use rustls::ClientConfig;
use tollgate_e2e::bundled::Bundled;
use tollgate_e2e::http2;
use tollgate_e2e::raw::{self, request};
use tollgate_e2e::tls::{Certificates, client, connect, send};

use super::{bearer, shell};

fn trusting(protocols: &[&str]) -> Arc<ClientConfig> {
    client(&Certificates::shared().authority(), None, protocols)
}

#[test]
fn both_protocols_and_both_versions_are_spoken_and_nothing_older() {
    let gateway = Bundled::start(|_| {});
    let edge = gateway.envoy.listener(1);
    let message = request("GET", "/api/products/1", &[("host", "a")], b"");
    for protocols in [&[][..], &["http/1.1"]] {
        let answer = send(edge, "localhost", &trusting(protocols), &message).expect("an answer");
        assert_eq!(
            (answer.status, &answer.json()["service"]),
            (200, &"product-service".into())
        );
    }
    let of_h2 = connect(edge, "127.0.0.1", &trusting(&["h2", "http/1.1"])).expect("a connection");
    assert_eq!(of_h2.conn.alpn_protocol(), Some(&b"h2"[..]));
    let folder = Certificates::shared().folder().to_owned();
    let speaks = |version: &str| {
        shell(
            &folder,
            &format!(
                "openssl s_client -connect {edge} -CAfile ca.crt -{version} -cipher ALL:@SECLEVEL=0 </dev/null 2>&1 || true"
            ),
        )
    };
    for version in ["tls1_2", "tls1_3"] {
        assert!(
            speaks(version).contains("Verify return code: 0 (ok)"),
            "{version}: {}",
            speaks(version)
        );
    }
    for version in ["tls1", "tls1_1"] {
        assert!(
            speaks(version).contains("no peer certificate available"),
            "{version}: {}",
            speaks(version)
        );
    }
    let plain = raw::send(edge, &message);
    assert!(plain.is_err(), "{plain:?}");
}

#[test]
fn identity_and_refusals_are_the_same_by_http2_over_tls() {
    let gateway = Bundled::start(|_| {});
    let edge = gateway.envoy.listener(1);
    let bearer = bearer();
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"));
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value));
        http2::send_tls(
            edge,
            "localhost",
            &trusting(&["h2"]),
            request.body(()).expect("a request"),
            &[],
        )
    };
    let seen = ask(
        "GET",
        "/api/orders/1?a=b",
        &[("authorization", &bearer), ("x-user-id", "root"), ("x-canary", "true")],
    );
    let seen = seen.expect("an answer");
    let seen_by: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
    assert_eq!(
        (seen.status, &seen_by["service"]),
        (200, &"order-service-canary".into())
    );
    let headers = seen_by["headers"].as_array().expect("headers");
    let values = |name: &str| {
        let own = headers.iter().filter(|header| header[0] == name);
        own.map(|header| header[1].as_str().expect("text")).collect::<Vec<_>>()
    };
    assert_eq!(values("x-user-id"), ["u1"]);
    assert_eq!(values("x-forwarded-proto"), ["https"]);
    assert_eq!(values("authorization"), [""; 0]);
    for (method, path, headers, status) in [
        ("GET", "/api/users/1", &[][..], 401),
        ("GET", "/api/users/1", &[("authorization", "Bearer a.b.c")], 401),
        ("GET", "/api/orders%2f1", &[("authorization", &bearer)], 400),
        ("DELETE", "/api/products/1", &[], 405),
        ("TRACE", "/api/products/1", &[], 405),
    ] {
        let answer = ask(method, path, headers).expect("an answer");
        assert_eq!(
            answer.status,
            status,
            "{method} {path}: {}",
            String::from_utf8_lossy(&answer.body)
        );
    }
    // Envoy's answer to such a name is a reset of the stream.
    assert!(ask("GET", "/api/products/1", &[("x_user_id", "root")]).is_err());
    gateway.envoy.assert_no_vm_died();
}

#[test]
fn whoever_does_not_finish_a_handshake_is_let_go_and_holds_up_nobody() {
    let gateway = Bundled::start(|_| {});
    let edge = gateway.envoy.listener(1);
    let mut idle: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(edge).expect("a connection"))
        .collect();
    // The beginning of a record that never comes.
    for stream in &mut idle {
        stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).expect("sent");
    }
    let mut garbage = TcpStream::connect(edge).expect("a connection");
    garbage.write_all(&[0xff; 4096]).expect("sent");
    let message = request("GET", "/api/products/1", &[("host", "a")], b"");
    assert_eq!(
        send(edge, "localhost", &trusting(&[]), &message)
            .expect("an answer")
            .status,
        200
    );
    for stream in &mut idle {
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a timeout");
        let ended = stream.read(&mut [0; 16]);
        assert!(
            !matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
            "{ended:?}"
        );
    }
    assert_eq!(
        send(edge, "localhost", &trusting(&[]), &message)
            .expect("an answer")
            .status,
        200
    );
}
