//! What is written to a topic.

use bytes::Bytes;

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// What decides on its partition; records with the same key keep their order.
    pub key: Option<Bytes>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Bytes)>,
    /// Its value; `None` is Kafka's null.
    pub value: Option<Bytes>,
    /// When it happened, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

impl Message {
    /// What it takes in a batch, at most, in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        let header = |(name, value): &(String, Bytes)| name.len() + value.len() + 10;
        let key_and_value = self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len);
        crate::limits::RECORD_OVERHEAD_BYTES + key_and_value + self.headers.iter().map(header).sum::<usize>()
    }
}
