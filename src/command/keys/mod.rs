//! The keys and channels of a request.
//!
//! Redis' ACL is the measure: what it checks is visited, with the access it asks for. Where its own
//! key specs miss what the command then does (all versions up to 8.2: SORT, GEORADIUS and XREADGROUP
//! with a keyword in the place of a value), the command's real parser is followed instead.
//!
//! Knows nothing of users or patterns. Doubt is [`Unreadable::Unparsable`], never "no keys".

mod options;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod walk;
mod words;

use std::ops::{BitOr, ControlFlow};

use self::walk::{Stop, Walk};
use super::flags::Flag;
use super::record::{KeyFlag, Record};
use super::table::Command;
use crate::resp::Args;

/// What a command may do to a key. Neither is possible: EXISTS and the like only tell something
/// about the key, and need no more than some pattern that matches it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Access(u8);

/// One thing that a request touches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Touch<'a> {
    /// A key.
    Key {
        /// The argument that names it.
        index: usize,
        /// Its name.
        name: &'a [u8],
        /// What happens to it.
        access: Access,
        /// False where arguments that have not arrived may still reduce `access`.
        certain: bool,
    },
    /// A channel, or a pattern of channels.
    Channel {
        /// The argument that names it.
        index: usize,
        /// Its name.
        name: &'a [u8],
        /// A pattern, which Redis compares literally with those of a user.
        pattern: bool,
    },
    /// Keys that only the data tells; Redis 7 demands access to all keys.
    AllKeys {
        /// The argument that is to blame.
        index: usize,
        /// What happens to them.
        access: Access,
        /// The option that is to blame.
        why: &'static str,
    },
}

/// Why the keys of a request cannot be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unreadable {
    /// No correct request looks like this.
    Unparsable {
        /// The argument that makes no sense.
        index: usize,
    },
    /// An argument that may be a key, or move one, has not arrived.
    Incomplete,
}

/// Where a command's keys are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Keys {
    /// It has none.
    None,
    /// One key spec tells: most commands.
    One(KeySpec),
    /// Several key specs tell, in this order.
    Many(Box<[KeySpec]>),
    /// Options tell; the command has a parser of its own.
    Parsed(Parser),
    /// It has some, and nobody knows where: never readable.
    Unknown,
}

/// Keys in one row, as Redis' key specs describe them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeySpec {
    /// Where the row begins.
    pub begin: Begin,
    /// Which arguments from there on are keys.
    pub find: Find,
    /// What happens to these keys.
    pub access: Access,
}

/// Where a row of keys begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begin {
    /// At this argument; the command's name is argument 0.
    Index(u16),
    /// Behind the keyword, searched from `from` on (backwards from the end if negative). Only told
    /// by servers: following it is what makes Redis check other keys than it uses.
    Keyword {
        /// The keyword, in upper case.
        word: &'static str,
        /// The argument to start at.
        from: i16,
    },
    /// The server does not say.
    Unknown,
}

/// Which arguments of a row are keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Find {
    /// Every `step`-th argument.
    Range {
        /// The last one: relative to the first, or to the request's end if negative.
        last: i16,
        /// From key to key.
        step: u16,
        /// With a negative `last`: only the first `1/limit` of what is left; 0 and 1 mean all.
        limit: u16,
    },
    /// As many as an argument says.
    Keynum {
        /// The argument that says it, from where the row begins.
        count: u16,
        /// The first key, from where the row begins.
        first: u16,
        /// From key to key.
        step: u16,
    },
    /// The server does not say.
    Unknown,
}

/// The commands whose options decide on keys or access.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // Named after the commands.
pub enum Parser {
    Set,
    Bitfield,
    Sort,
    SortRo,
    Georadius,
    Georadiusbymember,
    Migrate,
    Xread,
    Xreadgroup,
    Stralgo,
    Debug,
}

/// Where a command's channels are. Unsubscribing is not checked by Redis, so it names none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Channels {
    /// It has none.
    #[default]
    None,
    /// Argument 1: PUBLISH, SPUBLISH.
    First,
    /// Argument 1 and all behind it: SUBSCRIBE, SSUBSCRIBE.
    All,
    /// The same, as patterns: PSUBSCRIBE.
    Patterns,
    /// It has some, and nobody knows where: never readable.
    Unknown,
}

/// How much of a request must be here before all that it touches can be told. Subcommands count as
/// part of the name. With that much, [`touches`] never answers [`Unreadable::Incomplete`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Need {
    /// The name.
    Name,
    /// Everything up to the first key or channel, which is the only one.
    FirstKey,
    /// Everything up to the last key or channel, or up to the count that says there is none.
    LastKey,
    /// Every argument.
    All,
}

/// Visits everything that a request touches, until `visit` breaks.
///
/// `command` is what [`super::Table::resolve`] found. A visited key or channel stays touched,
/// whatever arrives later; only its access may shrink where it is not `certain`. So a caller may
/// refuse as soon as one visit tells it to, also before an error.
///
/// A request with fewer arguments than the command takes has the keys that are there: Redis answers
/// it with an arity error, see [`Command::arity_fits`].
///
/// # Errors
///
/// [`Unreadable`], after visits to what was clear before.
pub fn touches<'a>(
    command: &Command,
    args: &Args<'a>,
    visit: &mut impl FnMut(Touch<'a>) -> ControlFlow<()>,
) -> Result<(), Unreadable> {
    let mut walk = Walk::new(args, visit);
    let keys = match &command.keys {
        Keys::None => Ok(()),
        Keys::One(spec) => walk.spec(spec, command),
        Keys::Many(specs) => specs.iter().try_for_each(|spec| walk.spec(spec, command)),
        Keys::Parsed(parser) => walk.parse(*parser),
        Keys::Unknown => Err(Stop::Unparsable(0)),
    };
    match keys.and_then(|()| walk.channels(command.channels)) {
        Ok(()) | Err(Stop::Told) => Ok(()),
        Err(Stop::Unparsable(index)) => Err(Unreadable::Unparsable { index }),
        Err(Stop::Incomplete) => Err(Unreadable::Incomplete),
    }
}

