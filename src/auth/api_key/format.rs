//! The format of API keys: `<prefix>_<environment>_<id>_<secret><checksum>`. Secret scanners recognize it, a mistyped
//! key is refused without a lookup, and the id is safe to log.

use std::fmt;

/// The format of accepted keys and of new keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// The prefix and the environment, each with its underscore.
    head: String,
    opaque: bool,
}

/// A well-formed key from a request. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Presented<'a> {
    /// The whole key, which is what gets hashed.
    pub key: &'a [u8],
    /// The key's public id; `None` for a key that was minted elsewhere.
    pub id: Option<&'a str>,
}

/// A new key. `Debug` does not show it.
pub struct Minted {
    /// The whole key.
    pub key: String,
    /// The public id.
    pub id: String,
}

impl Format {
    /// A format of keys. `prefix` identifies their owner, `environment` the gateways that accept them, such as `live`
    /// or `test`; both are lower-case letters and digits. `opaque` accepts keys that were minted elsewhere too. `Err`
    /// says what is wrong.
    pub fn new(prefix: &str, environment: &str, opaque: bool) -> Result<Self, String> {
        for (name, part) in [("prefix", prefix), ("environment", environment)] {
            let plain = part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            if !plain || part.is_empty() || part.len() > MAX_PART {
                return Err(format!(
                    "the {name} \"{part}\" is not 1 to {MAX_PART} lower-case letters and digits"
                ));
            }
        }
        Ok(Self {
            head: format!("{prefix}_{environment}_"),
            opaque,
        })
    }

    /// Checks everything about a key that needs no lookup.
    pub fn read<'a>(&self, key: &'a [u8]) -> Result<Presented<'a>, &'static str> {
        let Some(body) = key.strip_prefix(self.head.as_bytes()) else {
            let fits = (MIN_OPAQUE..=MAX_OPAQUE).contains(&key.len())
                && key.iter().all(|&byte| byte.is_ascii_graphic() && byte != b',');
            return if self.opaque && fits {
                Ok(Presented { key, id: None })
            } else {
                Err(MALFORMED)
            };
        };
        let (id, rest) = body.split_at_checked(ID).ok_or(MALFORMED)?;
        let secret = rest.strip_prefix(b"_").ok_or(MALFORMED)?;
        let alphabetic = |part: &[u8]| part.iter().all(u8::is_ascii_alphanumeric);
        if secret.len() != SECRET.saturating_add(CHECKSUM) || !alphabetic(id) || !alphabetic(secret) {
            return Err(MALFORMED);
        }
        let (signed, sum) = key
            .len()
            .checked_sub(CHECKSUM)
            .and_then(|at| key.split_at_checked(at))
            .ok_or(MALFORMED)?;
        if checksum(signed).as_bytes() != sum {
            return Err(MALFORMED);
        }
        let id = std::str::from_utf8(id).map_err(|_| MALFORMED)?;
        Ok(Presented { key, id: Some(id) })
    }

    /// Mints a key from random bytes, which must be unpredictable. Its secret has 256 bits.
    pub fn mint(&self, mut random: impl FnMut() -> u8) -> Minted {
        let id = characters(ID, &mut random);
        let mut key = format!("{}{id}_{}", self.head, characters(SECRET, &mut random));
        key.push_str(&checksum(key.as_bytes()));
        Minted { key, id }
    }
}

/// The CRC-32 (as in zlib) of the rest of the key, in base 62. It detects mistyped keys and reduces false alarms of
/// scanners; it is not a secret.
fn checksum(signed: &[u8]) -> String {
    let mut rest = crc32fast::hash(signed);
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = character(rest % BASE);
        rest /= BASE;
    }
    digits.iter().map(|&digit| char::from(digit)).collect()
}

/// A key of chosen parts with a valid checksum, as an attacker can make it.
#[cfg(test)]
pub(crate) fn signed(unsigned: &str) -> String {
    format!("{unsigned}{}", checksum(unsigned.as_bytes()))
}

/// Random base-62 characters, uniformly distributed: bytes from the last multiple of 62 on are skipped.
fn characters(count: usize, random: &mut impl FnMut() -> u8) -> String {
    let bytes = std::iter::repeat_with(random).filter(|&byte| byte < 4 * 62);
    bytes
        .take(count)
        .map(|byte| char::from(character(u32::from(byte) % BASE)))
        .collect()
}

