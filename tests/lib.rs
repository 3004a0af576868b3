//! End-to-end tests of the application; see `main.rs`.
