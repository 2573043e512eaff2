//! What attackers write where something else belongs, and bytes that are spoilt.

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Credentials;

/// What stands in every identity that no gateway has given.
pub(super) const FORGED: &str = "forged";

/// Names of headers that only the gateway may set, as the configuration has them.
pub(super) const MANAGED: [&str; 11] = [
    "x-user-id",
    "x-tenant-id",
    "x-user-roles",
    "x-user-scopes",
    "x-user-plan",
    "x-auth-method",
    "x-auth-issuer",
    "x-api-key-id",
    "x-team",
    "x-tollgate-proof",
    "x-jwt-payload",
];

/// How many of the paths are plain ones.
const PLAIN: usize = 10;

const PATHS: [&str; 34] = [
    "/",
    "/private",
    "/private/x?q=1&d=2",
    "/admin",
    "/admin/users",
    "/checked?q=%22",
    "/keep",
    "/optional",
    "/read",
    "/public/a/b",
    "/admin;x/users",
    "/;x/admin/users",
    "/keep;a=b/../admin",
    "/keep/..;/admin",
    "/%61dmin",
    "/%2561dmin",
    "/x/../admin",
    "/x/%2e%2e/admin",
    "//admin",
    "/x//admin",
    "/x\\..\\admin",
    "/admin%00",
    "/admin%2fusers",
    "/admin#x",
    "/admin?",
    "/admin.",
    "/./admin",
    "*",
    "",
    "http://admin.test/",
    "http://a/admin",
    "//admin.test/",
    "/private?access_token=&access_token=x",
    "/read?api_key=",
];

const HOSTS: [&str; 15] = [
    "a",
    "b",
    "c:80",
    "d.",
    "admin.test",
    "ADMIN.test",
    "admin.test.",
    "admin.test:80",
    "admin.test.:80",
    "admin.test:80:80",
    "admin.test:8a",
    "admin.test:-1",
    "a@admin.test",
    "admin.test/",
    "",
];

const METHODS: [&str; 11] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "TRACE", "CONNECT", "A!B",
];

const BODIES: [&str; 10] = [
    "",
    "{}",
    "{\"a\": \"ababac\", \"b\": [{}]}",
    "[1,2,{\"x\":1}]",
    "{\"a\":",
    "\u{feff}{}",
    "a=b&c=d",
    "{\"x\":1,\"x\":2}",
    "null",
    "1e999",
];

const TYPES: [&str; 8] = [
    "application/json",
    "application/json; charset=utf-16",
    "application/problem+json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/grpc",
    "multipart/form-data; boundary=x",
    "",
];

/// Pieces that parsers trip over.
const PIECES: [&[u8]; 26] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"%",
    b"%00",
    b"%2f",
    b"..",
    b"/",
    b"\\",
    b"?",
    b"#",
    b"\xff",
    b"\xc3\xa9",
    b"{",
    b"\"",
    b"0\r\n\r\n",
    b"\r\nx-user-id: forged\r\n",
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"Transfer-Encoding: chunked\r\n",
];

/// The first one, or now and then any of them.
pub(super) fn mostly<'a, T: ?Sized>(random: &mut StdRng, of: &[&'a T]) -> &'a T {
    if random.random_ratio(7, 8) {
        of[0]
    } else {
        any(random, of)
    }
}

pub(super) fn any<'a, T: ?Sized>(random: &mut StdRng, of: &[&'a T]) -> &'a T {
    of[random.random_range(0..of.len())]
}

/// A request that may be a good one.
pub(super) struct Wanted {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) host: &'static str,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
}

impl Wanted {
    pub(super) fn any(random: &mut StdRng, credentials: &Credentials, number: u64) -> Self {
        let paths = if random.random_ratio(2, 3) {
            &PATHS[..PLAIN]
        } else {
            &PATHS
        };
        let mut path = any(random, paths).to_owned();
        if random.random_ratio(1, 16) {
            path.push_str(any(random, &PATHS));
        }
        let mut headers = vec![("x-attack".to_owned(), number.to_string())];
        match random.random_range(0..4) {
            0 => headers.push(("authorization".to_owned(), format!("Bearer {}", credentials.token))),
            1 => headers.push(("x-api-key".to_owned(), credentials.key.clone())),
            _ => {}
        }
        for _ in 0..random.random_range(0..4) {
            headers.push(header(random, credentials));
        }
        if random.random_ratio(1, 3) {
            headers.push(forged(random));
        }
        let mut body = any(random, &BODIES).as_bytes().to_vec();
        if !body.is_empty() && random.random_ratio(3, 4) {
            headers.push(("content-type".to_owned(), TYPES[0].to_owned()));
        }
        if random.random_ratio(1, 12) {
            body = nested(random);
        }
        let most = if body.is_empty() || random.random_ratio(1, 2) {
            1
        } else {
            3
        };
        let trailers = (0..random.random_range(0..most)).map(|_| forged(random)).collect();
        let methods = if body.is_empty() { &METHODS[..] } else { &METHODS[2..] };
        Self {
            method: mostly(random, methods),
            path,
            host: mostly(random, &HOSTS),
            headers,
            body,
            trailers,
        }
    }
}