fn character(digit: u32) -> u8 {
    usize::try_from(digit)
        .ok()
        .and_then(|at| ALPHABET.get(at))
        .copied()
        .unwrap_or(b'0')
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Presented")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Minted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Minted")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

const MALFORMED: &str = "malformed";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE: u32 = 62;

/// Length of the id in characters. 71 bits make collisions unlikely.
const ID: usize = 12;

/// Length of the secret in characters: 256 bits.
const SECRET: usize = 43;

/// Length of the checksum in characters, enough for 32 bits.
const CHECKSUM: usize = 6;

/// Maximum length of the prefix and of the environment, in characters.
const MAX_PART: usize = 16;

/// Minimum length of a key that was minted elsewhere, in bytes; a shorter one could be guessed.
const MIN_OPAQUE: usize = 16;
const MAX_OPAQUE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn format(opaque: bool) -> Format {
        Format::new("tg", "live", opaque).unwrap()
    }

    fn counting() -> impl FnMut() -> u8 {
        let mut next = 0_u8;
        move || {
            next = next.wrapping_add(7);
            next
        }
    }

    #[test]
    fn a_minted_key_is_read_again() {
        let Minted { key, id } = format(false).mint(counting());
        assert_eq!(key.len(), "tg_live_".len() + 12 + 1 + 43 + 6);
        let presented = format(false).read(key.as_bytes()).unwrap();
        assert_eq!(presented.id, Some(id.as_str()));
        assert_eq!(presented.key, key.as_bytes());
        let shown = format!("{presented:?}");
        assert!(shown.contains(&id) && !shown.contains(&key), "{shown}");
    }

    #[test]
    fn the_checksum_is_that_of_zlib() {
        // CRC-32 of "123456789" is 0xCBF43926, 3421780262.
        let digits = checksum(b"123456789");
        let number = digits.bytes().fold(0_u64, |number, digit| {
            number * 62 + ALPHABET.iter().position(|&own| own == digit).unwrap() as u64
        });
        assert_eq!(number, 0xCBF4_3926);
    }

    #[test]
    fn one_wrong_character_anywhere_is_malformed() {
        let key = format(false).mint(counting()).key.into_bytes();
        for at in 0..key.len() {
            let mut wrong = key.clone();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(format(false).read(&wrong), Err(MALFORMED), "{at}");
            assert_eq!(format(false).read(&key[..at]), Err(MALFORMED), "{at}");
        }
        for more in [&b"x"[..], b" ", b"\n", b",", b"\xff"] {
            assert_eq!(format(false).read(&[&key, more].concat()), Err(MALFORMED));
        }
    }

    #[test]
    fn keys_of_another_environment_are_malformed() {
        let test = Format::new("tg", "test", false).unwrap().mint(counting()).key;
        assert_eq!(format(false).read(test.as_bytes()), Err(MALFORMED));
    }

    #[test]
    fn opaque_keys_are_taken_only_where_they_are_allowed() {
        let opaque = b"0123456789abcdef";
        assert_eq!(format(false).read(opaque), Err(MALFORMED));
        assert_eq!(format(true).read(opaque).map(|presented| presented.id), Ok(None));
        for bad in [
            &b""[..],
            b"short",
            b"0123456789abcde ",
            b"0123456789abcde\xff",
            &[b'x'; 257],
        ] {
            assert_eq!(format(true).read(bad), Err(MALFORMED));
        }
        let mut ours = format(true).mint(counting()).key;
        ours.pop();
        assert_eq!(format(true).read(ours.as_bytes()), Err(MALFORMED), "ours stay strict");
    }

    #[test]
    fn parts_are_plain() {
        for (prefix, environment) in [
            ("", "live"),
            ("tg", ""),
            ("t_g", "live"),
            ("TG", "live"),
            ("tg", &"x".repeat(17)),
        ] {
            assert!(
                Format::new(prefix, environment, false).is_err(),
                "{prefix} {environment}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_minted_key_is_read_again(bytes in proptest::collection::vec(any::<u8>(), 200..300)) {
            let mut bytes = bytes.into_iter().cycle();
            let minted = format(false).mint(|| bytes.next().unwrap() & 0x7f);
            prop_assert!(format(false).read(minted.key.as_bytes()).is_ok());
        }

        #[test]
        fn no_key_makes_it_panic(key in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = format(true).read(&[b"tg_live_", key.as_slice()].concat());
        }
    }
}
