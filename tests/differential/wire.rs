//! A connection that never waits for the peer by itself: it takes what has come, and while it can't
//! send, it takes too, so that pipelines of any length go through.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

use crate::frame::Cutter;
use crate::support::{PATIENCE, TestClient};

/// Between two looks at a socket.
const NAP: Duration = Duration::from_micros(50);

thread_local! {
    /// Less where a failure is played again and again to make it shorter.
    static PATIENCE_NOW: Cell<Duration> = const { Cell::new(OVERDUE) };
}

/// How long anything may take that the other side has done. Nothing is measured by it: what takes
/// longer has failed.
const OVERDUE: Duration = Duration::from_secs(8);

/// The same for what has failed before.
const OVERDUE_AGAIN: Duration = Duration::from_millis(700);

/// How long this thread waits for what should come.
pub fn overdue() -> Duration {
    PATIENCE_NOW.get()
}

/// From here on the thread waits less, or as long as ever.
pub fn hurry(hurry: bool) {
    PATIENCE_NOW.set(if hurry { OVERDUE_AGAIN } else { OVERDUE });
}

/// A TLS client.
pub struct Wire {
    tls: ClientConnection,
    socket: TcpStream,
    pub stream: Cutter,
    /// The peer has closed, or the connection is lost.
    pub ended: bool,
}

/// Waits a little.
pub fn nap() {
    std::thread::sleep(NAP);
}

// === impl Wire ===

impl Wire {
    pub fn connect(
        source: &str,
        address: SocketAddr,
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let mut socket = TestClient::connect_from(Some(source), address)?;
        let name = ServerName::try_from("localhost").expect("a valid name");
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        socket.set_nonblocking(true)?;
        Ok(Self {
            tls,
            socket,
            stream: Cutter::default(),
            ended: false,
        })
    }

    /// Sends in one TLS record, or some where it is long. A peer that has closed is no error: what
    /// it said before is what counts.
    pub fn send(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(16 << 10) {
            if self.ended || self.tls.writer().write_all(part).is_err() {
                return;
            }
            self.flush();
        }
    }

    fn flush(&mut self) {
        let start = Instant::now();
        while self.tls.wants_write() && !self.ended {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.pump();
                    assert!(start.elapsed() < PATIENCE, "the peer takes nothing");
                    nap();
                }
                // What it said before it closed may still be here.
                Err(_) => {
                    self.pump();
                    self.ended = true;
                }
            }
        }
    }

    /// Takes what has come. Returns whether anything had.
    pub fn pump(&mut self) -> bool {
        let mut any = false;
        let mut chunk = [0; 16 << 10];
        while !self.ended {
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.ended = true,
            }
            if self.tls.process_new_packets().is_err() {
                self.ended = true;
            }
            loop {
                match self.tls.reader().read(&mut chunk) {
                    Ok(0) => {
                        self.ended = true;
                        break;
                    }
                    Ok(read) => {
                        any = true;
                        self.stream.push(&chunk[..read]);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => {
                        self.ended = true;
                        break;
                    }
                }
            }
        }
        any
    }

    /// Ends the TCP connection under the TLS session.
    pub fn cut(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        self.ended = true;
    }

    /// Ends the writing side alone.
    pub fn half_close(&mut self) {
        self.tls.send_close_notify();
        self.flush();
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}
