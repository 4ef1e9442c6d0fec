//! Whose certificate it was that a handshake refused. It proves nothing, and is what an operator looks
//! for first: which of the clients has the old one?
//!
//! rustls' error doesn't say it, and its verifier serves all connections. Both are asked within one poll
//! of one connection, so what the verifier notes can't be another's.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::ready;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::ServerConnection;

use super::facts::{distinguished_name, serial};
use super::failure::{HandshakeFailure, handshake_failure};
use super::files;
use super::{ServerStream, ServerTls};

thread_local! {
    static REFUSED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The most that is told of a name, characters. Anybody may write anything into a certificate.
const MOST: usize = 256;

/// Notes the certificate that was refused just now.
pub(super) fn note(certificate: &[u8]) {
    REFUSED.set(told(certificate));
}

/// Subject and serial number, as the log shows them; `None`: it can't be read.
fn told(certificate: &[u8]) -> Option<String> {
    let parsed = files::parse(certificate)?;
    let subject = distinguished_name(parsed.subject());
    let subject: String = subject.chars().take(MOST).collect();
    Some(format!("shown: {subject}, serial {}", serial(&parsed)))
}

fn beside(text: String, shown: Option<String>) -> String {
    match shown {
        Some(shown) => format!("{text} ({shown})"),
        None => text,
    }
}

// === impl ServerTls ===

impl ServerTls {
    /// The handshake.
    ///
    /// # Errors
    /// Why there was none; its text names the certificate that was refused, if it was for that.
    pub async fn accept<S>(&self, stream: S) -> Result<ServerStream<S>, HandshakeFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut handshake = pin!(self.acceptor().accept(stream));
        poll_fn(|cx| {
            REFUSED.take();
            let done = ready!(handshake.as_mut().poll(cx));
            let shown = REFUSED.take();
            done.map_err(|error| {
                let mut failure = handshake_failure(&error);
                failure.text = beside(failure.text, shown);
                failure
            })
            .into()
        })
        .await
    }

    /// Why a handshake was refused that is finished, with the certificate, as [`ServerTls::accept`] tells it.
    pub fn refused(connection: &ServerConnection, reason: String) -> String {
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        beside(reason, shown.and_then(|certificate| told(certificate)))
    }
}
