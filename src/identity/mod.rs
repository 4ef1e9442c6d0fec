//! Who a peer is: what its verified certificate and its address say, and which user that means.
//!
//! Knows attributes and rules; not TLS (`tls` fills in [`Certificate`]) and not passwords or ACLs.

mod certificate;

pub use certificate::Certificate;

/// One `[[identity]]` rule. (Its fields come with the matcher.)
#[derive(Clone, Debug)]
pub struct Rule {}
