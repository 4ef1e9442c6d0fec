//! A client that speaks in bytes: what it sends is what the test says, and what it expects too.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use super::PATIENCE;

/// A RESP reply.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Array(Vec<Reply>),
    Nil,
}

/// A connection to the proxy or, in plaintext, to a Redis.
pub struct TestClient {
    transport: Transport,
    /// Read from the peer and not yet taken.
    buffer: Vec<u8>,
    /// How much of `buffer` has been taken.
    taken: usize,
}

enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// The canonical encoding of a command.
pub fn command<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Several of them, one behind the other.
pub fn pipeline(commands: &[&[&str]]) -> Vec<u8> {
    commands.iter().flat_map(|args| command(args)).collect()
}

/// What most commands answer.
pub fn ok() -> Reply {
    Reply::Simple("OK".into())
}

/// What PING answers.
pub fn pong() -> Reply {
    Reply::Simple("PONG".into())
}

// === impl Reply ===

impl Reply {
    pub fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.as_bytes().to_vec())
    }

    /// The text of an error; panics on anything else.
    #[track_caller]
    pub fn error(&self) -> &str {
        match self {
            Reply::Error(text) => text,
            other => panic!("expected an error, got {other:?}"),
        }
    }

    /// A bulk or simple string as text; panics on anything else.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Reply::Simple(text) => text.clone(),
            Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("expected a string, got {other:?}"),
        }
    }

    /// The items of an array; panics on anything else.
    #[track_caller]
    pub fn array(&self) -> &[Reply] {
        match self {
            Reply::Array(items) => items,
            other => panic!("expected an array, got {other:?}"),
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }
}

// === impl TestClient ===

