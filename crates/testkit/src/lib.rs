//! Testing applications on the embedded engine: a simulated world to run them in, and clients and checkers beside it.
//!
//! A component reaches the world through the engine's ports only, so [`simulation`] brings all of them: a clock that a
//! test owns, seeded randomness, SQLite and key-value stores in memory, a scripted network, and a gate before and after
//! every host call. One thread and one seed make the same run again.

pub mod bus;
pub mod chaos;
pub mod checkers;
pub mod client;
pub mod figures;
pub mod real_process;
pub mod servers;
pub mod simulation;
pub mod sweep;

pub use real_process::RealProcess;
pub use simulation::{Simulation, World};
