//! The request scanner: one pass, in place, resumable at any byte.

use super::args::{Args, Span};
use super::error::ProtocolError;
use super::header::{Header, read_header};
use super::limits::{Limits, MAX_INLINE};
use super::tail::Tail;

/// Scans one request at a time out of a buffer that may end anywhere in it.
///
/// Every call gets the buffer from the request's first byte on; what was looked at before is not
/// looked at again. After [`Scan::Request`], [`Scan::Inline`] or [`Scan::Empty`] the caller takes
/// [`RequestScanner::consumed`] bytes off and calls [`RequestScanner::reset`].
#[derive(Debug)]
pub struct RequestScanner {
    limits: Limits,
    /// First byte not looked at yet.
    cursor: usize,
    /// Arguments that the header declared; 0 before it is here.
    declared: u32,
    /// Length of the argument that starts at `cursor`, once its header was read.
    payload: Option<u64>,
    /// The arguments that are here whole. Keeps its capacity from request to request.
    spans: Vec<Span>,
}

/// What the buffer starts with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scan {
    /// A whole canonical request.
    Request,
    /// A whole inline line; it must be split and re-encoded, never forwarded.
    Inline,
    /// `*0`, `*-1`, or a blank line: Redis skips these without a reply.
    Empty,
    /// The start of a request.
    Incomplete,
}

/// A span list longer than this is given back after its request: 256 arguments, 2 KB, which is what
/// each of many sessions that wait may hold. A larger request pays for two allocations, which is
/// little beside its reading.
const KEPT_SPANS: usize = 256;

// === impl RequestScanner ===

