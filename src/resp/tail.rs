//! The rest of a request whose verdict is known: checked as it streams by, never held.

use super::error::ProtocolError;
use super::limits::Limits;
use super::request::read_bulk_header;

/// What is still to come of one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tail {
    /// Arguments not finished, the current one included.
    arguments: u32,
    stage: Stage,
    limits: Limits,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Header,
    /// Payload bytes to come, above 0.
    Payload(u64),
    /// The CRLF behind a payload.
    End,
}

/// How far a [`Tail`] came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TailStep {
    /// Bytes that were checked and belong to the request.
    pub consumed: usize,
    /// Whether the request ends there.
    pub done: bool,
}

// === impl Tail ===

impl Tail {
    /// `arguments` to come, the first of which has `payload` bytes if its header was read already.
    pub(super) fn new(arguments: u32, payload: Option<u64>, limits: Limits) -> Self {
        Self {
            arguments,
            stage: payload.map_or(Stage::Header, Stage::payload),
            limits,
        }
    }

    /// Checks the bytes that follow; those that aren't consumed must be given again with more.
    ///
    /// # Errors
    /// The request breaks off here. What was forwarded of it can only be undone by destroying the
    /// upstream connection.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<TailStep, ProtocolError> {
        let mut consumed = 0;
        while self.arguments > 0 {
            let rest = &bytes[consumed..];
            match self.stage {
                Stage::Header => {
                    let Some((length, used)) = read_bulk_header(rest, self.limits)? else {
                        break;
                    };
                    consumed += used;
                    self.stage = Stage::payload(length);
                }
                Stage::Payload(left) => {
                    if rest.is_empty() {
                        break;
                    }
                    let taken = left.min(rest.len() as u64);
                    consumed += taken as usize;
                    self.stage = Stage::payload(left - taken);
                }
                Stage::End => match rest {
                    [b'\r', b'\n', ..] => {
                        consumed += 2;
                        self.arguments -= 1;
                        self.stage = Stage::Header;
                    }
                    [] | [b'\r'] => break,
                    _ => return Err(ProtocolError::ExpectedCrlf),
                },
            }
        }
        Ok(TailStep {
            consumed,
            done: self.arguments == 0,
        })
    }
}

// === impl Stage ===

impl Stage {
    fn payload(length: u64) -> Self {
        if length == 0 {
            Self::End
        } else {
            Self::Payload(length)
        }
    }
}
