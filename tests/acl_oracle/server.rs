//! A real Redis, and a connection that asks it many things at once.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a start and any answer may take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server and its connection. It dies with the value.
pub struct Server {
    process: Child,
    stream: BufReader<UnixStream>,
    out: Vec<u8>,
    /// What was sent last, for the case that the server dies of it.
    sent: Vec<u8>,
    /// Requests that were sent and not yet answered.
    owed: usize,
    _dir: TempDir,
}

/// A RESP2 reply.
#[derive(Clone, Eq, PartialEq)]
pub enum Reply {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    Array(Vec<Reply>),
    Nil,
}

// === impl Server ===

impl Server {
    /// Starts the binary that the environment names. Without it the caller has nothing to compare
    /// with, and that is said where it is seen: not on the output that a passing test hides.
    pub fn start(variable: &str) -> Option<Self> {
        let Some(binary) = std::env::var_os(variable) else {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {variable} names no redis-server; make test sets it"
            );
            return None;
        };
        Some(Self::spawn(&binary))
    }

    fn spawn(binary: &OsStr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("redis.sock");
        let process = Command::new(binary)
            .current_dir(dir.path())
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .arg("--unixsocket")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(start.elapsed() < PATIENCE, "no Redis: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            process,
            stream: BufReader::new(stream),
            out: Vec::new(),
            sent: Vec::new(),
            owed: 0,
            _dir: dir,
        }
    }

    /// Puts a request behind those that wait to be sent.
    pub fn ask<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        write!(self.out, "*{}\r\n", args.len()).unwrap();
        for arg in args {
            let arg = arg.as_ref();
            write!(self.out, "${}\r\n", arg.len()).unwrap();
            self.out.extend_from_slice(arg);
            self.out.extend_from_slice(b"\r\n");
        }
        self.owed += 1;
    }

    /// Sends what waits in one write, and takes the replies.
    pub fn answers(&mut self) -> Vec<Reply> {
        self.sent = std::mem::take(&mut self.out);
        self.stream.get_mut().write_all(&self.sent).unwrap();
        let owed = std::mem::take(&mut self.owed);
        (0..owed).map(|_| self.reply()).collect()
    }

    /// One request, one reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.ask(args);
        self.answers().remove(0)
    }

    fn reply(&mut self) -> Reply {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        let Some(line) = line.strip_suffix(b"\r\n") else {
            panic!("the server died of {}", self.sent.escape_ascii());
        };
        let number = || -> i64 { std::str::from_utf8(&line[1..]).unwrap().parse().unwrap() };
        match line[0] {
            b'+' => Reply::Simple(line[1..].to_vec()),
            b'-' => Reply::Error(line[1..].to_vec()),
            b':' => Reply::Integer(number()),
            b'$' if number() < 0 => Reply::Nil,
            b'$' => {
                let mut bytes = vec![0; number() as usize + 2];
                self.stream.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(bytes)
            }
            b'*' if number() < 0 => Reply::Nil,
            b'*' => Reply::Array((0..number()).map(|_| self.reply()).collect()),
            _ => panic!("no RESP2: {}", line.escape_ascii()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A failure leaves a process behind, and has no better place to be told.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// === impl Reply ===

impl Reply {
    /// The elements of an array; panics on anything else.
    #[track_caller]
    pub fn array(self) -> Vec<Reply> {
        match self {
            Self::Array(elements) => elements,
            other => panic!("expected an array, got {other:?}"),
        }
    }

    /// The bytes of a string; panics on anything else.
    #[track_caller]
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::Simple(bytes) | Self::Bulk(bytes) => bytes,
            other => panic!("expected a string, got {other:?}"),
        }
    }

    /// A string as text; panics on anything else.
    #[track_caller]
    pub fn text(self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(text) => write!(f, "+{}", text.escape_ascii()),
            Self::Error(text) => write!(f, "-{}", text.escape_ascii()),
            Self::Integer(number) => write!(f, ":{number}"),
            Self::Bulk(text) => write!(f, "\"{}\"", text.escape_ascii()),
            Self::Array(elements) => f.debug_list().entries(elements).finish(),
            Self::Nil => f.write_str("nil"),
        }
    }
}
