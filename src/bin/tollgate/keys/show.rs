//! Keys and events as lines that people read.

use std::io::{self, Write as _};

use serde_json::Value;

use super::error::{Error, Result};
use super::model::StoredKey;
use super::store::Event;
use tollgate::config::values::Timestamp;

/// Writes a line to standard output; `Err` where nobody reads it any more.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| Error::failed("standard output", error))
}

/// A line beside the output, for people only.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A line of the service's log: that nobody reads it does not stop the service.
pub(crate) fn log(text: &str) {
    let _ = line(text);
}

/// An event: its time, what happened, and to what.
pub(crate) fn event(event: &Event) -> String {
    let mut text = format!("{} key {} id={}", event.at, event.kind, event.key_id);
    for (field, name) in [
        ("user_id", "user"),
        ("tenant_id", "tenant"),
        ("name", "name"),
        ("plan", "plan"),
        ("not_before", "not_before"),
        ("expires_at", "expires"),
        ("replaced_by", "replaced_by"),
    ] {
        if let Some(value) = event.data.get(field).and_then(Value::as_str) {
            text.push_str(&format!(" {name}={}", plain(value)));
        }
    }
    if event.data.get("imported").is_some() {
        text.push_str(" imported=true");
    }
    text
}

/// A table of keys, the oldest first.
pub(crate) fn table(keys: &[StoredKey], now: Timestamp) -> Vec<String> {
    let head = ["ID", "USER", "TENANT", "NAME", "STATUS", "CREATED", "EXPIRES"];
    let mut rows = vec![head.map(str::to_owned)];
    let or_dash = |value: &Option<String>| value.as_deref().map_or_else(|| "-".to_owned(), plain);
    for key in keys {
        rows.push([
            key.record.id.clone(),
            plain(&key.record.user_id),
            or_dash(&key.record.tenant_id),
            or_dash(&key.name),
            key.status(now).name().to_owned(),
            key.created_at.to_string(),
            or_dash(&key.record.expires_at.map(|end| end.to_string())),
        ]);
    }
    let mut widths = [0_usize; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 7]| {
        let cells: Vec<_> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A value as it is, or quoted where it could be taken for several.
fn plain(value: &str) -> String {
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

    #[test]
    fn an_event_is_one_line() {
        let told = Event {
            version: 7,
            kind: "created".into(),
            key_id: "k1".into(),
            at: Timestamp(0),
            data: json!({"user_id": "u 1", "tenant_id": "t", "imported": true, "roles": ["r"]}),
        };
        assert_eq!(
            event(&told),
            r#"1970-01-01T00:00:00Z key created id=k1 user="u 1" tenant=t imported=true"#
        );
    }
}
