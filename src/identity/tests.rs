//! Patterns and rules, one table each.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod pattern;
mod resolve;
