//! Encoding of a list of arbitrary values in one header.

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

/// Encodes values as a comma-separated list, unambiguously. Commas, percent signs and all bytes except visible ASCII
/// are percent-encoded, in single values too.
pub fn encode(values: &[impl AsRef<[u8]>]) -> String {
    let mut encoded = String::new();
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            encoded.push(',');
        }
        let value = value.as_ref();
        let is_plain = value
            .iter()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b','));
        match std::str::from_utf8(value) {
            Ok(value) if is_plain => encoded.push_str(value),
            _ => encoded.extend(percent_encode(value, ENCODED)),
        }
    }
    encoded
}

const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',');

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_encoded_where_they_would_be_read_otherwise() {
        let encode = |values: &[&str]| encode(&values.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(encode(&["u1"]), "u1");
        assert_eq!(encode(&["u1,admin"]), "u1%2Cadmin");
        assert_eq!(encode(&["a b", "100%", "é"]), "a%20b,100%25,%C3%A9");
        assert_eq!(encode(&["auth0|x@y.z/~!\"#"]), "auth0|x@y.z/~!\"#");
    }

    proptest! {
        #[test]
        fn encoding_is_injective(values in proptest::collection::vec(".{1,10}", 1..4)) {
            let decoded: Vec<String> = encode(&values)
                .split(',')
                .map(|item| percent_encoding::percent_decode_str(item).decode_utf8().unwrap().into_owned())
                .collect();
            prop_assert_eq!(&decoded, &values);
            prop_assert!(encode(&values).bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
