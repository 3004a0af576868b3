//! What is written to a topic and read from it.

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

/// Something that was read from a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its place in the partition; that of the first record, where they can't be told apart.
    pub offset: i64,
    /// What it is.
    pub content: Content,
}

/// What was read at a place of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A record.
    Record(Message),
    /// A batch whose records can't be told apart: damaged, or compressed in a way that isn't known.
    Unreadable {
        /// Why.
        reason: String,
        /// The batch.
        bytes: Bytes,
    },
}
