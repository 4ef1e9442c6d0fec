//! The socket to an upstream, plain or through TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::Stream;
use crate::tls::ClientStream;

/// A connection to an upstream. Over TLS an end without close_notify is an error of the read, so
/// that a cut is never taken for the end that the upstream meant.
#[derive(Debug)]
pub(in crate::proxy) enum UpstreamStream {
    /// As the socket gives it.
    Plain(Stream),
    /// Boxed: a TLS connection is large, and most upstreams are plain.
    Tls(Box<ClientStream<Stream>>),
}

impl AsyncRead for UpstreamStream {
    /// Over TLS, first pushes out what earlier writes left in TLS because the socket was full: who
    /// waits for an answer need not flush by himself.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => {
                // What goes wrong here the read meets too, behind what came before it.
                let _ = Pin::new(&mut *stream).poll_flush(cx);
                Pin::new(stream).poll_read(cx, buf)
            }
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
