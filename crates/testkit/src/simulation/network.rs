//! The network outside the application: peers that a test writes, message brokers, and the application itself by its public
//! address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use selvedge_engine::ports::{
    Body, MqttConnection, MqttError, MqttMessages, MqttOptions, MqttQos, Network, OutboundRequest, RedisConnection,
    RedisError, RedisMessages, TcpNetwork,
};
use wasmtime_wasi_http::Error;

use super::clock::SimulatedClock;
use super::kafka::SimulatedKafka;
use super::mqtt::SimulatedMqtt;
use super::node::APP_ADDRESS;
use super::redis::SimulatedRedis;

/// Something that answers HTTP requests outside the application.
#[async_trait]
pub trait Peer: Send + Sync + 'static {
    /// Answers a request; `None` closes the connection without an answer.
    async fn answer(&self, request: Request<Bytes>) -> Option<Response<Bytes>>;
}

/// A request that reached a peer, and what the peer made of it: whether its answer got back is another matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The peer's host and port.
    pub authority: String,
    /// What its receiver tells copies by: the request's `Idempotency-Key`, or its `webhook-id`; empty where it has none.
    pub idempotency_key: String,
    /// The status that the peer answered; `None` where it closed the connection.
    pub status: Option<StatusCode>,
}

/// The network of a world. A host that nobody plays refuses the connection.
pub struct SimulatedNetwork {
    /// The Redis server.
    pub redis: SimulatedRedis,
    /// The MQTT broker.
    pub mqtt: SimulatedMqtt,
    /// The Kafka broker, and all that components' own sockets can reach.
    pub kafka: SimulatedKafka,
    peers: Mutex<BTreeMap<String, Arc<dyn Peer>>>,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl SimulatedNetwork {
    pub(super) fn new(clock: Arc<SimulatedClock>) -> Self {
        Self {
            redis: SimulatedRedis::new(clock),
            mqtt: SimulatedMqtt::default(),
            kafka: SimulatedKafka::default(),
            peers: Mutex::default(),
            exchanges: Arc::default(),
        }
    }

    /// Stops every message broker, and starts it again after this time.
    pub fn restart_brokers(&self, after: Duration) {
        self.redis.restart(after);
        self.mqtt.restart(after);
        self.kafka.restart(after);
    }

    /// Lets `peer` answer for `authority` (host and port as in the URL).
    pub fn play(&self, authority: &str, peer: impl Peer) {
        self.peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(authority.to_owned(), Arc::new(peer));
    }

    /// Every request that a peer outside the application has dealt with, in the order in which they were done.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks a peer, or the application, as another peer does. `None` where there is nobody, or no answer.
    pub async fn ask(&self, authority: &str, request: Request<Bytes>) -> Option<Response<Bytes>> {
        self.peer(authority)?.answer(request).await
    }

    fn peer(&self, authority: &str) -> Option<Arc<dyn Peer>> {
        self.peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(authority)
            .cloned()
    }
}

#[async_trait]
impl Network for SimulatedNetwork {
    async fn send(&self, outbound: OutboundRequest) -> Result<Response<Body>, Error> {
        let authority = outbound
            .request
            .uri()
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let peer = self.peer(&authority).ok_or(Error::ConnectionRefused)?;
        let (parts, body) = outbound.request.into_parts();
        let body = body.collect().await?.to_bytes();
        let key = parts.headers.get("idempotency-key").or(parts.headers.get("webhook-id"));
        let key = key.and_then(|key| key.to_str().ok());
        let idempotency_key = key.unwrap_or_default().to_owned();
        let exchanges = self.exchanges.clone();
        let answer = async {
            let answer = peer.answer(Request::from_parts(parts, body)).await;
            if authority != APP_ADDRESS {
                let status = answer.as_ref().map(Response::status);
                let exchange = Exchange {
                    authority,
                    idempotency_key,
                    status,
                };
                exchanges.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
            }
            answer
        };
        let answer = match outbound.first_byte_timeout {
            Some(timeout) => tokio::time::timeout(timeout, answer)
                .await
                .map_err(|_| Error::ConnectionReadTimeout)?,
            None => answer.await,
        };
        let response = answer.ok_or(Error::ConnectionTerminated)?;
        Ok(response.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync()))
    }

    async fn redis(&self, address: &str) -> Result<Arc<dyn RedisConnection>, RedisError> {
        self.redis.connect(address)
    }

    fn tcp(&self) -> Option<Arc<dyn TcpNetwork>> {
        Some(Arc::new(self.kafka.clone()))
    }

    async fn redis_messages(&self, address: &str, channels: &[String]) -> Result<RedisMessages, RedisError> {
        self.redis.subscribe(address, channels)
    }

    async fn mqtt(&self, options: MqttOptions) -> Result<Arc<dyn MqttConnection>, MqttError> {
        self.mqtt.connect(&options)
    }

    async fn mqtt_messages(
        &self,
        options: MqttOptions,
        filter: &str,
        _qos: MqttQos,
    ) -> Result<MqttMessages, MqttError> {
        self.mqtt.subscribe(&options, filter)
    }
}
