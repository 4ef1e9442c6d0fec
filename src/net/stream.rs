//! A TCP or unix stream, as one type.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP, without Nagle's delay, with keepalive.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// A peer that is gone without a word is found after 60 + 3 × 20 seconds. Redis' own default is
/// 300 and a third of it (`tcp-keepalive`); firewalls commonly forget a connection after 300.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(20))
    .with_retries(3);

/// Between two attempts of one connect: RFC 8305's "Connection Attempt Delay". An address that says
/// nothing must not use up the time of the others that the name has.
const NEXT_ATTEMPT: Duration = Duration::from_millis(250);

/// Connects to `host:port`; the name is resolved anew each time. Where it has several addresses, the
/// next one is tried as soon as the last has failed, or has said nothing for a moment; the first that
/// answers is taken.
///
/// # Errors
/// Those of the last address that failed.
pub async fn connect(host: &str, port: u16) -> io::Result<Stream> {
    connect_any(lookup_host((host, port)).await?).await
}

async fn connect_any(mut addresses: impl Iterator<Item = SocketAddr>) -> io::Result<Stream> {
    let mut next = addresses.next();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    // What is still being tried is given up with it.
    let mut attempts = JoinSet::new();
    loop {
        if let Some(address) = next.take() {
            next = addresses.next();
            if next.is_none() && attempts.is_empty() {
                return Stream::tcp(TcpStream::connect(address).await?);
            }
            attempts.spawn(TcpStream::connect(address));
        }
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(stream))) => return Stream::tcp(stream),
                Some(Ok(Err(error))) => failure = error,
                Some(Err(error)) => failure = io::Error::other(error),
                None => return Err(failure),
            },
            () = sleep(NEXT_ATTEMPT), if next.is_some() => {}
        }
    }
}

// === impl Stream ===

impl Stream {
    /// A TCP stream with the socket options that suit request and reply.
    ///
    /// # Errors
    /// The socket is dead already.
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
        Ok(Self::Tcp(stream))
    }

    /// Closes it without the rest of TCP's ceremony: see [`super::Accepted::refuse`].
    pub fn refuse(self) {
        if let Self::Tcp(stream) = &self {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Whether the peer has reset the connection, as far as the system knows: for one that is not
    /// read just now.
    pub fn is_broken(&self) -> bool {
        let error = match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
        };
        !matches!(error, Ok(None))
    }

    /// Connects to a unix socket.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn unix(path: &Path) -> io::Result<Self> {
        UnixStream::connect(path).await.map(Self::Unix)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream as StdTcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// A port that takes no connection: its queue is full.
    fn silent() -> (Socket, Vec<StdTcpStream>, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let patience = Duration::from_millis(200);
        let connect = |_| StdTcpStream::connect_timeout(&address, patience).ok();
        let queued: Vec<_> = (0..10).map_while(connect).collect();
        assert!(queued.len() < 10, "the queue never fills");
        (socket, queued, address)
    }

    fn refusing() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    fn peer(stream: &Stream) -> Option<SocketAddr> {
        match stream {
            Stream::Tcp(stream) => stream.peer_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    #[tokio::test]
    async fn an_address_that_says_nothing_does_not_use_up_the_time_of_the_others() {
        let (_socket, _queued, silent) = silent();
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let good_at = good.local_addr().unwrap();
        for addresses in [
            vec![good_at],
            vec![silent, good_at],
            vec![refusing(), silent, refusing(), good_at],
        ] {
            let stream = connect_any(addresses.into_iter()).await.unwrap();
            assert_eq!(peer(&stream), Some(good_at));
        }
    }

    #[tokio::test]
    async fn where_all_refuse_there_is_no_connection() {
        let kind = async |addresses: Vec<SocketAddr>| {
            let connected = connect_any(addresses.into_iter()).await;
            connected.map(|_| ()).unwrap_err().kind()
        };
        let refused = io::ErrorKind::ConnectionRefused;
        assert_eq!(kind(vec![refusing()]).await, refused);
        assert_eq!(kind(vec![refusing(), refusing()]).await, refused);
        assert_eq!(kind(Vec::new()).await, io::ErrorKind::NotFound);
    }
}
