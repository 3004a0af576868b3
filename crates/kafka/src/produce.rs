//! Writes records: `acks=all`, in order, and each once as long as the broker knows the producer.
//!
//! The producer has an id from the broker and numbers its batches, so that a batch that arrives twice, because its answer
//! got lost, is written once. What a dropped or failed call did isn't known: the next one begins with a new id, and the
//! records that are sent once more then may be there twice.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use crate::client::{Client, Partition};
use crate::connection::Api;
use crate::error::{Code, Error};
use crate::record::Message;
use crate::{limits, partitioner};

const INIT_PRODUCER_ID: Api = Api {
    key: ApiKey::InitProducerId as i16,
    version: 3,
};
const PRODUCE: Api = Api {
    key: ApiKey::Produce as i16,
    version: 7,
};
/// Every replica that is in sync has the batch before it is acknowledged.
const ALL_REPLICAS: i16 = -1;

/// Writes records.
pub struct Producer {
    client: Client,
    session: Option<Session>,
    /// Where the next record without a key goes.
    turn: usize,
    /// How large a batch may be: less than the limit where a topic takes less.
    batch_bytes_max: usize,
}

/// The broker's name for this producer, and the number of the next record of each partition.
struct Session {
    id: i64,
    epoch: i16,
    next: HashMap<(String, i32), i32>,
}

/// Records of one partition that are written together.
struct Batch {
    leader: SocketAddr,
    partition: i32,
    first_sequence: i32,
    /// Where they stand among the messages.
    places: Vec<usize>,
}

impl Producer {
    /// A producer on this client's cluster.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            session: None,
            turn: 0,
            batch_bytes_max: limits::BATCH_BYTES_MAX,
        }
    }

    /// Writes these messages, and says of each whether it is written. Those with the same key are written in their order:
    /// where one isn't written, those behind it in its partition may not be either. `timeout_ms` is how long the broker waits
    /// for its replicas.
    ///
    /// # Errors
    /// Where nothing is known of any: the way to the cluster failed, or there is no such topic.
    pub async fn send(
        &mut self,
        topic: &str,
        messages: &[Message],
        timeout_ms: i32,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let mut written = vec![Ok(()); messages.len()];
        let mut places: Vec<usize> = (0..messages.len()).collect();
        while !places.is_empty() {
            places = self.write(topic, messages, &places, timeout_ms, &mut written).await?;
            if !places.is_empty() {
                self.batch_bytes_max /= 2;
            }
        }
        Ok(written)
    }

    /// Writes the messages at these places once, and gives the places of those that are to be written again in smaller batches.
    async fn write(
        &mut self,
        topic: &str,
        messages: &[Message],
        places: &[usize],
        timeout_ms: i32,
        written: &mut [Result<(), Error>],
    ) -> Result<Vec<usize>, Error> {
        // Taken while it is used: what a call did that failed or was dropped isn't known, and its numbers are used up.
        let session = self.session.take();
        let partitions = self.client.partitions(topic).await?;
        let mut session = match session {
            Some(session) => session,
            None => self.begin().await?,
        };
        let mut to_divide = Vec::new();
        for round in self.rounds(&mut session, topic, messages, places, &partitions) {
            let mut of_leaders: BTreeMap<SocketAddr, Vec<Batch>> = BTreeMap::new();
            for batch in round {
                of_leaders.entry(batch.leader).or_default().push(batch);
            }
            for (leader, batches) in of_leaders {
                let request = request(&session, topic, messages, &batches, timeout_ms)?;
                let sent = self.client.ask(leader, PRODUCE, &request).await;
                let answer: ProduceResponse = sent.inspect_err(|_| self.client.forget(topic))?;
                for batch in batches {
                    let refused = refused(topic, &answer, batch.partition);
                    let is_about_one = matches!(&refused, Err(Error::Refused { code, .. }) if code.is_about_record());
                    if is_about_one && batch.places.len() > 1 {
                        to_divide.extend(&batch.places);
                    }
                    for place in batch.places {
                        written[place] = refused.clone();
                    }
                }
            }
        }
        if places.iter().all(|place| written[*place].is_ok()) {
            self.session = Some(session);
        } else {
            self.client.forget(topic);
        }
        to_divide.sort_unstable();
        Ok(to_divide)
    }

    async fn begin(&mut self) -> Result<Session, Error> {
        let request = InitProducerIdRequest::default().with_transaction_timeout_ms(60_000);
        let answer: InitProducerIdResponse = self.client.ask_any(INIT_PRODUCER_ID, &request).await?;
        Code::check(answer.error_code, || "a producer's id".to_owned())?;
        Ok(Session {
            id: answer.producer_id.0,
            epoch: answer.producer_epoch,
            next: HashMap::new(),
        })
    }

    /// The messages in batches, of which a round has one for each partition at most.
    fn rounds(
        &mut self,
        session: &mut Session,
        topic: &str,
        messages: &[Message],
        places: &[usize],
        partitions: &[Partition],
    ) -> Vec<Vec<Batch>> {
        self.turn = self.turn.wrapping_add(1);
        let mut of_partitions: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for place in places {
            let partition = match &messages[*place].key {
                Some(key) => partitioner::of_key(key, partitions.len()),
                None => self.turn % partitions.len(),
            };
            of_partitions.entry(partition).or_default().push(*place);
        }
        let mut rounds: Vec<Vec<Batch>> = Vec::new();
        for (partition, places) in of_partitions {
            let Partition { index, leader } = partitions[partition];
            let next = session.next.entry((topic.to_owned(), index)).or_insert(0);
            for (round, places) in cut(messages, &places, self.batch_bytes_max).into_iter().enumerate() {
                if rounds.len() == round {
                    rounds.push(Vec::new());
                }
                let first_sequence = *next;
                *next = sequence_after(*next, places.len());
                rounds[round].push(Batch {
                    leader,
                    partition: index,
                    first_sequence,
                    places,
                });
            }
        }
        rounds
    }
}

