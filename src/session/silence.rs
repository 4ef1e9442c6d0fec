//! CLIENT REPLY: the upstream answers all the same, and what the client doesn't want to read is
//! dropped here. So every request has its reply, and nothing has to be known of the oddities of the
//! versions: in what QUIT does behind OFF, in what a SKIP swallows.

use bytes::BytesMut;

use crate::resp::Args;

use super::outcome::Refusal;
use super::slots::{Slot, Slots};

/// Which replies the client wants.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Silence {
    #[default]
    No,
    /// The reply to the next request is not wanted.
    Next,
    /// None is.
    Yes,
}

/// What CLIENT REPLY asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wish {
    On,
    Off,
    Skip,
}

// === impl Wish ===

impl Wish {
    /// # Errors
    /// The argument is none of the three.
    pub(super) fn parse(args: &Args<'_>) -> Result<Self, Refusal> {
        let word = args.get(2).unwrap_or_default();
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if args.len() != 3 => Err(Refusal::OwnArity),
            () if is("on") => Ok(Self::On),
            () if is("off") => Ok(Self::Off),
            () if is("skip") => Ok(Self::Skip),
            () => Err(Refusal::OwnSyntax),
        }
    }

    /// Only ON has a reply, and it comes in any case.
    pub(super) fn answer(self, reply: &mut BytesMut) {
        if self == Self::On {
            reply.extend_from_slice(b"+OK\r\n");
        }
    }
}

// === impl Silence ===

impl Silence {
    /// Another CLIENT REPLY, before its own reply is put into its place.
    pub(super) fn take(&mut self, wish: Wish, slots: &mut Slots) {
        match (wish, *self) {
            (Wish::On, Self::No)
            | (Wish::Off, Self::Yes)
            | (Wish::Skip, Self::Yes | Self::Next) => {}
            (Wish::On, _) => {
                slots.push(Slot::Mute(false));
                *self = Self::No;
            }
            (Wish::Off, was) => {
                if was == Self::No {
                    slots.push(Slot::Mute(true));
                }
                *self = Self::Yes;
            }
            (Wish::Skip, Self::No) => {
                slots.push(Slot::Mute(true));
                *self = Self::Next;
            }
        }
    }

    /// A request has its places among the replies.
    #[inline]
    pub(super) fn spend(&mut self, slots: &mut Slots) {
        if *self == Self::Next {
            slots.push(Slot::Mute(false));
            *self = Self::No;
        }
    }
}
