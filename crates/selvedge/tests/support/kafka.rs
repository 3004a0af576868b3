//! A Kafka broker in memory: one topic, and the offsets of groups.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{OffsetFetchResponsePartition, OffsetFetchResponseTopic};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use selvedge::Event;
use selvedge::host::{Host, LocalFuture, Stream};
use selvedge_events::kafka_binding;
use selvedge_kafka::transport::LocalFuture as Borrowed;

use super::World;
use super::node::Node;

/// What is asked before a commit is taken: a partition, and the offset that is to be committed.
type Witness = Rc<dyn Fn(i32, i64)>;

#[derive(Default)]
pub struct Broker {
    /// The records of each partition. A record's place is its offset.
    partitions: RefCell<Vec<Vec<kafka_binding::Record>>>,
    committed: RefCell<BTreeMap<i32, i64>>,
    witness: RefCell<Option<Witness>>,
}

impl Broker {
    /// Puts a broker where a world's components connect to, whose only topic has this many partitions.
    pub fn start(world: &Rc<World>, partitions: usize) -> Rc<Self> {
        let broker = Rc::new(Self::default());
        broker.partitions.borrow_mut().resize(partitions, Vec::new());
        let (listening, node) = (broker.clone(), world.node.clone());
        world.listen(move |host| {
            Box::new(Connection {
                broker: listening.clone(),
                host,
                node: node.clone(),
                asked: VecDeque::new(),
            })
        });
        let variable = ("kafka_brokers".to_owned(), "127.0.0.1:9092".to_owned());
        world.variables.borrow_mut().extend([variable]);
        broker
    }

    pub fn write(&self, partition: usize, event: &Event) {
        self.write_record(partition, kafka_binding::encode_binary(event).expect("a valid event"));
    }

    pub fn write_record(&self, partition: usize, record: kafka_binding::Record) {
        self.partitions.borrow_mut()[partition].push(record);
    }

    /// Has every commit looked at before it is taken.
    pub fn witness(&self, witness: impl Fn(i32, i64) + 'static) {
        *self.witness.borrow_mut() = Some(Rc::new(witness));
    }

    pub fn committed(&self, partition: i32) -> Option<i64> {
        self.committed.borrow().get(&partition).copied()
    }

    pub fn set_committed(&self, partition: i32, offset: i64) {
        self.committed.borrow_mut().insert(partition, offset);
    }

    fn fetch(&self, request: &FetchRequest) -> FetchResponse {
        let wanted = &request.topics[0];
        let partitions = wanted.partitions.iter().map(|wanted| {
            let all = self.partitions.borrow();
            let records = &all[wanted.partition as usize];
            let end = records.len() as i64;
            let batch = (wanted.fetch_offset < end).then(|| batch(records, wanted.fetch_offset));
            PartitionData::default()
                .with_partition_index(wanted.partition)
                .with_high_watermark(end)
                .with_last_stable_offset(end)
                .with_records(batch)
        });
        let topic = FetchableTopicResponse::default()
            .with_topic(wanted.topic.clone())
            .with_partitions(partitions.collect());
        FetchResponse::default().with_responses(vec![topic])
    }

    fn commit(&self, request: &OffsetCommitRequest) -> OffsetCommitResponse {
        let topic = &request.topics[0];
        for partition in &topic.partitions {
            let (index, offset) = (partition.partition_index, partition.committed_offset);
            if let Some(witness) = &*self.witness.borrow() {
                witness(index, offset);
            }
            self.set_committed(index, offset);
        }
        let partition = |index: i32| OffsetCommitResponsePartition::default().with_partition_index(index);
        let indexes = topic.partitions.iter().map(|partition| partition.partition_index);
        let topic = OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(indexes.map(partition).collect());
        OffsetCommitResponse::default().with_topics(vec![topic])
    }

    fn offsets(&self, request: &OffsetFetchRequest) -> OffsetFetchResponse {
        let topic = &request.topics.as_ref().expect("named")[0];
        let partition = |index: &i32| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(*index)
                .with_committed_offset(self.committed(*index).unwrap_or(-1))
        };
        let topic = OffsetFetchResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(topic.partition_indexes.iter().map(partition).collect());
        OffsetFetchResponse::default().with_topics(vec![topic])
    }

    fn list(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topic = &request.topics[0];
        let partition = |asked: &list_offsets_request::ListOffsetsPartition| {
            let end = self.partitions.borrow()[asked.partition_index as usize].len() as i64;
            ListOffsetsPartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_offset(if asked.timestamp == -1 { end } else { 0 })
        };
        let topic = ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(topic.partitions.iter().map(partition).collect());
        ListOffsetsResponse::default().with_topics(vec![topic])
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let broker = MetadataResponseBroker::default()
            .with_node_id(1.into())
            .with_host(StrBytes::from_static_str("127.0.0.1"))
            .with_port(9092);
        let partition = |index| {
            MetadataResponsePartition::default()
                .with_partition_index(index as i32)
                .with_leader_id(1.into())
        };
        let count = self.partitions.borrow().len();
        let topic = |asked: &metadata_request::MetadataRequestTopic| {
            MetadataResponseTopic::default()
                .with_name(asked.name.clone())
                .with_partitions((0..count).map(partition).collect())
        };
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_topics(request.topics.iter().flatten().map(topic).collect())
    }
}

