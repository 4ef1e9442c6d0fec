//! Who may run what: ACL files compiled to users, and the decision on one request.
//!
//! Pure: bytes and values in, decisions out. Knows commands and patterns; not sessions, sockets,
//! nor how a refusal reaches a client.

mod decide;
mod explain;
mod file;
mod heads;
mod password;
mod pattern;
mod rule;
mod selector;
mod user;

pub use decide::{Decision, Denial, DenyReason, Permit, decide};
pub use explain::{Explanation, explain};
pub use file::{Policy, Problem, Source};
pub use password::PasswordHash;
pub use pattern::Pattern;
pub use rule::RuleError;
pub use selector::Selector;
pub use user::User;

#[cfg(test)]
mod tests;
