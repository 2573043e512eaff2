//! Requests as HTTP/1 has them, or nearly.

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Credentials;
use super::bytes::{Wanted, mostly};
use crate::raw::latin1;

/// One request, or several on one connection.
pub(super) fn conversation(random: &mut StdRng, credentials: &Credentials, number: u64) -> Vec<u8> {
    let count = if random.random_ratio(1, 5) { 3 } else { 1 };
    (0..count)
        .flat_map(|_| {
            let wanted = Wanted::any(random, credentials, number);
            written(&wanted, random)
        })
        .collect()
}

fn written(wanted: &Wanted, random: &mut StdRng) -> Vec<u8> {
    let version = mostly(random, &["HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0"]);
    let mut bytes = format!("{} ", wanted.method).into_bytes();
    bytes.extend(latin1(&wanted.path));
    bytes.extend(format!(" {version}\r\nHost: {}\r\n", wanted.host).bytes());
    for (name, value) in &wanted.headers {
        let separator = mostly(random, &[": ", ":", " : ", ":\t"]);
        let end = mostly(random, &["\r\n", "\r\n", "\r\n", "\n", "\r\n "]);
        bytes.extend(name.bytes().chain(separator.bytes()));
        bytes.extend(latin1(value).into_iter().chain(end.bytes()));
    }
    let is_chunked = !wanted.trailers.is_empty() || random.random_ratio(1, 8);
    if is_chunked {
        bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        for piece in wanted.body.chunks(wanted.body.len().div_ceil(2).max(1)) {
            let extension = mostly(random, &["", ";a=b", ";\"", "\t"]);
            bytes.extend(format!("{:x}{extension}\r\n", piece.len()).bytes());
            bytes.extend(piece.iter().chain(b"\r\n"));
        }
        bytes.extend(b"0\r\n");
        for (name, value) in &wanted.trailers {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
    } else if !wanted.body.is_empty() {
        bytes.extend(format!("Content-Length: {}\r\n\r\n", wanted.body.len()).bytes());
        bytes.extend(&wanted.body);
        return bytes;
    }
    bytes.extend(b"\r\n");
    bytes
}
