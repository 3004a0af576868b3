//! Reads the batches of a partition.

use std::collections::HashSet;

use anyhow::bail;
use bytes::Bytes;
use kafka_protocol::compression::{Decompressor, Gzip, Snappy};
use kafka_protocol::messages::fetch_response::AbortedTransaction;
use kafka_protocol::records::{Compression, Record, RecordBatchDecoder};

use crate::limits;
use crate::record::{Content, Message, Received};

/// What stands before a batch's length, and the length itself, in bytes.
const LENGTH_END: usize = 12;
/// A batch's header, in bytes.
const HEADER_BYTES: usize = 61;

/// What was read of a partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// The records, by their offsets.
    pub records: Vec<Received>,
    /// Where reading goes on.
    pub next_offset: i64,
}

/// Reads the batches that a fetch from this offset brought. The last one may be cut off; it comes again. Records of
/// transactions that were aborted, and Kafka's own marks, are left out.
pub(crate) fn read(mut bytes: Bytes, from_offset: i64, aborted: &[AbortedTransaction]) -> Read {
    let mut read = Read {
        records: Vec::new(),
        next_offset: from_offset,
    };
    let mut aborted: Vec<_> = aborted
        .iter()
        .map(|one| (one.first_offset, one.producer_id.0))
        .collect();
    aborted.sort_unstable();
    let mut aborted = aborted.into_iter().peekable();
    let mut aborting = HashSet::new();
    while let Some((batch, first, last)) = split(&mut bytes) {
        while let Some((_, producer)) = aborted.next_if(|(first_aborted, _)| *first_aborted <= last) {
            aborting.insert(producer);
        }
        if last >= from_offset {
            match records_of(&batch) {
                Ok(records) => {
                    for record in records {
                        if record.control {
                            if is_abort(&record) {
                                aborting.remove(&record.producer_id);
                            }
                        } else if record.offset >= from_offset
                            && !(record.transactional && aborting.contains(&record.producer_id))
                        {
                            read.records.push(received(record));
                        }
                    }
                }
                Err(error) => read.records.push(Received {
                    offset: first.max(from_offset),
                    content: Content::Unreadable {
                        reason: error.to_string(),
                        bytes: batch,
                    },
                }),
            }
        }
        read.next_offset = read.next_offset.max(last.saturating_add(1));
    }
    read
}

/// The next whole batch, with its first and last offset.
fn split(bytes: &mut Bytes) -> Option<(Bytes, i64, i64)> {
    let first = i64::from_be_bytes(*bytes.first_chunk()?);
    let length = i32::from_be_bytes(bytes.get(8..LENGTH_END)?.try_into().ok()?);
    let end = LENGTH_END.checked_add(usize::try_from(length).ok()?)?;
    if end < HEADER_BYTES || end > bytes.len() {
        return None;
    }
    let delta = i32::from_be_bytes(bytes.get(23..27)?.try_into().ok()?);
    let last = first.saturating_add(i64::from(delta.max(0)));
    Some((bytes.split_to(end), first, last))
}

fn records_of(batch: &Bytes) -> anyhow::Result<Vec<Record>> {
    let set = RecordBatchDecoder::decode_with_custom_compression(&mut batch.clone(), Some(decompress))?;
    Ok(set.records)
}

fn decompress(bytes: &mut Bytes, compression: Compression) -> anyhow::Result<Bytes> {
    let bounded = |buffer: &mut Bytes| {
        if buffer.len() > limits::DECOMPRESSED_BYTES_MAX {
            bail!("it has more than {} bytes", limits::DECOMPRESSED_BYTES_MAX);
        }
        Ok(std::mem::take(buffer))
    };
    match compression {
        Compression::None => Ok(std::mem::take(bytes)),
        Compression::Gzip => Gzip::decompress(bytes, bounded),
        Compression::Snappy => Snappy::decompress(bytes, bounded),
        Compression::Lz4 | Compression::Zstd => bail!(
            "it is compressed with {compression:?}, which isn't supported here: have it written with gzip, snappy or \
             without compression"
        ),
    }
}

/// Whether a record of Kafka's own says that its producer's transaction was aborted: its key is a version and a type, and
/// the type is 0.
fn is_abort(record: &Record) -> bool {
    record.key.as_deref().and_then(|key| key.get(2..4)) == Some(&[0, 0])
}

fn received(record: Record) -> Received {
    let header = |(name, value): (kafka_protocol::protocol::StrBytes, Option<Bytes>)| {
        (name.as_str().to_owned(), value.unwrap_or_default())
    };
    Received {
        offset: record.offset,
        content: Content::Record(Message {
            key: record.key,
            headers: record.headers.into_iter().map(header).collect(),
            value: record.value,
            timestamp_ms: record.timestamp,
        }),
    }
}
