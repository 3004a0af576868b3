//! A group's offsets, kept by the cluster: how far a reader is.
//!
//! The partitions aren't shared out by the group: whoever reads chooses them, and commits without a membership
//! (generation -1), as every Kafka client with a fixed assignment does.

use std::net::SocketAddr;

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, GroupId, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::address;
use crate::client::Client;
use crate::connection::Api;
use crate::error::{Code, Error};

const FIND_COORDINATOR: Api = Api {
    key: ApiKey::FindCoordinator as i16,
    version: 2,
};
const OFFSET_FETCH: Api = Api {
    key: ApiKey::OffsetFetch as i16,
    version: 5,
};
const OFFSET_COMMIT: Api = Api {
    key: ApiKey::OffsetCommit as i16,
    version: 6,
};
/// Says that the group doesn't share out its partitions.
const NO_GENERATION: i32 = -1;

/// The broker that keeps a group's offsets.
pub(crate) async fn coordinator(client: &mut Client, group: &str) -> Result<SocketAddr, Error> {
    let request = FindCoordinatorRequest::default().with_key(text(group));
    let answer: FindCoordinatorResponse = client.ask_any(FIND_COORDINATOR, &request).await?;
    Code::check(answer.error_code, || format!("the coordinator of the group {group}"))?;
    address::advertised(&answer.host, answer.port)
}

/// The offsets from which the group goes on, for those of these partitions that it has committed one of.
pub(crate) async fn committed(
    client: &mut Client,
    coordinator: SocketAddr,
    group: &str,
    topic: &str,
    partitions: Vec<i32>,
) -> Result<Vec<(i32, i64)>, Error> {
    let wanted = OffsetFetchRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partition_indexes(partitions);
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(Some(vec![wanted]));
    let answer: OffsetFetchResponse = client.ask(coordinator, OFFSET_FETCH, &request).await?;
    let what = || format!("the offsets of the group {group}");
    Code::check(answer.error_code, what)?;
    let mut offsets = Vec::new();
    for partition in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
        Code::check(partition.error_code, what)?;
        if partition.committed_offset >= 0 {
            offsets.push((partition.partition_index, partition.committed_offset));
        }
    }
    Ok(offsets)
}

/// Keeps these offsets as those from which the group goes on.
pub(crate) async fn commit(
    client: &mut Client,
    coordinator: SocketAddr,
    group: &str,
    topic: &str,
    offsets: &[(i32, i64)],
) -> Result<(), Error> {
    let partition = |(index, offset): &(i32, i64)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
    };
    let committed = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(offsets.iter().map(partition).collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(NO_GENERATION)
        .with_topics(vec![committed]);
    let answer: OffsetCommitResponse = client.ask(coordinator, OFFSET_COMMIT, &request).await?;
    let mut answered = 0;
    for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
        Code::check(partition.error_code, || format!("an offset of the group {group}"))?;
        answered += 1;
    }
    if answered < offsets.len() {
        return Code::check(-1, || format!("an offset of the group {group}"));
    }
    Ok(())
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
