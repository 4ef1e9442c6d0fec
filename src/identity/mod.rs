//! Who a peer is: what its verified certificate and its address say, and which user that means.
//!
//! Knows attributes and rules; not TLS (`tls` fills in [`Certificate`]), not passwords or ACLs, and
//! not whether the users it names exist. Pure: no socket, no clock, no log.

mod attribute;
mod certificate;
mod pattern;
mod resolve;
mod rule;
#[cfg(test)]
mod tests;

pub use attribute::Attribute;
pub use certificate::Certificate;
pub use pattern::{Pattern, PatternError};
pub use resolve::{Identity, Subject, Unmatched, Who, resolve};
pub use rule::{AuthKind, Naming, NamingError, Rule, RuleError, is_user_name};
