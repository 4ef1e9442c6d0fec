//! The databases of a request.

use super::category::Category;
use super::flags::Flag;
use super::keys::Keys;
use super::table::Command;
use crate::resp::Args;

/// Which databases a command reaches.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Databases {
    /// The one that the connection is in: it looks at keys there, or may.
    #[default]
    Current,
    /// None: it is about the server, the connection, a transaction or channels.
    None,
    /// All of them: FLUSHALL.
    All,
    /// The one in argument 1, and not the current one: SELECT.
    Select,
    /// The current one and the one in argument 2: MOVE.
    Second,
    /// Those in arguments 1 and 2: SWAPDB.
    FirstTwo,
    /// The current one and the one in argument 4, on another server or on this one: MIGRATE.
    Fourth,
    /// The current one and the ones behind every option DB: COPY.
    Options,
}

/// Why databases can't be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnreadableDatabase {
    /// This argument is no canonical number. (2.8 and 3.0 take `+1` and `01` too.)
    Unparsable(usize),
    /// It has not arrived.
    Incomplete,
}

// === impl Databases ===

impl Databases {
    pub(super) fn of(command: &Command) -> Self {
        let of_data = [
            Category::Keyspace,
            Category::Read,
            Category::Write,
            Category::Scripting,
        ];
        match &*command.name {
            "select" => Self::Select,
            "move" => Self::Second,
            "copy" => Self::Options,
            "swapdb" => Self::FirstTwo,
            "migrate" => Self::Fourth,
            "flushall" | "monitor" | "debug" | "sync" | "psync" | "replicaof" | "slaveof" => {
                Self::All
            }
            _ if command.keys == Keys::None
                && ![Flag::Readonly, Flag::Write]
                    .into_iter()
                    .any(|flag| command.flags.contains(flag))
                && !of_data
                    .into_iter()
                    .any(|category| command.categories.contains(category)) =>
            {
                Self::None
            }
            _ => Self::Current,
        }
    }

    /// Whether it matters which database the connection is in.
    pub fn uses_current(self) -> bool {
        matches!(
            self,
            Self::Current | Self::Second | Self::Fourth | Self::Options
        )
    }

    /// Visits the databases that a request names, with the places of their arguments, until `visit`
    /// says no; then that place is returned.
    ///
    /// # Errors
    /// One of them can't be told.
    pub fn find_named(
        self,
        args: &Args<'_>,
        mut refuses: impl FnMut(u32) -> bool,
    ) -> Result<Option<usize>, UnreadableDatabase> {
        let mut refused = |index: usize| {
            if index >= args.len() {
                // Redis' to complain about.
                return Ok(None);
            }
            let text = args.get(index).ok_or(UnreadableDatabase::Incomplete)?;
            let number = database(text).ok_or(UnreadableDatabase::Unparsable(index))?;
            Ok(refuses(number).then_some(index))
        };
        match self {
            Self::Current | Self::None | Self::All => Ok(None),
            Self::Select => refused(1),
            Self::Second => refused(2),
            Self::Fourth => refused(4),
            Self::FirstTwo => Ok(refused(1)?.or(refused(2)?)),
            Self::Options => {
                // COPY source destination [DB number] [REPLACE], the last DB wins.
                let mut index = 3;
                while index < args.len() {
                    let word = args.get(index).ok_or(UnreadableDatabase::Incomplete)?;
                    if word.eq_ignore_ascii_case(b"db") && index + 1 < args.len() {
                        if let Some(index) = refused(index + 1)? {
                            return Ok(Some(index));
                        }
                        index += 2;
                    } else if word.eq_ignore_ascii_case(b"replace") {
                        index += 1;
                    } else {
                        return Err(UnreadableDatabase::Unparsable(index));
                    }
                }
                Ok(None)
            }
        }
    }
}

/// A database's number, if every version reads it as this one.
pub fn database(text: &[u8]) -> Option<u32> {
    match text {
        [b'0'] => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.len() < 9 && rest.iter().all(u8::is_ascii_digit) => Some(
            text.iter()
                .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')),
        ),
        _ => None,
    }
}
