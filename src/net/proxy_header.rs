//! The PROXY protocol's header, versions 1 and 2: whose connection a balancer passes on.
//!
//! The parser takes bytes as they come and never one beyond the header's end; nothing is kept that
//! isn't needed, and nothing is allocated. It takes what the specification writes and no more: a
//! header is the only word there is on where a client comes from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A client's, with this address.
    Client(SocketAddr),
    /// The sender's own (version 2 LOCAL, version 1 UNKNOWN): mostly a health check.
    Sender,
}

/// Why there is no origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// The peer went away before its first byte, as health checks do.
    #[error("gone before the first byte")]
    Gone,
    /// It went away in the middle.
    #[error("the PROXY header ends in the middle")]
    Cut,
    /// What came is something else.
    #[error(
        "no PROXY header, which proxy_protocol_from asks of this peer; does it send one (HAProxy: \
         send-proxy-v2; AWS: proxy_protocol_v2.enabled)?"
    )]
    Missing,
    /// It is longer than a header may be.
    #[error("the PROXY header is longer than {0} bytes")]
    TooLong(usize),
    /// It passes on what has no address that could be judged.
    #[error("the PROXY header names no TCP address: {0}")]
    NoAddress(&'static str),
    /// It isn't what the specification writes.
    #[error("a malformed PROXY header: {0}")]
    Malformed(&'static str),
}

/// Reads a header in pieces.
#[derive(Debug)]
pub struct HeaderReader {
    /// The beginning: all of version 1; of version 2 what stands before the TLVs.
    kept: [u8; V1_MOST],
    /// What has come, kept or not.
    len: usize,
}

/// What a piece has brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeaderStep {
    /// How much of it is the header's.
    pub consumed: usize,
    /// There when the header is complete.
    pub origin: Option<Origin>,
}

/// "PROXY UNKNOWN" with two IPv6 addresses and two ports in full, and CRLF: the specification's own
/// bound.
const V1_MOST: usize = 107;

const V1_START: &[u8] = b"PROXY ";

/// The twelve bytes that no text protocol begins with.
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What stands before the addresses: the start, version and command, family, length.
const V2_FIXED: usize = 16;

/// What may stand behind that: 36 bytes of addresses, and TLVs. The largest that balancers send is a
/// client's certificate, which takes 1 to 2 KB; the rest of them together some hundred bytes.
const V2_MOST: usize = 4096;

/// Looked at in one go. A header without a certificate is one such piece.
const PIECE: usize = 256;

/// Reads the header of a connection, and leaves all that follows it in the socket.
///
/// # Errors
/// What came instead.
pub async fn read_header(stream: &mut TcpStream) -> Result<Origin, HeaderError> {
    let mut reader = HeaderReader::default();
    let mut piece = [0; PIECE];
    loop {
        let gone = match reader.len {
            0 => HeaderError::Gone,
            _ => HeaderError::Cut,
        };
        // Looked at first and taken then, because what follows belongs to TLS.
        let len = match stream.peek(&mut piece).await {
            Ok(0) | Err(_) => return Err(gone),
            Ok(len) => len,
        };
        let step = reader.advance(&piece[..len])?;
        let taken = stream.read_exact(&mut piece[..step.consumed]).await;
        taken.map_err(|_: io::Error| gone)?;
        if let Some(origin) = step.origin {
            return Ok(origin);
        }
    }
}

/// Whether anything comes behind a header, rather than the connection's end.
pub async fn speaks(stream: &TcpStream) -> bool {
    matches!(stream.peek(&mut [0]).await, Ok(1))
}

// === impl HeaderReader ===

impl Default for HeaderReader {
    fn default() -> Self {
        Self {
            kept: [0; V1_MOST],
            len: 0,
        }
    }
}

impl HeaderReader {
    /// Takes the next piece up to the header's end.
    ///
    /// # Errors
    /// It is none, or says nothing that could be used. As soon as that can be known.
    pub fn advance(&mut self, input: &[u8]) -> Result<HeaderStep, HeaderError> {
        for (index, byte) in input.iter().enumerate() {
            if let Some(place) = self.kept.get_mut(self.len) {
                *place = *byte;
            }
            self.len += 1;
            let origin = match self.kept[0] {
                b'P' => self.line()?,
                b'\r' => self.binary()?,
                _ => return Err(HeaderError::Missing),
            };
            if origin.is_some() {
                let consumed = index + 1;
                return Ok(HeaderStep { consumed, origin });
            }
        }
        Ok(HeaderStep {
            consumed: input.len(),
            origin: None,
        })
    }

