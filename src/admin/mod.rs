//! HTTP for the operator's own tools: metrics, health, status, reload.
//!
//! Runs on the main thread, never on a worker: whatever is asked here, no session waits for it. All that
//! it knows it asks [`crate::proxy::Service`] for.
//!
//! - `server`: the sockets, and how much of them anybody may take.
//! - `desk`: from a request to its answer.
//! - `guard`: who may ask for what.
//! - `health`: the other side, for `respgate healthcheck`.

mod desk;
mod guard;
mod health;
mod server;

pub use desk::Reload;
pub use health::ask_health;
pub use server::{Admin, Serving};
