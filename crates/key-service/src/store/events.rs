//! The table of events: one for each version, written in the transaction of its change. It serves as the outbox of
//! deliveries and as the changes that gateways ask for.

use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use tollgate::auth::api_key::wire::Changes;
use tollgate::clock::{Millis, Seconds};
use tollgate::config::values::Timestamp;

use super::{Change, Store, column, signed, unsigned};
use crate::error::{Error, Result};
use crate::model::StoredKey;

/// An event of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The version of the store that its change made.
    pub version: u64,
    /// `created`, `rotated`, `revoked` or `expired`, or a kind of a later version of this program.
    pub kind: String,
    /// The id of the key.
    pub key_id: String,
    /// When it happened.
    pub at: Timestamp,
    /// Fields of the key's record: never the key itself or its hash.
    pub data: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    Created,
    Expired,
    Revoked,
    Rotated,
}

/// An event that no other instance delivers until the claim expires.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) event: Event,
    /// Attempts to deliver it, including this one.
    pub(crate) attempts: u64,
}

impl Store {
    /// The changes after a version; `all` if they cannot be listed.
    pub(crate) async fn changes(&self, after: Option<u64>) -> Result<Changes> {
        // The version is read before the events: changes in between are reported next time.
        let version = self.version().await?;
        let all = Changes {
            version,
            all: true,
            hashes: Vec::new(),
        };
        let Some(missing) = after.and_then(|after| version.checked_sub(after)) else {
            return Ok(all);
        };
        if missing > MAX_CHANGES {
            return Ok(all);
        }
        let rows = sqlx::query("SELECT type, hash FROM events WHERE version > $1 AND version <= $2 ORDER BY version")
            .bind(signed(version.saturating_sub(missing)))
            .bind(signed(version))
            .fetch_all(&self.pool)
            .await?;
        // Each version has an event unless it was pruned.
        if u64::try_from(rows.len()) != Ok(missing) {
            return Ok(all);
        }
        let mut hashes = Vec::new();
        for row in &rows {
            let (kind, hash): (String, String) = (row.try_get("type")?, row.try_get("hash")?);
            let hash = hash.parse().map_err(Error::Failed)?;
            // Gateways check expiry themselves.
            if kind != EventKind::Expired.name() && !hashes.contains(&hash) {
                hashes.push(hash);
            }
        }
        Ok(Changes {
            version,
            all: false,
            hashes,
        })
    }

    /// The first events after a version, at most 500.
    pub async fn events(&self, after: u64) -> Result<Vec<Event>> {
        let rows = sqlx::query("SELECT * FROM events WHERE version > $1 ORDER BY version LIMIT 500")
            .bind(signed(after))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(event).collect()
    }

    /// When the oldest undelivered event is due, since the epoch.
    pub(crate) async fn next_delivery(&self) -> Result<Option<Millis>> {
        let row = sqlx::query("SELECT next_attempt_at FROM events WHERE delivered_at IS NULL ORDER BY version LIMIT 1")
            .fetch_optional(&self.pool)
            .await?;
        let due = row.map(|row| unsigned(row.try_get("next_attempt_at")?)).transpose()?;
        Ok(due.map(Millis::new))
    }

    /// Claims the oldest undelivered event if it is due, which means that no other instance has claimed it.
    pub(crate) async fn claim(&self, now: Millis, until: Millis) -> Result<Option<Claim>> {
        let row = sqlx::query(
            "UPDATE events SET attempts = attempts + 1, next_attempt_at = $1 \
             WHERE version = (SELECT MIN(version) FROM events WHERE delivered_at IS NULL) \
             AND delivered_at IS NULL AND next_attempt_at <= $2 RETURNING *",
        )
        .bind(signed(until.get()))
        .bind(signed(now.get()))
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Claim {
            event: event(&row)?,
            attempts: unsigned(row.try_get("attempts")?)?,
        }))
    }

    pub(crate) async fn delivered(&self, version: u64, now: Millis) -> Result<()> {
        sqlx::query("UPDATE events SET delivered_at = $1 WHERE version = $2 AND delivered_at IS NULL")
            .bind(signed(now.get()))
            .bind(signed(version))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Makes an event that could not be delivered due again at `until`.
    pub(crate) async fn postpone(&self, version: u64, until: Millis) -> Result<()> {
        sqlx::query("UPDATE events SET next_attempt_at = $1 WHERE version = $2 AND delivered_at IS NULL")
            .bind(signed(until.get()))
            .bind(signed(version))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Deletes the events delivered before a time.
    pub(crate) async fn prune(&self, before: Millis) -> Result<u64> {
        let done = sqlx::query("DELETE FROM events WHERE delivered_at < $1")
            .bind(signed(before.get()))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }
}

impl Change {
    /// Increments the version and writes its event.
    pub(crate) async fn event(
        &mut self,
        kind: EventKind,
        key: &StoredKey,
        imported: bool,
        at: Timestamp,
    ) -> Result<()> {
        let row = sqlx::query("UPDATE state SET version = version + 1 WHERE id = 1 RETURNING version")
            .fetch_one(&mut *self.transaction)
            .await?;
        self.version = row.try_get("version")?;
        sqlx::query("INSERT INTO events (version, type, key_id, hash, at, data) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(self.version)
            .bind(kind.name())
            .bind(key.record.id.clone())
            .bind(key.record.hash.to_string())
            .bind(column(at))
            .bind(data(key, imported).to_string())
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }
}

impl EventKind {
    /// Its name in the database and, after `tollgate.key.`, in a CloudEvent.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Rotated => "rotated",
        }
    }
}

