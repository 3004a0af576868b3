//! The embedded engine: runs a Spin application on wasmtime.
//!
//! It reads the same `spin.toml` and `runtime-config.toml` as Spin and runs the same `.wasm` files, so that an application
//! starts where nothing is installed, and so that a test owns the application's clock, randomness, stores and network:
//! a component reaches the world through the [`ports`] only.
//!
//! The modules, in the order in which a start and then a request meet them:
//! [`config`] reads the files · [`preflight`] checks what can be checked before anything starts · [`real`] is the real
//! side of the [`ports`], tied together by [`wiring`] · [`program`] is what was read and compiled, [`application`] a running one · [`triggers`] bring requests and ticks ·
//! [`component`] holds a component's code and its running instances · [`host`] answers its imports.

pub mod application;
pub mod component;
pub mod config;
pub mod error;
pub mod host;
pub mod limits;
pub mod ports;
pub mod preflight;
pub mod program;
pub mod real;
pub mod triggers;
pub mod wiring;

mod bindings;

pub use application::Application;
pub use error::Error;
pub use program::Program;