/// The places in groups, each of which fits into a batch.
fn cut(messages: &[Message], places: &[usize], bytes_max: usize) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut bytes = 0;
    for place in places {
        let size = messages[*place].size_bytes();
        match groups.last_mut() {
            Some(group) if bytes + size <= bytes_max => group.push(*place),
            _ => {
                groups.push(vec![*place]);
                bytes = 0;
            }
        }
        bytes += size;
    }
    groups
}

/// The number after this many records. After the largest number comes 0.
fn sequence_after(sequence: i32, records: usize) -> i32 {
    let sum = (i64::from(sequence) + records as i64) % (1 << 31);
    i32::try_from(sum).unwrap_or(0)
}

fn request(
    session: &Session,
    topic: &str,
    messages: &[Message],
    batches: &[Batch],
    timeout_ms: i32,
) -> Result<ProduceRequest, Error> {
    let mut partition_data = Vec::with_capacity(batches.len());
    for batch in batches {
        let data = PartitionProduceData::default()
            .with_index(batch.partition)
            .with_records(Some(encode(session, messages, batch)?));
        partition_data.push(data);
    }
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partition_data(partition_data);
    Ok(ProduceRequest::default()
        .with_acks(ALL_REPLICAS)
        .with_timeout_ms(timeout_ms)
        .with_topic_data(vec![topic]))
}

fn encode(session: &Session, messages: &[Message], batch: &Batch) -> Result<Bytes, Error> {
    let record = |(number, place): (usize, &usize)| {
        let message = &messages[*place];
        let header = |(name, value): &(String, Bytes)| (StrBytes::from_string(name.clone()), Some(value.clone()));
        Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: session.id,
            producer_epoch: session.epoch,
            timestamp_type: TimestampType::Creation,
            offset: number as i64,
            sequence: batch.first_sequence.wrapping_add(number as i32),
            timestamp: message.timestamp_ms,
            key: message.key.clone(),
            value: message.value.clone(),
            headers: message.headers.iter().map(header).collect(),
        }
    };
    let records: Vec<Record> = batch.places.iter().enumerate().map(record).collect();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut bytes = BytesMut::new();
    // Said here, so that no compression is linked into a component that only writes.
    let as_it_is = |records: &mut BytesMut, bytes: &mut BytesMut, _| {
        bytes.extend_from_slice(records);
        Ok(())
    };
    RecordBatchEncoder::encode_with_custom_compression(&mut bytes, &records, &options, Some(as_it_is)).map_err(
        |error| Error::Unwritable {
            detail: error.to_string(),
        },
    )?;
    Ok(bytes.freeze())
}

/// What the broker said of a partition's batch.
fn refused(topic: &str, answer: &ProduceResponse, partition: i32) -> Result<(), Error> {
    let mut partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
    let found = partitions.find(|answered| answered.index == partition);
    // A partition that isn't named wasn't written.
    let code = found.map_or(-1, |answered| answered.error_code);
    if Code(code) == Code::DUPLICATE_SEQUENCE {
        return Ok(());
    }
    Code::check(code, || format!("a record for {topic}, partition {partition},"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Message {
        Message {
            value: Some(vec![0; bytes].into()),
            ..Message::default()
        }
    }

    #[test]
    fn batches_are_cut_to_size_and_a_larger_record_goes_alone() {
        let half = limits::BATCH_BYTES_MAX / 2 - limits::RECORD_OVERHEAD_BYTES;
        let messages = [
            message(half),
            message(half),
            message(half),
            message(3 * half),
            message(1),
        ];
        let cut = |places: &[usize]| cut(&messages, places, limits::BATCH_BYTES_MAX);
        assert_eq!(cut(&[0, 1, 2, 3, 4]), [vec![0, 1], vec![2], vec![3], vec![4]]);
        assert_eq!(cut(&[4, 0]), [vec![4, 0]]);
        assert!(cut(&[]).is_empty());
    }

    #[test]
    fn numbers_begin_anew_after_the_largest() {
        assert_eq!(sequence_after(0, 500), 500);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    }
}
