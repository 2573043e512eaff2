//! The table of keys.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use tollgate::auth::api_key::{KeyHash, KeyRecord};
use tollgate::clock::Seconds;
use tollgate::config::values::Timestamp;

use super::{Change, Store, column, unsigned};
use crate::error::{Error, Result};
use crate::model::StoredKey;

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this user's.
    pub user_id: Option<String>,
    /// Only this tenant's.
    pub tenant_id: Option<String>,
    /// Whether to include revoked and expired keys.
    pub all: bool,
    /// Only ids after this one.
    pub after: Option<String>,
    /// The most keys to return.
    pub limit: u32,
}

impl Store {
    /// The key with one of these hashes, unless it is revoked.
    pub(crate) async fn lookup(&self, hashes: &[KeyHash]) -> Result<Option<StoredKey>> {
        let places: Vec<_> = (1..=hashes.len()).map(|place| format!("${place}")).collect();
        let sql = format!(
            "SELECT * FROM keys WHERE revoked_at IS NULL AND hash IN ({})",
            places.join(", ")
        );
        let mut query = sqlx::query(&sql);
        for hash in hashes {
            query = query.bind(hash.to_string());
        }
        let row = query.fetch_optional(&self.pool).await?;
        row.as_ref().map(key).transpose()
    }

    /// Keys in the order of their ids.
    pub async fn list(&self, filter: &Filter, now: Timestamp) -> Result<Vec<StoredKey>> {
        let rows = sqlx::query(
            "SELECT * FROM keys WHERE id > $1 AND ($2 = '' OR user_id = $2) AND ($3 = '' OR tenant_id = $3) \
             AND ($4 = 1 OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $5))) \
             ORDER BY id LIMIT $6",
        )
        .bind(filter.after.clone().unwrap_or_default())
        .bind(filter.user_id.clone().unwrap_or_default())
        .bind(filter.tenant_id.clone().unwrap_or_default())
        .bind(i64::from(filter.all))
        .bind(column(now))
        .bind(i64::from(filter.limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(key).collect()
    }

    /// Whether there is an expired key without an `expired` event.
    pub(crate) async fn some_expired(&self, now: Timestamp) -> Result<bool> {
        let row = sqlx::query(&format!("SELECT id FROM keys WHERE {EXPIRED} LIMIT 1"))
            .bind(column(now))
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }
}

impl Change {
    pub(crate) async fn key(&mut self, id: &str) -> Result<Option<StoredKey>> {
        let row = sqlx::query("SELECT * FROM keys WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(&mut *self.transaction)
            .await?;
        row.as_ref().map(key).transpose()
    }

    /// The id of the key with this hash, revoked or not.
    pub(crate) async fn id_of(&mut self, hash: &KeyHash) -> Result<Option<String>> {
        let row = sqlx::query("SELECT id FROM keys WHERE hash = $1")
            .bind(hash.to_string())
            .fetch_optional(&mut *self.transaction)
            .await?;
        Ok(row.map(|row| row.try_get("id")).transpose()?)
    }

    pub(crate) async fn insert(&mut self, key: &StoredKey) -> Result<()> {
        let record = &key.record;
        sqlx::query(
            "INSERT INTO keys (id, hash, name, user_id, tenant_id, roles, scopes, plan, attributes, created_at, \
             not_before, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(record.id.clone())
        .bind(record.hash.to_string())
        .bind(key.name.clone())
        .bind(record.user_id.clone())
        .bind(record.tenant_id.clone())
        .bind(to_json(&record.roles)?)
        .bind(to_json(&record.scopes)?)
        .bind(record.plan.clone())
        .bind(to_json(&record.attributes)?)
        .bind(column(key.created_at))
        .bind(record.not_before.map(column))
        .bind(record.expires_at.map(column))
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }

    /// Updates when a key expires, when it was revoked and what replaced it.
    pub(crate) async fn update(&mut self, key: &StoredKey) -> Result<()> {
        sqlx::query("UPDATE keys SET expires_at = $1, revoked_at = $2, replaced_by = $3 WHERE id = $4")
            .bind(key.record.expires_at.map(column))
            .bind(key.revoked_at.map(column))
            .bind(key.replaced_by.clone())
            .bind(key.record.id.clone())
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Takes up to 100 expired keys without an `expired` event, and marks them as announced by this change.
    pub(crate) async fn announce_expired(&mut self, now: Timestamp) -> Result<Vec<StoredKey>> {
        let rows = sqlx::query(&format!(
            "SELECT * FROM keys WHERE {EXPIRED} ORDER BY expires_at, id LIMIT 100"
        ))
        .bind(column(now))
        .fetch_all(&mut *self.transaction)
        .await?;
        let keys = rows.iter().map(key).collect::<Result<Vec<_>>>()?;
        for key in &keys {
            sqlx::query("UPDATE keys SET expiry_announced = 1 WHERE id = $1")
                .bind(key.record.id.clone())
                .execute(&mut *self.transaction)
                .await?;
        }
        Ok(keys)
    }
}

fn key(row: &AnyRow) -> Result<StoredKey> {
    let hash: String = row.try_get("hash")?;
    Ok(StoredKey {
        record: KeyRecord {
            id: row.try_get("id")?,
            hash: hash.parse().map_err(Error::Failed)?,
            user_id: row.try_get("user_id")?,
            tenant_id: row.try_get("tenant_id")?,
            roles: from_json(row, "roles")?,
            scopes: from_json(row, "scopes")?,
            plan: row.try_get("plan")?,
            attributes: from_json(row, "attributes")?,
            not_before: moment(row, "not_before")?,
            expires_at: moment(row, "expires_at")?,
        },
        name: row.try_get("name")?,
        created_at: Timestamp(Seconds::new(unsigned(row.try_get("created_at")?)?)),
        revoked_at: moment(row, "revoked_at")?,
        replaced_by: row.try_get("replaced_by")?,
    })
}

fn moment(row: &AnyRow, column: &str) -> Result<Option<Timestamp>> {
    let seconds: Option<i64> = row.try_get(column)?;
    let seconds = seconds.map(unsigned).transpose()?;
    Ok(seconds.map(|seconds| Timestamp(Seconds::new(seconds))))
}

fn from_json<T: DeserializeOwned>(row: &AnyRow, column: &str) -> Result<T> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| Error::failed(column, error))
}

fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::failed("JSON", error))
}

const EXPIRED: &str = "expiry_announced = 0 AND revoked_at IS NULL AND expires_at <= $1";
