//! A group's offsets: up to where it has done a topic's records. The group's coordinator, one of the brokers, keeps them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, GroupId, ListOffsetsRequest, ListOffsetsResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::client::Partition;
use crate::connection::Api;
use crate::consume::Consumer;
use crate::error::{Code, Error};
use crate::{address, limits};

const FIND_COORDINATOR: Api = Api {
    key: ApiKey::FindCoordinator as i16,
    version: 1,
};
const OFFSET_FETCH: Api = Api {
    key: ApiKey::OffsetFetch as i16,
    version: 5,
};
const OFFSET_COMMIT: Api = Api {
    key: ApiKey::OffsetCommit as i16,
    version: 6,
};
const LIST_OFFSETS: Api = Api {
    key: ApiKey::ListOffsets as i16,
    version: 3,
};
/// Whoever commits without being a member of the group is of no generation.
const NO_GENERATION: i32 = -1;

/// Where a group begins that has committed nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the oldest record that is there.
    Oldest,
    /// With the first record after this moment.
    Now,
}

impl Begin {
    /// The time that stands for it in the protocol.
    fn timestamp(self) -> i64 {
        match self {
            Self::Oldest => -2,
            Self::Now => -1,
        }
    }
}

impl Consumer {
    /// Writes down up to where the group has done these partitions: each number is the offset of the next record.
    ///
    /// # Errors
    /// What the way to the coordinator fails with, and what it refuses.
    pub async fn commit(&mut self, offsets: &BTreeMap<i32, i64>) -> Result<(), Error> {
        if offsets.is_empty() {
            return Ok(());
        }
        let partition = |(partition, offset): (&i32, &i64)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(*offset)
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(StrBytes::default()))
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(name(&self.topic))
            .with_partitions(offsets.iter().map(partition).collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(group(&self.group))
            .with_generation_id_or_member_epoch(NO_GENERATION)
            .with_topics(vec![topic]);
        let coordinator = self.coordinator().await?;
        let answer: OffsetCommitResponse = self.client.ask(coordinator, OFFSET_COMMIT, &request).await?;
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.try_for_each(|partition| {
            let index = partition.partition_index;
            Code::check(partition.error_code, || {
                format!(
                    "committing the group {} in {}, partition {index},",
                    self.group, self.topic
                )
            })
        })
    }

    /// Where to read on in each of these partitions. Where the group begins is committed at once: what comes from now on is its own.
    pub(crate) async fn positions(&mut self, partitions: &[Partition]) -> Result<BTreeMap<i32, i64>, Error> {
        let mut positions = self.committed(partitions).await?;
        let is_new = |partition: &&Partition| !positions.contains_key(&partition.index);
        let mut of_leaders: BTreeMap<SocketAddr, Vec<i32>> = BTreeMap::new();
        for partition in partitions.iter().filter(is_new) {
            of_leaders.entry(partition.leader).or_default().push(partition.index);
        }
        // A partition that was added to a topic which the group reads is read as a whole.
        let begin = if positions.is_empty() {
            self.begin
        } else {
            Begin::Oldest
        };
        let mut begun = BTreeMap::new();
        for (leader, indexes) in of_leaders {
            begun.extend(self.list(leader, &indexes, begin).await?);
        }
        self.commit(&begun).await?;
        positions.extend(begun);
        Ok(positions)
    }

    /// What the group has committed.
    async fn committed(&mut self, partitions: &[Partition]) -> Result<BTreeMap<i32, i64>, Error> {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(name(&self.topic))
            .with_partition_indexes(partitions.iter().map(|partition| partition.index).collect());
        let request = OffsetFetchRequest::default()
            .with_group_id(group(&self.group))
            .with_topics(Some(vec![topic]));
        let what = format!("the offsets of the group {} in {}", self.group, self.topic);
        for attempt in 1.. {
            let coordinator = self.coordinator().await?;
            let answer: OffsetFetchResponse = self.client.ask(coordinator, OFFSET_FETCH, &request).await?;
            let found: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.partitions).collect();
            let codes = found.iter().map(|partition| partition.error_code);
            let code = std::iter::once(answer.error_code).chain(codes).find(|code| *code != 0);
            match code.map(Code) {
                // It reads them itself at first.
                Some(Code::COORDINATOR_LOADING) if attempt < limits::COORDINATOR_ATTEMPTS_MAX => {
                    self.client.pause().await;
                }
                Some(code) => return Code::check(code.0, || what).map(|()| BTreeMap::new()),
                None => {
                    let known = found.into_iter().filter(|found| found.committed_offset >= 0);
                    return Ok(known
                        .map(|found| (found.partition_index, found.committed_offset))
                        .collect());
                }
            }
        }
        unreachable!("the last attempt ends the loop")
    }

    /// The oldest offset of these partitions, or the one after the newest.
    pub(crate) async fn list(
        &mut self,
        leader: SocketAddr,
        partitions: &[i32],
        begin: Begin,
    ) -> Result<BTreeMap<i32, i64>, Error> {
        let partition = |index: &i32| {
            ListOffsetsPartition::default()
                .with_partition_index(*index)
                .with_timestamp(begin.timestamp())
        };
        let topic = ListOffsetsTopic::default()
            .with_name(name(&self.topic))
            .with_partitions(partitions.iter().map(partition).collect());
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic]);
        let answer: ListOffsetsResponse = self.client.ask(leader, LIST_OFFSETS, &request).await?;
        let mut listed = BTreeMap::new();
        for found in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            let index = found.partition_index;
            Code::check(found.error_code, || {
                format!("where {} begins, partition {index},", self.topic)
            })?;
            listed.insert(index, found.offset.max(0));
        }
        Ok(listed)
    }

    /// The broker that keeps the group's offsets.
    async fn coordinator(&mut self) -> Result<SocketAddr, Error> {
        if let Some(known) = self.coordinator {
            return Ok(known);
        }
        let request = FindCoordinatorRequest::default().with_key(StrBytes::from_string(self.group.clone()));
        for attempt in 1.. {
            let answer: FindCoordinatorResponse = self.client.ask_any(FIND_COORDINATOR, &request).await?;
            match Code(answer.error_code) {
                // The cluster makes a place for offsets when it is first asked for.
                Code::COORDINATOR_NOT_AVAILABLE if attempt < limits::COORDINATOR_ATTEMPTS_MAX => {
                    self.client.pause().await;
                }
                code => {
                    Code::check(code.0, || format!("the coordinator of the group {}", self.group))?;
                    let found = address::advertised(&answer.host, answer.port)?;
                    self.coordinator = Some(found);
                    return Ok(found);
                }
            }
        }
        unreachable!("the last attempt ends the loop")
    }
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

fn group(name: &str) -> GroupId {
    GroupId(StrBytes::from_string(name.to_owned()))
}
