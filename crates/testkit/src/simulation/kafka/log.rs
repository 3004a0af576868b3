//! What a broker keeps: the batches of each partition as they were written, who wrote them last, and how far each group is.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;

/// Partitions of a topic.
const PARTITIONS: usize = 3;

/// Where in a batch's head its fields are: the file format of Kafka's record batches, version 2.
mod head {
    use std::ops::Range;

    pub const BASE_OFFSET: Range<usize> = 0..8;
    pub const LENGTH: Range<usize> = 8..12;
    pub const LAST_OFFSET_DELTA: Range<usize> = 23..27;
    pub const PRODUCER_ID: Range<usize> = 43..51;
    pub const BASE_SEQUENCE: Range<usize> = 53..57;
    pub const LENGTH_MIN: usize = 61;
}

/// A group, a topic, and a partition of it.
type Place = (String, String, i32);

/// All topics, and the offsets of all groups. It outlasts the broker's restarts.
#[derive(Default)]
pub(super) struct Log {
    topics: BTreeMap<String, Vec<Partition>>,
    committed: BTreeMap<Place, i64>,
    producers: i64,
}

#[derive(Default)]
pub(super) struct Partition {
    batches: Vec<Batch>,
    /// The offset of the next record.
    pub end: i64,
    producers: HashMap<i64, Producer>,
}

/// A producer as a partition knows it.
struct Producer {
    /// The number of its next record.
    next: i64,
    /// The number of the first record of its last batch, and the offset that it got.
    last: (i64, i64),
}

struct Batch {
    /// The offset after its last record.
    end: i64,
    bytes: Bytes,
}

impl Log {
    /// A topic's partitions. A topic that isn't there is made.
    pub fn topic(&mut self, name: &str) -> &mut Vec<Partition> {
        self.topics
            .entry(name.to_owned())
            .or_insert_with(|| (0..PARTITIONS).map(|_| Partition::default()).collect())
    }

    pub fn partition(&mut self, topic: &str, index: i32) -> Option<&mut Partition> {
        let partitions = self.topics.get_mut(topic)?;
        partitions.get_mut(usize::try_from(index).ok()?)
    }

    pub fn new_producer(&mut self) -> i64 {
        self.producers += 1;
        self.producers
    }

    pub fn commit(&mut self, group: &str, topic: &str, partition: i32, offset: i64) {
        self.committed
            .insert((group.to_owned(), topic.to_owned(), partition), offset);
    }

    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        self.committed
            .get(&(group.to_owned(), topic.to_owned(), partition))
            .copied()
    }

    /// Every group that has committed anything, with its topic, and how many records of that it hasn't committed.
    pub fn lags(&self) -> BTreeMap<(&str, &str), i64> {
        let mut lags = BTreeMap::new();
        for ((group, topic, partition), offset) in &self.committed {
            let partitions = self.topics.get(topic).map_or(&[][..], Vec::as_slice);
            let partition = usize::try_from(*partition).ok().and_then(|index| partitions.get(index));
            *lags.entry((&**group, &**topic)).or_insert(0) += partition.map_or(0, |partition| partition.end - offset);
        }
        lags
    }
}

impl Partition {
    /// Writes a producer's batch, and says at which offset. One that is there already isn't written again.
    pub fn append(&mut self, batch: &[u8]) -> Result<i64, ResponseError> {
        let (producer, sequence) = (number(batch, head::PRODUCER_ID)?, number(batch, head::BASE_SEQUENCE)?);
        let length = number(batch, head::LENGTH)? + head::LENGTH.end as i64;
        if batch.len() < head::LENGTH_MIN || length != batch.len() as i64 {
            return Err(ResponseError::CorruptMessage);
        }
        let known = self.producers.get(&producer);
        if let Some(Producer { last, .. }) = known
            && last.0 == sequence
        {
            return Ok(last.1);
        }
        if sequence != known.map_or(0, |known| known.next) {
            return Err(ResponseError::OutOfOrderSequenceNumber);
        }
        let records = number(batch, head::LAST_OFFSET_DELTA)? + 1;
        let base = self.end;
        let next = Producer {
            next: sequence + records,
            last: (sequence, base),
        };
        self.producers.insert(producer, next);
        let mut bytes = BytesMut::from(batch);
        bytes[head::BASE_OFFSET].copy_from_slice(&base.to_be_bytes());
        self.end += records;
        self.batches.push(Batch {
            end: self.end,
            bytes: bytes.freeze(),
        });
        Ok(base)
    }

    /// The batches from the one on that has this offset, as many as fit, but one at least. `None`: it is none of this partition's.
    pub fn read(&self, from: i64, bytes_max: usize) -> Option<Bytes> {
        if !(0..=self.end).contains(&from) {
            return None;
        }
        let mut read = BytesMut::new();
        for batch in self.batches.iter().filter(|batch| batch.end > from) {
            if !read.is_empty() && read.len() + batch.bytes.len() > bytes_max {
                break;
            }
            read.extend_from_slice(&batch.bytes);
        }
        Some(read.freeze())
    }
}

/// A number of a batch's head.
fn number(batch: &[u8], place: Range<usize>) -> Result<i64, ResponseError> {
    let bytes = batch.get(place).ok_or(ResponseError::CorruptMessage)?;
    let sign = bytes.first().map_or(0, |byte| i64::from(byte.cast_signed() >> 7));
    Ok(bytes.iter().fold(sign, |number, byte| (number << 8) | i64::from(*byte)))
}
