//! Subscriptions: what confirms them, and which arrays and pushes answer nobody.
//!
//! SUBSCRIBE of three channels is answered by three confirmations, and between two replies there may
//! be messages. Both are told by their first word, never by their shape: a message's payload may look
//! like anything.

use std::collections::HashSet;

use crate::resp::Args;

/// What is subscribed to. Redis counts the first two together, and the shards' for themselves.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Audience {
    Channels,
    Patterns,
    /// Sharded channels, since 7.0.
    Shards,
}

/// What one request of the family asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Listen {
    pub(super) to: Audience,
    /// SUBSCRIBE and its kin, or UNSUBSCRIBE and its kin.
    pub(super) on: bool,
    /// Confirmations to come; [`EVERY`]: one for each subscription that there is, or one if there is
    /// none.
    pub(super) left: u32,
}

/// UNSUBSCRIBE without arguments. How many confirmations that makes, is known when it is its turn.
pub(super) const EVERY: u32 = u32::MAX;

/// What the first word of an array or push says of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Announced {
    /// A message to a subscriber.
    Message,
    /// A subscription has begun or ended.
    Confirmed { to: Audience, on: bool },
    /// Something else.
    Other,
}

/// The subscriptions of one connection.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// How many of them are confirmed.
    channels: u64,
    patterns: u64,
    shards: u64,
    /// Those that were asked for. A few more may be here than there are, never fewer.
    names: HashSet<(Audience, Box<[u8]>)>,
    /// What the names take.
    held: usize,
    /// There are more than were noted.
    unnoted: bool,
    /// How the confirmation ends that streams by.
    pub(super) last_line: LastLine,
}

/// What may be held of names, to tell which subscribers lose a channel when the rules change. Who has
/// more is taken to hold all kinds of channels.
const MOST_HELD: usize = 64 * 1024;

/// A name's entry besides its bytes.
const ENTRY: usize = 32;

/// The last line of a confirmation: `:`, up to 20 digits, CRLF.
const LAST_LINE: usize = 24;

/// The longest header line: type, sign, 20 digits, CRLF.
const MAX_HEADER: usize = 24;

/// The end of a confirmation that streams by: it tells how many subscriptions there are now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastLine {
    bytes: [u8; LAST_LINE],
    len: usize,
}

// === impl Listen ===

impl Listen {
    /// What the command of this name and number of arguments asks for.
    pub(super) fn of(to: Audience, on: bool, args: &Args<'_>) -> Self {
        let names = args.len().saturating_sub(1);
        let left = match u32::try_from(names) {
            Ok(0) if !on => EVERY,
            // A request of more arguments was refused when it was scanned.
            named => named.unwrap_or(EVERY),
        };
        Self { to, on, left }
    }
}

/// What the array or push that `bytes` begin with is; `None`: more of it must be here.
pub(super) fn announced(bytes: &[u8]) -> Option<Announced> {
    // `Err`: no header is so long, and the scanner will say so.
    let line_end = |from: usize| -> Option<Result<usize, ()>> {
        let rest = bytes.get(from..)?;
        match rest.iter().take(MAX_HEADER).position(|&byte| byte == b'\n') {
            Some(end) => Some(Ok(from + end + 1)),
            None => (rest.len() >= MAX_HEADER).then_some(Err(())),
        }
    };
    let Ok(header) = line_end(0)? else {
        return Some(Announced::Other);
    };
    match bytes.get(header) {
        None => return None,
        Some(b'$') => {}
        Some(_) => return Some(Announced::Other),
    }
    let Ok(word) = line_end(header)? else {
        return Some(Announced::Other);
    };
    let length = std::str::from_utf8(&bytes[header + 1..word])
        .ok()
        .and_then(|digits| digits.trim_end().parse::<usize>().ok());
    // The longest of them is PUNSUBSCRIBE and its two neighbours.
    let Some(length) = length.filter(|&length| length <= b"punsubscribe".len()) else {
        return Some(Announced::Other);
    };
    let word = bytes.get(word..word + length)?;
    let confirmed = |to, on| Announced::Confirmed { to, on };
    Some(match word {
        b"message" | b"pmessage" | b"smessage" => Announced::Message,
        b"subscribe" => confirmed(Audience::Channels, true),
        b"unsubscribe" => confirmed(Audience::Channels, false),
        b"psubscribe" => confirmed(Audience::Patterns, true),
        b"punsubscribe" => confirmed(Audience::Patterns, false),
        b"ssubscribe" => confirmed(Audience::Shards, true),
        b"sunsubscribe" => confirmed(Audience::Shards, false),
        _ => Announced::Other,
    })
}

