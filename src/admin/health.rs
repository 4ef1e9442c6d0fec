//! Asks a running respgate how it is, as a probe that is run beside it does.
//!
//! Plain blocking sockets: the program that does it starts, asks and ends, every few seconds.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::config::Bind;

/// All of it. Docker gives a health check 30 seconds and a kubelet one; who takes two is not well.
const PATIENCE: Duration = Duration::from_secs(2);

/// An answer is a few lines.
const MOST: u64 = 16 * 1024;

/// Asks at an address of `[admin]` whether it is ready, or only whether it is alive.
///
/// # Errors
/// It is not, and why.
pub fn ask_health(address: &Bind, live: bool) -> Result<String, String> {
    let path = if live { "/healthz" } else { "/readyz" };
    let answer = ask(address, path).map_err(|error| format!("{address}: {error}"))?;
    let (status, text) =
        parse(&answer).ok_or_else(|| format!("{address}: the answer is no HTTP"))?;
    match status {
        200 => Ok(text),
        _ => Err(format!("{address}{path}: {status}: {text}")),
    }
}

fn ask(address: &Bind, path: &str) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    match address {
        Bind::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let limit = |left| stream.set_read_timeout(Some(left));
            converse(&stream, limit, path, deadline)
        }
        Bind::Unix(path_of_socket) => {
            let stream = UnixStream::connect(path_of_socket)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let limit = |left| stream.set_read_timeout(Some(left));
            converse(&stream, limit, path, deadline)
        }
    }
}

/// One request, and all that comes until the other side closes.
fn converse<S>(
    mut stream: S,
    limit: impl Fn(Duration) -> io::Result<()>,
    path: &str,
    deadline: Instant,
) -> io::Result<Vec<u8>>
where
    S: Read + Write,
{
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut stream = stream.take(MOST);
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        limit(left)?;
        match stream.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(len) => answer.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
}

/// Who binds every address is asked at the loopback's.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The status and the body, of which the line ends become blanks.
fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let lines: Vec<&str> = body.lines().collect();
    Some((status, lines.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_a_text() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\none\ntwo\n";
        assert_eq!(parse(answer), Some((503, "one; two".to_owned())));
        for none in [
            &b""[..],
            b"-ERR\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 x\r\n\r\n",
        ] {
            assert_eq!(parse(none), None);
        }
    }

    #[test]
    fn every_address_is_reached_at_the_loopback() {
        for (bind, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            let reached = reachable(bind.parse().unwrap());
            assert_eq!(reached.to_string(), asked);
        }
    }
}
