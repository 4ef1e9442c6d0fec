//! The running proxy: thin shells around the session's state machine.
//!
//! - `service`: everything that the parts share, built from a checked configuration.
//! - `acceptor`: takes connections and deals them to the workers.
//! - `worker`: single-threaded runtimes; a session never leaves its own.
//! - `connection`: one client, from handshake to close.
//! - `relay`: moves bytes between two sockets and a session.
//! - `trunks`: the connections that a worker's sessions share.
//! - `read_ahead`: a socket that is read in large pieces.
//! - `spare`: the buffers of sessions that wait.
//! - `upstream`: connecting, TLS and the proxy's own AUTH; `control`: what an upstream is.
//! - `keeper`: the rules in force, and their changes; `bell`: wakes every session for them.
//! - `generation`: what is in force; `reload`: everything read anew; `settle`: fitted to what runs.
//! - `standing`: whether a client that is in may stay.
//! - `save`: run-time changes of users, written into the ACL files.
//! - `host`: what a session asks of the proxy; its refusals go into the audit. `users`: what it asks
//!   about users.

mod acceptor;
mod admission;
mod bell;
mod connection;
mod control;
mod generation;
mod host;
mod keeper;
mod read_ahead;
mod relay;
mod reload;
mod save;
mod service;
mod settle;
mod spare;
mod standing;
mod trunks;
mod turns;
mod upstream;
mod users;
mod worker;

pub use control::{Gaps, Inspection, ask, inspect};
pub use generation::{Fingerprint, Generation};
pub use keeper::{Change, Edit, Keeper, Reloaded};
pub use reload::{
    Cause, Compiled, Configuration, LastReload, Loaded, LoadedSettings, PolicyFiles, PolicyText,
};
pub use service::{ListenerParts, Running, Service, ServiceParts, StartError};
pub use upstream::{Connector, UpstreamError};
