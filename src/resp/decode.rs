//! Replies as values, for everything off the hot path: the control connection, tests.
//!
//! `redis-protocol` does the work. It recurses, and 80 KB of nested arrays overflow its stack (seen
//! with 6.0.0), so the depth is measured first, without recursion.

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::decode::decode_bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::reply::ReplyScanner;

/// One RESP2 reply.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// `+`
    Status(Bytes),
    /// `-`
    Error(String),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(Bytes),
    /// `*`
    Array(Vec<Reply>),
    /// `$-1` or `*-1`
    Null,
}

/// Why bytes aren't a reply.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Nested beyond 32 levels.
    #[error("reply nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Not RESP2.
    #[error("not RESP2: {0}")]
    Malformed(String),
}

/// COMMAND of 8.x, the deepest reply that we read, nests 7 deep.
const MAX_DEPTH: usize = 32;

/// Decodes the reply that `bytes` starts with, and says how many bytes it took; `None` if it isn't
/// here whole.
///
/// # Errors
/// The bytes are no RESP2 reply, or one nested too deep.
pub fn decode_reply(bytes: &Bytes) -> Result<Option<(Reply, usize)>, DecodeError> {
    let Some(len) = whole_length(bytes)? else {
        return Ok(None);
    };
    check_depth(&bytes[..len])?;
    match decode_bytes(&bytes.slice(..len)) {
        Ok(Some((frame, used))) => Ok(Some((frame.into(), used))),
        Ok(None) => Ok(None),
        Err(error) => Err(DecodeError::Malformed(error.to_string())),
    }
}

/// Takes the first reply out of a buffer that grows as bytes come; `None` if it isn't here whole.
///
/// # Errors
/// As [`decode_reply`].
pub fn take_reply(buffer: &mut BytesMut) -> Result<Option<Reply>, DecodeError> {
    let Some(len) = whole_length(buffer)? else {
        return Ok(None);
    };
    let reply = decode_reply(&buffer.split_to(len).freeze())?;
    Ok(reply.map(|(reply, _)| reply))
}

/// How long the reply is that `bytes` starts with; `None` if it isn't here whole.
fn whole_length(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let step = ReplyScanner::default()
        .advance(bytes)
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    Ok(step.done.map(|_| step.consumed))
}

/// Walks a whole RESP2 reply with a stack of counts that is itself bounded.
fn check_depth(bytes: &[u8]) -> Result<(), DecodeError> {
    let malformed = || DecodeError::Malformed("bad length".to_owned());
    let mut open: Vec<u64> = Vec::new();
    let mut rest = bytes;
    while let Some(&kind) = rest.first() {
        let end = rest
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .ok_or_else(malformed)?;
        let number = std::str::from_utf8(&rest[1..end])
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        rest = &rest[end + 2..];
        match (kind, number) {
            (b'$', Some(length)) if length >= 0 => {
                rest = rest.get(length as usize + 2..).ok_or_else(malformed)?;
            }
            (b'*', Some(count)) if count > 0 => {
                if open.len() == MAX_DEPTH {
                    return Err(DecodeError::TooDeep);
                }
                open.push(count as u64);
                continue;
            }
            (b'$' | b'*', None) => return Err(malformed()),
            _ => {}
        }
        while let Some(left) = open.last_mut() {
            *left -= 1;
            if *left > 0 {
                break;
            }
            open.pop();
        }
    }
    Ok(())
}

// === impl Reply ===

impl Reply {
    /// The bytes of a bulk string or a status.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Status(bytes) | Self::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The items of an array.
    pub fn as_array(&self) -> Option<&[Reply]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }
}

impl From<BytesFrame> for Reply {
    fn from(frame: BytesFrame) -> Self {
        match frame {
            BytesFrame::SimpleString(text) => Self::Status(text),
            BytesFrame::Error(text) => Self::Error(text.to_string()),
            BytesFrame::Integer(value) => Self::Integer(value),
            BytesFrame::BulkString(value) => Self::Bulk(value),
            BytesFrame::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            BytesFrame::Null => Self::Null,
        }
    }
}
