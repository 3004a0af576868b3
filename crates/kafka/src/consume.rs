//! Reads a topic as one group does: from where it has committed, all partitions.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    ApiKey, BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::client::{Client, Partition};
use crate::connection::Api;
use crate::error::{Code, Error};
use crate::record::Received;
use crate::{batch, group, limits};

const LIST_OFFSETS: Api = Api {
    key: ApiKey::ListOffsets as i16,
    version: 4,
};
const FETCH: Api = Api {
    key: ApiKey::Fetch as i16,
    version: 11,
};
/// Says that it isn't a broker that reads.
const NO_REPLICA: BrokerId = BrokerId(-1);
/// Only what was committed, of records that were written in transactions.
const READ_COMMITTED: i8 = 1;
/// Says that the request belongs to no session.
const NO_SESSION: i32 = -1;

/// Where a group begins that has committed no offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the partition's first record.
    Earliest,
    /// With the next record that is written.
    Latest,
}

impl Start {
    /// What stands for it in the protocol, in place of a time.
    fn timestamp(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
        }
    }
}

/// Reads a topic.
pub struct Consumer {
    client: Client,
    topic: String,
    group: String,
    start: Start,
    coordinator: Option<SocketAddr>,
    /// Where each partition is read next, once it is known.
    positions: BTreeMap<i32, i64>,
}

/// What a fetch brought from one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The partition.
    pub partition: i32,
    /// Its records, by their offsets. There may be none when all that was read is Kafka's own.
    pub records: Vec<Received>,
    /// The offset from which a group goes on that is done with these records.
    pub next_offset: i64,
}

impl Consumer {
    /// A reader of this topic for this group. Nothing is connected yet.
    pub fn new(client: Client, topic: &str, group: &str, start: Start) -> Self {
        Self {
            client,
            topic: topic.to_owned(),
            group: group.to_owned(),
            start,
            coordinator: None,
            positions: BTreeMap::new(),
        }
    }

    /// Waits until there are records, at most this long, and gives them, by partition. The same records don't come again
    /// from this reader; to another one they do until they are committed.
    ///
    /// # Errors
    /// What the way to the cluster fails with, and what it refuses. Then the next fetch goes on from the same place.
    pub async fn fetch(&mut self, max_wait_ms: i32) -> Result<Vec<Fetched>, Error> {
        let fetched = self.try_fetch(max_wait_ms).await;
        if fetched.is_err() {
            // Whatever is known of the cluster may be wrong now.
            self.client.forget(&self.topic);
            self.coordinator = None;
        }
        fetched
    }

    /// Keeps with the cluster that the group is done with these partitions up to, and without, these offsets.
    ///
    /// # Errors
    /// What the way to the cluster fails with, and what it refuses; then some may be kept.
    pub async fn commit(&mut self, offsets: &[(i32, i64)]) -> Result<(), Error> {
        if offsets.is_empty() {
            return Ok(());
        }
        let coordinator = self.coordinator().await?;
        let committed = group::commit(&mut self.client, coordinator, &self.group, &self.topic, offsets).await;
        committed.inspect_err(|_| self.coordinator = None)
    }

    async fn try_fetch(&mut self, max_wait_ms: i32) -> Result<Vec<Fetched>, Error> {
        let partitions = self.client.partitions(&self.topic).await?;
        self.find_positions(&partitions).await?;
        let of_leaders = by_leader(&partitions);
        // One leader is waited for; of several, each is asked for what it has, and none holds up the others.
        let max_wait_ms = max_wait_ms / i32::try_from(of_leaders.len()).unwrap_or(1).max(1);
        let mut fetched = Vec::new();
        for (leader, indexes) in of_leaders {
            let wait_ms = if fetched.is_empty() { max_wait_ms } else { 0 };
            let request = self.request(&indexes, wait_ms);
            let answer: FetchResponse = self.client.ask(leader, FETCH, &request).await?;
            self.check(answer.error_code)?;
            fetched.extend(self.read(answer)?);
        }
        Ok(fetched)
    }

