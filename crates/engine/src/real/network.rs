//! The real network: HTTP, Redis and MQTT. Components' own sockets are the system's.

use std::sync::Arc;

use async_trait::async_trait;
use http::Response;
use wasmtime_wasi_http::Error;

use super::http_client::HttpClient;
use super::mqtt::RealMqttConnection;
use super::mqtt_messages;
use super::redis::RealRedisConnection;
use super::redis_messages;
use crate::ports::{
    Body, MqttConnection, MqttError, MqttMessages, MqttOptions, MqttQos, Network, OutboundRequest, RedisConnection,
    RedisError, RedisMessages, TcpNetwork,
};

/// The machine's network. HTTP connections are kept and shared by all components.
#[derive(Debug, Default)]
pub struct RealNetwork {
    http: HttpClient,
}

impl RealNetwork {
    /// A network without open connections.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Network for RealNetwork {
    async fn send(&self, request: OutboundRequest) -> Result<Response<Body>, Error> {
        self.http.send(request).await
    }

    async fn redis(&self, address: &str) -> Result<Arc<dyn RedisConnection>, RedisError> {
        Ok(Arc::new(RealRedisConnection::open(address).await?))
    }

    fn tcp(&self) -> Option<Arc<dyn TcpNetwork>> {
        None
    }

    async fn redis_messages(&self, address: &str, channels: &[String]) -> Result<RedisMessages, RedisError> {
        redis_messages::subscribe(address, channels).await
    }

    async fn mqtt(&self, options: MqttOptions) -> Result<Arc<dyn MqttConnection>, MqttError> {
        Ok(Arc::new(RealMqttConnection::open(options)?))
    }

    async fn mqtt_messages(&self, options: MqttOptions, filter: &str, qos: MqttQos) -> Result<MqttMessages, MqttError> {
        mqtt_messages::subscribe(options, filter, qos).await
    }
}
