//! A walk over a request's arguments, and the rows of keys that specs describe.

use std::ops::ControlFlow;

use super::{Access, Begin, Channels, Find, KeySpec, Touch};
use crate::command::flags::Flag;
use crate::command::table::Command;
use crate::resp::Args;

/// Why a walk ends early.
pub(super) enum Stop {
    /// The visitor has seen enough.
    Told,
    Unparsable(usize),
    Incomplete,
}

/// A walk over one request's arguments.
pub(super) struct Walk<'w, 'a, V> {
    pub(super) args: &'w Args<'a>,
    visit: &'w mut V,
}

// === impl Walk ===

impl<'w, 'a, V: FnMut(Touch<'a>) -> ControlFlow<()>> Walk<'w, 'a, V> {
    pub(super) fn new(args: &'w Args<'a>, visit: &'w mut V) -> Self {
        Self { args, visit }
    }

    /// The keys of one key spec.
    pub(super) fn spec(&mut self, spec: &KeySpec, command: &Command) -> Result<(), Stop> {
        let Begin::Index(begin) = spec.begin else {
            return Err(Stop::Unparsable(0));
        };
        let (begin, len) = (usize::from(begin), self.args.len());
        match spec.find {
            // One key, as most commands have.
            Find::Range { last: 0, .. } => self.key(begin, spec.access),
            Find::Range { last, step, limit } => {
                let counted = usize::from(last.unsigned_abs());
                let end = match (last, limit) {
                    (0.., _) => begin + counted + 1,
                    (_, 0 | 1) => (len + 1).saturating_sub(counted),
                    _ => (begin + len.saturating_sub(begin) / usize::from(limit) + 1)
                        .saturating_sub(counted),
                };
                self.keys(begin, end.min(len), usize::from(step), spec.access)
            }
            Find::Keynum { count, first, step } => {
                let at = begin + usize::from(count);
                if at >= len {
                    return Ok(());
                }
                let (first, step) = (begin + usize::from(first), usize::from(step));
                match canonical(self.arg(at)?) {
                    // EVAL and FCALL take no keys if that is what the count says.
                    Some(0) if command.flags.contains(Flag::NoMandatoryKeys) => Ok(()),
                    Some(0) | None => Err(Stop::Unparsable(at)),
                    Some(count) => match first.saturating_add((count - 1).saturating_mul(step)) {
                        last if last < len => self.keys(first, last + 1, step, spec.access),
                        _ => Err(Stop::Unparsable(at)),
                    },
                }
            }
            Find::Unknown => Err(Stop::Unparsable(0)),
        }
    }

    /// The channels, which stand behind the name.
    pub(super) fn channels(&mut self, channels: Channels) -> Result<(), Stop> {
        let (end, pattern) = match channels {
            Channels::None => return Ok(()),
            Channels::Unknown => return Err(Stop::Unparsable(0)),
            Channels::First => (2, false),
            Channels::All => (usize::MAX, false),
            Channels::Patterns => (usize::MAX, true),
        };
        for index in 1..end.min(self.args.len()) {
            let name = self.arg(index)?;
            self.touch(Touch::Channel {
                index,
                name,
                pattern,
            })?;
        }
        Ok(())
    }

    pub(super) fn keys(
        &mut self,
        from: usize,
        to: usize,
        step: usize,
        access: Access,
    ) -> Result<(), Stop> {
        for index in (from..to).step_by(step.max(1)) {
            self.key(index, access)?;
        }
        Ok(())
    }

    /// A key that the request lacks is Redis' to complain about.
    pub(super) fn key(&mut self, index: usize, access: Access) -> Result<(), Stop> {
        self.key_for(index, access, true)
    }

    pub(super) fn key_for(
        &mut self,
        index: usize,
        access: Access,
        certain: bool,
    ) -> Result<(), Stop> {
        if index >= self.args.len() {
            return Ok(());
        }
        let name = self.arg(index)?;
        self.touch(Touch::Key {
            index,
            name,
            access,
            certain,
        })
    }

    pub(super) fn touch(&mut self, touch: Touch<'a>) -> Result<(), Stop> {
        match (self.visit)(touch) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::Told),
        }
    }

    /// An argument that the request has, if it is here.
    pub(super) fn arg(&self, index: usize) -> Result<&'a [u8], Stop> {
        self.args.get(index).ok_or(Stop::Incomplete)
    }
}

/// A count as Redis 3.2 and later read it. Older versions take `+2`, `02` and `2\0x` too, and the
/// key search of all versions up to 8.2 reads them with `atoi`: what they mean depends on whom one
/// asks, so they mean nothing.
fn canonical(digits: &[u8]) -> Option<usize> {
    match digits {
        [b'0'] => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.len() < 9 && rest.iter().all(u8::is_ascii_digit) => {
            let number = |sum, digit: &u8| sum * 10 + usize::from(digit - b'0');
            Some(digits.iter().fold(0, number))
        }
        _ => None,
    }
}
