//! Connections to an upstream, with the proxy's own AUTH sent and answered.

mod credential;
mod error;
mod stream;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::config::{self, UpstreamAddress};
use crate::net::{self, Stream};
use crate::resp::{Reply, ReplyScanner, encode_request, take_reply};
use crate::session::Berth;
use crate::tls::{SystemRoots, TlsProblem, UpstreamTls};

use credential::Credential;

pub(super) use error::is_excuse;
pub use error::{Nobody, UpstreamError};
pub(super) use stream::UpstreamStream;

/// Opens connections to one upstream: where it is, what it must prove, and who we are to it.
#[derive(Debug)]
pub struct Connector {
    settings: config::Upstream,
    /// `None`: plaintext. A reload renews what its files say.
    tls: Option<ArcSwap<UpstreamTls>>,
    /// Trusted where the settings name no authority.
    roots: SystemRoots,
    credential: Credential,
    /// Connections that sessions have.
    open: Arc<AtomicUsize>,
    /// Connects that failed.
    failures: AtomicU64,
}

/// One connection's place among the upstream's `max_connections`.
#[derive(Debug)]
pub(super) struct OpenPermit(Arc<AtomicUsize>);

/// A connection on which one request is asked at a time: for AUTH, and for the control connection.
#[derive(Debug)]
pub(super) struct Dialogue {
    stream: UpstreamStream,
    buffer: BytesMut,
}

/// The longest answer that we ask for ourselves. COMMAND of 8.2 is about 260 KB; with modules it
/// grows, and 16 MB is beyond all of them.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// `timeout` with our error; `what` is waited for.
pub(super) async fn within<T>(
    limit: Duration,
    what: &'static str,
    future: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    timeout(limit, future)
        .await
        .map_err(|_| UpstreamError::Timeout(what))?
}

/// An error that answers AUTH, fit for the log: a server that has no AUTH (renamed there) repeats
/// its arguments.
fn shown_error(error: &str, password: &str) -> String {
    let text = error.split(", with args").next().unwrap_or_default();
    if text.contains(password) {
        "an error that repeats the password".to_owned()
    } else {
        text.to_owned()
    }
}

// === impl Connector ===

impl Connector {
    /// Loads what `[upstream.NAME.tls]` names; `roots` are trusted where that is no authority.
    ///
    /// # Errors
    /// Every problem of every file.
    pub fn load(settings: config::Upstream, roots: &SystemRoots) -> Result<Self, Vec<TlsProblem>> {
        let tls = settings.tls.as_ref();
        let tls = tls.map(|tls| UpstreamTls::load(tls, roots)).transpose()?;
        let credential = Credential::new(settings.password.clone(), settings.password_file.clone());
        Ok(Self {
            settings,
            tls: tls.map(ArcSwap::from_pointee),
            roots: roots.clone(),
            credential,
            open: Arc::default(),
            failures: AtomicU64::new(0),
        })
    }

    /// What the file says of it.
    pub fn settings(&self) -> &config::Upstream {
        &self.settings
    }

    /// What the operator should know of the TLS files though it stops nothing.
    pub fn warnings(&self) -> Vec<String> {
        self.tls()
            .map_or_else(Vec::new, |tls| tls.warnings().to_vec())
    }

    /// What is trusted where the settings name no authority.
    pub(super) fn roots(&self) -> &SystemRoots {
        &self.roots
    }

    /// By what connections are opened from now on; `None`: in plaintext.
    pub fn tls(&self) -> Option<Arc<UpstreamTls>> {
        self.tls.as_ref().map(ArcSwap::load_full)
    }

    /// Opens connections by what the TLS files now say. Those that are open stay.
    pub(super) fn renew(&self, tls: Arc<UpstreamTls>) {
        if let Some(now) = &self.tls
            && now.load().fingerprint() != tls.fingerprint()
        {
            now.store(tls);
        }
    }

    /// When the certificates end that the TLS was made from, by what they are for.
    pub(super) fn certificate_expiry(&self) -> Vec<(&'static str, i64)> {
        self.tls()
            .map_or_else(Vec::new, |tls| tls.expiry().to_vec())
    }

