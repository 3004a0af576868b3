//! The cluster as a client sees it: its brokers, and who leads which partition.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{ApiKey, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use crate::address;
use crate::connection::{Api, Connection};
use crate::error::{Code, Error};
use crate::limits;
use crate::transport::Transport;

const METADATA: Api = Api {
    key: ApiKey::Metadata as i16,
    version: 4,
};

/// What a client knows of a cluster. Connections are kept; a call that is dropped costs the connection that it used.
pub struct Client {
    transport: Rc<dyn Transport>,
    bootstrap: Vec<SocketAddr>,
    connections: HashMap<SocketAddr, Connection>,
    topics: HashMap<String, Rc<[Partition]>>,
}

/// A partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub index: i32,
    /// The broker that leads it.
    pub leader: SocketAddr,
}

impl Client {
    /// A client that asks these brokers for the others. Nothing is connected yet.
    pub fn new(transport: Rc<dyn Transport>, brokers: Vec<SocketAddr>) -> Self {
        Self {
            transport,
            bootstrap: brokers,
            connections: HashMap::new(),
            topics: HashMap::new(),
        }
    }

    /// The partitions of a topic, by their numbers. A topic that isn't there is made where the broker does that by itself,
    /// and waited for, a second at most.
    ///
    /// # Errors
    /// [`Error::Refused`] where there is no such topic; what the way to the broker fails with.
    pub async fn partitions(&mut self, topic: &str) -> Result<Rc<[Partition]>, Error> {
        if let Some(known) = self.topics.get(topic) {
            return Ok(known.clone());
        }
        for attempt in 1.. {
            match self.look_up(topic).await {
                Err(Error::Refused { code, .. })
                    if attempt < limits::NEW_TOPIC_ATTEMPTS_MAX
                        && (code == Code::UNKNOWN_TOPIC || code == Code::LEADER_NOT_AVAILABLE) =>
                {
                    self.transport.wait(limits::NEW_TOPIC_PAUSE_MS).await;
                }
                Err(error) => return Err(error),
                Ok(partitions) => {
                    self.topics.insert(topic.to_owned(), partitions.clone());
                    return Ok(partitions);
                }
            }
        }
        unreachable!("the last attempt ends the loop")
    }

    /// Asks whether a broker is there that speaks the protocol.
    ///
    /// # Errors
    /// What the way to the brokers fails with.
    pub async fn check(&mut self) -> Result<(), Error> {
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        self.ask_any::<_, MetadataResponse>(METADATA, &request).await.map(drop)
    }

    /// Where its connections come from.
    pub(crate) fn transport(&self) -> Rc<dyn Transport> {
        self.transport.clone()
    }

    /// Waits for a moment before a question is asked again.
    pub(crate) async fn pause(&self) {
        self.transport.wait(limits::COORDINATOR_PAUSE_MS).await;
    }

    /// Forgets what is known of a topic: its partitions may be led by others now.
    pub fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    async fn look_up(&mut self, topic: &str) -> Result<Rc<[Partition]>, Error> {
        let name = TopicName(StrBytes::from_string(topic.to_owned()));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name))]))
            .with_allow_auto_topic_creation(true);
        let answer: MetadataResponse = self.ask_any(METADATA, &request).await?;
        let brokers: HashMap<_, _> = answer
            .brokers
            .iter()
            .map(|broker| (broker.node_id, (&*broker.host, broker.port)))
            .collect();
        let refused = |code| Code::check(code, || format!("the topic {topic}"));
        let Some(MetadataResponseTopic {
            error_code, partitions, ..
        }) = answer.topics.first()
        else {
            return Err(refused(Code::UNKNOWN_TOPIC.0).expect_err("a code"));
        };
        refused(*error_code)?;
        let mut found = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let leader = brokers.get(&partition.leader_id);
            let Some((host, port)) = leader else {
                return Err(refused(Code::LEADER_NOT_AVAILABLE.0).expect_err("a code"));
            };
            found.push(Partition {
                index: partition.partition_index,
                leader: address::advertised(host, *port)?,
            });
        }
        if found.is_empty() {
            return Err(refused(Code::UNKNOWN_TOPIC.0).expect_err("a code"));
        }
        found.sort_unstable_by_key(|partition| partition.index);
        Ok(found.into())
    }

    /// Asks the first broker of the list that answers.
    pub(crate) async fn ask_any<Q, A>(&mut self, api: Api, request: &Q) -> Result<A, Error>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        let mut failed = None;
        for address in self.bootstrap.clone() {
            match self.ask(address, api, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or(Error::Addresses { text: String::new() }))
    }

    /// Asks one broker. A connection that was kept may have been closed meanwhile: then another one is made. So a request
    /// must not do more when it arrives twice.
    pub(crate) async fn ask<Q, A>(&mut self, address: SocketAddr, api: Api, request: &Q) -> Result<A, Error>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        // Taken out while it is used: whoever drops this future leaves no half-read answer behind.
        if let Some(mut kept) = self.connections.remove(&address) {
            match kept.ask(api, request).await {
                Err(Error::Closed { .. }) => {}
                Err(error) => return Err(error),
                Ok(answer) => {
                    self.connections.insert(address, kept);
                    return Ok(answer);
                }
            }
        }
        let mut fresh = Connection::open(&*self.transport, address).await?;
        let answer = fresh.ask(api, request).await?;
        self.connections.insert(address, fresh);
        Ok(answer)
    }
}
