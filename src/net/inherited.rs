//! Listening sockets that whoever started us has bound already: systemd's socket activation.
//!
//! They come as descriptors from 3 on; LISTEN_FDS says how many, LISTEN_PID for whom, LISTEN_FDNAMES
//! by which names. The variables stay set, because changing the environment is not safe beside other
//! threads, and it does no harm: they are meant for our own process id alone, and the sockets
//! are closed in whatever we might execute.

use std::env;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use socket2::{Socket, Type};

use crate::config::Bind;

use super::accept::Bound;

/// The sockets that nobody has claimed yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Passed>);

#[derive(Debug)]
struct Passed {
    /// As the socket unit calls it (`FileDescriptorName=`); empty if it doesn't.
    name: String,
    address: Bind,
    socket: Socket,
}

/// What was passed can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// The variables are no numbers, or speak of descriptors that are not there.
    #[error("LISTEN_FDS = {0:?}: no such sockets were passed")]
    Variables(String),
    /// One of the descriptors is no listening stream socket.
    #[error("the inherited socket {name:?}: {reason}")]
    Socket {
        /// As passed, or its number.
        name: String,
        /// Why it can't be used.
        reason: String,
    },
}

/// The first descriptor, by the protocol.
const FIRST: usize = 3;

/// More than any socket unit holds; what says more is not systemd.
const MOST: usize = 1024;

// === impl Inherited ===

impl Inherited {
    /// Takes over what was passed to this process; nothing, mostly. To be called once, and before
    /// the process opens files of its own.
    ///
    /// # Errors
    /// Something was passed that can't be listened on.
    pub fn take() -> Result<Self, InheritedError> {
        let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Ok(Self::default());
        }
        let Ok(text) = env::var("LISTEN_FDS") else {
            return Ok(Self::default());
        };
        // Looked at before they are owned: a descriptor that isn't there must not be closed later.
        let count = text.parse::<usize>().ok().filter(|count| *count <= MOST);
        let are_there = |count: usize| (FIRST..FIRST + count).all(is_socket);
        if !count.is_some_and(are_there) {
            return Err(InheritedError::Variables(text));
        }
        let passed = sd_listen_fds::get().map_err(|_| InheritedError::Variables(text))?;
        let passed = passed.into_iter().enumerate().map(|(index, (name, fd))| {
            let name = name.unwrap_or_default();
            let told = match name.is_empty() {
                true => (FIRST + index).to_string(),
                false => name.clone(),
            };
            Passed::new(name, fd.into_std())
                .map_err(|reason| InheritedError::Socket { name: told, reason })
        });
        passed.collect::<Result<_, _>>().map(Self)
    }

    /// The socket that is bound to this address.
    pub fn claim(&mut self, address: &Bind) -> Option<Bound> {
        let index = self.0.iter().position(|one| one.address == *address)?;
        Some(self.0.remove(index).into_bound())
    }

    /// The first socket that is named after this listener and bound to what is `fit`.
    pub fn claim_named(&mut self, listener: &str, fit: impl Fn(&Bind) -> bool) -> Option<Bound> {
        let meant = |one: &Passed| one.name == listener && fit(&one.address);
        let index = self.0.iter().position(meant)?;
        Some(self.0.remove(index).into_bound())
    }

    /// Those that nobody has claimed, as the operator would look for them.
    pub fn rest(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|one| match one.name.is_empty() {
            true => one.address.to_string(),
            false => format!("{} (named {:?})", one.address, one.name),
        })
    }
}

// === impl Passed ===

impl Passed {
    fn new(name: String, fd: OwnedFd) -> Result<Self, String> {
        let socket = Socket::from(fd);
        let told = |error: io::Error| error.to_string();
        socket.set_cloexec(true).map_err(told)?;
        let is_stream = socket.r#type().map_err(told)? == Type::STREAM;
        if !is_stream || !socket.is_listener().map_err(told)? {
            return Err("is no listening stream socket (Accept=yes and datagrams don't do)".into());
        }
        socket.set_nonblocking(true).map_err(told)?;
        let address = socket.local_addr().map_err(told)?;
        let address = match (address.as_socket(), address.as_pathname()) {
            (Some(address), _) => Bind::Tcp(plain(address)),
            (None, Some(path)) => Bind::Unix(PathBuf::from(path)),
            (None, None) => return Err("has neither an internet address nor a path".into()),
        };
        Ok(Self {
            name,
            address,
            socket,
        })
    }

    fn into_bound(self) -> Bound {
        match self.address {
            Bind::Tcp(_) => Bound::Tcp(self.socket.into()),
            // Its file belongs to who bound it.
            Bind::Unix(_) => Bound::Unix(self.socket.into(), None),
        }
    }
}

/// An address as the configuration spells it: without the flow that the system reports with it.
fn plain(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() == 0 => SocketAddr::new((*v6.ip()).into(), v6.port()),
        other => other,
    }
}

fn is_socket(fd: usize) -> bool {
    let link = fs::read_link(format!("/proc/self/fd/{fd}"));
    link.is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(name: &str, address: &str) -> Passed {
        let listener = std::net::TcpListener::bind(address).unwrap();
        Passed::new(name.to_owned(), listener.into()).unwrap()
    }

    #[test]
    fn a_socket_is_claimed_once_by_its_address_or_its_name() {
        let mut inherited = Inherited(vec![
            passed("", "127.0.0.1:0"),
            passed("main", "[::1]:0"),
            passed("main", "127.0.0.1:0"),
        ]);
        let first = inherited.0[0].address.clone();
        assert!(inherited.claim(&first).is_some());
        assert!(inherited.claim(&first).is_none());
        assert!(inherited.claim_named("other", |_| true).is_none());
        let is_v6 = |bind: &Bind| matches!(bind, Bind::Tcp(address) if address.is_ipv6());
        assert!(inherited.claim_named("main", is_v6).is_some());
        assert!(inherited.claim_named("main", is_v6).is_none());
        let rest: Vec<_> = inherited.rest().collect();
        assert!(
            rest.len() == 1 && rest[0].ends_with("(named \"main\")"),
            "{rest:?}"
        );
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Passed::new(String::new(), datagram.into()).is_err());
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Passed::new(String::new(), one.into()).is_err());
    }

    #[test]
    fn the_file_of_an_inherited_unix_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut inherited = Inherited(vec![Passed::new(String::new(), listener.into()).unwrap()]);
        drop(inherited.claim(&Bind::Unix(path.clone())).unwrap());
        assert!(path.exists());
    }
}
