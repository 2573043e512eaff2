//! Parsing of an issuer's answers: key sets and discovery documents.

use serde_json::Value;

use crate::auth::jose::KeySet;
use crate::auth::jose::jwk::KeyError;
use crate::clock::{Millis, Seconds};
use crate::http::headers::Headers;

/// Maximum size of an answer, in bytes.
pub(super) const MAX_BODY: usize = 1024 * 1024;

type Reason = &'static str;

/// The usable keys of a document, possibly none, and errors for the others.
pub(super) fn keys(document: &Value) -> Result<(KeySet, Vec<KeyError>), Reason> {
    KeySet::from_jwks(document).map_err(|_| "not_a_key_set")
}

/// `jwks_uri` of a discovery document (OpenID Connect Discovery 1.0 section 3), as authority and path.
pub(super) fn discovered(document: &Value, issuer: &str) -> Result<(String, String), Reason> {
    // Section 4.3: the document must be the issuer's own, otherwise one issuer could impersonate another.
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err("discovery_issuer");
    }
    document
        .get("jwks_uri")
        .and_then(Value::as_str)
        .and_then(split_url)
        .ok_or("discovery_jwks_uri")
}

/// The authority and the path of an `http` or `https` URL. The authority is normalized by RFC 3986 section 6.2: in
/// lower case, without the scheme's default port.
pub(super) fn split_url(url: &str) -> Option<(String, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme.to_ascii_lowercase().as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at_checked(at)?,
        None => (rest, "/"),
    };
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    (!authority.is_empty() && !authority.contains('@') && plain(authority) && plain(&path)).then(|| {
        let authority = authority.to_ascii_lowercase();
        let plain = authority.strip_suffix(port).or_else(|| authority.strip_suffix(':'));
        (plain.map(str::to_owned).unwrap_or(authority), path)
    })
}

/// The time until the next fetch: `Cache-Control: max-age`, limited to between the cooldown and `refresh`.
pub(super) fn interval(headers: &Headers, cooldown: Millis, refresh: Millis) -> Millis {
    let directives = headers.first("cache-control").unwrap_or_default().split(',');
    let max_age = directives
        .filter_map(|directive| directive.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("max-age"))
        .and_then(|(_, seconds)| seconds.trim_matches('"').parse::<u64>().ok());
    max_age.map_or(refresh, |seconds| {
        Seconds::new(seconds).millis().max(cooldown).min(refresh)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().copied().collect()
    }

    #[test]
    fn urls_are_split_and_strange_ones_refused() {
        let split = |url: &str| split_url(url).map(|(authority, path)| format!("{authority} {path}"));
        assert_eq!(split("https://a.example/x/y?z").as_deref(), Some("a.example /x/y?z"));
        assert_eq!(split("http://a:8080").as_deref(), Some("a:8080 /"));
        assert_eq!(split("https://a?x").as_deref(), Some("a /?x"));
        assert_eq!(split("HTTPS://A.Example:443/X").as_deref(), Some("a.example /X"));
        assert_eq!(split("http://a:80/").as_deref(), Some("a /"));
        assert_eq!(split("http://a:443/").as_deref(), Some("a:443 /"));
        assert_eq!(split("https://[::1]:8443/").as_deref(), Some("[::1]:8443 /"));
        for bad in [
            "",
            "a/b",
            "file:///etc/passwd",
            "https://",
            "https:///x",
            "https://u@h/x",
            "https://a/ b",
            "https://a/#f",
            "https://a\r\n/",
        ] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_discovery_document_speaks_for_its_own_issuer() {
        let document = json!({"issuer": "https://i.example", "jwks_uri": "https://i.example/keys"});
        assert_eq!(
            discovered(&document, "https://i.example"),
            Ok(("i.example".into(), "/keys".into()))
        );
        assert_eq!(discovered(&document, "https://i.example/"), Err("discovery_issuer"));
        assert_eq!(discovered(&json!({"issuer": "i"}), "i"), Err("discovery_jwks_uri"));
        assert_eq!(discovered(&json!([]), "i"), Err("discovery_issuer"));
    }

    #[test]
    fn max_age_shortens_the_interval_within_bounds() {
        let (cooldown, refresh) = (Millis::new(30_000), Millis::new(600_000));
        let interval = |value| interval(&headers(&[("cache-control", value)]), cooldown, refresh).get();
        assert_eq!(interval("public, max-age=300"), 300_000);
        assert_eq!(interval("max-age=1"), 30_000);
        assert_eq!(interval("Max-Age=\"99999999\""), 600_000);
        for none in ["", "no-store", "max-age", "max-age=x", "s-maxage=1"] {
            assert_eq!(interval(none), 600_000, "{none}");
        }
    }
}