/// The records from an offset on, as a batch.
fn batch(records: &[kafka_binding::Record], from: i64) -> Bytes {
    let record = |(offset, record): (usize, &kafka_binding::Record)| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: offset as i64,
        sequence: offset as i32,
        timestamp: 0,
        key: None,
        value: record.value.clone().map(Bytes::from),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| (StrBytes::from_string(name.clone()), Some(value.clone().into())))
            .collect(),
    };
    let records: Vec<_> = records.iter().enumerate().skip(from as usize).map(record).collect();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("written");
    bytes.freeze()
}

struct Connection {
    broker: Rc<Broker>,
    host: Host,
    node: Node,
    asked: VecDeque<Bytes>,
}

impl Stream for Connection {
    fn send(&mut self, bytes: Vec<u8>) -> Borrowed<'_, Result<(), String>> {
        self.asked.push_back(Bytes::from(bytes).split_off(4));
        Box::pin(async { Ok(()) })
    }

    fn receive(&mut self) -> Borrowed<'_, Result<Vec<u8>, String>> {
        let asked = self.asked.pop_front().expect("something was asked");
        let (broker, host) = (self.broker.clone(), self.host.clone());
        let answer: LocalFuture<Result<Vec<u8>, String>> =
            Box::pin(async move { Ok(answer(&broker, &host, asked).await) });
        self.node.pass(answer)
    }
}

async fn answer(broker: &Broker, host: &Host, mut asked: Bytes) -> Vec<u8> {
    let (key, version) = ((&asked[..2]).get_i16(), (&asked[2..4]).get_i16());
    match ApiKey::try_from(key).expect("a key") {
        ApiKey::Metadata => respond(&mut asked, version, |request| broker.metadata(request)),
        ApiKey::FindCoordinator => respond(&mut asked, version, |_: &FindCoordinatorRequest| {
            let host = StrBytes::from_static_str("127.0.0.1");
            FindCoordinatorResponse::default().with_host(host).with_port(9092)
        }),
        ApiKey::OffsetFetch => respond(&mut asked, version, |request| broker.offsets(request)),
        ApiKey::ListOffsets => respond(&mut asked, version, |request| broker.list(request)),
        ApiKey::OffsetCommit => respond(&mut asked, version, |request| broker.commit(request)),
        ApiKey::Fetch => {
            let (header, request) = read::<FetchRequest>(&mut asked, version);
            let is_empty = |answer: &FetchResponse| {
                answer.responses[0]
                    .partitions
                    .iter()
                    .all(|partition| partition.records.is_none())
            };
            let mut found = broker.fetch(&request);
            if is_empty(&found) {
                host.wait(request.max_wait_ms as u64).await;
                found = broker.fetch(&request);
            }
            write(&header, version, &found)
        }
        other => panic!("{other:?} isn't answered"),
    }
}

fn read<Q: Decodable + HeaderVersion>(asked: &mut Bytes, version: i16) -> (RequestHeader, Q) {
    let header = RequestHeader::decode(asked, Q::header_version(version)).expect("a header");
    (header, Q::decode(asked, version).expect("a request"))
}

fn respond<Q: Decodable + HeaderVersion, A: Encodable + HeaderVersion>(
    asked: &mut Bytes,
    version: i16,
    answer: impl FnOnce(&Q) -> A,
) -> Vec<u8> {
    let (header, request) = read::<Q>(asked, version);
    write(&header, version, &answer(&request))
}

fn write<A: Encodable + HeaderVersion>(header: &RequestHeader, version: i16, answer: &A) -> Vec<u8> {
    let mut bytes = BytesMut::zeroed(4);
    let head = ResponseHeader::default().with_correlation_id(header.correlation_id);
    head.encode(&mut bytes, A::header_version(version)).expect("written");
    answer.encode(&mut bytes, version).expect("written");
    let length = (bytes.len() - 4) as i32;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes.to_vec()
}
