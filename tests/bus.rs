//! The application on message brokers: the same components, the same promise.
//!
//! [`contract`] tries the contract on every bus. The other files have what is particular to one.

mod contract;
mod dapr;
mod kafka;
mod mqtt;
mod redis;