    /// A place for one more connection of a session, if `max_connections` are not there yet.
    pub(super) fn permit(&self) -> Option<OpenPermit> {
        let permit = OpenPermit(Arc::clone(&self.open));
        // The place is taken first and given back by the permit: two can't have the last one.
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        (before < self.settings.max_connections).then_some(permit)
    }

    /// Connects that failed since the start.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The same as [`Connector::open`], and then in this protocol and database. `shared`: clients will
    /// share it.
    pub(super) async fn open_for(
        &self,
        address: usize,
        berth: Berth,
        shared: bool,
    ) -> Result<Dialogue, UpstreamError> {
        let mut dialogue = self.open(address).await?;
        let what = "SELECT, ECHO or HELLO";
        let limit = self.settings.connect_timeout;
        within(limit, what, dialogue.prepare(berth, shared)).await?;
        Ok(dialogue)
    }

    /// Connects to the address of this number, shakes hands and logs in, within `connect_timeout`.
    pub(super) async fn open(&self, address: usize) -> Result<Dialogue, UpstreamError> {
        let opened = self.try_open(address).await;
        if opened.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        opened
    }

    async fn try_open(&self, address: usize) -> Result<Dialogue, UpstreamError> {
        let start = Instant::now();
        let left = || {
            self.settings
                .connect_timeout
                .saturating_sub(start.elapsed())
        };
        let stream = within(left(), "connect", self.connect(address)).await?;
        let stream = match self.tls() {
            None => UpstreamStream::Plain(stream),
            Some(tls) => {
                // Boxed: it is large, and lives but a moment.
                let shaking = Box::pin(async {
                    tls.connect(address, stream)
                        .await
                        .map_err(|error| match error.into() {
                            UpstreamError::Closed => UpstreamError::Tls(
                                "the upstream hung up during the handshake".into(),
                            ),
                            error => error,
                        })
                });
                // A Redis without TLS takes a ClientHello for half a line, and waits for more.
                let what = "TLS handshake: is this a plaintext port?";
                UpstreamStream::Tls(Box::new(within(left(), what, shaking).await?))
            }
        };
        let mut dialogue = Dialogue {
            stream,
            buffer: BytesMut::new(),
        };
        within(left(), "AUTH", self.log_in(&mut dialogue))
            .await
            .map_err(|error| self.first_word(error))?;
        Ok(dialogue)
    }

    /// Why our first word on a connection was not answered. A port with TLS hangs up at a command in
    /// plaintext.
    pub(super) fn first_word(&self, error: UpstreamError) -> UpstreamError {
        if self.tls.is_none() && error.is_hangup() {
            let text = "it hung up at our first word: does it speak TLS?";
            UpstreamError::Answer(text.to_owned())
        } else {
            error
        }
    }

    async fn connect(&self, address: usize) -> Result<Stream, UpstreamError> {
        Ok(match self.settings.addresses.get(address) {
            Some(UpstreamAddress::Tcp { host, port }) => net::connect(host, *port).await?,
            Some(UpstreamAddress::Unix(path)) => Stream::unix(path).await?,
            None => return Err(UpstreamError::Answer("no such address".to_owned())),
        })
    }

    async fn log_in(&self, dialogue: &mut Dialogue) -> Result<(), UpstreamError> {
        let Some(password) = self.credential.current(&self.settings.name).await else {
            return Ok(());
        };
        dialogue
            .log_in(self.settings.username.as_deref(), password.expose())
            .await
    }
}

// === impl OpenPermit ===

impl Drop for OpenPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether an error says that there is no ECHO for us. Others come unasked: of a server that is full,
/// or wants a password since it was configured anew.
fn refuses_echo(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    error.starts_with("noperm") || error.starts_with("err unknown command")
}

// === impl Dialogue ===

