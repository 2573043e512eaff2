//! What the gateway and the key service say to each other, as JSON. Only hashes travel, never a key.

use serde::{Deserialize, Serialize};

use super::record::KeyRecord;
use super::secrets::KeyHash;

/// Asks who holds a key: `POST /v1/keys/lookup`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LookupRequest {
    /// The presented key hashed with each secret: 1 to [`MAX_HASHES`].
    pub hashes: Vec<KeyHash>,
}

/// The answer to a [`LookupRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct LookupAnswer {
    /// The version of the store when it was asked, or an earlier one: every change after it comes as one of [`Changes`].
    pub version: u64,
    /// The key; `None` where it is unknown or revoked. Its times are not checked. It must be there: an answer without it
    /// is not one.
    #[serde(deserialize_with = "Option::deserialize")]
    pub key: Option<KeyRecord>,
}

/// The answer to `GET /v1/keys/changes?after=VERSION&wait=SECONDS`: what to forget.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Changes {
    /// The version that this answer leads up to: the next `after`.
    pub version: u64,
    /// Forget everything, since the changes cannot be told one by one.
    pub all: bool,
    /// The hashes of the keys that were created or changed; empty with `all`.
    pub hashes: Vec<KeyHash>,
}

/// Hashes in one [`LookupRequest`]: as many as there may be secrets.
pub const MAX_HASHES: usize = 8;

/// Seconds that a question for changes may wait for one.
pub const MAX_WAIT: u64 = 30;

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
