//! An event as CloudEvents 1.0 has it, in one JSON document.

use serde_json::{Value, json};

use crate::store::Event;

/// The document that a webhook receives.
pub(crate) fn cloud_event(event: &Event) -> Value {
    json!({
        "specversion": "1.0",
        // With the key's id, so that a database restored to an earlier version does not repeat it.
        "id": format!("{}-{}", event.version, event.key_id),
        "source": "tollgate/keys",
        "type": format!("tollgate.key.{}", event.kind),
        "subject": event.key_id,
        "time": event.at.to_string(),
        "datacontenttype": CONTENT,
        "data": event.data,
    })
}

/// The media type of the document.
pub(crate) const MEDIA_TYPE: &str = "application/cloudevents+json";

const CONTENT: &str = "application/json";
