//! What must flow while it comes, what may be held, and what breaks off.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tollgate_e2e::bootstrap::Bare;
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::raw::{self, request};
use tollgate_e2e::streams::Streams;

use super::{HOST, JSON, config, post, start};

fn start_streams() -> (Envoy, Streams) {
    let streams = Streams::start();
    (in_front_of(streams.address), streams)
}

fn in_front_of(upstream: SocketAddr) -> Envoy {
    let mut bare = Bare::new(config(), &Echo::start("nobody"));
    bare.upstream = upstream;
    // A gigabyte takes its time on a busy machine.
    let patient = json!({"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}});
    bare.routes = Some(vec![patient]);
    Envoy::start(&bare.bootstrap())
}

fn connect(envoy: &Envoy, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(envoy.address()).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    stream.write_all(bytes).expect("sent");
    stream
}

/// Lines up to the one that holds this.
fn read_to(reader: &mut impl std::io::BufRead, wanted: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        let count = reader
            .read_line(&mut line)
            .unwrap_or_else(|error| panic!("{error} after {lines:?}"));
        assert!(count > 0, "the end, after {lines:?}");
        let found = line.contains(wanted);
        lines.push(line);
        if found {
            return lines;
        }
    }
}

#[test]
fn events_flow_through_rules_for_json() {
    let (envoy, streams) = start_streams();
    let pieces = ("x-pieces", "data: 1\n\n|data: 2\n\n|data: 3\n\n".replace('\n', "~"));
    let headers = [HOST, ("x-type", "text/event-stream"), (pieces.0, pieces.1.as_str())];
    let mut reader = BufReader::new(connect(&envoy, &request("GET", "/change", &headers, b"")));
    // Each comes before the upstream sends the next.
    for event in ["data: 1", "data: 2", "data: 3"] {
        let mut byte = [0];
        let mut text = String::new();
        while !text.contains(event) {
            reader
                .read_exact(&mut byte)
                .unwrap_or_else(|error| panic!("{error} after {text:?}"));
            text.push(char::from(byte[0]));
        }
        streams.next();
    }
    envoy.assert_no_vm_died();
}

#[test]
fn json_is_held_until_it_is_whole() {
    let (envoy, streams) = start_streams();
    streams.next();
    streams.next();
    let headers = [
        HOST,
        ("x-type", "application/json"),
        ("x-pieces", r#"{"gone"|:1,"a"|:2}"#),
    ];
    let answer = envoy.send(&request("GET", "/change", &headers, b""));
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"a":2,"new":1}"#));
}

#[test]
fn an_answer_that_cannot_be_changed_breaks_off() {
    let (envoy, streams) = start_streams();
    for (path, pieces, reason) in [
        ("/change", "{\"secret\"|:", "body_not_json"),
        ("/change/bytes/500000", "", "body_too_large"),
    ] {
        streams.next();
        let headers = [HOST, ("x-type", "application/json"), ("x-pieces", pieces)];
        let mut stream = connect(&envoy, &request("GET", path, &headers, b""));
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        println!("{reason}: {text:?}");
        assert!(!text.contains("secret") && !text.contains("xxx"), "{text}");
        assert!(!text.ends_with("0\r\n\r\n"), "as if it were whole: {text}");
    }
    envoy.assert_no_vm_died();
}

#[test]
fn what_is_too_large_may_pass_as_it_is() {
    let (envoy, _streams) = start_streams();
    let body = format!("{{\"gone\":\"{}\"}}", "x".repeat(300_000));
    let mut chunked = request(
        "POST",
        "/lenient/count",
        &[HOST, JSON, ("transfer-encoding", "chunked")],
        b"",
    );
    for piece in body.as_bytes().chunks(700) {
        chunked.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(envoy.send(&chunked).text(), body.len().to_string());
    let typed = ("x-type", "application/json");
    let answer = envoy.send(&request("GET", "/lenient/bytes/300000", &[HOST, typed], b""));
    assert_eq!((answer.status, answer.body.len()), (200, 300_000));
    let counted = |direction: &str| {
        envoy.stat(&format!(
            "wasmcustom.tollgate_bodies_unchanged_total;route=/lenient/*;direction={direction};reason=body_too_large;"
        ))
    };
    eventually("both are counted", || {
        (counted("request"), counted("response")) == (1, 1)
    });
    envoy.assert_no_vm_died();
}

#[test]
fn a_gigabyte_passes_without_being_held() {
    let (envoy, _streams) = start_streams();
    envoy.send(&request("GET", "/x/bytes/1", &[HOST], b""));
    let before = envoy.memory();
    let mut stream = connect(
        &envoy,
        &request("POST", "/x/count", &[HOST, ("content-length", "1073741824")], b""),
    );
    let piece = vec![b'x'; 1 << 20];
    (0..1024).for_each(|_| stream.write_all(&piece).expect("sent"));
    assert_eq!(raw::read(&mut stream, false).expect("an answer").text(), "1073741824");
    let mut reader = BufReader::with_capacity(
        1 << 20,
        connect(&envoy, &request("GET", "/x/bytes/1073741824", &[HOST], b"")),
    );
    let mut count = 0_u64;
    while count < 1 << 30 {
        let length = reader.fill_buf().expect("bytes").len();
        assert!(length > 0, "the end after {count}");
        count += length as u64;
        reader.consume(length);
    }
    let grown = envoy.memory().saturating_sub(before);
    println!("1 GiB there and 1 GiB back: Envoy grew by {} KiB", grown / 1024);
    assert!(grown < 64 << 20, "{grown}");
    envoy.assert_no_vm_died();
}

#[test]
fn websockets_pass_rules_for_json() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    let upstream = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        while read_to(&mut reader, "\r\n").last().is_some_and(|line| line != "\r\n") {}
        let mut stream = stream;
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
            .expect("sent");
        let mut frame = [0; 5];
        reader.read_exact(&mut frame).expect("a frame");
        stream.write_all(&frame).expect("sent");
    });
    let envoy = in_front_of(address);
    let headers = [
        HOST,
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
    ];
    let mut reader = BufReader::new(connect(&envoy, &request("GET", "/change", &headers, b"")));
    assert!(read_to(&mut reader, "101").len() == 1);
    while read_to(&mut reader, "\r\n").last().is_some_and(|line| line != "\r\n") {}
    reader.get_mut().write_all(b"frame").expect("sent");
    let mut frame = [0; 5];
    reader.read_exact(&mut frame).expect("a frame");
    assert_eq!(&frame, b"frame");
    upstream.join().expect("the upstream ends");
    envoy.assert_no_vm_died();
}

#[test]
fn clients_that_leave_in_the_middle_cost_nothing() {
    let (envoy, echo) = start();
    let part = format!("{{\"gone\":\"{}", "x".repeat(50_000));
    let leave = |count: usize| {
        for _ in 0..count {
            let headers = [HOST, JSON, ("content-length", "300000")];
            drop(connect(
                &envoy,
                &[request("POST", "/change", &headers, b""), part.clone().into_bytes()].concat(),
            ));
        }
        eventually("they are gone", || envoy.stat("http.gateway.downstream_rq_active") == 0);
    };
    leave(100);
    let before = envoy.memory();
    leave(400);
    let grown = envoy.memory().saturating_sub(before);
    println!(
        "400 clients left with 50,000 bytes sent: Envoy grew by {} KiB",
        grown / 1024
    );
    assert!(grown < 16 << 20, "{grown}");
    assert_eq!(post(&envoy, "/change", &[], b"{}").status, 200);
    // The upstream may still be busy with those who left.
    let bodies: Vec<_> = echo.take().into_iter().map(|seen| seen.body).collect();
    assert!(bodies.iter().any(|body| body == r#"{"new":1}"#), "{bodies:?}");
    envoy.assert_no_vm_died();
}
