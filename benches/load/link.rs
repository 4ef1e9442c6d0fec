//! One connection: a socket, and TLS on it where there is TLS.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, version};

use crate::Failure;
use crate::options::{Files, Options};

/// What one read takes: several TLS records.
const READ: usize = 64 << 10;

/// Where connections go, and with which certificate.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

pub(crate) struct Link {
    pub(crate) socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Without TLS: what the socket hasn't taken yet.
    unsent: Vec<u8>,
}

/// Space to read into, one for all connections.
pub(crate) struct Space {
    raw: Box<[u8]>,
    clear: Box<[u8]>,
}

// === impl Target ===

impl Target {
    pub(crate) fn new(options: &Options) -> Result<Self, Failure> {
        let tls = match &options.tls {
            Some(files) => Some(Arc::new(configuration(files, options.resume)?)),
            None => None,
        };
        Ok(Self {
            address: options.address,
            tls,
        })
    }

    /// Connects and shakes hands, and returns when that is done. (What a server says against our
    /// certificate comes after that in TLS 1.3: the first reply tells.)
    pub(crate) fn connect(&self) -> io::Result<Link> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        let tls = match &self.tls {
            Some(config) => {
                let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
                let mut tls =
                    ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
                // A value of a megabyte is written at once.
                tls.set_buffer_limit(None);
                tls.complete_io(&mut socket)?;
                Some(Box::new(tls))
            }
            None => None,
        };
        Ok(Link {
            socket,
            tls,
            unsent: Vec::new(),
        })
    }
}

/// TLS 1.3 alone, and a ticket store only where sessions are to be resumed.
fn configuration(files: &Files, resume: bool) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(&fs::read(&files.ca)?) {
        roots.add(ca?)?;
    }
    let chain =
        CertificateDer::pem_slice_iter(&fs::read(&files.cert)?).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&fs::read(&files.key)?)?;
    let mut config = ClientConfig::builder_with_protocol_versions(&[&version::TLS13])
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.resumption = if resume {
        Resumption::in_memory_sessions(8)
    } else {
        Resumption::disabled()
    };
    Ok(config)
}

// === impl Link ===

impl Link {
    pub(crate) fn resumed(&self) -> bool {
        let tls = self.tls.as_ref();
        tls.and_then(|tls| tls.handshake_kind()) == Some(HandshakeKind::Resumed)
    }

    /// Says goodbye as TLS wants it said, so that the server may offer the session again.
    pub(crate) fn close(mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush().map(|_| ())
    }

    /// Sends, as far as the socket takes it; returns whether all is out.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<bool> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes)?,
            None => self.unsent.extend_from_slice(bytes),
        }
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        loop {
            let written = match &mut self.tls {
                Some(tls) if tls.wants_write() => tls.write_tls(&mut self.socket).map(|_| ()),
                None if !self.unsent.is_empty() => self.socket.write(&self.unsent).map(|taken| {
                    self.unsent.drain(..taken);
                }),
                _ => return Ok(true),
            };
            match written {
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                other => other?,
            }
        }
    }

    /// Reads once, and hands on what came in clear. The end of the connection is an error: nobody
    /// asked for it.
    pub(crate) fn receive(
        &mut self,
        space: &mut Space,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let length = match self.socket.read(&mut space.raw) {
            Ok(0) => return Err(closed()),
            Ok(length) => length,
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(why) => return Err(why),
        };
        let mut raw = &space.raw[..length];
        let Some(tls) = &mut self.tls else {
            take(raw);
            return Ok(());
        };
        while !raw.is_empty() {
            tls.read_tls(&mut raw)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            loop {
                match tls.reader().read(&mut space.clear) {
                    Ok(0) => return Err(closed()),
                    Ok(length) => take(&space.clear[..length]),
                    Err(why) if why.kind() == io::ErrorKind::WouldBlock => break,
                    Err(why) => return Err(why),
                }
            }
        }
        Ok(())
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up")
}

// === impl Space ===

impl Space {
    pub(crate) fn new() -> Self {
        Self {
            raw: vec![0; READ].into(),
            clear: vec![0; READ].into(),
        }
    }
}
