//! Reads a topic for a group, whose offsets the broker keeps.
//!
//! It reads all partitions of the topic and joins no group: who reads for the group is the caller's to say. What is committed shows
//! in Kafka's tools like any group's offsets. Each leader has one request under way, which waits at the broker for what comes next.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{ApiKey, FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::client::{Client, Partition};
use crate::connection::{Api, Connection};
use crate::error::{Code, Error};
use crate::fetched::{self, Received};
use crate::limits;
use crate::transport::{LocalFuture, Transport};

pub use crate::offsets::Begin;

const FETCH: Api = Api {
    key: ApiKey::Fetch as i16,
    version: 6,
};
/// Nothing of a transaction before it is committed.
const READ_COMMITTED: i8 = 1;

/// Reads a topic for a group.
pub struct Consumer {
    pub(crate) client: Client,
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) begin: Begin,
    pub(crate) coordinator: Option<SocketAddr>,
    /// The partitions of the topic, once they are known.
    partitions: Rc<[Partition]>,
    /// The offset of the next record of each partition.
    next: BTreeMap<i32, i64>,
    polls: FuturesUnordered<LocalFuture<'static, Polled>>,
}

/// What was fetched at once.
#[derive(Debug, Default)]
pub struct Fetched {
    /// The records, each partition's in their order.
    pub records: Vec<Received>,
    /// For each partition that went on, the offset after all that was read of it, what is no record included: what to commit
    /// when all records are done.
    pub ends: BTreeMap<i32, i64>,
    /// Whether it reaches the end of all partitions that it is of.
    pub is_end: bool,
    /// Partitions whose next record was deleted before it was read, with the offset that was asked for and the one that is read on
    /// from.
    pub gaps: Vec<(i32, i64, i64)>,
}

/// What became of a request for records.
struct Polled {
    leader: SocketAddr,
    answered: Result<(Connection, FetchResponse), Error>,
}

impl Consumer {
    /// Reads this topic for this group. `begin` says where, as long as the group has committed nothing.
    pub fn new(client: Client, group: String, topic: String, begin: Begin) -> Self {
        Self {
            client,
            group,
            topic,
            begin,
            coordinator: None,
            partitions: Rc::new([]),
            next: BTreeMap::new(),
            polls: FuturesUnordered::new(),
        }
    }

    /// Finds out where to read on.
    ///
    /// # Errors
    /// What the way to the brokers fails with; [`Error::Refused`] where there is no such topic, or the group isn't this client's.
    pub async fn start(&mut self) -> Result<(), Error> {
        self.partitions = self.client.partitions(&self.topic).await?;
        self.next = self.positions(&self.partitions.clone()).await?;
        Ok(())
    }

    /// What comes next, from any partition. It waits at the broker for [`limits::FETCH_WAIT_MS`] at most: then nothing has come.
    /// Dropping the future loses nothing: what it waited for is there for the next call.
    ///
    /// # Errors
    /// What the way to the brokers fails with, and what they refuse. What to do is to make another consumer, which goes on from what is
    /// committed.
    pub async fn next(&mut self) -> Result<Fetched, Error> {
        if self.polls.is_empty() {
            let mut leaders: Vec<_> = self.partitions.iter().map(|partition| partition.leader).collect();
            leaders.sort_unstable();
            leaders.dedup();
            for leader in leaders {
                self.poll(leader, None);
            }
        }
        let Some(Polled { leader, answered }) = self.polls.next().await else {
            return Ok(Fetched::default());
        };
        let (connection, answer) = answered?;
        Code::check(answer.error_code, || format!("reading {}", self.topic))?;
        let mut fetched = Fetched {
            is_end: true,
            ..Fetched::default()
        };
        for data in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            let partition = data.partition_index;
            let Some(from) = self.next.get(&partition).copied() else {
                continue;
            };
            if Code(data.error_code) == Code::OFFSET_OUT_OF_RANGE {
                // What was there is gone, or the topic is another one of the same name.
                let oldest = self.list(leader, &[partition], Begin::Oldest).await?;
                let to = oldest.get(&partition).copied().unwrap_or(0);
                fetched.gaps.push((partition, from, to));
                self.next.insert(partition, to);
                fetched.is_end = false;
                continue;
            }
            Code::check(data.error_code, || {
                format!("reading {}, partition {partition},", self.topic)
            })?;
            let part = fetched::read(data, from);
            if let Some(next) = part.next {
                self.next.insert(partition, next);
                fetched.ends.insert(partition, next);
            }
            fetched.is_end &= part.next.unwrap_or(from) >= data.last_stable_offset;
            fetched.records.extend(part.records);
        }
        self.poll(leader, Some(connection));
        Ok(fetched)
    }

    /// Begins to ask a leader for what comes next in its partitions.
    fn poll(&mut self, leader: SocketAddr, connection: Option<Connection>) {
        let of_leader = self.partitions.iter().filter(|partition| partition.leader == leader);
        let partitions = of_leader.map(|Partition { index, .. }| {
            FetchPartition::default()
                .with_partition(*index)
                .with_fetch_offset(self.next.get(index).copied().unwrap_or(0))
                .with_partition_max_bytes(limits::FETCH_PARTITION_BYTES)
        });
        let topic = FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_string(self.topic.clone())))
            .with_partitions(partitions.collect());
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(limits::FETCH_WAIT_MS)
            .with_min_bytes(1)
            .with_max_bytes(limits::FETCH_BYTES)
            .with_isolation_level(READ_COMMITTED)
            .with_topics(vec![topic]);
        let transport = self.client.transport();
        self.polls.push(Box::pin(async move {
            let answered = ask(&*transport, leader, connection, &request).await;
            Polled { leader, answered }
        }));
    }
}

async fn ask(
    transport: &dyn Transport,
    leader: SocketAddr,
    connection: Option<Connection>,
    request: &FetchRequest,
) -> Result<(Connection, FetchResponse), Error> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => Connection::open(transport, leader).await?,
    };
    let answer = connection.ask(FETCH, request).await?;
    Ok((connection, answer))
}