impl Dialogue {
    async fn log_in(&mut self, user: Option<&str>, password: &str) -> Result<(), UpstreamError> {
        let answer = match user {
            Some(user) => self.ask(&["AUTH", user, password]).await?,
            // Before 6.0 there is only this form.
            None => self.ask(&["AUTH", password]).await?,
        };
        match answer {
            Reply::Status(status) if &status[..] == b"OK" => Ok(()),
            Reply::Error(error) => Err(UpstreamError::Credential(shown_error(&error, password))),
            // Not shown: what answers so may be anything, and may repeat what it was sent.
            _ => Err(UpstreamError::Answer("no status to AUTH".to_owned())),
        }
    }

    /// Brings the connection into a state.
    async fn prepare(&mut self, berth: Berth, shared: bool) -> Result<(), UpstreamError> {
        if berth.database > 0
            && let Reply::Error(error) = self.ask(&["SELECT", &berth.database.to_string()]).await?
        {
            return Err(UpstreamError::Database(error.to_string()));
        }
        if shared && let Reply::Error(error) = self.ask(&["ECHO", "respgate"]).await? {
            if refuses_echo(&error) {
                return Err(UpstreamError::NoEcho(error.to_string()));
            }
            if !is_excuse(&error) {
                return Err(UpstreamError::Answer(error.to_string()));
            }
        }
        if berth.resp3 && !self.turn_to_resp3().await? {
            return Err(UpstreamError::Answer("an error to HELLO 3".to_owned()));
        }
        Ok(())
    }

    /// HELLO 3, behind which nothing can be asked here. Returns whether it was no error.
    async fn turn_to_resp3(&mut self) -> Result<bool, UpstreamError> {
        self.send(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n").await?;
        let mut scanner = ReplyScanner::default();
        let mut seen = 0;
        loop {
            if self.buffer.len() > MAX_ANSWER {
                return Err(UpstreamError::Answer("it is too long".to_owned()));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(UpstreamError::Closed);
            }
            let step = scanner
                .advance(&self.buffer[seen..])
                .map_err(|error| UpstreamError::Answer(error.to_string()))?;
            seen += step.consumed;
            if step.done.is_some() {
                let answer = self.buffer.split_to(seen);
                return Ok(answer.first() != Some(&b'-'));
            }
        }
    }

    /// One request and its reply.
    pub(super) async fn ask(&mut self, words: &[&str]) -> Result<Reply, UpstreamError> {
        let mut request = BytesMut::new();
        encode_request(words.iter().map(|word| word.as_bytes()), &mut request);
        if let Err(error) = self.send(&request).await {
            return Err(self.last_words(error).await);
        }
        loop {
            let taken = take_reply(&mut self.buffer)
                .map_err(|error| UpstreamError::Answer(error.to_string()))?;
            if let Some(reply) = taken {
                return Ok(reply);
            }
            if self.buffer.len() > MAX_ANSWER {
                return Err(UpstreamError::Answer("it is too long".to_owned()));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(UpstreamError::Closed);
            }
        }
    }

    /// Resolves when it ends, or says what nobody has asked for.
    pub(super) async fn ended(&mut self) -> UpstreamError {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => UpstreamError::Closed,
            Ok(_) => UpstreamError::Answer("it says what nobody has asked for".to_owned()),
            Err(error) => error.into(),
        }
    }

    async fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request).await?;
        self.stream.flush().await
    }

    /// Why nothing could be written. A server of TLS 1.3 that refuses our certificate says so in an
    /// alert and closes; the write may meet the closed socket before we have read the alert.
    async fn last_words(&mut self, unsent: io::Error) -> UpstreamError {
        let mut rest = [0; 64];
        match self
            .stream
            .read(&mut rest)
            .await
            .map_err(UpstreamError::from)
        {
            Err(said @ UpstreamError::Tls(_)) => said,
            _ => unsent.into(),
        }
    }

    /// The socket, for a session to use.
    pub(super) fn into_stream(self) -> Result<UpstreamStream, UpstreamError> {
        if self.buffer.is_empty() {
            Ok(self.stream)
        } else {
            Err(UpstreamError::Answer("more than was asked for".to_owned()))
        }
    }
}
