//! What the command writes: lines for people, and a table of keys.

use std::io::{self, Write as _};

use tollgate::config::values::Timestamp;
use tollgate_key_service::{Error, Result, StoredKey, plain};

/// Writes a line to standard output; `Err` where nobody reads it any more.
pub(super) fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| Error::failed("standard output", error))
}

/// A line beside the output, for people only.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A table of keys, the oldest first.
pub(super) fn table(keys: &[StoredKey], now: Timestamp) -> Vec<String> {
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
