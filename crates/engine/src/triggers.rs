//! What brings work to components: HTTP requests and cron ticks.
//!
//! A trigger reads the manifest's blocks of its kind and calls the application; it holds no state of a component.
//! Triggers for Redis and MQTT messages belong beside these two, with the brokers.

pub mod cron;
pub mod http;
