//! The application on message brokers: the same components, the same promise.

mod mqtt;
mod redis;
