//! A Redis client of a few lines: one request at a time, and replies as `redis-cli` shows them.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::timeout;

use crate::resp::{Reply, encode_request, take_reply};
use crate::tls::ClientTls;

/// One connection.
pub(super) struct Client {
    stream: Box<dyn Wire>,
    buffer: BytesMut,
}

/// What a client can speak over.
trait Wire: AsyncRead + AsyncWrite + Unpin {}

/// Everything here is on one machine: what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(5);

// === impl Wire ===

impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

// === impl Client ===

impl Client {
    /// Over a unix socket, in the clear.
    pub(super) async fn unix(path: &Path) -> io::Result<Self> {
        Ok(Self::over(UnixStream::connect(path).await?))
    }

    /// Over TLS, from `source` if it matters.
    pub(super) async fn tls(
        tls: &ClientTls,
        server: SocketAddr,
        source: Option<SocketAddr>,
    ) -> io::Result<Self> {
        let name = ClientTls::server_name(&server.ip().to_string()).map_err(io::Error::other)?;
        in_time(async {
            let socket = TcpSocket::new_v4()?;
            if let Some(source) = source {
                socket.bind(source)?;
            }
            let stream = socket.connect(server).await?;
            stream.set_nodelay(true)?;
            let stream = tls.connector().connect(name, stream).await?;
            Ok(Self::over(stream))
        })
        .await
    }

    fn over(stream: impl Wire + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            buffer: BytesMut::new(),
        }
    }

    /// Sends a request and reads its reply.
    pub(super) async fn ask(&mut self, words: &[&str]) -> io::Result<Reply> {
        let mut request = BytesMut::new();
        encode_request(words.iter().map(|word| word.as_bytes()), &mut request);
        in_time(async {
            self.stream.write_all(&request).await?;
            self.stream.flush().await?;
            self.reply().await
        })
        .await
    }

    /// Reads a reply that nobody asked for. In TLS 1.3 the server's refusal of a client is such a
    /// thing: the client's part of the handshake is long over when it comes.
    pub(super) async fn listen(&mut self) -> io::Result<Reply> {
        in_time(self.reply()).await
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(reply) = take_reply(&mut self.buffer).map_err(io::Error::other)? {
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

async fn in_time<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A request as one would type it: words with blanks in quotes.
pub(super) fn typed(words: &[&str]) -> String {
    let quoted = words.iter().map(|word| {
        if word.is_empty() || word.contains(|c: char| c.is_whitespace() || c == '"') {
            quote(word.as_bytes())
        } else {
            (*word).to_owned()
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// A reply as `redis-cli` shows it, a line or more.
pub(super) fn shown(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Status(text) => vec![String::from_utf8_lossy(text).into_owned()],
        Reply::Error(text) => vec![format!("(error) {}", text.trim_end())],
        Reply::Integer(number) => vec![format!("(integer) {number}")],
        Reply::Bulk(bytes) => vec![quote(bytes)],
        Reply::Null => vec!["(nil)".to_owned()],
        Reply::Array(items) if items.is_empty() => vec!["(empty array)".to_owned()],
        Reply::Array(items) => {
            let width = items.len().to_string().len();
            let numbered = items.iter().zip(1..).flat_map(|(item, number)| {
                shown(item).into_iter().enumerate().map(move |(row, line)| {
                    if row == 0 {
                        format!("{number:width$}) {line}")
                    } else {
                        format!("{:width$}  {line}", "")
                    }
                })
            });
            numbered.collect()
        }
    }
}

fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_look_as_in_redis_cli() {
        let bulk = |text: &'static [u8]| Reply::Bulk(text.into());
        let cases = [
            (Reply::Status("OK".into()), "OK"),
            (Reply::Error("ERR no ".to_owned()), "(error) ERR no"),
            (Reply::Integer(-1), "(integer) -1"),
            (Reply::Null, "(nil)"),
            (bulk(b"a \"b\"\r\n\xff"), r#""a \"b\"\r\n\xff""#),
            (Reply::Array(Vec::new()), "(empty array)"),
            (
                Reply::Array(vec![bulk(b"a"), Reply::Array(vec![bulk(b"b"), bulk(b"c")])]),
                "1) \"a\"\n2) 1) \"b\"\n   2) \"c\"",
            ),
        ];
        for (reply, text) in cases {
            assert_eq!(shown(&reply).join("\n"), text);
        }
    }

    #[test]
    fn requests_look_as_they_are_typed() {
        assert_eq!(typed(&["SET", "k", "two words"]), r#"SET k "two words""#);
        assert_eq!(typed(&["SET", "k", ""]), r#"SET k """#);
    }
}