impl TestClient {
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        Self::tuned(&stream)?;
        Ok(Self::over(Transport::Tcp(stream)))
    }

    pub fn unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self::over(Transport::Unix(stream)))
    }

    /// Connects and does the whole handshake. A TLS 1.3 server that refuses the client's
    /// certificate says so after it: such a refusal shows at the first read.
    pub fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Self> {
        Self::tls_from(None, address, config)
    }

    /// The same, from a chosen source address.
    pub fn tls_from(
        source: Option<&str>,
        address: SocketAddr,
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let stream = Self::connect_from(source, address)?;
        Self::tls_over(stream, b"", config)
    }

    /// The handshake over a connection that is there, with its first bytes behind others, in one write.
    pub fn tls_over(
        mut stream: TcpStream,
        before: &[u8],
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let (connection, hello) = Self::client_hello(config)?;
        stream.write_all(&[before, &hello].concat())?;
        let mut tls = StreamOwned::new(connection, stream);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        Ok(Self::over(Transport::Tls(Box::new(tls))))
    }

    /// The beginning of a handshake, and its first message.
    pub fn client_hello(config: Arc<ClientConfig>) -> io::Result<(ClientConnection, Vec<u8>)> {
        let name = ServerName::try_from("localhost").expect("a valid name");
        let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut hello = Vec::new();
        connection.write_tls(&mut hello)?;
        Ok((connection, hello))
    }

    /// A TCP connection from a chosen source address, with nothing sent.
    pub fn connect_from(source: Option<&str>, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            None,
        )?;
        if let Some(source) = source {
            let source: SocketAddr = format!("{source}:0").parse().expect("an IPv4 address");
            socket.bind(&source.into())?;
        }
        socket.connect_timeout(&address.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        Self::tuned(&stream)?;
        Ok(stream)
    }

    fn tuned(stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))
    }

    fn over(transport: Transport) -> Self {
        Self {
            transport,
            buffer: Vec::new(),
            taken: 0,
        }
    }

    /// Its end of the connection.
    pub fn local_port(&self) -> u16 {
        let stream = match &self.transport {
            Transport::Tcp(stream) => stream,
            Transport::Tls(tls) => &tls.sock,
            Transport::Unix(_) => panic!("a unix socket has no port"),
        };
        stream.local_addr().unwrap().port()
    }

    /// How long a read may wait.
    pub fn set_patience(&self, patience: Duration) {
        match &self.transport {
            Transport::Tcp(stream) => stream.set_read_timeout(Some(patience)),
            Transport::Unix(stream) => stream.set_read_timeout(Some(patience)),
            Transport::Tls(tls) => tls.sock.set_read_timeout(Some(patience)),
        }
        .unwrap();
    }

    /// Whether TLS was resumed; panics on plaintext.
    pub fn resumed(&self) -> bool {
        match &self.transport {
            Transport::Tls(tls) => tls.conn.handshake_kind() == Some(HandshakeKind::Resumed),
            _ => panic!("not a TLS connection"),
        }
    }

    /// The certificate that the server has shown, DER; panics on plaintext.
    pub fn server_certificate(&self) -> Vec<u8> {
        match &self.transport {
            Transport::Tls(tls) => tls.conn.peer_certificates().unwrap()[0].to_vec(),
            _ => panic!("not a TLS connection"),
        }
    }

    // --- sending ---

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(error) = self.try_send(bytes.as_ref()) {
            panic!("cannot send: {error}");
        }
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream: &mut dyn Write = match &mut self.transport {
            Transport::Tcp(stream) => stream,
            Transport::Unix(stream) => stream,
            Transport::Tls(tls) => &mut **tls,
        };
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Sends one command, canonically encoded.
    #[track_caller]
    pub fn send_args(&mut self, args: &[&str]) {
        self.send(command(args));
    }

    /// Sends one command and reads its reply.
    #[track_caller]
    pub fn call(&mut self, args: &[&str]) -> Reply {
        self.send_args(args);
        self.read_reply()
    }

    /// The same for arguments that are no text.
    #[track_caller]
    pub fn call_bytes(&mut self, args: &[&[u8]]) -> Reply {
        self.send(command(args));
        self.read_reply()
    }

    /// Ends the writing side alone: close_notify where there is TLS, then FIN.
    pub fn half_close(&mut self) {
        match &mut self.transport {
            Transport::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Transport::Unix(stream) => stream.shutdown(Shutdown::Write),
            Transport::Tls(tls) => {
                tls.conn.send_close_notify();
                tls.flush().unwrap();
                tls.sock.shutdown(Shutdown::Write)
            }
        }
        .unwrap();
    }

    /// Ends the TCP connection under the TLS session: what an attacker can do, or a dying host.
    pub fn close_without_notify(self) {
        match self.transport {
            Transport::Tcp(stream) => drop(stream),
            Transport::Unix(stream) => drop(stream),
            // The other side may have broken it already.
            Transport::Tls(tls) => drop(tls.sock.shutdown(Shutdown::Both)),
        }
    }

    // --- receiving ---

    fn read_some(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let stream: &mut dyn Read = match &mut self.transport {
            Transport::Tcp(stream) => stream,
            Transport::Unix(stream) => stream,
            Transport::Tls(tls) => &mut **tls,
        };
        loop {
            match stream.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Reads until `count` untaken bytes are here; `Err` holds why they never will be.
    fn fill(&mut self, count: usize) -> Result<(), String> {
        if self.taken > 1 << 20 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        let mut chunk = vec![0; 64 << 10];
        while self.buffer.len() - self.taken < count {
            match self.read_some(&mut chunk) {
                Ok(0) => return Err("the peer closed".to_owned()),
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    fn untaken(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// The next bytes must be these.
    #[track_caller]
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        if let Err(why) = self.fill(expected.len()) {
            panic!(
                "expected {}\n     got {} and then: {why}",
                Bytes(expected),
                Bytes(self.untaken())
            );
        }
        let got = &self.untaken()[..expected.len()];
        assert!(
            got == expected,
            "expected {}\n     got {}",
            Bytes(expected),
            Bytes(self.untaken())
        );
        self.taken += expected.len();
    }

    /// HELLO with these arguments, and the answer, which must be no error.
    #[track_caller]
    pub fn hello(&mut self, args: &[&str]) -> String {
        let hello = [&["HELLO"], args].concat();
        self.send(pipeline(&[&hello, &["ECHO", "that was hello"]]));
        let got = self.read_until("$14\r\nthat was hello\r\n");
        assert!(!got.starts_with('-'), "{got}");
        got
    }

    /// Everything up to this text, which must come, and the text itself.
    #[track_caller]
    pub fn read_until(&mut self, text: &str) -> String {
        loop {
            let here = self.untaken();
            let mut windows = here.windows(text.len());
            if let Some(start) = windows.position(|window| window == text.as_bytes()) {
                let end = start + text.len();
                let got = String::from_utf8_lossy(&here[..end]).into_owned();
                self.taken += end;
                return got;
            }
            if let Err(why) = self.fill(here.len() + 1) {
                panic!(
                    "{text:?} does not come: {} and then: {why}",
                    Bytes(self.untaken())
                );
            }
        }
    }

    /// Nothing may come for so long, and the connection must stay.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) {
        self.set_patience(time);
        let outcome = self.fill(self.untaken().len() + 1);
        self.set_patience(PATIENCE);
        match outcome {
            Ok(()) => panic!("expected silence, got {}", Bytes(self.untaken())),
            Err(why) if why == "the peer closed" => panic!("expected silence, the peer closed"),
            Err(_) => {}
        }
    }

    /// The connection must end now, with nothing more to read. A reset is an end too.
    #[track_caller]
    pub fn expect_close(&mut self) {
        let rest = self.read_to_close();
        assert!(
            rest.is_empty(),
            "expected the end of the connection, got {}",
            Bytes(&rest)
        );
    }

    /// Everything up to the end of the connection, which must come.
    #[track_caller]
    pub fn read_to_close(&mut self) -> Vec<u8> {
        let start = Instant::now();
        let mut chunk = vec![0; 64 << 10];
        loop {
            match self.read_some(&mut chunk) {
                Ok(0) => break,
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    panic!(
                        "the connection is still open; read so far: {}",
                        Bytes(self.untaken())
                    );
                }
                Err(_) => break,
            }
            assert!(start.elapsed() < 4 * PATIENCE, "the peer goes on sending");
        }
        self.buffer.split_off(self.taken)
    }

    /// Takes a line without its CRLF.
    fn read_line(&mut self) -> Result<Vec<u8>, String> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.untaken()[seen..]
                .windows(2)
                .position(|pair| pair == b"\r\n")
            {
                let line = self.untaken()[..seen + at].to_vec();
                self.taken += line.len() + 2;
                return Ok(line);
            }
            seen = self.untaken().len().saturating_sub(1);
            let more = self.untaken().len() + 1;
            self.fill(more)?;
        }
    }

    /// Sends one command and reads its reply as it is, RESP2 or RESP3.
    #[track_caller]
    pub fn call_raw(&mut self, args: &[&str]) -> Vec<u8> {
        self.send_args(args);
        self.read_raw()
    }

    /// Reads one reply, or one message, as it is.
    #[track_caller]
    pub fn read_raw(&mut self) -> Vec<u8> {
        let mut scanner = respgate::resp::ReplyScanner::default();
        let mut seen = 0;
        loop {
            let step = scanner.advance(&self.untaken()[seen..]).expect("no RESP");
            seen += step.consumed;
            if step.done.is_some() {
                let reply = self.untaken()[..seen].to_vec();
                self.taken += seen;
                return reply;
            }
            let more = self.untaken().len() + 1;
            if let Err(why) = self.fill(more) {
                panic!("no reply: {why}; untaken: {}", Bytes(self.untaken()));
            }
        }
    }

    /// Reads one RESP2 reply.
    #[track_caller]
    pub fn read_reply(&mut self) -> Reply {
        match self.try_read_reply() {
            Ok(reply) => reply,
            Err(why) => panic!("no reply: {why}; untaken: {}", Bytes(self.untaken())),
        }
    }

    pub fn try_read_reply(&mut self) -> Result<Reply, String> {
        let line = self.read_line()?;
        let text = String::from_utf8_lossy(&line[1.min(line.len())..]).into_owned();
        let number = || {
            text.parse::<i64>()
                .map_err(|_| format!("bad number in {}", Bytes(&line)))
        };
        Ok(match line.first() {
            Some(b'+') => Reply::Simple(text),
            Some(b'-') => Reply::Error(text),
            Some(b':') => Reply::Integer(number()?),
            Some(b'$') => match number()? {
                -1 => Reply::Nil,
                length => {
                    let length = length as usize;
                    self.fill(length + 2)?;
                    let bytes = self.untaken()[..length].to_vec();
                    if &self.untaken()[length..length + 2] != b"\r\n" {
                        return Err("a bulk string that does not end".to_owned());
                    }
                    self.taken += length + 2;
                    Reply::Bulk(bytes)
                }
            },
            Some(b'*') => match number()? {
                -1 => Reply::Nil,
                count => Reply::Array(
                    (0..count)
                        .map(|_| self.try_read_reply())
                        .collect::<Result<_, _>>()?,
                ),
            },
            _ => return Err(format!("no RESP2 reply: {}", Bytes(&line))),
        })
    }

    /// Reads and forgets `count` bytes, holding none of them; hands each piece to `look`.
    #[track_caller]
    pub fn consume(&mut self, mut count: u64, mut look: impl FnMut(&[u8])) {
        let here = (self.untaken().len() as u64).min(count) as usize;
        look(&self.untaken()[..here]);
        self.taken += here;
        count -= here as u64;
        let mut chunk = vec![0; 256 << 10];
        while count > 0 {
            let want = chunk
                .len()
                .min(usize::try_from(count).unwrap_or(usize::MAX));
            let read = self
                .read_some(&mut chunk[..want])
                .unwrap_or_else(|error| panic!("{count} bytes are missing: {error}"));
            assert!(read > 0, "the peer closed, {count} bytes are missing");
            look(&chunk[..read]);
            count -= read as u64;
        }
    }
}

/// Bytes as a person reads them.
struct Bytes<'a>(&'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(600)];
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if shown.len() < self.0.len() {
            write!(f, " … {} bytes", self.0.len())?;
        }
        Ok(())
    }
}
