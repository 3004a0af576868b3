//! Fuzzing on the stable toolchain.
//!
//! A [`target`] is something that takes bytes from outside: a codec, a parser, a route. Its [`corpus`] is a folder of
//! valid examples. A [`campaign`] changes them ([`mutation`]), runs the target on each, and keeps those inputs that reach
//! code which none before them reached ([`coverage`], where the build has it). A target that panics, or takes too long,
//! is a finding: its input is written to a file, and becomes a regression test.
//!
//! The same seed makes the same run again. `cargo xtask fuzz --help` says how to start one.

pub mod target;

pub mod targets;

pub mod corpus;

pub mod mutation;

pub mod coverage;

pub mod campaign;
