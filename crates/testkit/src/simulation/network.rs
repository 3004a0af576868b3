//! The network outside the application: peers that a test writes, and the application itself by its public address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use selvedge_engine::ports::{
    Body, MqttConnection, MqttError, MqttMessages, MqttOptions, MqttQos, Network, OutboundRequest, RedisConnection,
    RedisError, RedisMessages,
};
use wasmtime_wasi_http::Error;

use super::node::APP_ADDRESS;

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
    /// The request's `Idempotency-Key`; empty where it has none.
    pub idempotency_key: String,
    /// The status that the peer answered; `None` where it closed the connection.
    pub status: Option<StatusCode>,
}

/// The network of a world. A host that nobody plays refuses the connection.
#[derive(Default)]
pub struct SimulatedNetwork {
    peers: Mutex<BTreeMap<String, Arc<dyn Peer>>>,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl SimulatedNetwork {
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
        let key = parts.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
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

    async fn redis(&self, _address: &str) -> Result<Arc<dyn RedisConnection>, RedisError> {
        Err(RedisError::Other(
            "connection refused: this world has no Redis server".to_owned(),
        ))
    }

    fn has_sockets(&self) -> bool {
        false
    }

    async fn redis_messages(&self, _address: &str, _channels: &[String]) -> Result<RedisMessages, RedisError> {
        Err(RedisError::Other(
            "connection refused: this world has no Redis server".to_owned(),
        ))
    }

    async fn mqtt(&self, _options: MqttOptions) -> Result<Arc<dyn MqttConnection>, MqttError> {
        Err(MqttError::ConnectionFailed(
            "connection refused: this world has no MQTT broker".to_owned(),
        ))
    }

    async fn mqtt_messages(
        &self,
        _options: MqttOptions,
        _filter: &str,
        _qos: MqttQos,
    ) -> Result<MqttMessages, MqttError> {
        Err(MqttError::ConnectionFailed(
            "connection refused: this world has no MQTT broker".to_owned(),
        ))
    }
}