/// Deep or long.
fn nested(random: &mut StdRng) -> Vec<u8> {
    let count = random.random_range(1..20_000);
    let [open, close] = any(
        random,
        &[&["[", "]"], &["{\"b\":[", "]}"], &["{\"\":0,", "}"], &["\"a", "\""]],
    );
    [open.repeat(count), close.repeat(count)].concat().into_bytes()
}

/// An identity that the client has made up, in one of the spellings that servers fold.
fn forged(random: &mut StdRng) -> (String, String) {
    let name = any(random, &MANAGED);
    let separator = any(random, &["-", "-", "-", "_", ".", "!"]);
    let mut name = name.replace('-', separator);
    if random.random_ratio(1, 3) {
        name.make_ascii_uppercase();
    }
    (name, FORGED.to_owned())
}

fn header(random: &mut StdRng, credentials: &Credentials) -> (String, String) {
    let Credentials { token, key } = credentials;
    let bad = format!("{}A", &token[..token.len() - 1]);
    let (name, value) = match random.random_range(0..24) {
        0 | 1 => ("authorization", format!("Bearer {token}")),
        2 => ("authorization", format!("Bearer {bad}")),
        3 => (
            "authorization",
            "Bearer ".to_owned() + any(random, &["", "a.b.c", ",", "..", "e30.e30."]),
        ),
        4 => ("cookie", format!("session={token}")),
        5 => (
            "cookie",
            any(random, &["session=", "session=a; session=b", "=;;=", "session"]).to_owned(),
        ),
        6 => ("x-api-key", key.clone()),
        7 => ("x-api-key", crate::keys::mint().key),
        8 => ("x-api-key", any(random, &["", "tg_live_", "a,b", "null"]).to_owned()),
        9 => (
            "connection",
            any(
                random,
                &[
                    "close",
                    "x-user-id",
                    "authorization, x-api-key",
                    "upgrade",
                    "te, x-tollgate-proof",
                ],
            )
            .to_owned(),
        ),
        10 => ("content-type", any(random, &TYPES).to_owned()),
        11 => (
            "content-encoding",
            any(random, &["gzip", "identity", "br, gzip", ""]).to_owned(),
        ),
        12 => (
            "transfer-encoding",
            any(random, &["chunked", "identity", "chunked, chunked", "xchunked"]).to_owned(),
        ),
        13 => (
            "content-length",
            any(random, &["0", "5", "-1", "+1", "1, 1", "99999999999999999999"]).to_owned(),
        ),
        14 => ("upgrade", any(random, &["websocket", "h2c", "TLS/1.0"]).to_owned()),
        15 => ("expect", "100-continue".to_owned()),
        16 => (
            "x-http-method-override",
            any(random, &["DELETE", "TRACE", "GET", ""]).to_owned(),
        ),
        17 => (
            "x-forwarded-for",
            any(random, &["10.0.0.1", "1.2.3.4, ::1", "x", ""]).to_owned(),
        ),
        18 => ("x-client", random.random_range(0..100_000).to_string()),
        19 => (
            "accept",
            any(random, &["*/*", "application/json;q=0", "text/html, */*;q=0.1", ","]).to_owned(),
        ),
        20 => (
            "x-c",
            any(random, &["{path}", "%REQ(x)%", "a\"b", "\u{e9}", "a&b=c#d"]).to_owned(),
        ),
        21 => ("te", "trailers".to_owned()),
        22 => (
            "origin",
            any(random, &["null", "http://a", "http://admin.test"]).to_owned(),
        ),
        _ => ("x-long", "a".repeat(random.random_range(1..20_000))),
    };
    (name.to_owned(), value)
}

/// Changes a few bytes: turned over, put in, taken out, doubled.
pub(super) fn spoil(bytes: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..6) {
        if bytes.is_empty() {
            return;
        }
        // Most of what matters stands at the beginning.
        let most = if random.random_ratio(1, 2) {
            bytes.len().min(200)
        } else {
            bytes.len()
        };
        let at = random.random_range(0..most);
        match random.random_range(0..6) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => drop(bytes.splice(at..at, any(random, &PIECES).iter().copied())),
            3 => drop(bytes.drain(at..(at + random.random_range(1..20)).min(bytes.len()))),
            4 => {
                let doubled = bytes[at..(at + random.random_range(1..100)).min(bytes.len())].to_vec();
                drop(bytes.splice(at..at, doubled));
            }
            _ => bytes.truncate(at),
        }
    }
}
