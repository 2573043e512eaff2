//! The log of the service: lines of text on standard output.

use std::fmt;
use std::io::{self, Write as _};

use serde_json::Value;

use crate::store::Event;

/// Writes a line. Errors are ignored: a closed standard output does not stop the service.
pub(crate) fn line(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// The log line of an event: its time, its kind, and fields of the key.
impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} key {} id={}", self.at, self.kind, self.key_id)?;
        for (field, name) in [
            ("user_id", "user"),
            ("tenant_id", "tenant"),
            ("name", "name"),
            ("plan", "plan"),
            ("not_before", "not_before"),
            ("expires_at", "expires"),
            ("replaced_by", "replaced_by"),
        ] {
            if let Some(value) = self.data.get(field).and_then(Value::as_str) {
                write!(formatter, " {name}={}", plain(value))?;
            }
        }
        if self.data.get("imported").is_some() {
            formatter.write_str(" imported=true")?;
        }
        Ok(())
    }
}

/// A value for `name=value`: quoted if it is empty or has spaces, quotes or `=`.
pub fn plain(value: &str) -> String {
    let plain = !value.is_empty()
        && value
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'=');
    if plain {
        value.to_owned()
    } else {
        Value::from(value).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tollgate::clock::Seconds;
    use tollgate::config::values::Timestamp;

    #[test]
    fn an_event_is_one_line() {
        let told = Event {
            version: 7,
            kind: "created".into(),
            key_id: "k1".into(),
            at: Timestamp(Seconds::default()),
            data: json!({"user_id": "u 1", "tenant_id": "t", "imported": true, "roles": ["r"]}),
        };
        assert_eq!(
            told.to_string(),
            r#"1970-01-01T00:00:00Z key created id=k1 user="u 1" tenant=t imported=true"#
        );
    }
}
