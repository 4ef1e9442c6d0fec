//! What the operator gets to see: the log and the audit.
//!
//! Never a password, never a value. Knows no session and no policy: it is given fields.

mod audit;
mod event;
mod form;
mod lines;
mod log;
mod sink;

pub use audit::{Audit, AuditError};
pub use event::{AlternativeNames, CertificateFields, Event, Tally, Verdict};
pub use lines::LineCounts;
pub use log::{Log, LogLevelHandle, start_log};
