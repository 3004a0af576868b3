//! The simulated side of the engine's ports, and the world that holds it together.
//!
//! Time is tokio's paused clock: nothing waits, and everything that is due happens in order.

pub mod broker;
pub mod clock;
pub mod gate;
pub mod kafka;
pub mod key_value;
pub mod mqtt;
pub mod network;
pub mod node;
pub mod output;
pub mod random;
pub mod redis;
pub mod sql;
pub mod watch;
pub mod world;

pub use broker::Fate;
pub use gate::{Fault, Faults, Recorded, When};
pub use kafka::SimulatedKafka;
pub use mqtt::SimulatedMqtt;
pub use network::{Exchange, Peer, SimulatedNetwork};
pub use node::{Answer, Node};
pub use redis::SimulatedRedis;
pub use world::{Simulation, Snapshot, World};
