//! Events as CloudEvents 1.0, each in one JSON document.

use serde_json::{Value, json};

use crate::store::Event;

pub(crate) fn cloud_event(event: &Event) -> Value {
    json!({
        "specversion": "1.0",
        // Versions repeat after a restore of the database; with the key's id, event ids stay unique.
        "id": format!("{}-{}", event.version, event.key_id),
        "source": "tollgate/keys",
        "type": format!("tollgate.key.{}", event.kind),
        "subject": event.key_id,
        "time": event.at.to_string(),
        "datacontenttype": CONTENT,
        "data": event.data,
    })
}

pub(crate) const MEDIA_TYPE: &str = "application/cloudevents+json";

const CONTENT: &str = "application/json";
