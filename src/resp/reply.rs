//! The reply scanner: where a reply ends, in one pass, resumable at any byte.
//!
//! RESP2 and RESP3. Nesting costs a counter, not a stack: for finding the end of a reply it is
//! enough to know how many values are still to come, so no depth can hurt.

use super::error::ReplyError;

/// Finds the end of one reply after the other in a stream that may be cut anywhere.
#[derive(Clone, Debug, Default)]
pub struct ReplyScanner {
    /// Values to come in the current reply; 0 between two replies.
    values: u64,
    stage: Stage,
    kind: ReplyKind,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stage {
    /// At a type byte.
    #[default]
    Type,
    /// In a line whose content doesn't matter.
    Line,
    /// Bytes of a bulk payload to come, above 0.
    Payload(u64),
    /// The CRLF behind a payload.
    End,
}

/// What a reply is to the one who waits for it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ReplyKind {
    /// The answer to a request.
    #[default]
    Answer,
    /// RESP3's out-of-band data, which answers nothing.
    Push,
}

/// How far the scanner came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReplyStep {
    /// Bytes that belong to the current reply.
    pub consumed: usize,
    /// The reply's kind, if it ends there.
    pub done: Option<ReplyKind>,
}

/// The longest header line of an aggregate or a bulk: type, sign, 20 digits, CRLF.
const MAX_HEADER: usize = 24;

// === impl ReplyScanner ===

impl ReplyScanner {
    /// Whether the next byte starts a reply.
    pub fn at_start(&self) -> bool {
        self.values == 0
    }

    /// Reads on to the end of the current reply, or of the bytes. Bytes that aren't consumed must
    /// be given again with more.
    ///
    /// # Errors
    /// The upstream doesn't speak RESP; the connection is of no more use.
    #[inline]
    pub fn advance(&mut self, bytes: &[u8]) -> Result<ReplyStep, ReplyError> {
        let mut consumed = 0;
        loop {
            let rest = &bytes[consumed..];
            match self.stage {
                Stage::Type => match self.read_type(rest)? {
                    Some(used) => consumed += used,
                    None => break,
                },
                Stage::Line => match rest.iter().position(|&byte| byte == b'\r') {
                    Some(end) => match rest.get(end + 1) {
                        Some(b'\n') => {
                            consumed += end + 2;
                            self.end_value();
                        }
                        Some(_) => return Err(ReplyError::ExpectedCrlf),
                        None => {
                            consumed += end;
                            break;
                        }
                    },
                    None => {
                        consumed += rest.len();
                        break;
                    }
                },
                Stage::Payload(left) => {
                    let taken = left.min(rest.len() as u64);
                    if taken == 0 {
                        break;
                    }
                    consumed += taken as usize;
                    self.stage = if taken == left {
                        Stage::End
                    } else {
                        Stage::Payload(left - taken)
                    };
                }
                Stage::End => match rest {
                    [b'\r', b'\n', ..] => {
                        consumed += 2;
                        self.end_value();
                    }
                    [] | [b'\r'] => break,
                    _ => return Err(ReplyError::ExpectedCrlf),
                },
            }
            if self.values == 0 {
                return Ok(ReplyStep {
                    consumed,
                    done: Some(self.kind),
                });
            }
        }
        Ok(ReplyStep {
            consumed,
            done: None,
        })
    }

    /// Reads a value's header; `None` if it isn't here whole.
    #[inline]
    fn read_type(&mut self, bytes: &[u8]) -> Result<Option<usize>, ReplyError> {
        let Some(&kind) = bytes.first() else {
            return Ok(None);
        };
        let opening = self.values == 0;
        match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
                if opening {
                    self.open(ReplyKind::Answer);
                }
                // As for a payload: most are here to their end.
                if let Some(end) = bytes.iter().position(|&byte| byte == b'\r')
                    && bytes.get(end + 1) == Some(&b'\n')
                {
                    self.end_value();
                    return Ok(Some(end + 2));
                }
                self.stage = Stage::Line;
                Ok(Some(1))
            }
            b'$' | b'!' | b'=' => {
                let Some((length, used)) = read_length(bytes)? else {
                    return Ok(None);
                };
                if opening {
                    self.open(ReplyKind::Answer);
                }
                match length {
                    None => self.end_value(),
                    Some(0) => self.stage = Stage::End,
                    Some(length) => {
                        // Most are here with all that belongs to them.
                        let here = (bytes.len() - used) as u64;
                        if length < here {
                            let end = used + length as usize;
                            if let Some(b"\r\n") = bytes.get(end..end + 2) {
                                self.end_value();
                                return Ok(Some(end + 2));
                            }
                        }
                        self.stage = Stage::Payload(length);
                    }
                }
                Ok(Some(used))
            }
            b'*' | b'~' | b'%' | b'>' | b'|' => {
                let Some((count, used)) = read_length(bytes)? else {
                    return Ok(None);
                };
                if opening {
                    self.open(if kind == b'>' {
                        ReplyKind::Push
                    } else {
                        ReplyKind::Answer
                    });
                }
                let count = count.unwrap_or(0);
                let pairs = matches!(kind, b'%' | b'|');
                let count = if pairs {
                    count.checked_mul(2)
                } else {
                    Some(count)
                };
                // An attribute precedes a value and isn't one: it takes no place of its own. Nor does a
                // push in the midst of an EXEC's array, where up to 7.2 Redis sends the messages and
                // invalidations that the transaction itself brings about.
                let own = u64::from(kind != b'|' && (opening || kind != b'>'));
                self.values = count
                    .and_then(|count| self.values.checked_add(count))
                    .ok_or(ReplyError::Length)?
                    - own;
                Ok(Some(used))
            }
            other => Err(ReplyError::Type(other)),
        }
    }

    fn open(&mut self, kind: ReplyKind) {
        self.values = 1;
        self.kind = kind;
    }

    #[inline]
    fn end_value(&mut self) {
        self.values -= 1;
        self.stage = Stage::Type;
    }
}

/// The number in a header line that starts with a type byte, `None` for RESP2's null (`-1`), and
/// the bytes it took.
#[inline(always)]
fn read_length(bytes: &[u8]) -> Result<Option<(Option<u64>, usize)>, ReplyError> {
    // As most are.
    match *bytes {
        [_, one @ b'0'..=b'9', b'\r', b'\n', ..] => Ok(Some((Some(u64::from(one - b'0')), 4))),
        [_, ten @ b'0'..=b'9', one @ b'0'..=b'9', b'\r', b'\n', ..] => {
            let length = u64::from(ten - b'0') * 10 + u64::from(one - b'0');
            Ok(Some((Some(length), 5)))
        }
        _ => read_any_length(bytes),
    }
}

/// The same for a number of any length.
fn read_any_length(bytes: &[u8]) -> Result<Option<(Option<u64>, usize)>, ReplyError> {
    let mut value = 0_u64;
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value
                .checked_mul(10)
                .and_then(|value| value.checked_add(u64::from(digit)))
                .ok_or(ReplyError::Length)?;
            at += 1;
            continue;
        }
        return match (byte, bytes.get(at + 1)) {
            (b'\r', Some(b'\n')) if at > 1 => Ok(Some((Some(value), at + 2))),
            (b'\r', None) => Ok(None),
            (b'-', _) if at == 1 => match bytes.get(2..5) {
                Some(b"1\r\n") => Ok(Some((None, 5))),
                Some(_) => Err(ReplyError::Length),
                None => Ok(None),
            },
            _ => Err(ReplyError::Length),
        };
    }
    if at > MAX_HEADER {
        return Err(ReplyError::Length);
    }
    Ok(None)
}
