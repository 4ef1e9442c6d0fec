//! The running proxy: thin shells around the session's state machine.
//!
//! - `service`: everything that the parts share, built from a checked configuration.
//! - `acceptor`: takes connections and deals them to the workers.
//! - `worker`: single-threaded runtimes; a session never leaves its own.
//! - `connection`: one client, from handshake to close.
//! - `relay`: moves bytes between two sockets and a session.
//! - `upstream`: connecting, and the proxy's own AUTH; `control`: what an upstream is.
//! - `witness`: refusals into the audit.

mod acceptor;
mod connection;
mod control;
mod relay;
mod service;
mod upstream;
mod witness;
mod worker;

pub use control::{Inspection, ask, inspect};
pub use service::{ListenerParts, Running, Service, StartError};
pub use upstream::UpstreamError;