// === impl Subscriptions ===

impl Subscriptions {
    /// Whether there is any.
    pub(super) fn any(&self) -> bool {
        self.channels > 0 || self.patterns > 0 || self.shards > 0
    }

    /// How many confirmations an UNSUBSCRIBE of all of them is answered with.
    pub(super) fn confirmations(&self, to: Audience) -> u32 {
        let count = match to {
            Audience::Channels => self.channels,
            Audience::Patterns => self.patterns,
            Audience::Shards => self.shards,
        };
        u32::try_from(count).unwrap_or(u32::MAX - 1).max(1)
    }

    /// A confirmation is here whole, and has told how many there are now, channels and patterns
    /// together.
    pub(super) fn confirmed(&mut self, to: Audience) {
        if let Some(count) = std::mem::take(&mut self.last_line).count() {
            self.count(to, count);
        }
    }

    fn count(&mut self, to: Audience, count: u64) {
        match to {
            Audience::Channels => self.channels = count.saturating_sub(self.patterns),
            Audience::Patterns => self.patterns = count.saturating_sub(self.channels),
            Audience::Shards => self.shards = count,
        }
    }

    /// A request is forwarded; `args` is what is here of it.
    pub(super) fn asked(&mut self, listen: Listen, args: &Args<'_>) {
        if !listen.on && listen.left == EVERY {
            self.names.retain(|(to, _)| *to != listen.to);
            self.held = self.names.iter().map(|(_, name)| ENTRY + name.len()).sum();
            return;
        }
        for name in args.iter().skip(1) {
            let entry = (listen.to, Box::from(name));
            if !listen.on {
                if self.names.remove(&entry) {
                    self.held -= ENTRY + name.len();
                }
            } else if self.held + ENTRY + name.len() > MOST_HELD {
                self.unnoted = true;
            } else if self.names.insert(entry) {
                self.held += ENTRY + name.len();
            }
        }
        self.unnoted |= listen.on && !args.is_whole();
    }

    /// Whether all that is or may be subscribed to is among what `allowed` says, given a name and
    /// whether it is a pattern.
    pub(super) fn are_within(&self, allowed: impl Fn(&[u8], bool) -> bool) -> bool {
        !self.unnoted
            && self
                .names
                .iter()
                .all(|(to, name)| allowed(name, *to == Audience::Patterns))
    }

    /// There are none, and none are on their way.
    pub(super) fn forget_names(&mut self) {
        self.names = HashSet::new();
        (self.held, self.unnoted) = (0, false);
    }

    /// Whether anything was ever asked for that may still be there.
    pub(super) fn may_be_any(&self) -> bool {
        self.unnoted || !self.names.is_empty() || self.any()
    }
}

// === impl LastLine ===

