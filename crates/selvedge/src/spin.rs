//! The adapter to Spin's host interfaces: the only module that names `spin-sdk`.
//!
//! A host of another ABI is one more module like this one.

mod database;
mod incoming;
mod key_value;
mod mqtt;
mod outgoing;
mod platform;
mod redis;
mod tcp;

pub use incoming::{hear, serve};
pub use platform::host;
#[doc(hidden)]
pub use spin_sdk::{wasip3, wit_bindgen};