/// The data of an event. Attributes are left out: they may be personal.
fn data(key: &StoredKey, imported: bool) -> Value {
    let record = &key.record;
    let mut data = json!({"user_id": record.user_id, "roles": record.roles, "scopes": record.scopes});
    let moment = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
    let optional = [
        ("tenant_id", record.tenant_id.clone()),
        ("name", key.name.clone()),
        ("plan", record.plan.clone()),
        ("not_before", moment(record.not_before)),
        ("expires_at", moment(record.expires_at)),
        ("replaced_by", key.replaced_by.clone()),
    ];
    if let Some(fields) = data.as_object_mut() {
        for (name, value) in optional {
            if let Some(value) = value {
                fields.insert(name.into(), value.into());
            }
        }
        if imported {
            fields.insert("imported".into(), true.into());
        }
    }
    data
}

fn event(row: &AnyRow) -> Result<Event> {
    let data: String = row.try_get("data")?;
    Ok(Event {
        version: unsigned(row.try_get("version")?)?,
        kind: row.try_get("type")?,
        key_id: row.try_get("key_id")?,
        at: Timestamp(Seconds::new(unsigned(row.try_get("at")?)?)),
        data: serde_json::from_str(&data).map_err(|error| Error::failed("data", error))?,
    })
}

/// Maximum changes in one answer. A gateway that missed more clears its cache.
const MAX_CHANGES: u64 = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NewKey;

    /// A new store with `count` changes, versions 1 to `count`.
    async fn store(name: &str, count: u64) -> (Store, std::path::PathBuf) {
        let folder = std::env::temp_dir().join(format!("tollgate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let store = Store::open(&format!("sqlite:{}", folder.join("keys.db").display()))
            .await
            .unwrap();
        for number in 1..=count {
            let new: NewKey = serde_json::from_value(json!({"user_id": "u"})).unwrap();
            let hash = format!("v1:{number:064x}").parse().unwrap();
            let now = Timestamp(Seconds::new(number));
            let key = new.store(format!("k{number}"), hash, now).unwrap();
            let mut change = store.change().await.unwrap();
            change.insert(&key).await.unwrap();
            change.event(EventKind::Created, &key, false, now).await.unwrap();
            assert_eq!(change.commit().await.unwrap(), number);
        }
        (store, folder)
    }

    #[tokio::test]
    async fn who_asks_after_less_than_is_kept_is_told_to_forget_everything() {
        let (store, folder) = store("pruned", 4).await;
        for (version, now) in [(1, 1_000), (2, 2_000), (3, 9_000)] {
            store.delivered(version, Millis::new(now)).await.unwrap();
        }
        assert_eq!(store.prune(Millis::new(5_000)).await.unwrap(), 2);
        for after in [0, 1] {
            assert!(store.changes(Some(after)).await.unwrap().all, "{after}");
        }
        for (after, hashes) in [(2, 2), (3, 1), (4, 0)] {
            let changes = store.changes(Some(after)).await.unwrap();
            assert!(!changes.all && changes.hashes.len() == hashes, "{after}: {changes:?}");
        }
        store.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn an_event_has_one_owner_until_the_claim_runs_out() {
        let at = Millis::new;
        let (store, folder) = store("claims", 2).await;
        let first = store.claim(at(1_000), at(2_000)).await.unwrap().unwrap();
        assert_eq!((first.event.version, first.attempts), (1, 1));
        assert!(
            store.claim(at(1_999), at(3_000)).await.unwrap().is_none(),
            "taken, and the second waits for the first"
        );
        let again = store.claim(at(2_000), at(3_000)).await.unwrap().unwrap();
        assert_eq!((again.event.version, again.attempts), (1, 2));
        store.postpone(1, at(8_000)).await.unwrap();
        assert_eq!(store.next_delivery().await.unwrap(), Some(at(8_000)));
        assert!(store.claim(at(7_999), at(9_000)).await.unwrap().is_none());
        store.delivered(1, at(8_500)).await.unwrap();
        let second = store.claim(at(8_600), at(9_000)).await.unwrap().unwrap();
        assert_eq!(second.event.version, 2);
        store.delivered(2, at(8_700)).await.unwrap();
        assert_eq!(store.next_delivery().await.unwrap(), None);
        store.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
