//! One connection: requests go out, each answer comes back.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use crate::error::Error;
use crate::limits;
use crate::transport::{Stream, Transport};

/// The name by which brokers know this client in their logs.
const CLIENT_ID: &str = "selvedge";

/// A connection to one broker. One that a request failed on, or was dropped on, must not be used again.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Box<dyn Stream>,
    /// What has arrived and wasn't read.
    arrived: BytesMut,
    correlation: i32,
}

/// A request's number and version in the protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Api {
    pub key: i16,
    pub version: i16,
}

impl Connection {
    pub(crate) async fn open(transport: &dyn Transport, address: SocketAddr) -> Result<Self, Error> {
        let stream = transport.connect(address).await.map_err(|detail| Error::Unreachable {
            address: address.to_string(),
            detail,
        })?;
        Ok(Self {
            address,
            stream,
            arrived: BytesMut::new(),
            correlation: 0,
        })
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn ask<Q, A>(&mut self, api: Api, request: &Q) -> Result<A, Error>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        self.correlation = self.correlation.wrapping_add(1);
        let bytes = encode(api, self.correlation, request).map_err(|error| Error::Unwritable {
            detail: error.to_string(),
        })?;
        self.stream.send(bytes).await.map_err(|detail| self.closed(detail))?;
        let mut answer = self.frame().await?;
        decode(api, self.correlation, &mut answer).map_err(|error| self.unreadable(error.to_string()))
    }

    /// The next answer, without its length.
    async fn frame(&mut self) -> Result<Bytes, Error> {
        self.wait_for(4).await?;
        let length = usize::try_from(self.arrived.get_i32()).unwrap_or(usize::MAX);
        if length > limits::RESPONSE_BYTES_MAX {
            return Err(self.unreadable(format!("{length} bytes are announced")));
        }
        self.wait_for(length).await?;
        Ok(self.arrived.split_to(length).freeze())
    }

    async fn wait_for(&mut self, length: usize) -> Result<(), Error> {
        while self.arrived.len() < length {
            let received = self.stream.receive().await;
            let bytes = received.map_err(|detail| self.closed(detail))?;
            if bytes.is_empty() {
                return Err(self.closed("the end of the connection".to_owned()));
            }
            if self.arrived.is_empty() {
                self.arrived = Bytes::from(bytes).into();
            } else {
                self.arrived.extend_from_slice(&bytes);
            }
        }
        Ok(())
    }

    fn closed(&self, detail: String) -> Error {
        let address = self.address.to_string();
        Error::Closed { address, detail }
    }

    fn unreadable(&self, detail: String) -> Error {
        let address = self.address.to_string();
        Error::Unreadable { address, detail }
    }
}

fn encode<Q: Encodable + HeaderVersion>(api: Api, correlation: i32, request: &Q) -> anyhow::Result<Vec<u8>> {
    let header = RequestHeader::default()
        .with_request_api_key(api.key)
        .with_request_api_version(api.version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
    let mut bytes = BytesMut::zeroed(4);
    header.encode(&mut bytes, Q::header_version(api.version))?;
    request.encode(&mut bytes, api.version)?;
    let length = i32::try_from(bytes.len() - 4)?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes.into())
}

fn decode<A: Decodable + HeaderVersion>(api: Api, correlation: i32, bytes: &mut Bytes) -> anyhow::Result<A> {
    let header = ResponseHeader::decode(bytes, A::header_version(api.version))?;
    anyhow::ensure!(header.correlation_id == correlation, "it answers another request");
    A::decode(bytes, api.version)
}
