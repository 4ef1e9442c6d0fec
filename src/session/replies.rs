//! From the upstream to the client: each reply into its slot.

use crate::resp::{ReplyError, ReplyKind};

use super::pipe::Pipe;
use super::slots::{Slot, Transaction};
use super::state::{Phase, RESET, Session};

/// The count of replies is off, or they can't be read: whose reply the next one is, nobody knows.
/// Both sides must be closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Desync {
    /// A reply that nobody is owed.
    #[error("a reply that nobody is owed")]
    Unowed,
    /// Out-of-band data on a connection that never asked for any.
    #[error("a push on a RESP2 connection")]
    Push,
    /// Something else than the error that ECHO without arguments gives in every version.
    #[error("no error where only an error can be")]
    Poison,
    /// The upstream doesn't speak RESP.
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

/// What of a reply's first line is enough to tell what it means for a transaction or the database.
const ENOUGH: usize = 48;

// === impl Session ===

impl Session {
    /// Passes on what has come of the upstream, and what is due of our own.
    ///
    /// # Errors
    /// [`Desync`]: both sides must be closed.
    pub fn answer(&mut self, down: &mut Pipe) -> Result<(), Desync> {
        loop {
            while let Some(Slot::Local { .. }) = self.slots.front() {
                self.slots.pop(down.staging());
            }
            if down.unscanned().is_empty() {
                break;
            }
            let slot = match self.slots.front() {
                Some(slot) => slot,
                // A server that is full, or in protected mode, says so unasked and hangs up.
                None if self.fresh && self.is_refusal(down.unscanned()) => Slot::Upstream(1),
                None => return Err(Desync::Unowed),
            };
            if self.replies.at_start() {
                match slot {
                    Slot::Transaction(transaction) => {
                        let Some(line) = first_line(down.unscanned()) else {
                            break;
                        };
                        self.in_multi = is_open_after(transaction, line, self.in_multi);
                        self.place.transacted(transaction, line);
                    }
                    Slot::Select(target) => {
                        let Some(line) = first_line(down.unscanned()) else {
                            break;
                        };
                        self.place.selected(target, line);
                    }
                    Slot::Script(_) => {
                        let Some(line) = first_line(down.unscanned()) else {
                            break;
                        };
                        if line.starts_with(b"-NOSCRIPT") {
                            self.loaded.forget();
                        }
                    }
                    Slot::Poison { .. } if down.unscanned().first() != Some(&b'-') => {
                        return Err(Desync::Poison);
                    }
                    _ => {}
                }
            }
            let step = self.replies.advance(down.unscanned())?;
            if matches!(slot, Slot::Poison { .. } | Slot::Swallow | Slot::Load(_)) {
                down.skip(step.consumed);
            } else {
                down.forward(step.consumed);
            }
            match step.done {
                Some(ReplyKind::Answer) => {
                    self.fresh = false;
                    self.slots.pop(down.staging());
                }
                Some(ReplyKind::Push) => return Err(Desync::Push),
                None => break,
            }
        }
        if self.phase == Phase::Resetting && self.slots.is_empty() {
            self.phase = Phase::Detached;
            self.in_multi = false;
            down.inject(RESET);
        }
        Ok(())
    }

    /// Whether an error begins here, or goes on.
    fn is_refusal(&self, bytes: &[u8]) -> bool {
        !self.replies.at_start() || bytes.first() == Some(&b'-')
    }
}

/// The first line of a reply, or enough of it; `None` if that isn't here.
fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.iter().take(ENOUGH).position(|&byte| byte == b'\r') {
        Some(end) => Some(&bytes[..end]),
        None => bytes.get(..ENOUGH),
    }
}

/// Whether a transaction is open after this reply. In doubt it is: then a refusal goes by way of
/// the upstream, which is right in both cases.
fn is_open_after(transaction: Transaction, line: &[u8], open: bool) -> bool {
    match transaction {
        Transaction::Multi => open || line == b"+OK",
        Transaction::Discard => {
            open && line != b"+OK" && !line.starts_with(b"-ERR DISCARD without MULTI")
        }
        // An EXEC that is refused ends the transaction since 6.0 (EXECABORT) and doesn't before:
        // there it answers a plain arity error and goes on. Up to 6.2 a replica ends a transaction
        // that writes with its own text.
        Transaction::Exec => {
            let ends = line.starts_with(b"*")
                || line.starts_with(b"_")
                || line.starts_with(b"-EXECABORT")
                || line.starts_with(b"-ERR EXEC without MULTI")
                || line.starts_with(b"-ERR Transaction contains write");
            open && !ends
        }
    }
}
