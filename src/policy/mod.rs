//! Who may run what: ACL files compiled to users, and the decision on one request.
//!
//! Pure: bytes and values in, decisions out. Knows commands and patterns; not sessions, sockets,
//! nor how a refusal reaches a client.

mod commands;
mod decide;
mod explain;
mod file;
mod heads;
mod keys;
mod lethal;
mod log;
mod password;
mod pattern;
mod roles;
mod rule;
mod save;
mod script;
mod selector;
mod setuser;
mod shadow;
mod store;
mod user;

pub use decide::{Decision, Denial, DenyReason, Permit, Whereabouts, decide, overrule};
pub use explain::{Explanation, explain};
pub use file::{Problem, ReadScript, Source, masked, script_names};
pub use lethal::Lethal;
pub use log::{AclLog, LogContext, LogEntry, LogReason, LoggedDenial, MAX_TEXT};
pub use password::PasswordHash;
pub use pattern::Pattern;
pub use rule::{RuleError, ScriptFiles};
pub use script::{Named, PinnedScript, ScriptHash, Scripts, hash_of, read_hash};
pub use selector::Selector;
pub use setuser::SetUserError;
pub use shadow::Shadow;
pub use store::Policy;
pub use user::User;

#[cfg(test)]
mod tests;