impl RequestScanner {
    /// A scanner at the start of a request.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            cursor: 0,
            declared: 0,
            payload: None,
            spans: Vec::new(),
        }
    }

    /// From the next request on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Reads on, as far as `bytes` goes.
    ///
    /// # Errors
    /// The bytes can't become a request. The connection must be closed: where the next one starts
    /// is unknown.
    #[inline]
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Scan, ProtocolError> {
        if self.declared == 0 {
            match bytes.first() {
                Some(b'*') => {}
                Some(_) => return self.scan_inline(bytes),
                None => return Ok(Scan::Incomplete),
            }
            let count = match read_header(&bytes[1..]) {
                Header::Number(0, used) | Header::Negative(used) => {
                    self.cursor = 1 + used;
                    return Ok(Scan::Empty);
                }
                Header::Number(count, used) => {
                    self.cursor = 1 + used;
                    count
                }
                Header::Incomplete => return Ok(Scan::Incomplete),
                Header::TooLong => return Err(ProtocolError::MultibulkHeader),
                Header::Malformed => return Err(ProtocolError::MultibulkLength),
                Header::BareCr => return Err(ProtocolError::ExpectedCrlf),
            };
            self.declared = check_count(count, self.limits)?;
        }
        self.scan_arguments(bytes)
    }

    #[inline]
    fn scan_arguments(&mut self, bytes: &[u8]) -> Result<Scan, ProtocolError> {
        let mut cursor = self.cursor;
        let mut payload = self.payload;
        let scan = loop {
            if self.spans.len() == self.declared as usize {
                break Scan::Request;
            }
            let length = match payload {
                Some(length) => length,
                None => {
                    let rest = bytes.get(cursor..).unwrap_or_default();
                    let Some((length, used)) = read_bulk_header(rest, self.limits)? else {
                        break Scan::Incomplete;
                    };
                    cursor += used;
                    length
                }
            };
            payload = Some(length);
            let here = bytes.len().saturating_sub(cursor) as u64;
            if here < length + 2 {
                // The byte after the payload may be here without the one after it.
                if here == length + 1 && bytes.last() != Some(&b'\r') {
                    return Err(ProtocolError::ExpectedCrlf);
                }
                break Scan::Incomplete;
            }
            // `length` is below `here`, the size of a buffer in memory.
            let end = cursor + length as usize;
            if bytes.get(end..end + 2) != Some(b"\r\n") {
                return Err(ProtocolError::ExpectedCrlf);
            }
            self.spans.push(Span {
                start: cursor as u32,
                len: length as u32,
            });
            cursor = end + 2;
            payload = None;
        };
        self.cursor = cursor;
        self.payload = payload;
        Ok(scan)
    }

    #[cold]
    fn scan_inline(&mut self, bytes: &[u8]) -> Result<Scan, ProtocolError> {
        // A ClientHello's record header. Telling it so early keeps its random bytes out of the
        // inline parser.
        if bytes[0] == 0x16 {
            return Err(ProtocolError::TlsHandshake);
        }
        let window = &bytes[..bytes.len().min(MAX_INLINE)];
        let unseen = window.get(self.cursor..).unwrap_or_default();
        let Some(offset) = unseen.iter().position(|&byte| byte == b'\n') else {
            self.cursor = window.len();
            return if window.len() < MAX_INLINE {
                Ok(Scan::Incomplete)
            } else {
                Err(ProtocolError::InlineTooBig)
            };
        };
        self.cursor += offset + 1;
        if window[..self.cursor].contains(&0) {
            // Its first two lines are empty, and so no requests.
            return Err(match &window[..self.cursor] {
                b"\0\r\n" => ProtocolError::ProxyHeader,
                _ => ProtocolError::InlineNul,
            });
        }
        Ok(Scan::Inline)
    }

    /// Bytes from the request's start that were looked at: after a whole request, its length.
    pub fn consumed(&self) -> usize {
        self.cursor
    }

    /// Bytes that the request has at least, by what is known of it.
    pub fn least(&self) -> usize {
        let payload = self.payload.map_or(0, |length| length as usize + 2);
        self.cursor + payload
    }

    /// Arguments that the header declared; 0 before it is here.
    pub fn declared(&self) -> usize {
        self.declared as usize
    }

    /// Where the first argument ends, its CRLF included; 0 if it isn't here.
    pub fn name_end(&self) -> usize {
        self.arg_end(0)
    }

    /// Where an argument ends, its CRLF included; 0 if it isn't here.
    pub fn arg_end(&self, index: usize) -> usize {
        self.spans
            .get(index)
            .map_or(0, |arg| arg.start as usize + arg.len as usize + 2)
    }

    /// The arguments that are here whole; `bytes` as given to [`RequestScanner::scan`].
    #[inline]
    pub fn args<'a>(&'a self, bytes: &'a [u8]) -> Args<'a> {
        Args::new(bytes, &self.spans, self.declared as usize)
    }

    /// Gives the rest of the current request over to be streamed: the bytes before
    /// [`RequestScanner::consumed`] are its head, all that follow go through the [`Tail`].
    ///
    /// The scanner is at the start of a request again.
    pub fn take_tail(&mut self) -> Tail {
        let left = self.declared - self.spans.len() as u32;
        let tail = Tail::new(left, self.payload, self.limits);
        self.reset();
        tail
    }

    /// Back to the start of a request.
    #[inline]
    pub fn reset(&mut self) {
        self.cursor = 0;
        self.declared = 0;
        self.payload = None;
        self.spans.clear();
        if self.spans.capacity() > KEPT_SPANS {
            self.spans.shrink_to(KEPT_SPANS);
        }
    }
}

fn check_count(count: u64, limits: Limits) -> Result<u32, ProtocolError> {
    match u32::try_from(count) {
        Ok(small) if small <= limits.max_args => Ok(small),
        _ if limits.unauthenticated => Err(ProtocolError::UnauthenticatedMultibulk),
        _ => Err(ProtocolError::MultibulkLength),
    }
}

/// The `$<length>` line that `bytes` starts with, and the bytes it took; `None` if it isn't whole.
#[inline]
pub(super) fn read_bulk_header(
    bytes: &[u8],
    limits: Limits,
) -> Result<Option<(u64, usize)>, ProtocolError> {
    match bytes.first() {
        Some(b'$') => {}
        Some(&other) => return Err(ProtocolError::ExpectedBulk(other)),
        None => return Ok(None),
    }
    match read_header(&bytes[1..]) {
        Header::Number(length, used) if length <= limits.max_bulk => Ok(Some((length, 1 + used))),
        Header::Number(..) if limits.unauthenticated => Err(ProtocolError::UnauthenticatedBulk),
        Header::Number(..) | Header::Negative(_) | Header::Malformed => {
            Err(ProtocolError::BulkLength)
        }
        Header::Incomplete => Ok(None),
        Header::TooLong => Err(ProtocolError::BulkHeader),
        Header::BareCr => Err(ProtocolError::ExpectedCrlf),
    }
}
