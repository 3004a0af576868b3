//! What brings work to components: HTTP requests, cron ticks, and messages of Redis channels and MQTT topics.
//!
//! A trigger reads the manifest's blocks of its kind and calls the application; it holds no state of a component.

pub mod cron;
pub mod http;
pub mod mqtt;
mod reconnect;
pub mod redis;
