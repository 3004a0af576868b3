//! End-to-end tests on the shipped components, one file per behaviour. The story first.

mod harness;

mod journey;
mod todos;
mod retry;
mod dead_letter;
mod idempotency;
mod two_relays;
mod lost_bell;
mod crash_sweep;
mod bad_input;
mod health;
mod hot_swap;
mod platform;
mod start_errors;
mod real_process;
