//! Frames of HTTP/2 (RFC 9113), with header blocks that say everything in full (RFC 7541 section 6.2.2).

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Credentials;
use super::bytes::{Wanted, mostly};
use crate::raw::latin1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The preface and a few streams.
pub(super) fn conversation(random: &mut StdRng, credentials: &Credentials, number: u64) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    for stream in 0..random.random_range(1..6_u32) {
        let wanted = Wanted::any(random, credentials, number);
        request(&mut bytes, random, &wanted, 1 + 2 * stream);
    }
    bytes
}

fn request(bytes: &mut Vec<u8>, random: &mut StdRng, wanted: &Wanted, stream: u32) {
    let mut fields = vec![
        (":method".to_owned(), wanted.method.to_owned()),
        (":scheme".to_owned(), mostly(random, &["http", "https", "x"]).to_owned()),
        (":authority".to_owned(), wanted.host.to_owned()),
        (":path".to_owned(), wanted.path.clone()),
    ];
    match random.random_range(0..16) {
        0 => drop(fields.remove(random.random_range(0..4))),
        1 => fields.push(fields[random.random_range(0..4)].clone()),
        2 => fields.push(("host".to_owned(), "admin.test".to_owned())),
        _ => {}
    }
    let lower = |(name, value): &(String, String)| (name.to_ascii_lowercase(), value.clone());
    fields.extend(wanted.headers.iter().map(lower));
    if random.random_ratio(1, 16) {
        // Pseudo-headers come first; these do not.
        fields.rotate_left(1);
    }
    let body = wanted.body.as_slice();
    let (has_body, has_trailers) = (!body.is_empty(), !wanted.trailers.is_empty());
    let ends = if has_body || has_trailers { 0 } else { END_STREAM };
    let block = block(&fields);
    if random.random_ratio(1, 6) && block.len() > 2 {
        let (first, rest) = block.split_at(random.random_range(1..block.len()));
        frame(bytes, HEADERS, ends, stream, first);
        frame(bytes, CONTINUATION, END_HEADERS, stream, rest);
    } else {
        frame(bytes, HEADERS, ends | END_HEADERS, stream, &block);
    }
    if random.random_ratio(1, 12) {
        frame(bytes, PING, 0, 0, &[0; 8]);
        frame(bytes, WINDOW_UPDATE, 0, stream, &[0, 0, 255, 0]);
    }
    if has_body {
        let ends = if has_trailers { 0 } else { END_STREAM };
        // What a peer may send at once (RFC 9113 section 6.5.2).
        for piece in body.chunks(16_384) {
            let is_last = piece.as_ptr_range().end == body.as_ptr_range().end;
            frame(bytes, DATA, if is_last { ends } else { 0 }, stream, piece);
        }
    }
    if random.random_ratio(1, 8) {
        frame(bytes, RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    } else if has_trailers {
        let trailers: Vec<_> = wanted.trailers.iter().map(lower).collect();
        frame(
            bytes,
            HEADERS,
            END_STREAM | END_HEADERS,
            stream,
            &self::block(&trailers),
        );
    }
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    bytes.extend(&length[1..]);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
}

fn block(fields: &[(String, String)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        string(&mut bytes, name.as_bytes());
        string(&mut bytes, &latin1(value));
    }
    bytes
}

/// A length of 7 bits or more (RFC 7541 section 5.1), and the bytes.
fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        bytes.push(rest as u8);
    } else {
        bytes.push(127);
        rest -= 127;
        while rest >= 128 {
            bytes.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        bytes.push(rest as u8);
    }
    bytes.extend(text);
}
