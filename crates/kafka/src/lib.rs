//! A small Kafka client for components.
//!
//! It speaks the protocol itself over whatever [`transport`] it is given, so that it runs where there is nothing but a
//! socket. A [`Client`] finds the topic's leaders; a [`Producer`] writes records, each once as long as the request gets
//! through; a [`Consumer`] reads them for a group, and commits its offsets. There is no background work, no clock and no randomness: whoever calls says how long a call may take by
//! dropping it, after which the client is as usable as before.
//!
//! The requests have versions that Kafka 2.5 to 4.x and compatible brokers take, so that no version is negotiated.

#![warn(missing_docs)]

pub mod transport;

pub mod address;

pub mod record;

mod connection;

pub mod client;

mod partitioner;

pub mod produce;

pub mod consume;

pub mod fetched;

mod offsets;

mod compression;

pub mod limits;

pub mod error;

pub use client::Client;
pub use consume::Consumer;
pub use error::Error;
pub use fetched::Received;
pub use produce::Producer;
pub use record::Message;
