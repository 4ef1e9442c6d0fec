//! TLS: the only module that names rustls, webpki, x509-parser and rcgen.
//!
//! Turns files into a server or a client side, and a finished handshake into the plain
//! [`crate::identity::Certificate`]. Knows neither users nor policy, opens no socket and logs nothing:
//! what went wrong is returned as a value.

mod client;
mod facts;
mod failure;
mod far_failure;
mod files;
mod proven;
mod revocation;
mod roots;
mod server;
mod shaken;
mod shown;
mod system_roots;

pub mod authority;

#[cfg(test)]
mod fixtures;

pub use self::client::{ClientTls, InvalidServerName, UpstreamTls};
pub use self::failure::{HandshakeFailure, HandshakeFailureKind, handshake_failure};
pub use self::far_failure::upstream_failure;
pub use self::files::TlsProblem;
pub use self::roots::CertificateRefusal;
pub use self::server::ServerTls;
pub use self::shaken::Shaken;
pub use self::system_roots::SystemRoots;

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The server's side of an established TLS connection.
pub type ServerStream<S> = tokio_rustls::server::TlsStream<S>;

/// The client's side of an established TLS connection.
pub type ClientStream<S> = tokio_rustls::client::TlsStream<S>;

/// The cryptography of every connection.
///
/// Named here and handed on explicitly: a process-wide default would be a global that any dependency
/// may set before us.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The version of TLS that a connection speaks, as every tool writes it; `None`: before the handshake.
pub fn version_of(connection: &tokio_rustls::rustls::CommonState) -> Option<&'static str> {
    use tokio_rustls::rustls::ProtocolVersion;
    match connection.protocol_version()? {
        ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
        ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
        _ => None,
    }
}

/// Fills `bytes` with what nobody can guess. Returns whether it could.
pub fn random(bytes: &mut [u8]) -> bool {
    provider().secure_random.fill(bytes).is_ok()
}
