//! Descriptors for a Rate Limit Service: every gateway sends the same entries for the same client.

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use crate::http::list::encode;

/// The entries, in order.
pub(super) type Descriptor = Vec<(String, String)>;

/// An unambiguous encoding of a list, in visible ASCII. A long one becomes its hash, as servers use it as a key.
pub(super) fn value(values: &[&[u8]]) -> String {
    let value = encode(values);
    match value.as_str() {
        // Servers refuse an empty value.
        "" => return "-".into(),
        "-" => return "%2D".into(),
        _ if value.len() <= LONGEST => return value,
        _ => {}
    }
    let hash = Sha256::digest(value.as_bytes());
    format!("sha256:{}", base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(hash))
}

/// Maximum length of a value, in bytes.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_plain_and_short() {
        assert_eq!(value(&[b"a"]), "a");
        assert_eq!(value(&[b"a,b", b"\xff"]), "a%2Cb,%FF");
        assert_eq!((value(&[]), value(&[b""])), ("-".into(), "-".into()));
        assert_eq!(value(&[b"-"]), "%2D");
        assert_eq!(value(&[&[b'x'; 256]]).len(), 256);
        let long = value(&[&[b'x'; 257]]);
        assert!(long.starts_with("sha256:") && long.len() == 50, "{long}");
        assert_ne!(long, value(&[&[b'x'; 258]]));
    }
}
