//! What the operator gets to see: the log, the audit and the metrics.
//!
//! Never a password, never a value. Knows no session and no policy: it is given fields.

mod audit;
mod event;
mod form;
mod lines;
mod log;
pub mod metrics;
mod sink;

pub use audit::{Audit, AuditError};
pub use event::{AlternativeNames, CertificateFields, Event, Totals, Verdict};
pub use lines::LineCounts;
pub use log::{Log, LogLevelHandle, LogLosses, start_log};
