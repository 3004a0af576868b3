//! What a topic's partition brings: batches of records, as brokers keep them.
//!
//! A record that can't be read is brought as well, with what is wrong, so that whoever reads the topic needn't stop at it.

use std::collections::HashSet;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, PartitionData};
use kafka_protocol::records::{Record, RecordBatchDecoder};

use crate::compression;

/// Where a batch's length stands, and what it counts: everything behind itself.
const LENGTH_PLACE: usize = 8;
const BEFORE_LENGTH_ENDS: usize = 12;
/// Where a batch says how many offsets it has, less one.
const LAST_OFFSET_DELTA_PLACE: usize = 23;
/// How long a batch's head is.
const HEAD_BYTES: usize = 61;

/// A record, or what couldn't be read as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its partition.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// What is in it.
    pub content: Content,
}

/// What is in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A record.
    Record {
        /// Its key.
        key: Option<Bytes>,
        /// Its headers that have a value.
        headers: Vec<(String, Bytes)>,
        /// Its value; `None` is Kafka's null.
        value: Option<Bytes>,
    },
    /// A whole batch that can't be read. Its first offset stands for all of its records.
    Unreadable {
        /// What is wrong with it.
        reason: String,
        /// Its bytes.
        bytes: Bytes,
    },
}

/// What an answer has of one partition.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) records: Vec<Received>,
    /// The offset after everything that was read; `None` when nothing was.
    pub(crate) next: Option<i64>,
}

/// Reads what an answer has of a partition, from the offset that was asked for.
pub(crate) fn read(data: &PartitionData, from: i64) -> Part {
    let partition = data.partition_index;
    let mut part = Part::default();
    let mut left = data.records.clone().unwrap_or_default();
    let mut aborted = Aborted::new(data.aborted_transactions.clone().unwrap_or_default());
    while let Some(mut batch) = next_batch(&mut left) {
        let first = i64::from_be_bytes(batch[..8].try_into().expect("eight bytes"));
        let delta = &batch[LAST_OFFSET_DELTA_PLACE..LAST_OFFSET_DELTA_PLACE + 4];
        let next = first + 1 + i64::from(i32::from_be_bytes(delta.try_into().expect("four bytes")));
        part.next = Some(next.max(from));
        let bytes = batch.clone();
        match RecordBatchDecoder::decode_with_custom_compression(&mut batch, Some(compression::decompress)) {
            Ok(set) => {
                let records = set.records.into_iter().filter(|record| !aborted.leaves_out(record));
                let records = records.filter(|record| record.offset >= from);
                part.records.extend(records.map(|record| received(partition, record)));
            }
            Err(error) => part.records.push(Received {
                partition,
                offset: first.max(from),
                content: Content::Unreadable {
                    reason: format!("the batch can't be read: {error:#}"),
                    bytes,
                },
            }),
        }
    }
    part
}

/// The next whole batch. A broker may cut the last one off.
fn next_batch(left: &mut Bytes) -> Option<Bytes> {
    let length = left.get(LENGTH_PLACE..BEFORE_LENGTH_ENDS)?;
    let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
    let whole = BEFORE_LENGTH_ENDS.checked_add(usize::try_from(length).ok()?)?;
    if whole < HEAD_BYTES || left.remaining() < whole {
        return None;
    }
    Some(left.split_to(whole))
}

fn received(partition: i32, record: Record) -> Received {
    let headers = record.headers.into_iter();
    Received {
        partition,
        offset: record.offset,
        content: Content::Record {
            key: record.key,
            headers: headers
                .filter_map(|(name, value)| Some((name.to_string(), value?)))
                .collect(),
            value: record.value,
        },
    }
}

/// Transactions that were given up: their records stand in the topic all the same, up to a marker that says so.
struct Aborted {
    /// Those that are yet to come, the first one last.
    coming: Vec<AbortedTransaction>,
    open: HashSet<i64>,
}

impl Aborted {
    fn new(mut coming: Vec<AbortedTransaction>) -> Self {
        coming.sort_unstable_by_key(|aborted| std::cmp::Reverse(aborted.first_offset));
        Self {
            coming,
            open: HashSet::new(),
        }
    }

    /// Whether a record is no record for those who read the topic: a marker, or a part of what was given up.
    fn leaves_out(&mut self, record: &Record) -> bool {
        while let Some(aborted) = self.coming.pop_if(|aborted| aborted.first_offset <= record.offset) {
            self.open.insert(aborted.producer_id.0);
        }
        if record.control {
            self.open.remove(&record.producer_id);
            return true;
        }
        record.transactional && self.open.contains(&record.producer_id)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::records::{
        Compression, NO_PARTITION_LEADER_EPOCH, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
    };

    use super::*;

    fn record(offset: i64, producer_id: i64, transactional: bool, control: bool) -> Record {
        Record {
            transactional,
            control,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id,
            producer_epoch: 0,
            timestamp_type: TimestampType::Creation,
            offset,
            sequence: 0,
            timestamp: 0,
            key: None,
            value: Some(Bytes::from(offset.to_string())),
            headers: Default::default(),
        }
    }

    /// A batch of each of these.
    fn batches(records: &[Record]) -> Bytes {
        let mut bytes = BytesMut::new();
        let options = RecordEncodeOptions {
            version: 2,
            compression: Compression::None,
        };
        for record in records {
            RecordBatchEncoder::encode(&mut bytes, [record], &options).expect("written");
        }
        bytes.freeze()
    }

    fn data(records: Bytes) -> PartitionData {
        PartitionData::default().with_records(Some(records))
    }

    fn offsets(part: &Part) -> Vec<i64> {
        part.records.iter().map(|record| record.offset).collect()
    }

    #[test]
    fn records_before_what_was_asked_for_and_half_a_batch_are_left_out() {
        let whole = batches(&[3, 4, 5, 6].map(|offset| record(offset, 1, false, false)));
        let part = read(&data(whole.slice(..whole.len() - 1)), 4);
        assert_eq!((offsets(&part), part.next), (vec![4, 5], Some(6)));
        let nothing = read(&data(Bytes::new()), 4);
        assert_eq!((offsets(&nothing), nothing.next), (vec![], None));
    }

    #[test]
    fn what_was_given_up_is_left_out_and_no_more() {
        let records = batches(&[
            record(0, 1, true, false),
            record(1, 2, true, false),
            record(2, 1, true, true),
            record(3, 1, true, false),
            record(4, 2, true, true),
            record(5, 1, true, true),
        ]);
        let aborted = AbortedTransaction::default()
            .with_producer_id(1.into())
            .with_first_offset(0);
        let part = read(&data(records).with_aborted_transactions(Some(vec![aborted])), 0);
        assert_eq!((offsets(&part), part.next), (vec![1, 3], Some(6)));
    }

    #[test]
    fn a_batch_that_cannot_be_read_is_brought_with_what_is_wrong_and_the_next_one_too() {
        let mut bytes = batches(&[record(0, 1, false, false), record(1, 1, false, false)]).to_vec();
        let first = bytes.len() / 2;
        bytes[first - 1] ^= 1;
        let part = read(&data(bytes.into()), 0);
        assert_eq!((offsets(&part), part.next), (vec![0, 1], Some(2)));
        assert!(
            matches!(&part.records[0].content, Content::Unreadable { reason, bytes }
                if reason.contains("redundancy") && bytes.len() == first),
            "{part:?}"
        );
    }
}
