//! What the operator gets to see: the log and the audit.
//!
//! Never a password, never a value. Knows no session and no policy: it is given fields.

mod audit;
mod lines;
mod log;

pub use audit::{Audit, AuditError, Event, Verdict};
pub use log::{Log, start_log};
