//! A message's headers: the buffer from the host, indexed in place.

use std::ops::Range;

/// A header map: lower-case names, values as bytes, in order, duplicates included.
///
/// The whole map takes one host call. The ABI's getter for one header would return only the first value, and a second
/// `authorization` must not be overlooked.
#[derive(Debug, Default, Clone)]
pub struct Headers {
    buffer: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    name: Range<usize>,
    value: Range<usize>,
}

/// The error for bytes that are not a header map of the proxy-wasm ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Headers {
    /// Decodes the ABI's map: a little-endian `u32` count, then a pair of `u32` lengths for every entry, then
    /// every name and value, each followed by a zero byte.
    pub fn decode(buffer: Vec<u8>) -> Result<Self, Malformed> {
        if buffer.is_empty() {
            return Ok(Self::default());
        }
        let count = number_at(&buffer, 0)?;
        let mut lengths = WORD;
        let mut text = count
            .checked_mul(2 * WORD)
            .and_then(|size| size.checked_add(WORD))
            .filter(|&start| start <= buffer.len())
            .ok_or(Malformed)?;
        // The filter above bounds `count` by the buffer's size.
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let name = take(&buffer, &mut text, number_at(&buffer, lengths)?)?;
            lengths = lengths.saturating_add(WORD);
            let value = take(&buffer, &mut text, number_at(&buffer, lengths)?)?;
            lengths = lengths.saturating_add(WORD);
            entries.push(Entry { name, value });
        }
        Ok(Self { buffer, entries })
    }

    /// All headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.entries
            .iter()
            .map(|entry| (self.bytes(&entry.name), self.bytes(&entry.value)))
    }

    /// All values of one header; `name` must be in lower case.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.all_bytes(name.as_bytes())
    }

    /// All values of one header, whose name need not be UTF-8.
    pub fn all_bytes<'a, 'n>(&'a self, name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let entries = self.entries.iter().filter(move |entry| self.bytes(&entry.name) == name);
        entries.map(|entry| self.bytes(&entry.value))
    }

    /// The index of a header's first line, for [`value`](Self::value).
    pub fn place(&self, name: &str) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| self.bytes(&entry.name) == name.as_bytes())
    }

    /// The value of the line at an index; empty if it is not UTF-8.
    pub fn value(&self, place: usize) -> &str {
        let value = self.entries.get(place).map(|entry| self.bytes(&entry.value));
        value
            .and_then(|value| std::str::from_utf8(value).ok())
            .unwrap_or_default()
    }

    /// The first value of one header, if it is UTF-8.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next().and_then(|value| std::str::from_utf8(value).ok())
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.buffer.get(range.clone()).unwrap_or_default()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        let count = pairs.size_hint().0;
        let mut headers = Self {
            buffer: Vec::with_capacity(count.saturating_mul(USUAL_SIZE)),
            entries: Vec::with_capacity(count),
        };
        for (name, value) in pairs {
            let name = headers.append(name.as_ref());
            let value = headers.append(value.as_ref());
            headers.entries.push(Entry { name, value });
        }
        headers
    }
}

/// Of a name with its value, in bytes.
const USUAL_SIZE: usize = 64;

impl Headers {
    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        start..self.buffer.len()
    }
}

/// The media type of a `content-type` value: without parameters, in lower case (RFC 9110 section 8.3.1).
pub fn media_type(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

fn number_at(buffer: &[u8], at: usize) -> Result<usize, Malformed> {
    let word = buffer
        .get(at..at.saturating_add(WORD))
        .and_then(|bytes| <[u8; WORD]>::try_from(bytes).ok())
        .ok_or(Malformed)?;
    usize::try_from(u32::from_le_bytes(word)).map_err(|_| Malformed)
}

/// The range of the next `length` bytes; moves `at` past them and their terminating zero.
fn take(buffer: &[u8], at: &mut usize, length: usize) -> Result<Range<usize>, Malformed> {
    let end = at.checked_add(length).ok_or(Malformed)?;
    if end >= buffer.len() {
        return Err(Malformed);
    }
    let range = *at..end;
    *at = end.saturating_add(1);
    Ok(range)
}

const WORD: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut bytes = u32::try_from(pairs.len()).unwrap().to_le_bytes().to_vec();
        for (name, value) in pairs {
            bytes.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
            bytes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        }
        for (name, value) in pairs {
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(value);
            bytes.push(0);
        }
        bytes
    }

    #[test]
    fn every_value_is_seen_in_order_and_byte_for_byte() {
        let headers = Headers::decode(encode(&[
            (b":path", b"/a"),
            (b"authorization", b"Bearer a"),
            (b"x", b"\xff\x80"),
            (b"authorization", b""),
        ]))
        .unwrap();
        assert_eq!(
            headers.all("authorization").collect::<Vec<_>>(),
            [&b"Bearer a"[..], b""]
        );
        assert_eq!(headers.all("x").next(), Some(&b"\xff\x80"[..]));
        assert_eq!(headers.first(":path"), Some("/a"));
        assert_eq!(headers.first("x"), None, "not UTF-8");
        assert_eq!(headers.iter().count(), 4);
    }

    #[test]
    fn a_truncated_map_is_malformed() {
        let whole = encode(&[(b"a", b"b"), (b"c", b"d")]);
        for length in 1..whole.len() {
            assert_eq!(
                Headers::decode(whole[..length].to_vec()).map(|_| ()),
                Err(Malformed),
                "{length}"
            );
        }
        assert_eq!(Headers::decode(vec![0xff; 4]).map(|_| ()), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Headers::decode(bytes).map(|headers| headers.iter().count());
        }
    }
}