// === impl Access ===

impl Access {
    /// Neither reads nor writes.
    pub const NONE: Self = Self(0);
    /// Uses what is stored: Redis' flag ACCESS.
    pub const READ: Self = Self(1);
    /// Changes what is stored: Redis' flags INSERT, UPDATE and DELETE.
    pub const WRITE: Self = Self(2);
    /// Both.
    pub const READ_WRITE: Self = Self(3);

    /// Whether what a pattern grants covers what a command asks for.
    #[inline]
    pub const fn covers(self, asked: Self) -> bool {
        self.0 & asked.0 == asked.0
    }

    /// Whether the read permission is needed.
    pub const fn reads(self) -> bool {
        self.0 & Self::READ.0 != 0
    }

    /// Whether the write permission is needed.
    pub const fn writes(self) -> bool {
        self.0 & Self::WRITE.0 != 0
    }

    fn of(flags: &[KeyFlag]) -> Self {
        flags.iter().fold(Self::NONE, |access, flag| {
            access
                | match flag {
                    KeyFlag::Access => Self::READ,
                    KeyFlag::Update | KeyFlag::Insert | KeyFlag::Delete => Self::WRITE,
                    KeyFlag::Ro | KeyFlag::Rw | KeyFlag::Ow | KeyFlag::Rm => Self::NONE,
                    KeyFlag::NotKey | KeyFlag::Incomplete => Self::NONE,
                    // What the rest of the arguments makes of it is known to a parser, if at all.
                    KeyFlag::VariableFlags => Self::READ_WRITE,
                }
        })
    }
}

impl BitOr for Access {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

// === impl Keys ===

impl Keys {
    /// Keys at every `step`-th argument from `first` to `last`, as `COMMAND` of Redis before 7 and
    /// the configuration's `extra_commands` put it: a negative `last` counts from the end. No keys
    /// if `first` is 0.
    pub fn range(first: u16, last: i16, step: u16, access: Access) -> Self {
        if first == 0 {
            return Self::None;
        }
        let relative = if last < 0 {
            last
        } else {
            last.saturating_sub_unsigned(first)
        };
        // A last key before the first one is nonsense, and would be read as counted from the end.
        if step == 0 || (last >= 0 && relative < 0) {
            return Self::Unknown;
        }
        Self::One(KeySpec {
            begin: Begin::Index(first),
            find: Find::Range {
                last: relative,
                step,
                limit: 0,
            },
            access,
        })
    }

    pub(super) fn of(record: &Record) -> Self {
        if let Some(parser) = Parser::of(record.name) {
            return Self::Parsed(parser);
        }
        let specs = record.keys.iter();
        let specs = specs.map(|spec| (spec.begin, spec.find, spec.flags));
        Self::of_specs(specs, record.flags.contains(&Flag::Movablekeys))
    }

    /// What key specs say; one that leaves anything open leaves all open.
    pub(super) fn of_specs<'a>(
        specs: impl IntoIterator<Item = (Begin, Find, &'a [KeyFlag])>,
        movable: bool,
    ) -> Self {
        let mut found = Vec::new();
        for (begin, find, flags) in specs {
            if flags.contains(&KeyFlag::NotKey) {
                continue;
            }
            let vague = !matches!(begin, Begin::Index(_))
                || matches!(find, Find::Unknown)
                || flags.contains(&KeyFlag::Incomplete);
            if vague {
                return Self::Unknown;
            }
            found.push(KeySpec {
                begin,
                find,
                access: Access::of(flags),
            });
        }
        match found.as_slice() {
            [] if movable => Self::Unknown,
            [] => Self::None,
            [spec] => Self::One(*spec),
            _ => Self::Many(found.into()),
        }
    }
}

// === impl Channels ===

impl Channels {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "publish" | "spublish" => Self::First,
            "subscribe" | "ssubscribe" => Self::All,
            "psubscribe" => Self::Patterns,
            _ => Self::None,
        }
    }
}

// === impl Need ===

impl Need {
    pub(super) fn of(keys: &Keys, channels: Channels) -> Self {
        let for_spec = |spec: &KeySpec| match spec.find {
            Find::Range { last: 0, .. } => Self::FirstKey,
            Find::Range { .. } | Find::Keynum { .. } => Self::LastKey,
            // Unreadable whatever arrives.
            Find::Unknown => Self::Name,
        };
        let for_keys = match keys {
            Keys::None | Keys::Unknown => Self::Name,
            Keys::One(spec) => for_spec(spec),
            Keys::Many(_) => Self::LastKey,
            Keys::Parsed(parser) => match parser {
                Parser::Set | Parser::Bitfield => Self::FirstKey,
                Parser::Xread | Parser::Xreadgroup | Parser::Debug => Self::LastKey,
                // The last STORE wins, and MIGRATE's and STRALGO's KEYS may come last.
                Parser::Sort
                | Parser::SortRo
                | Parser::Georadius
                | Parser::Georadiusbymember
                | Parser::Migrate
                | Parser::Stralgo => Self::All,
            },
        };
        let for_channels = match channels {
            Channels::None | Channels::Unknown => Self::Name,
            Channels::First => Self::FirstKey,
            Channels::All | Channels::Patterns => Self::LastKey,
        };
        for_keys.max(for_channels)
    }
}
