//! The requests of Kafka's protocol that the broker has answers to.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{OffsetFetchResponsePartition, OffsetFetchResponseTopic};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse, InitProducerIdRequest,
    InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, ProduceRequest,
    ProduceResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType,
};
use selvedge_events::kafka_binding;
use tokio::time::Instant;

use super::ADDRESS;
use super::log::Log;

/// Stands for the offset after the newest record.
const NEWEST: i64 = -1;

/// What becomes of a request.
pub(super) enum Answer {
    /// It is answered.
    Ready(Bytes),
    /// It waits for records.
    Records {
        asked: Box<Asked>,
        /// It is answered then, with none if there are none.
        until: Instant,
    },
}

/// A request for records.
pub(super) struct Asked {
    version: i16,
    header: RequestHeader,
    request: FetchRequest,
}

/// Takes a request, without its length. Whatever it changes is changed now.
pub(super) fn take(log: &mut Log, written: &mut usize, mut request: Bytes) -> anyhow::Result<Answer> {
    let (Ok(key), Ok(version)) = (
        request.clone().try_get_i16(),
        request.slice(2.min(request.len())..).try_get_i16(),
    ) else {
        bail!("a request has no head");
    };
    let Ok(api) = ApiKey::try_from(key) else {
        bail!("there is no request of number {key}");
    };
    let request = &mut request;
    let answered = match api {
        ApiKey::Metadata => respond(request, version, |asked| metadata(log, asked)),
        ApiKey::InitProducerId => respond(request, version, |_: &InitProducerIdRequest| {
            InitProducerIdResponse::default().with_producer_id(log.new_producer().into())
        }),
        ApiKey::Produce => respond(request, version, |asked| produce(log, written, asked)),
        ApiKey::FindCoordinator => respond(request, version, |_: &FindCoordinatorRequest| {
            let (host, port) = listens_at();
            FindCoordinatorResponse::default().with_host(host).with_port(port)
        }),
        ApiKey::OffsetFetch => respond(request, version, |asked| committed(log, asked)),
        ApiKey::OffsetCommit => respond(request, version, |asked| commit(log, asked)),
        ApiKey::ListOffsets => respond(request, version, |asked| list(log, asked)),
        ApiKey::Fetch => {
            let (header, request) = read::<FetchRequest>(request, version)?;
            let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0);
            let asked = Box::new(Asked {
                version,
                header,
                request,
            });
            let until = Instant::now() + Duration::from_millis(wait_ms);
            return Ok(Answer::Records { asked, until });
        }
        other => bail!("{other:?} isn't played"),
    };
    answered.map(Answer::Ready)
}

impl Asked {
    /// The answer, if there is anything to say, or it must be said now.
    pub fn answer(&self, log: &mut Log, is_due: bool) -> Option<Bytes> {
        let found = fetch(log, &self.request);
        let mut partitions = found.responses.iter().flat_map(|topic| &topic.partitions);
        let has_something = partitions.any(|partition| partition.records.is_some() || partition.error_code != 0);
        (has_something || is_due).then(|| write(&self.header, self.version, &found).expect("the answer can be encoded"))
    }
}

fn listens_at() -> (StrBytes, i32) {
    let (host, port) = ADDRESS.split_once(':').expect("a host and a port");
    (StrBytes::from_static_str(host), port.parse().expect("a port"))
}

fn metadata(log: &mut Log, asked: &MetadataRequest) -> MetadataResponse {
    let (host, port) = listens_at();
    let broker = MetadataResponseBroker::default()
        .with_node_id(1.into())
        .with_host(host)
        .with_port(port);
    let topics = asked.topics.iter().flatten().map(|topic| {
        let partitions = topic.name.as_deref().map_or(0, |name| log.topic(name).len());
        let partition = |index| {
            MetadataResponsePartition::default()
                .with_partition_index(index as i32)
                .with_leader_id(1.into())
        };
        MetadataResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions((0..partitions).map(partition).collect())
    });
    MetadataResponse::default()
        .with_topics(topics.collect())
        .with_brokers(vec![broker])
}

fn produce(log: &mut Log, written: &mut usize, asked: &ProduceRequest) -> ProduceResponse {
    let mut responses = Vec::new();
    for topic in &asked.topic_data {
        let mut partitions = Vec::new();
        for data in &topic.partition_data {
            let answer = PartitionProduceResponse::default().with_index(data.index);
            let partition = log.partition(&topic.name, data.index);
            let before = partition.as_ref().map_or(0, |partition| partition.end);
            let appended = match (partition, &data.records) {
                (Some(partition), Some(records)) => {
                    let appended = partition.append(records);
                    *written += usize::try_from(partition.end - before).unwrap_or(0);
                    appended
                }
                (None, _) => Err(ResponseError::UnknownTopicOrPartition),
                (_, None) => Err(ResponseError::CorruptMessage),
            };
            partitions.push(match appended {
                Ok(offset) => answer.with_base_offset(offset),
                Err(error) => answer.with_error_code(error.code()),
            });
        }
        let topic = TopicProduceResponse::default().with_name(topic.name.clone());
        responses.push(topic.with_partition_responses(partitions));
    }
    ProduceResponse::default().with_responses(responses)
}