impl LastLine {
    /// More of the confirmation.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(LAST_LINE)..];
        let kept = self.len.min(LAST_LINE - new.len());
        self.bytes.copy_within(self.len - kept..self.len, 0);
        self.bytes[kept..kept + new.len()].copy_from_slice(new);
        self.len = kept + new.len();
    }

    /// The integer that it ended with.
    pub(super) fn count(&self) -> Option<u64> {
        let text = self.bytes[..self.len].strip_suffix(b"\r\n")?;
        let start = text.iter().rposition(|&byte| byte == b':')?;
        std::str::from_utf8(&text[start + 1..]).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn the_first_word_tells_what_an_array_is() {
        let confirmed = |to, on| Some(Announced::Confirmed { to, on });
        let cases: &[(&[u8], Option<Announced>)] = &[
            (
                b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
                confirmed(Audience::Channels, true),
            ),
            (
                b">3\r\n$12\r\npunsubscribe\r\n_\r\n:0\r\n",
                confirmed(Audience::Patterns, false),
            ),
            (b"*3\r\n$7\r\nmessage\r\n", Some(Announced::Message)),
            (b">2\r\n$10\r\ninvalidate\r\n", Some(Announced::Other)),
            (b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", Some(Announced::Other)),
            (b">2\r\n$21\r\ntracking", Some(Announced::Other)),
            (b"*0\r\n*", Some(Announced::Other)),
            (b"*2\r\n:1\r\n", Some(Announced::Other)),
            (b"*-1\r\n", None),
            (b"*3\r\n$9\r\nsubscrib", None),
            (b"*3\r\n$9", None),
            (b"*3", None),
            // What has no end is left to the scanner, which refuses it.
            (b">1111111111111111111111", None),
            (b">11111111111111111111111", Some(Announced::Other)),
            (b"*3\r\n$1111111111111111111111", None),
            (b"*3\r\n$11111111111111111111111", Some(Announced::Other)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(announced(bytes), *expected, "{:?}", bytes.escape_ascii());
        }
    }

    #[test]
    fn counts_come_from_the_confirmations() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.count(Audience::Channels, 1);
        subscriptions.count(Audience::Channels, 2);
        subscriptions.count(Audience::Patterns, 3);
        subscriptions.count(Audience::Shards, 1);
        let all = [Audience::Channels, Audience::Patterns, Audience::Shards];
        assert_eq!(all.map(|to| subscriptions.confirmations(to)), [2, 1, 1]);
        subscriptions.count(Audience::Channels, 2);
        subscriptions.count(Audience::Channels, 1);
        subscriptions.count(Audience::Shards, 0);
        assert!(subscriptions.any());
        subscriptions.count(Audience::Patterns, 0);
        assert!(!subscriptions.any());
        assert_eq!(subscriptions.confirmations(Audience::Channels), 1);
    }

    #[test]
    fn names_are_noted_up_to_a_bound() {
        let args = |words: &[&str]| words.iter().collect::<OwnedArgs>();
        let on = |args: &OwnedArgs| Listen::of(Audience::Channels, true, &args.as_args());
        let mut subscriptions = Subscriptions::default();
        let few = args(&["subscribe", "a", "b", "a"]);
        assert_eq!(on(&few).left, 3);
        subscriptions.asked(on(&few), &few.as_args());
        assert!(subscriptions.are_within(|name, pattern| name <= &b"b"[..] && !pattern));
        assert!(!subscriptions.are_within(|name, _| name == b"a"));
        let off = args(&["unsubscribe", "b", "c"]);
        let listen = Listen::of(Audience::Channels, false, &off.as_args());
        assert_eq!(listen.left, 2);
        subscriptions.asked(listen, &off.as_args());
        assert!(subscriptions.are_within(|name, _| name == b"a"));
        assert!(!Subscriptions::default().may_be_any());
        // Too long to be noted, or not here.
        let long = args(&["subscribe", &"x".repeat(MOST_HELD)]);
        subscriptions.asked(on(&long), &long.as_args());
        assert!(!subscriptions.are_within(|_, _| true));
        let mut partial = Subscriptions::default();
        partial.asked(on(&few), &few.as_partial(2));
        assert!(!partial.are_within(|_, _| true));
        let all = args(&["unsubscribe"]);
        let listen = Listen::of(Audience::Channels, false, &all.as_args());
        assert_eq!(listen.left, EVERY);
        subscriptions.asked(listen, &all.as_args());
        assert_eq!(subscriptions.held, 0);
    }

    #[test]
    fn the_last_line_is_found_in_any_pieces() {
        let long = format!(
            "*3\r\n$9\r\nsubscribe\r\n$99\r\n{}\r\n:12345678\r\n",
            "x".repeat(99)
        );
        for piece in [1, 2, 7, 24, 25, 200] {
            let mut line = LastLine::default();
            for bytes in long.as_bytes().chunks(piece) {
                line.note(bytes);
            }
            assert_eq!(line.count(), Some(12_345_678), "{piece}");
        }
        assert_eq!(LastLine::default().count(), None);
    }
}