    fn request(&self, indexes: &[i32], max_wait_ms: i32) -> FetchRequest {
        let partition = |index: &i32| {
            FetchPartition::default()
                .with_partition(*index)
                .with_fetch_offset(self.positions[index])
                .with_partition_max_bytes(limits::FETCH_PARTITION_BYTES_MAX)
        };
        let topic = FetchTopic::default()
            .with_topic(self.topic_name())
            .with_partitions(indexes.iter().map(partition).collect());
        FetchRequest::default()
            .with_replica_id(NO_REPLICA)
            .with_max_wait_ms(max_wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(limits::FETCH_BYTES_MAX)
            .with_isolation_level(READ_COMMITTED)
            .with_session_epoch(NO_SESSION)
            .with_topics(vec![topic])
    }

    fn read(&mut self, answer: FetchResponse) -> Result<Vec<Fetched>, Error> {
        let mut fetched = Vec::new();
        for data in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
            let partition = data.partition_index;
            if Code(data.error_code) == Code::OFFSET_OUT_OF_RANGE {
                // What was there is gone, or the topic was made anew: it goes on with what there is.
                self.positions.remove(&partition);
                self.start = Start::Earliest;
                continue;
            }
            self.check(data.error_code)?;
            let Some(position) = self.positions.get_mut(&partition) else {
                continue;
            };
            let aborted = data.aborted_transactions.unwrap_or_default();
            let read = batch::read(data.records.unwrap_or_default(), *position, &aborted);
            if read.next_offset > *position {
                *position = read.next_offset;
                fetched.push(Fetched {
                    partition,
                    records: read.records,
                    next_offset: read.next_offset,
                });
            }
        }
        Ok(fetched)
    }

    /// Finds out where the partitions are to be read that aren't known yet.
    async fn find_positions(&mut self, partitions: &[Partition]) -> Result<(), Error> {
        let is_unknown = |partition: &&Partition| !self.positions.contains_key(&partition.index);
        let unknown: Vec<Partition> = partitions.iter().filter(is_unknown).copied().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let indexes = unknown.iter().map(|partition| partition.index).collect();
        let coordinator = self.coordinator().await?;
        let committed = group::committed(&mut self.client, coordinator, &self.group, &self.topic, indexes).await?;
        let committed: BTreeMap<i32, i64> = committed.into_iter().collect();
        for (leader, indexes) in by_leader(&unknown) {
            // Where the partition begins now: what a group committed before may be gone.
            let first = self.list(leader, &indexes, Start::Earliest).await?;
            let last = self.list(leader, &indexes, Start::Latest).await?;
            for index in indexes {
                let (first, last) = (
                    first.get(&index).copied().unwrap_or(0),
                    last.get(&index).copied().unwrap_or(0),
                );
                let position = match (committed.get(&index), self.start) {
                    (Some(committed), _) if (first..=last).contains(committed) => *committed,
                    (Some(_), _) | (None, Start::Earliest) => first,
                    (None, Start::Latest) => last,
                };
                self.positions.insert(index, position);
            }
        }
        Ok(())
    }

    async fn list(&mut self, leader: SocketAddr, indexes: &[i32], end: Start) -> Result<BTreeMap<i32, i64>, Error> {
        let partition = |index: &i32| {
            ListOffsetsPartition::default()
                .with_partition_index(*index)
                .with_timestamp(end.timestamp())
        };
        let topic = ListOffsetsTopic::default()
            .with_name(self.topic_name())
            .with_partitions(indexes.iter().map(partition).collect());
        let request = ListOffsetsRequest::default()
            .with_replica_id(NO_REPLICA)
            .with_isolation_level(READ_COMMITTED)
            .with_topics(vec![topic]);
        let answer: ListOffsetsResponse = self.client.ask(leader, LIST_OFFSETS, &request).await?;
        let mut offsets = BTreeMap::new();
        for partition in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
            self.check(partition.error_code)?;
            offsets.insert(partition.partition_index, partition.offset);
        }
        Ok(offsets)
    }

    async fn coordinator(&mut self) -> Result<SocketAddr, Error> {
        if let Some(known) = self.coordinator {
            return Ok(known);
        }
        let found = group::coordinator(&mut self.client, &self.group).await?;
        self.coordinator = Some(found);
        Ok(found)
    }

    fn topic_name(&self) -> TopicName {
        TopicName(StrBytes::from_string(self.topic.clone()))
    }

    fn check(&self, code: i16) -> Result<(), Error> {
        Code::check(code, || format!("the topic {}", self.topic))
    }
}

fn by_leader(partitions: &[Partition]) -> BTreeMap<SocketAddr, Vec<i32>> {
    let mut leaders: BTreeMap<SocketAddr, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        leaders.entry(partition.leader).or_default().push(partition.index);
    }
    leaders
}
