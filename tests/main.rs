//! End-to-end tests on the shipped components, one file per behaviour. The story first.

mod application;
mod commit;
mod harness;
mod mutant_hunt;
mod todo_journey;

mod admin;
mod allowed_hosts;
mod asyncapi;
mod bad_input;
mod chaos;
mod circuit_breaker;
mod crash_sweep;
mod dead_letter;
mod event_stream;
mod events;
mod graceful_degradation;
mod health;
mod hot_swap;
mod idempotency;
mod journey;
mod lost_bell;
mod mutants;
mod platform;
mod real_process;
mod redrive;
mod replay;
mod retry;
mod saga;
mod schemas;
mod snapshots;
mod start_errors;
mod subscriptions;
mod todos;
mod two_relays;
mod users;
