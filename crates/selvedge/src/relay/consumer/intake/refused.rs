//! `kafka.record.refused`: a record that isn't heard as the event that it claims to be.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use selvedge_events::{Event, derived_id, schema_uri};
use selvedge_kafka::Received;
use selvedge_kafka::fetched::Content;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::delivery::bounded;
use crate::{Error, limits};

/// Its type.
pub(crate) const TYPE: &str = "kafka.record.refused";
/// Its source.
const SOURCE: &str = "/kafka";

/// The event that stands for a record which was refused for this reason. The same record leads to the same event.
pub(super) fn event(topic: &str, record: &Received, reason: &str) -> Result<Event, Error> {
    let nothing = Bytes::new();
    let (key, value) = match &record.content {
        Content::Record { key, value, .. } => (key.as_ref(), value.as_ref()),
        Content::Unreadable { bytes, .. } => (None, Some(bytes)),
    };
    let place = format!("{topic}/{}/{}", record.partition, record.offset);
    // A topic that was made anew counts from 0 again.
    let mut hash = Sha256::new();
    for part in [key.unwrap_or(&nothing), value.unwrap_or(&nothing)] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = STANDARD.encode(hash.finalize());
    let part = |bytes: Option<&Bytes>| {
        bytes.map(|bytes| STANDARD.encode(&bytes[..bytes.len().min(limits::REFUSED_RECORD_BYTES_MAX)]))
    };
    let data = json!({
        "topic": topic,
        "partition": record.partition,
        "offset": record.offset,
        "reason": bounded(reason.to_owned()),
        "key": part(key),
        "value": part(value),
        "valueBytes": value.map_or(0, Bytes::len),
    });
    let mut event = Event::new(
        derived_id(SOURCE, &format!("{place}/{digest}"), "kafka", 0),
        SOURCE,
        TYPE,
    )
    .with_subject(place)
    .with_json(&data)?;
    event.dataschema = Some(schema_uri(TYPE));
    Ok(event)
}