fn fetch(log: &mut Log, asked: &FetchRequest) -> FetchResponse {
    let mut responses = Vec::new();
    for topic in &asked.topics {
        let mut partitions = Vec::new();
        for wanted in &topic.partitions {
            let answer = PartitionData::default()
                .with_partition_index(wanted.partition)
                .with_records(None);
            let Some(partition) = log.partition(&topic.topic, wanted.partition) else {
                let code = ResponseError::UnknownTopicOrPartition.code();
                partitions.push(answer.with_error_code(code));
                continue;
            };
            let bytes_max = usize::try_from(wanted.partition_max_bytes).unwrap_or(0);
            let answer = answer
                .with_high_watermark(partition.end)
                .with_last_stable_offset(partition.end);
            partitions.push(match partition.read(wanted.fetch_offset, bytes_max) {
                Some(records) if records.is_empty() => answer,
                Some(records) => answer.with_records(Some(records)),
                None => answer.with_error_code(ResponseError::OffsetOutOfRange.code()),
            });
        }
        let topic = FetchableTopicResponse::default().with_topic(topic.topic.clone());
        responses.push(topic.with_partitions(partitions));
    }
    FetchResponse::default().with_responses(responses)
}

fn commit(log: &mut Log, asked: &OffsetCommitRequest) -> OffsetCommitResponse {
    let topics = asked.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let (index, offset) = (partition.partition_index, partition.committed_offset);
            log.commit(&asked.group_id, &topic.name, index, offset);
            OffsetCommitResponsePartition::default().with_partition_index(index)
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    let topics = topics.collect();
    OffsetCommitResponse::default().with_topics(topics)
}

fn committed(log: &mut Log, asked: &OffsetFetchRequest) -> OffsetFetchResponse {
    let topics = asked.topics.iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            let offset = log.committed(&asked.group_id, &topic.name, *index);
            OffsetFetchResponsePartition::default()
                .with_partition_index(*index)
                .with_committed_offset(offset.unwrap_or(-1))
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    let topics = topics.collect();
    OffsetFetchResponse::default().with_topics(topics)
}

fn list(log: &mut Log, asked: &ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = asked.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let answer = ListOffsetsPartitionResponse::default().with_partition_index(wanted.partition_index);
            match log.partition(&topic.name, wanted.partition_index) {
                Some(partition) if wanted.timestamp == NEWEST => answer.with_offset(partition.end),
                Some(_) => answer.with_offset(0),
                None => answer.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
            }
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    let topics = topics.collect();
    ListOffsetsResponse::default().with_topics(topics)
}

/// A batch of one record, the first of this producer.
pub(super) fn batch(producer: i64, record: &kafka_binding::Record) -> anyhow::Result<Bytes> {
    let header = |(name, value): &(String, Vec<u8>)| {
        let value = Bytes::copy_from_slice(value);
        (StrBytes::from_string(name.clone()), Some(value))
    };
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: producer,
        producer_epoch: 0,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: 0,
        timestamp: 0,
        key: None,
        value: record.value.clone().map(Bytes::from),
        headers: record.headers.iter().map(header).collect(),
    };
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &[record], &options)?;
    Ok(bytes.freeze())
}

/// The records of these batches.
pub(super) fn records(batches: &mut Bytes) -> anyhow::Result<Vec<kafka_binding::Record>> {
    let header = |(name, value): (StrBytes, Option<Bytes>)| (name.to_string(), value.unwrap_or_default().to_vec());
    let record = |record: Record| kafka_binding::Record {
        headers: record.headers.into_iter().map(header).collect(),
        value: record.value.map(|value| value.to_vec()),
    };
    let sets = RecordBatchDecoder::decode_all(batches)?;
    Ok(sets.into_iter().flat_map(|set| set.records).map(record).collect())
}

fn respond<Q: Decodable + HeaderVersion, A: Encodable + HeaderVersion>(
    request: &mut Bytes,
    version: i16,
    answer: impl FnOnce(&Q) -> A,
) -> anyhow::Result<Bytes> {
    let (header, request) = read::<Q>(request, version)?;
    write(&header, version, &answer(&request))
}

fn read<Q: Decodable + HeaderVersion>(request: &mut Bytes, version: i16) -> anyhow::Result<(RequestHeader, Q)> {
    let header = RequestHeader::decode(request, Q::header_version(version)).context("a request's head")?;
    Ok((header, Q::decode(request, version).context("a request")?))
}

/// The answer with its length before it.
fn write<A: Encodable + HeaderVersion>(header: &RequestHeader, version: i16, answer: &A) -> anyhow::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(4);
    let head = ResponseHeader::default().with_correlation_id(header.correlation_id);
    head.encode(&mut bytes, A::header_version(version))?;
    answer.encode(&mut bytes, version)?;
    let length = u32::try_from(bytes.len() - 4)?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes.freeze())
}
