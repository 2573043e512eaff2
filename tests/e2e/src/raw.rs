//! A client that sends bytes as they are: what no HTTP library would send must be tested too.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The one value of a header; panics on several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice: {:?}", self.headers);
        value
    }

    /// Every value of a header, joined as case files have them.
    pub fn joined(&self, name: &str) -> Option<String> {
        let values = self.headers.iter().filter(|(key, _)| key == name);
        joined(values.map(|(_, value)| value.as_str()))
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Several values as case files have them; `None` for none.
pub fn joined<'a>(values: impl Iterator<Item = &'a str>) -> Option<String> {
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| values.join(" | "))
}

/// Sends bytes on a new connection and reads one response.
pub fn send(address: SocketAddr, bytes: &[u8]) -> io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(bytes)?;
    read(&mut stream, bytes.starts_with(b"HEAD "))
}

/// The same from an address of this machine.
pub fn send_from(source: IpAddr, address: SocketAddr, bytes: &[u8]) -> io::Result<Response> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect_timeout(&address.into(), TIMEOUT)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(bytes)?;
    read(&mut stream, bytes.starts_with(b"HEAD "))
}

/// A GET without a body.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Response> {
    send(address, &request("GET", path, &[("host", "localhost")], b""))
}

/// The bytes of a request; header values as ISO-8859-1, so that every byte can be written.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} ").into_bytes();
    bytes.extend(latin1(path));
    bytes.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend(latin1(value));
        bytes.extend_from_slice(b"\r\n");
    }
    if !body.is_empty() {
        bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Characters up to U+00FF as one byte each.
pub fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|character| u8::try_from(u32::from(character)).expect("a character up to U+00FF"))
        .collect()
}

/// Bytes as characters up to U+00FF.
pub fn from_latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Reads one response; `bodiless` where the request was a HEAD.
pub fn read(stream: &mut impl Read, bodiless: bool) -> io::Result<Response> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some(response) = parse(&bytes, bodiless)? {
            return Ok(response);
        }
        match stream.read(&mut chunk)? {
            // An answer without a length ends here.
            0 => return parse(&bytes, true)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

/// `None` while something is missing. A body without a length ends with the connection; a `bodiless` answer has none
/// whatever it says.
fn parse(bytes: &[u8], bodiless: bool) -> io::Result<Option<Response>> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut response = httparse::Response::new(&mut headers);
    let invalid = |error: httparse::Error| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let httparse::Status::Complete(start) = response.parse(bytes).map_err(invalid)? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let headers: Vec<_> = response
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), from_latin1(header.value)))
        .collect();
    let value = |name: &str| {
        headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let body = &bytes[start..];
    let body = if bodiless || status == 204 || status == 304 {
        body.to_vec()
    } else if value("transfer-encoding").is_some() {
        match dechunk(body) {
            Some(body) => body,
            None => return Ok(None),
        }
    } else {
        match value("content-length").and_then(|length| length.parse().ok()) {
            Some(length) if body.len() >= length => body[..length].to_vec(),
            _ => return Ok(None),
        }
    };
    Ok(Some(Response { status, headers, body }))
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete((_, 0))) => return Some(body),
            Ok(httparse::Status::Complete((start, size))) => {
                let end = start + usize::try_from(size).ok()?;
                body.extend_from_slice(rest.get(start..end)?);
                rest = rest.get(end + 2..)?;
            }
            _ => return None,
        }
    }
}

const TIMEOUT: Duration = Duration::from_secs(20);
