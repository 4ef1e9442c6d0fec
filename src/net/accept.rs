//! Listening sockets, and an accept loop that survives everything.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::config::Bind;

use super::Stream;

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket; its file, where it is ours, is removed when the listener is dropped.
    Unix(UnixListener, Option<SocketFile>),
}

/// The bound sockets of one listener, which share its places: one taker for all of them, because
/// one a socket would hold back a place each while it waits.
#[derive(Debug)]
pub struct Listeners {
    all: Vec<Listener>,
    /// The one that is asked first: behind the one that was served last.
    next: usize,
}

/// The file of a listening unix socket.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

/// An accepted socket that belongs to no runtime yet, and who is at its other end.
#[derive(Debug)]
pub enum Accepted {
    /// TCP.
    Tcp(std::net::TcpStream, SocketAddr),
    /// A unix socket.
    Unix(StdUnixStream),
}

/// Connections that wait to be accepted. Linux cuts it to `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4096;

/// The wait between two failed accepts: from 5 ms, doubling, to 1 s. Without it an accept loop that
/// is out of descriptors (EMFILE) would spin, since the connection stays in the backlog.
#[derive(Debug, Default)]
pub struct Backoff(Duration);

/// A socket that listens and belongs to no runtime yet: bound while the process still may.
#[derive(Debug)]
pub enum Bound {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A unix socket, and its file where that is ours.
    Unix(StdUnixListener, Option<SocketFile>),
}

/// Binds a listener's address.
///
/// # Errors
/// Those of the socket.
pub fn bind(address: &Bind) -> io::Result<Bound> {
    match address {
        Bind::Tcp(address) => bind_tcp(*address).map(Bound::Tcp),
        Bind::Unix(path) => {
            remove_stale(path)?;
            let listener = StdUnixListener::bind(path)?;
            let file = SocketFile(path.clone());
            listener.set_nonblocking(true)?;
            Ok(Bound::Unix(listener, Some(file)))
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket file that nobody listens on was left behind by a crash. Anything else is not ours to
/// remove.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => match StdUnixStream::connect(path) {
            Ok(_) => Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process listens on it",
            )),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)
            }
            Err(error) => Err(error),
        },
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path is not a socket",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

// === impl Bound ===

impl Bound {
    /// Gives it to the runtime that this is called in.
    ///
    /// # Errors
    /// The runtime can't watch it.
    pub fn listen(self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
            Self::Unix(listener, file) => Listener::Unix(UnixListener::from_std(listener)?, file),
        })
    }

    /// The file of a unix socket, where that is ours.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Unix(_, Some(SocketFile(path))) => Some(path),
            Self::Tcp(_) | Self::Unix(_, None) => None,
        }
    }
}

// === impl Listener ===

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                Ok(Accepted::Tcp(stream.into_std()?, peer))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                Ok(Accepted::Unix(stream.into_std()?))
            }
        })
    }
}

// === impl Listeners ===

impl Listeners {
    /// Takes connections of all of these, in turn.
    pub fn new(all: Vec<Listener>) -> Self {
        Self { all, next: 0 }
    }

    /// The next connection.
    ///
    /// # Errors
    /// None of them is fatal: wait by [`Backoff`] and go on.
    pub async fn accept(&mut self) -> io::Result<Accepted> {
        poll_fn(|cx| {
            for step in 0..self.all.len() {
                let index = (self.next + step) % self.all.len();
                if let Poll::Ready(accepted) = self.all[index].poll_accept(cx) {
                    self.next = index + 1;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

// === impl Accepted ===

impl Accepted {
    /// The peer's address; `None` on a unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, peer) => Some(*peer),
            Self::Unix(_) => None,
        }
    }

    /// The address that rules and limits mean.
    pub fn source(&self) -> Option<IpAddr> {
        self.peer().map(|peer| super::effective(peer.ip()))
    }

    /// The socket, for the runtime that this is called in.
    ///
    /// # Errors
    /// It is dead already.
    pub fn into_stream(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream, _) => {
                stream.set_nonblocking(true)?;
                Stream::tcp(tokio::net::TcpStream::from_std(stream)?)
            }
            Self::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Ok(Stream::Unix(tokio::net::UnixStream::from_std(stream)?))
            }
        }
    }

    /// Closes the socket without the rest of TCP's ceremony where its bytes were never wanted.
    pub fn refuse(self) {
        if let Self::Tcp(stream, _) = &self {
            // Reset instead of FIN: a refused peer keeps no state here, and sees at once that it is
            // not wanted.
            let _ = socket2::SockRef::from(&stream.as_fd()).set_linger(Some(Duration::ZERO));
        }
    }
}

// === impl SocketFile ===

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already, or not ours to remove any more: both are fine at the end.
        let _ = std::fs::remove_file(&self.0);
    }
}

// === impl Backoff ===

impl Backoff {
    const FIRST: Duration = Duration::from_millis(5);
    const MOST: Duration = Duration::from_secs(1);

    /// How long to wait after one more failure.
    pub fn fail(&mut self) -> Duration {
        self.0 = (self.0 * 2).clamp(Self::FIRST, Self::MOST);
        self.0
    }

    /// After a success the next failure starts from the shortest wait.
    pub fn succeed(&mut self) {
        self.0 = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_second() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..10).map(|_| backoff.fail().as_millis()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        backoff.succeed();
        assert_eq!(backoff.fail(), Backoff::FIRST);
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let live = bind(&Bind::Unix(path.clone())).unwrap();
        let again = bind(&Bind::Unix(path.clone())).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(!path.exists());
        std::fs::write(&path, "data").unwrap();
        assert!(bind(&Bind::Unix(path.clone())).is_err());
        assert!(path.exists());
    }
}
