//! The Selvedge kernel: what turns a Spin component into a function of an event-driven application.
//!
//! The modules stand in the order an event meets them. A [`function`] takes a request ([`http`]), has its entity
//! [`decide`] on the command, on a state that a [`snapshot`] makes quick to load, and appends what was decided to the
//! [`journal`], as [`ingest`] does with events from outside; the [`bell`] wakes the relay, and [`feed`] lets others read. The
//! [`relay`] finds who hears the event ([`subscription`]), takes a [`lease`] on what it is about to do, and sends a
//! [`delivery`] to each function, or has a broker bring it a [`message`]; what a Kafka topic has, a [`relay::consumer`] brings; the [`inbox`] lets every event take effect once, and in [`order`] where that is asked
//! for; what goes to someone outside is a [`webhook`], or goes the way of [`dapr`]. What failed is tried again ([`retry`]) or becomes a
//! [`dead_letter`]. Calls that functions make to each other and to the outside go through an [`http::Upstream`] and its
//! circuit [`breaker`]. What several functions do together is led by a [`saga`], and what only somebody outside can do is
//! asked of a [`provider`]. An operator sees how far everybody is ([`progress`]) and brings what is missing by a
//! [`replay`], behind a [`bearer`] token.
//!
//! The rules are free of clocks, randomness and I/O: those come through the port in [`host`], whose only adapter is
//! `spin`.

#![warn(missing_docs)]

pub mod function;

pub mod http;

pub mod decide;

pub mod snapshot;

pub mod idempotency;

pub mod ingest;

pub mod journal;

pub mod feed;

pub mod bell;

pub mod subscription;

pub mod relay;

pub mod lease;

pub mod delivery;

pub mod webhook;

pub mod dapr;

pub mod message;

pub mod inbox;

pub mod order;

pub mod retry;

pub mod dead_letter;

pub mod breaker;

pub mod saga;

pub mod provider;

pub mod replay;

pub mod projection;

pub mod progress;

pub mod bearer;

pub mod trace;

pub mod schema;

pub mod health;

pub mod host;

pub mod limits;

pub mod error;

mod mutant;

mod export;

#[cfg(feature = "spin")]
pub mod spin;

pub use decide::Entity;
pub use delivery::Outcome;
pub use error::Error;
pub use function::Function;
pub use host::Host;
pub use relay::Relay;
pub use selvedge_events::{Event, Timestamp, TypePattern};
