//! The protocol between the gateway and the key service, in JSON. It transfers only hashes, never a key.

use serde::{Deserialize, Serialize};

use super::record::KeyRecord;
use super::secrets::KeyHash;
use crate::clock::Seconds;

/// Asks for the record of a key: `POST /v1/keys/lookup`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LookupRequest {
    /// The presented key hashed with each secret: 1 to [`MAX_HASHES`].
    pub hashes: Vec<KeyHash>,
}

/// The answer to a [`LookupRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct LookupAnswer {
    /// The store's version at the lookup or earlier: [`Changes`] after this version include every change that the
    /// answer misses.
    pub version: u64,
    /// The key; `null` if it is unknown or revoked. Its period is not checked. An answer without this member is
    /// invalid.
    #[serde(deserialize_with = "Option::deserialize")]
    pub key: Option<KeyRecord>,
}

/// The answer to `GET /v1/keys/changes?after=VERSION&wait=SECONDS`: which cached keys to drop.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Changes {
    /// The version up to which this answer reports changes: the next `after`.
    pub version: u64,
    /// Whether to drop all cached keys, because the changes cannot be listed.
    pub all: bool,
    /// The hashes of the keys that were created or changed; empty with `all`.
    pub hashes: Vec<KeyHash>,
}

/// Maximum number of hashes in one [`LookupRequest`], and of secrets.
pub const MAX_HASHES: usize = 8;

/// How long a request for changes may wait for one.
pub const MAX_WAIT: Seconds = Seconds::new(30);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_survives_json() {
        let hash = format!("v1:{}", "0".repeat(64));
        let request = json!({"hashes": [hash]});
        let read: LookupRequest = serde_json::from_value(request.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), request);
        for answer in [
            json!({"version": 41, "key": null}),
            json!({"version": 41, "key": {"id": "k1", "hash": hash, "user_id": "u1"}}),
        ] {
            let read: LookupAnswer = serde_json::from_value(answer.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), answer);
        }
        let changes = json!({"version": 43, "all": false, "hashes": [hash]});
        let read: Changes = serde_json::from_value(changes.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), changes);
    }

    #[test]
    fn an_answer_says_what_it_means() {
        assert!(serde_json::from_value::<LookupAnswer>(json!({"version": 1})).is_err());
        assert!(serde_json::from_value::<LookupAnswer>(json!({"key": null})).is_err());
    }

    #[test]
    fn what_is_no_hash_is_not_repeated() {
        let error = serde_json::from_value::<LookupRequest>(json!({"hashes": ["tg_live_secret"]})).unwrap_err();
        assert!(!error.to_string().contains("tg_live"), "{error}");
    }
}
