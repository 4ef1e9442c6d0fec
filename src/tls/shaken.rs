//! What a finished handshake was like, for the metrics.

use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion, ServerConnection};

/// A finished handshake. Closed on purpose: both words are labels of a metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shaken {
    /// `ok`, or `resumed` where the client has come back with a ticket.
    pub result: &'static str,
    /// The version of TLS.
    pub version: &'static str,
}

// === impl Shaken ===

impl Shaken {
    /// Looks at a connection whose handshake is done.
    pub fn of(connection: &ServerConnection) -> Self {
        Self {
            result: match connection.handshake_kind() {
                Some(HandshakeKind::Resumed) => "resumed",
                _ => "ok",
            },
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                _ => "unknown",
            },
        }
    }
}
