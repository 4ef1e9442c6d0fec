//! What the operator gets to see: the log, the audit and the metrics.
//!
//! Never a password, never a value. Knows no session and no policy: it is given fields.

mod audit;
mod lines;
mod log;
pub mod metrics;

pub use audit::{Audit, AuditError, Event};
pub use log::{Log, LogLosses, start_log};
