//! What can be done with keys, by the command line and by the service alike.

use tollgate::auth::api_key::{Format, KeyHash, Secrets};

use crate::error::{Error, Result};
use crate::model::{NewKey, Rotation, Span, StoredKey, end, now};
use crate::store::{EventKind, Store};

/// Everything that making keys needs.
pub struct Registry {
    /// Where keys are kept.
    pub store: Store,
    /// What keys are hashed with.
    pub secrets: Secrets,
    /// How new keys look.
    pub format: Format,
}

/// A key that was just made, and what is stored of it.
pub struct Made {
    /// The whole key, the only time that it is seen.
    pub key: String,
    /// What is stored of it.
    pub stored: StoredKey,
}

impl Registry {
    /// Makes a key.
    pub async fn create(&self, new: NewKey) -> Result<Made> {
        if new.id.is_some() || new.hash.is_some() {
            return Err(Error::invalid(
                "id and hash of a new key are made here; a key from elsewhere is imported",
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

    /// Takes in a key that was minted elsewhere, by its hash.
    pub async fn import(&self, mut new: NewKey) -> Result<StoredKey> {
        let (Some(id), Some(hash)) = (new.id.take(), new.hash.take()) else {
            return Err(Error::invalid("an imported key needs id and hash"));
        };
        if !self.secrets.have(&hash) {
            let known: Vec<_> = self.secrets.iter().map(|secret| secret.id.as_str()).collect();
            return Err(Error::Invalid(format!(
                "hash was made with a secret that is not here; there are: {}",
                known.join(", ")
            )));
        }
        let now = now();
        let stored = new.store(id, hash, now)?;
        let mut change = self.store.change().await?;
        if change.key(&stored.record.id).await?.is_some() {
            return Err(Error::Conflict("a key with this id is there already".into()));
        }
        if let Some(id) = change.id_of(&stored.record.hash).await? {
            return Err(Error::Conflict(format!("this key is there already, as {id}")));
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
            return Err(Error::invalid("the new key would end before it begins"));
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

    /// Ends a key at once. Whether it was not revoked before stands beside it.
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
            return Err(Error::failed("the system has no randomness", error));
        }
        let hash = self.secrets.newest(minted.key.as_bytes());
        let hash = hash.ok_or_else(|| Error::Failed("there is no secret to hash keys with".into()))?;
        Ok((minted.key, minted.id, hash))
    }
}

/// Ends a key at once, which needs no secret. Whether it was not revoked before stands beside it.
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

/// Tells of keys that have expired, each once. `false` where there was none.
pub(crate) async fn announce_expired(store: &Store) -> Result<bool> {
    let now = now();
    // Without the lock of a change, once a second for ever.
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

/// The id is not repeated: it may be a whole key by mistake.
fn unknown() -> Error {
    Error::NotFound(
        "there is no key with this id: of a key `tg_live_ID_...` it is the part ID; `tollgate keys list` shows all"
            .into(),
    )
}

/// How long the old key stays valid where nothing else is said.
const OVERLAP: Span = Span(86_400);
