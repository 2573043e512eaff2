//! What is measured: processor time of the Envoy process, and host calls.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::raw::request;

/// A request with this header among usual ones.
pub(crate) fn message(name: &str, value: &str) -> Vec<u8> {
    message_to("/bench", &[(name, value)])
}

/// The same with a path and several headers.
pub(crate) fn message_to(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [
        ("host", "gateway.example"),
        ("user-agent", "bench"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip"),
    ];
    let headers: Vec<_> = usual.iter().chain(more).copied().collect();
    request("GET", path, &headers, b"")
}

/// The host calls of a request like this one, after one that is not counted. Envoy logs each at level `trace`.
pub(crate) fn host_calls(envoy: &Envoy, message: &[u8]) -> Vec<String> {
    let connection = &mut Connection::open(envoy.address());
    connection.ask(message);
    envoy.admin_post("/logging?wasm=trace");
    let before = envoy.log().len();
    connection.ask(message);
    envoy.admin_post("/logging?wasm=info");
    calls_of_a_request(&envoy.log()[before..])
}

/// Those made in the callbacks of a request and its response: a tick may come in between.
fn calls_of_a_request(log: &str) -> Vec<String> {
    let (mut calls, mut is_ours) = (Vec::new(), false);
    for line in log.lines() {
        if let Some((_, callback)) = line.split_once("[host->vm] ") {
            // Whatever a host call returns is put where the plugin says.
            if callback.starts_with("proxy_on_memory_allocate") {
                continue;
            }
            is_ours = callback.starts_with("proxy_on_request_") || callback.starts_with("proxy_on_response_");
        } else if let Some((_, call)) = line.split_once("[vm->host] ")
            && is_ours
            && !call.contains("return")
        {
            calls.push(call.split('(').next().unwrap_or_default().to_owned());
        }
    }
    calls
}

/// Microseconds of processor time per request, every message sent once.
pub(crate) fn cost(envoy: &Envoy, place: usize, messages: &[Vec<u8>]) -> f64 {
    let address = envoy.listener(place);
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| Connection::open(address)).collect();
    let before = envoy.processor_time();
    thread::scope(|scope| {
        for (connection, messages) in connections
            .iter_mut()
            .zip(messages.chunks(messages.len().div_ceil(CONNECTIONS)))
        {
            scope.spawn(move || messages.iter().for_each(|message| connection.ask(message)));
        }
    });
    (envoy.processor_time() - before).as_secs_f64() * 1e6 / messages.len() as f64
}

/// A connection that stays open.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a connection");
        Self {
            stream,
            buffer: vec![0; MOST],
        }
    }

    /// Sends a request and takes its answer, which must be 200.
    pub(crate) fn ask(&mut self, message: &[u8]) {
        self.stream.write_all(message).expect("sent");
        let mut length = 0;
        loop {
            length += self.stream.read(&mut self.buffer[length..]).expect("an answer");
            let text = &self.buffer[..length];
            assert!(
                text.starts_with(b"HTTP/1.1 200") && length < self.buffer.len(),
                "{}",
                String::from_utf8_lossy(text)
            );
            if is_whole(text) {
                return;
            }
        }
    }
}

/// Whether an answer has come to its end.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]);
    match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => length.parse() == Ok(answer.len() - end - 4),
        None => answer.ends_with(b"\r\n0\r\n\r\n"),
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) const ROUNDS: usize = 9;
const CONNECTIONS: usize = 4;

/// Bytes of an answer.
const MOST: usize = 4 << 20;
