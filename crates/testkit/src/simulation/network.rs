//! The network outside the application: peers that a test writes, and the application itself by its public address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use selvedge_engine::ports::{
    Body, MqttConnection, MqttError, MqttOptions, Network, OutboundRequest, RedisConnection, RedisError,
};
use wasmtime_wasi_http::Error;

/// Something that answers HTTP requests outside the application.
#[async_trait]
pub trait Peer: Send + Sync + 'static {
    /// Answers a request; `None` closes the connection without an answer.
    async fn answer(&self, request: Request<Bytes>) -> Option<Response<Bytes>>;
}

/// The network of a world. A host that nobody plays refuses the connection.
#[derive(Default)]
pub struct SimulatedNetwork {
    peers: Mutex<BTreeMap<String, Arc<dyn Peer>>>,
}

impl SimulatedNetwork {
    /// Lets `peer` answer for `authority` (host and port as in the URL).
    pub fn play(&self, authority: &str, peer: impl Peer) {
        self.peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(authority.to_owned(), Arc::new(peer));
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
        let answer = peer.answer(Request::from_parts(parts, body));
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

    async fn mqtt(&self, _options: MqttOptions) -> Result<Arc<dyn MqttConnection>, MqttError> {
        Err(MqttError::ConnectionFailed(
            "connection refused: this world has no MQTT broker".to_owned(),
        ))
    }
}
