//! The compact serialization of a JSON Web Signature (RFC 7515 section 7.1), read strictly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use memchr::memchr_iter;
use serde_json::{Map, Value};

use super::Algorithm;
use crate::json;

/// A well-formed token, not yet verified.
#[derive(Debug)]
pub struct Jws<'a> {
    /// The algorithm that the header names.
    pub algorithm: Algorithm,
    /// The id of the signing key.
    pub kid: Option<String>,
    /// The media type of the whole token.
    pub typ: Option<String>,
    /// The decoded payload.
    pub payload: Vec<u8>,
    /// The signed bytes: the first two parts as sent.
    pub signed: &'a [u8],
    /// The decoded signature.
    pub signature: Vec<u8>,
}

/// The reason why a token cannot be verified, for the log and the metric.
pub type Malformed = &'static str;

impl<'a> Jws<'a> {
    /// Parses a token: exactly three parts in unpadded canonical base64url, the signature not empty. The header must be
    /// an object without duplicate members, with a known algorithm and without a member that changes the meaning of the
    /// signature (`crit`, `b64`, `zip`, `enc`, a nested token). The caller limits its length.
    pub fn parse(token: &'a [u8]) -> Result<Self, Malformed> {
        let mut dots = memchr_iter(b'.', token);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err("not_three_parts");
        };
        let (Some(header), Some(payload), Some(signature), Some(signed)) = (
            token.get(..first),
            token.get(first.saturating_add(1)..second),
            token.get(second.saturating_add(1)..),
            token.get(..second),
        ) else {
            return Err("not_three_parts");
        };
        if header.len() > MAX_HEADER {
            return Err("header_too_long");
        }
        let header = Header::parse(&decode(header)?)?;
        if signature.is_empty() {
            return Err("signature_missing");
        }
        Ok(Self {
            algorithm: header.algorithm,
            kid: header.kid,
            typ: header.typ,
            payload: decode(payload)?,
            signed,
            signature: decode(signature)?,
        })
    }
}

struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
}

impl Header {
    fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let Ok(Value::Object(mut members)) = json::parse(text) else {
            return Err("header_not_an_object");
        };
        if REFUSED.iter().any(|&name| members.contains_key(name)) {
            return Err("header_member_refused");
        }
        let algorithm = members
            .get("alg")
            .and_then(Value::as_str)
            .and_then(Algorithm::from_name)
            .ok_or("algorithm_unknown")?;
        if let Some(cty) = text_member(&mut members, "cty")?
            && is_media_type(&cty, "JWT")
        {
            return Err("nested_token");
        }
        Ok(Self {
            algorithm,
            kid: text_member(&mut members, "kid")?,
            typ: text_member(&mut members, "typ")?,
        })
    }
}

/// Compares media types without case and without `application/` (RFC 7515 section 4.1.9).
pub fn is_media_type(value: &str, name: &str) -> bool {
    let short = match value.split_at_checked(APPLICATION.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(APPLICATION) => rest,
        _ => value,
    };
    short.eq_ignore_ascii_case(name)
}

fn text_member(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Malformed> {
    match members.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("header_member_not_text"),
    }
}

/// Decodes unpadded base64url (RFC 4648 section 5). Trailing bits must be zero, so that a token has one spelling.
fn decode(part: &[u8]) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| "not_base64url")
}

/// Maximum length of the encoded header, in bytes.
const MAX_HEADER: usize = 8 * 1024;

const APPLICATION: &str = "application/";

/// Refused members. `crit`: no extension is supported. `b64`: RFC 7797 changes what is signed. `zip`, `enc`: an
/// encrypted or compressed token (RFC 8725 section 3.6).
const REFUSED: [&str; 4] = ["crit", "b64", "zip", "enc"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(header: &str) -> String {
        format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header))
    }

    fn refused(token: &str) -> &'static str {
        Jws::parse(token.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_token_is_taken_apart() {
        let token = token(r#"{"alg":"ES256","kid":"k","typ":"JWT","jku":"http://evil"}"#);
        let jws = Jws::parse(token.as_bytes()).unwrap();
        assert_eq!(jws.algorithm, Algorithm::ES256);
        assert_eq!((jws.kid.as_deref(), jws.typ.as_deref()), (Some("k"), Some("JWT")));
        assert_eq!(jws.payload, b"{}");
        assert_eq!(jws.signed, token.rsplit_once('.').unwrap().0.as_bytes());
        assert_eq!(jws.signature, [0]);
    }

    #[test]
    fn shapes_that_are_not_a_compact_jws_are_refused() {
        let good = token(r#"{"alg":"ES256"}"#);
        for bad in [
            "",
            ".",
            "..",
            "a",
            "a.b",
            "a.b.c.d",
            "a.b.c.d.e",
            "{}",
            &format!("{good}="),
            &format!("{good}."),
            &format!(".{good}"),
            &format!(" {good}"),
            &good.replace(".AA", "."),
            &good.replace(".AA", ".AB"),
            &good.replace(".AA", ".A A"),
            &good.replace(".AA", ".+/"),
            &good.replace(".AA", ".%41A"),
        ] {
            assert!(Jws::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(
            refused(&token(&format!(r#"{{"alg":"ES256","x":"{}"}}"#, "x".repeat(7000)))),
            "header_too_long"
        );
    }

    #[test]
    fn headers_that_change_the_meaning_are_refused() {
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":["ES256"]}"#,
            r#"{"alg":null}"#,
            r#"{}"#,
            r#"[]"#,
            r#""ES256""#,
            r#"{"alg":"ES256","crit":[]}"#,
            r#"{"alg":"ES256","crit":["exp"]}"#,
            r#"{"alg":"ES256","crit":null}"#,
            r#"{"alg":"ES256","b64":false}"#,
            r#"{"alg":"ES256","zip":"DEF"}"#,
            r#"{"alg":"ES256","enc":"A128GCM"}"#,
            r#"{"alg":"ES256","cty":"JWT"}"#,
            r#"{"alg":"ES256","cty":"application/jwt"}"#,
            r#"{"alg":"ES256","cty":1}"#,
            r#"{"alg":"ES256","kid":1}"#,
            r#"{"alg":"ES256","kid":null}"#,
            r#"{"alg":"ES256","typ":7}"#,
            r#"{"alg":"ES256","alg":"HS256"}"#,
        ] {
            assert!(Jws::parse(token(header).as_bytes()).is_err(), "{header}");
        }
    }

    #[test]
    fn media_types_compare_without_case_or_prefix() {
        for value in ["JWT", "jwt", "application/jwt", "Application/JWT"] {
            assert!(is_media_type(value, "JWT"), "{value}");
        }
        for value in ["", "application/", "dpop+jwt", "JWT ", "text/jwt", "é/application/jwt"] {
            assert!(!is_media_type(value, "JWT"), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_token_makes_it_panic(token in "[A-Za-z0-9_.=-]{0,80}") {
            let _ = Jws::parse(token.as_bytes());
        }
    }
}
