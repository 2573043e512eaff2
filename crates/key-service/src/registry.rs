//! Operations on keys, shared by the command line and the HTTP service.

use tollgate::auth::api_key::{Format, KeyHash, Secrets};
use tollgate::clock::Seconds;

use crate::error::{Error, Result};
use crate::model::{NewKey, Rotation, Span, StoredKey, end, now};
use crate::store::{EventKind, Store};

/// A store, with what is needed to create keys.
pub struct Registry {
    /// The database.
    pub store: Store,
    /// The secrets that keys are hashed with.
    pub secrets: Secrets,
    /// The format of new keys.
    pub format: Format,
}

/// A new key and its stored record.
pub struct Made {
    /// The whole key, which is not stored.
    pub key: String,
    /// The stored record.
    pub stored: StoredKey,
}

impl Registry {
    /// Creates a key.
    pub async fn create(&self, new: NewKey) -> Result<Made> {
        if new.id.is_some() || new.hash.is_some() {
            return Err(Error::invalid(
                "id and hash of a new key are generated; only an imported key has its own",
            ));
        }
        let now = now();
        let (key, id, hash) = self.mint()?;
        let stored = new.store(id, hash, now)?;
        let mut change = self.store.change().await?;
        change.insert(&stored).await?;
        change.event(EventKind::Created, &stored, false, now).await?;
        change.commit().await?;
        Ok(Made { key, stored })
    }

    /// Imports a key that was created elsewhere, by its hash.
    pub async fn import(&self, mut new: NewKey) -> Result<StoredKey> {
        let (Some(id), Some(hash)) = (new.id.take(), new.hash.take()) else {
            return Err(Error::invalid("an imported key needs id and hash"));
        };
        if !self.secrets.have(&hash) {
            let known: Vec<_> = self.secrets.iter().map(|secret| secret.id.as_str()).collect();
            return Err(Error::Invalid(format!(
                "hash was made with an unknown secret; known are: {}",
                known.join(", ")
            )));
        }
        let now = now();
        let stored = new.store(id, hash, now)?;
        let mut change = self.store.change().await?;
        if change.key(&stored.record.id).await?.is_some() {
            return Err(Error::Conflict("a key with this id exists already".into()));
        }
        if let Some(id) = change.id_of(&stored.record.hash).await? {
            return Err(Error::Conflict(format!("this key exists already, with the id {id}")));
        }
        change.insert(&stored).await?;
        change.event(EventKind::Created, &stored, true, now).await?;
        change.commit().await?;
        Ok(stored)
    }

    /// Replaces a key by a new one with the same rights; the old one stays valid for a while.
    pub async fn rotate(&self, id: &str, rotation: Rotation) -> Result<Made> {
        let now = now();
        let override_end = end(rotation.expires_at, rotation.lifetime, now)?;
        let (key, new_id, hash) = self.mint()?;
        let mut change = self.store.change().await?;
        let mut old = change.key(id).await?.ok_or_else(unknown)?;
        if let Some(at) = old.revoked_at {
            return Err(Error::Conflict(format!(
                "the key was revoked at {at}: create a new one"
            )));
        }
        if let Some(by) = &old.replaced_by {
            return Err(Error::Conflict(format!(
                "the key was already replaced by {by}: rotate that one"
            )));
        }
        if old.record.validity().check(now.0) == Err("expired") {
            return Err(Error::Conflict("the key has expired: create a new one".into()));
        }
        let mut stored = old.clone();
        stored.created_at = now;
        stored.record.id = new_id;
        stored.record.hash = hash;
        stored.record.expires_at = override_end.or(old.record.expires_at);
        if stored.record.not_before >= stored.record.expires_at && stored.record.expires_at.is_some() {
            return Err(Error::invalid("not_before of the new key must be before its expiry"));
        }
        let overlap = rotation.overlap.unwrap_or(OVERLAP).after(now);
        old.record.expires_at = Some(old.record.expires_at.map_or(overlap, |end| end.min(overlap)));
        old.replaced_by = Some(stored.record.id.clone());
        change.insert(&stored).await?;
        change.update(&old).await?;
        change.event(EventKind::Rotated, &old, false, now).await?;
        change.event(EventKind::Created, &stored, false, now).await?;
        change.commit().await?;
        Ok(Made { key, stored })
    }

    /// Revokes a key. `false` if it was already revoked.
    pub(crate) async fn revoke(&self, id: &str) -> Result<(StoredKey, bool)> {
        revoke(&self.store, id).await
    }

    fn mint(&self) -> Result<(String, String, KeyHash)> {
        let mut failed = None;
        let minted = self.format.mint(|| {
            let mut bytes = [0];
            if let Err(error) = getrandom::fill(&mut bytes) {
                failed = Some(error);
            }
            let [byte] = bytes;
            byte
        });
        if let Some(error) = failed {
            return Err(Error::failed("the system's random number generator failed", error));
        }
        let hash = self.secrets.newest(minted.key.as_bytes());
        let hash = hash.ok_or_else(|| Error::Failed("there is no secret to hash keys with".into()))?;
        Ok((minted.key, minted.id, hash))
    }
}

/// Revokes a key at once; this needs no secret. `false` if it was already revoked.
pub async fn revoke(store: &Store, id: &str) -> Result<(StoredKey, bool)> {
    let now = now();
    let mut change = store.change().await?;
    let mut key = change.key(id).await?.ok_or_else(unknown)?;
    if key.revoked_at.is_some() {
        return Ok((key, false));
    }
    key.revoked_at = Some(now);
    change.update(&key).await?;
    change.event(EventKind::Revoked, &key, false, now).await?;
    change.commit().await?;
    Ok((key, true))
}

/// Writes events for expired keys, once for each key. `false` if there were none.
pub(crate) async fn announce_expired(store: &Store) -> Result<bool> {
    let now = now();
    // This runs every second: a read does not take the lock of a change.
    if !store.some_expired(now).await? {
        return Ok(false);
    }
    let mut change = store.change().await?;
    for key in change.announce_expired(now).await? {
        let at = key.record.expires_at.unwrap_or(now);
        change.event(EventKind::Expired, &key, false, at).await?;
    }
    change.commit().await?;
    Ok(true)
}

/// An error without the id, which may be a whole key by mistake.
fn unknown() -> Error {
    Error::NotFound(
        "no key with this id: the id is the part ID of a key `tg_live_ID_...`; `tollgate keys list` shows all".into(),
    )
}

/// How long the old key stays valid by default.
const OVERLAP: Span = Span(Seconds::new(86_400));
