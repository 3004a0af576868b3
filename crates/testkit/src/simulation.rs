//! The simulated side of the engine's ports, and the world that holds it together.
//!
//! Time is tokio's paused clock: nothing waits, and everything that is due happens in order.

pub mod clock;
pub mod gate;
pub mod key_value;
pub mod network;
pub mod node;
pub mod output;
pub mod random;
pub mod sql;
pub mod watch;
pub mod world;

pub use gate::{Fault, Faults, Recorded, When};
pub use network::{Exchange, Peer, SimulatedNetwork};
pub use node::{Answer, Node};
pub use world::{Simulation, World};
