//! The socket to an upstream, plain or through TLS.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;

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

impl UpstreamStream {
    /// Whether it is open and says nothing, which is what one that nobody uses should do.
    pub(in crate::proxy) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        // A task that has done much in one go is told by tokio to wait, and that looks like silence.
        let mut read = pin!(unconstrained(poll_fn(|cx| {
            Pin::new(&mut *self).poll_read(cx, &mut buf)
        })));
        let mut cx = Context::from_waker(Waker::noop());
        read.as_mut().poll(&mut cx).is_pending()
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;
    use tokio::task::consume_budget;
    use tokio::time::timeout;

    use super::*;
    use crate::config::{self, ClientAuth, ListenerTls, TlsVersion};
    use crate::tls::authority::make_certificates;
    use crate::tls::{ServerTls, SystemRoots, UpstreamTls};

    #[tokio::test]
    async fn what_was_closed_is_not_quiet_however_much_its_task_has_done() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut stream = UpstreamStream::Plain(Stream::Unix(near));
        assert!(stream.is_quiet());
        drop(far);
        let quiet = poll_fn(|cx| {
            while pin!(consume_budget()).poll(cx).is_ready() {}
            Poll::Ready(stream.is_quiet())
        });
        tokio::task::yield_now().await;
        assert!(!quiet.await);
    }

    #[tokio::test]
    async fn a_read_pushes_out_what_a_full_socket_left_in_tls() {
        let dir = tempfile::tempdir().unwrap();
        make_certificates(dir.path(), &[], &[]).unwrap();
        let server = ServerTls::load(&ListenerTls {
            cert: dir.path().join("server.pem"),
            key: dir.path().join("server.key"),
            client_ca: None,
            client_auth: ClientAuth::None,
            crl: Vec::new(),
            min_version: TlsVersion::V1_3,
        })
        .unwrap();
        let settings = config::UpstreamTls {
            ca: Some(dir.path().join("ca.pem")),
            identity: None,
            server_names: vec!["localhost".to_owned()],
        };
        let tls = UpstreamTls::load(&settings, &SystemRoots::default()).unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let (near, far) = tokio::join!(
            tls.connect(0, Stream::Unix(near)),
            server.acceptor().accept(far)
        );
        let mut stream = UpstreamStream::Tls(Box::new(near.unwrap()));
        let mut far = far.unwrap();

        let mut taken = 0;
        loop {
            let write =
                poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_write(cx, &[b'x'; 4096])));
            match write.await {
                Poll::Ready(len) => taken += len.unwrap(),
                Poll::Pending => break,
            }
        }
        let mut all = vec![0; taken];
        let reading = timeout(Duration::from_secs(20), far.read_exact(&mut all));
        tokio::select! {
            read = reading => assert_eq!(read.unwrap().unwrap(), taken),
            _ = stream.read_u8() => panic!("nothing was sent to us"),
        }
    }
}
