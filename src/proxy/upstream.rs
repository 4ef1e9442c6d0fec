//! Connections to an upstream, with the proxy's own AUTH sent and answered.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::config::{self, UpstreamAddress};
use crate::net::{self, Stream};
use crate::resp::{Reply, encode_request, take_reply};

/// Why there is no upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It can't be reached, or hung up.
    #[error("can't reach the upstream: {0}")]
    Io(#[from] io::Error),
    /// It didn't answer within `connect_timeout`.
    #[error("the upstream did not answer in time")]
    Timeout,
    /// It refuses our own AUTH.
    #[error("the upstream refuses our AUTH: {0}")]
    Credential(String),
    /// It wants a password, and there is none for it.
    #[error("the upstream asks for a password: set its password_file")]
    NoCredential,
    /// It says something that no Redis says here.
    #[error("unexpected answer of the upstream: {0}")]
    Answer(String),
}

/// A connection on which one request is asked at a time: for AUTH, and for the control connection.
#[derive(Debug)]
pub(super) struct Dialogue {
    stream: Stream,
    buffer: BytesMut,
}

/// The longest answer that we ask for ourselves. COMMAND of 8.2 is about 260 KB; with modules it
/// grows, and 16 MB is beyond all of them.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Connects and logs in, within `connect_timeout`.
pub(super) async fn open(settings: &config::Upstream) -> Result<Dialogue, UpstreamError> {
    within(settings.connect_timeout, async {
        let stream = match &settings.address {
            UpstreamAddress::Tcp { host, port } => net::connect(host, *port).await?,
            UpstreamAddress::Unix(path) => Stream::unix(path).await?,
        };
        let mut dialogue = Dialogue {
            stream,
            buffer: BytesMut::new(),
        };
        dialogue.log_in(settings).await?;
        Ok(dialogue)
    })
    .await
}

/// `timeout` with our error.
pub(super) async fn within<T>(
    limit: Duration,
    future: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    timeout(limit, future)
        .await
        .map_err(|_| UpstreamError::Timeout)?
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

// === impl Dialogue ===

impl Dialogue {
    async fn log_in(&mut self, settings: &config::Upstream) -> Result<(), UpstreamError> {
        let Some(password) = &settings.password else {
            return Ok(());
        };
        let answer = match &settings.username {
            Some(user) => self.ask(&["AUTH", user, password.expose()]).await?,
            // Before 6.0 there is only this form.
            None => self.ask(&["AUTH", password.expose()]).await?,
        };
        match answer {
            Reply::Status(status) if &status[..] == b"OK" => Ok(()),
            Reply::Error(error) => Err(UpstreamError::Credential(shown_error(
                &error,
                password.expose(),
            ))),
            // Not shown: what answers so may be anything, and may repeat what it was sent.
            _ => Err(UpstreamError::Answer("no status to AUTH".to_owned())),
        }
    }

    /// One request and its reply.
    pub(super) async fn ask(&mut self, words: &[&str]) -> Result<Reply, UpstreamError> {
        let mut request = BytesMut::new();
        encode_request(words.iter().map(|word| word.as_bytes()), &mut request);
        self.stream.write_all(&request).await?;
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
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// The socket, for a session to use.
    pub(super) fn into_stream(self) -> Result<Stream, UpstreamError> {
        if self.buffer.is_empty() {
            Ok(self.stream)
        } else {
            Err(UpstreamError::Answer("more than was asked for".to_owned()))
        }
    }
}