    /// Version 1, with one more byte.
    fn line(&self) -> Result<Option<Origin>, HeaderError> {
        let line = &self.kept[..self.len.min(V1_MOST)];
        if line.len() <= V1_START.len() {
            return match V1_START.starts_with(line) {
                true => Ok(None),
                false => Err(HeaderError::Missing),
            };
        }
        match line {
            [line @ .., b'\r', b'\n'] => parse_line(&line[V1_START.len()..]).map(Some),
            [.., b'\n'] | [.., b'\r', _] => {
                Err(HeaderError::Malformed("its line ends without CRLF"))
            }
            _ if line.len() == V1_MOST => Err(HeaderError::TooLong(V1_MOST)),
            _ => Ok(None),
        }
    }

    /// Version 2, with one more byte.
    fn binary(&self) -> Result<Option<Origin>, HeaderError> {
        let head = &self.kept[..self.len.min(V1_MOST)];
        if head.len() <= V2_START.len() {
            return match V2_START.starts_with(head) {
                true => Ok(None),
                false => Err(HeaderError::Missing),
            };
        }
        let is_local = match head[12] {
            0x20 => true,
            0x21 => false,
            byte if byte >> 4 != 2 => return Err(HeaderError::Malformed("its version is not 2")),
            _ => return Err(HeaderError::Malformed("its command is unknown")),
        };
        let Some(family) = head.get(13) else {
            return Ok(None);
        };
        // Of LOCAL all that follows means nothing, and is only skipped.
        let needed = match family {
            _ if is_local => 0,
            0x11 => 12,
            0x21 => 36,
            // "The receiver is free to accept the connection anyway and use the real endpoint
            // addresses or to reject it": the sender's address would stand for somebody else's here.
            0x00 | 0x10 | 0x20 | 0x30 | 0x01 | 0x02 => {
                return Err(HeaderError::NoAddress(
                    "the family or protocol is unspecified",
                ));
            }
            0x31 | 0x32 => return Err(HeaderError::NoAddress("it is a unix socket's")),
            0x12 | 0x22 => return Err(HeaderError::NoAddress("it is UDP's")),
            _ => return Err(HeaderError::Malformed("its family or protocol is unknown")),
        };
        let Some(&[high, low]) = head.get(14..V2_FIXED) else {
            return Ok(None);
        };
        let rest = usize::from(u16::from_be_bytes([high, low]));
        if rest > V2_MOST {
            return Err(HeaderError::TooLong(V2_FIXED + V2_MOST));
        }
        if rest < needed {
            return Err(HeaderError::Malformed("its addresses don't fit its length"));
        }
        if self.len < V2_FIXED + rest {
            return Ok(None);
        }
        let mut fields = Fields(&head[V2_FIXED..]);
        let (ip, port) = match family {
            _ if is_local => return Ok(Some(Origin::Sender)),
            0x11 => {
                let ip = IpAddr::from(fields.take::<4>()?);
                fields.take::<4>()?;
                (ip, fields.take::<2>()?)
            }
            _ => {
                let ip = IpAddr::from(fields.take::<16>()?);
                fields.take::<16>()?;
                (ip, fields.take::<2>()?)
            }
        };
        let port = u16::from_be_bytes(port);
        Ok(Some(Origin::Client(SocketAddr::new(ip, port))))
    }
}

/// The addresses of version 2, one field after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let short = HeaderError::Malformed("its addresses don't fit its length");
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(short)?;
        self.0 = rest;
        Ok(*field)
    }
}

/// What stands between "PROXY " and CRLF.
fn parse_line(line: &[u8]) -> Result<Origin, HeaderError> {
    // "The receiver must ignore anything presented before the CRLF is found."
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(Origin::Sender);
    }
    let text = std::str::from_utf8(line).map_err(|_| HeaderError::Malformed("it is no text"))?;
    let fields: [&str; 5] = {
        let mut fields = text.split(' ');
        let all = std::array::from_fn(|_| fields.next().unwrap_or_default());
        if fields.next().is_some() {
            return Err(HeaderError::Malformed("it has more than five fields"));
        }
        all
    };
    let [protocol, source, destination, source_port, destination_port] = fields;
    let source = match protocol {
        "TCP4" => both::<Ipv4Addr>(source, destination)?.into(),
        "TCP6" => both::<Ipv6Addr>(source, destination)?.into(),
        _ => {
            return Err(HeaderError::Malformed(
                "its protocol is not TCP4, TCP6 or UNKNOWN",
            ));
        }
    };
    let port = parse_port(source_port)?;
    parse_port(destination_port)?;
    Ok(Origin::Client(SocketAddr::new(source, port)))
}

/// The first of two addresses, which both must be good.
fn both<T: FromStr>(source: &str, destination: &str) -> Result<T, HeaderError> {
    let bad = |_| HeaderError::Malformed("an address is not one of its protocol");
    destination.parse::<T>().map_err(bad)?;
    source.parse().map_err(bad)
}

/// Digits without a sign or leading zeros: `u16::from_str` alone takes "+80" and "080".
fn parse_port(text: &str) -> Result<u16, HeaderError> {
    let bad = HeaderError::Malformed("a port is no number from 0 to 65535");
    let canonical =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| canonical).ok_or(bad)
}

#[cfg(test)]
mod tests;
