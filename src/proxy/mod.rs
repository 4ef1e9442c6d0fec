//! The running proxy: thin shells around the session's state machine.
//!
//! - `service`: everything that the parts share, built from a checked configuration.
//! - `sockets`: binds what is listened on, or takes what was inherited.
//! - `acceptor`: takes connections and deals them to the workers.
//! - `worker`: single-threaded runtimes; a session never leaves its own.
//! - `heartbeat`: whether these threads still serve.
//! - `connection`: one client, from handshake to close.
//! - `relay`: moves bytes between two sockets and a session.
//! - `trunks`: the connections that a worker's sessions share.
//! - `read_ahead`: a socket that is read in large pieces.
//! - `spare`: the buffers of sessions that wait.
//! - `upstream`: connecting, TLS and the proxy's own AUTH; `control`: what an upstream is, and where its
//!   master; `health`: whether it is there; `availability`: what sessions learn of that.
//! - `metrics`: what is counted, by each thread for itself; `observe`: the sums, and what state all is
//!   in, for who asks.
//! - `keeper`: the rules in force, and their changes; `bell`: wakes every session for them.
//! - `generation`: what is in force; `reload`: everything read anew; `settle`: fitted to what runs.
//! - `standing`: whether a client that is in may stay.
//! - `quotas`: what each user and address may have; `budget`: the memory that all may take.
//! - `save`: run-time changes of users, written into the ACL files.
//! - `host`: what a session asks of the proxy; its refusals go into the audit. `users`: what it asks
//!   about users.

mod acceptor;
mod admission;
mod availability;
mod bell;
mod budget;
mod connection;
mod control;
mod generation;
mod health;
mod heartbeat;
mod host;
mod keeper;
mod metrics;
mod observe;
mod quotas;
mod read_ahead;
mod relay;
mod reload;
mod save;
mod service;
mod settle;
mod sockets;
mod spare;
mod standing;
mod trunks;
mod turns;
mod upstream;
mod users;
mod worker;

pub use admission::RefusalLog;
pub use availability::UpstreamView;
pub use budget::Memory;
pub use control::{Gaps, Inspection, ask, inspect};
pub use generation::{Fingerprint, Generation};
pub use health::State;
pub use keeper::{Change, Edit, Keeper, Reloaded};
pub use observe::{ListenerStatus, ReloadStatus, Status, UpstreamStatus};
pub use quotas::Limited;
pub use reload::{Cause, Compiled, Configuration, Loaded, LoadedSettings, PolicyFiles, PolicyText};
pub use save::{CHANGED_FILES, Replacement};
pub use service::{ListenerParts, Running, Service, ServiceParts, StartError};
pub use sockets::Sockets;
pub use upstream::{Connector, Nobody, UpstreamError};
