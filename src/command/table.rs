//! The table of commands, and how a request finds its own.
//!
//! Knows names, arities and subcommands; not users, and nothing of the server behind but what it
//! was told through [`Table::extend`].

use std::borrow::Cow;

use thiserror::Error;

use super::category::{Categories, Category};
use super::class::Class;
use super::databases::Databases;
use super::flags::{Flag, Flags};
use super::gate::Gate;
use super::generated::RECORDS;
use super::keys::{Channels, Keys, Need};
use super::name::{NameError, NameIndex};
use super::record::Record;
use super::sharing::Sharing;
use crate::resp::Args;

/// As many as Redis' own bitmaps of allowed commands hold (`USER_COMMAND_BITS_COUNT`).
pub const MAX_COMMANDS: usize = 1024;

/// A command or subcommand of one [`Table`]. Dense from zero, so it can index a bitmap.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CommandId(u16);

/// What is known of one command or subcommand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// In full and lower case: `get`, `config|set`.
    pub name: Cow<'static, str>,
    /// How many arguments it takes, names included; negative means at least as many.
    pub arity: i16,
    /// What Redis says about it as a whole.
    pub flags: Flags,
    /// The ACL categories it belongs to.
    pub categories: Categories,
    /// What metrics count it as.
    pub class: Class,
    /// Where its keys are.
    pub keys: Keys,
    /// Where its channels are.
    pub channels: Channels,
    /// Which databases it reaches.
    pub databases: Databases,
    /// What it asks for besides a rule that allows it.
    pub gate: Gate,
    /// What it asks of the connection that it is sent on.
    pub sharing: Sharing,
    /// How much must be here to tell what a request touches.
    pub need: Need,
    /// The version that introduced it; empty where no server says so.
    pub since: &'static str,
    /// Whether a server told it, and nobody else: its channels and replies are anybody's guess.
    pub learned: bool,
    /// The container of a subcommand. Set by the table.
    pub parent: Option<CommandId>,
    /// Whether it has subcommands. Set by the table.
    pub container: bool,
}

/// Every known command. Never shrinks, so an id stays valid as long as its table.
#[derive(Clone, Debug)]
pub struct Table {
    commands: Vec<Command>,
    names: NameIndex,
    /// By the container's id; empty for others.
    subcommands: Vec<NameIndex>,
}

/// Which command a request calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resolved {
    /// The subcommand where there is one; the container itself if it is called without argument.
    Command(CommandId),
    /// The table has no such command.
    UnknownCommand,
    /// The container has no such subcommand.
    UnknownSubcommand(CommandId),
    /// The argument that decides has not arrived.
    Incomplete,
}

/// Why commands cannot be added to a table.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum TableError {
    /// A name is malformed or already there.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Subcommands come after their container.
    #[error("there is no command that {0:?} could be a subcommand of")]
    NoContainer(String),
    /// The bitmaps of users have no more room.
    #[error("more than {MAX_COMMANDS} commands")]
    TooMany,
}

// === impl CommandId ===

impl CommandId {
    /// Its place in a bitmap; below [`MAX_COMMANDS`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

// === impl Command ===

impl Command {
    /// A command for [`Table::extend`]; `container|name` for a subcommand.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        arity: i16,
        flags: Flags,
        categories: Categories,
        keys: Keys,
        channels: Channels,
    ) -> Self {
        let mut command = Self {
            name: name.into(),
            arity,
            flags,
            categories,
            class: Class::of(categories),
            need: Need::of(&keys, channels),
            keys,
            channels,
            databases: Databases::default(),
            gate: Gate::default(),
            sharing: Sharing::default(),
            since: "",
            learned: false,
            parent: None,
            container: false,
        };
        command.databases = Databases::of(&command);
        command.gate = Gate::of(&command.name, categories);
        command
    }

    /// The same, told by a server and nobody else. One without keys may look at all of them (a
    /// module's query does), and Redis before 8 puts no module's command into a category that would
    /// tell: so it matters in which database it runs.
    pub(super) fn told(self) -> Self {
        let databases = match self.databases {
            Databases::None => Databases::Current,
            known => known,
        };
        Self {
            learned: true,
            databases,
            ..self
        }
    }

    /// Whether Redis' ACL lets everybody run it, whatever the rules say (`CMD_NO_AUTH`).
    pub fn is_for_everybody(&self) -> bool {
        self.flags.contains(Flag::NoAuth)
    }

    /// Whether Redis takes so many arguments, the name included, or answers an arity error.
    pub fn arity_fits(&self, len: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 {
            len >= arity
        } else {
            len == arity
        }
    }

    /// The name without its container's: `set` for `config|set`.
    pub fn own_name(&self) -> &str {
        self.name
            .split_once('|')
            .map_or(&*self.name, |(_, own)| own)
    }

    fn of(record: &Record) -> Self {
        let command = Self::new(
            record.name,
            record.arity,
            Flags::of(record.flags),
            Categories::of(record.categories),
            Keys::of(record),
            Channels::of(record.name),
        );
        Self {
            since: record.since,
            sharing: Sharing::of(&command),
            ..command
        }
    }
}

// === impl Table ===

impl Table {
    /// Every command of Redis' own, from 5.0 to 8.2.
    pub fn builtin() -> Self {
        let mut table = Self::empty();
        table
            .extend(RECORDS.iter().map(Command::of))
            .expect("the generated data is constant, and a test builds this table from it");
        table
    }

    fn empty() -> Self {
        Self {
            commands: Vec::new(),
            names: NameIndex::default(),
            subcommands: Vec::new(),
        }
    }

    /// This table with what servers teach now in place of all that they taught before. The ids of
    /// learned commands then mean others; built-in and declared ones, which come first, keep theirs.
    /// What is declared needn't be learned: a declaration may have come after the lesson, and wins.
    ///
    /// # Errors
    ///
    /// As [`Table::extend`].
    pub fn taught(&self, learned: impl IntoIterator<Item = Command>) -> Result<Self, TableError> {
        let mut table = Self::empty();
        let own = self.commands.iter().filter(|command| !command.learned);
        let is_own = |command: &Command| {
            let known = self.find_full(&command.name);
            known.is_some_and(|id| !self.command(id).learned)
        };
        let learned = learned.into_iter().filter(|command| !is_own(command));
        table.extend(own.cloned().chain(learned))?;
        Ok(table)
    }

    /// Adds commands: what the server behind knows beyond the table, and what the configuration
    /// declares. Ids given out before stay valid.
    ///
    /// # Errors
    ///
    /// The table is unchanged if a name is malformed or known, a subcommand comes before its
    /// container, or there is no more room.
    pub fn extend(&mut self, added: impl IntoIterator<Item = Command>) -> Result<(), TableError> {
        let mut commands = self.commands.clone();
        for mut command in added {
            let id = u16::try_from(commands.len()).map_err(|_| TableError::TooMany)?;
            if commands.len() >= MAX_COMMANDS {
                return Err(TableError::TooMany);
            }
            if command.name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                command.name.to_mut().make_ascii_lowercase();
            }
            command.container = false;
            command.parent = match command.name.split_once('|') {
                None => None,
                Some((container, _)) => {
                    let orphan = || TableError::NoContainer(command.name.to_string());
                    let parent = commands
                        .iter()
                        .position(|c| c.name == container && c.parent.is_none())
                        .ok_or_else(orphan)?;
                    commands[parent].container = true;
                    Some(CommandId(u16::try_from(parent).map_err(|_| orphan())?))
                }
            };
            debug_assert_eq!(usize::from(id), commands.len());
            commands.push(command);
        }
        let index = |parent: Option<CommandId>| {
            let children = (0..).zip(&commands).filter(|(_, c)| c.parent == parent);
            NameIndex::build(children.map(|(id, c)| (c.own_name(), id)))
        };
        let names = index(None)?;
        let subcommands = (0..)
            .zip(&commands)
            .map(|(id, command)| match command.container {
                true => index(Some(CommandId(id))),
                false => Ok(NameIndex::default()),
            })
            .collect::<Result<_, _>>()?;
        *self = Self {
            commands,
            names,
            subcommands,
        };
        Ok(())
    }

    /// A command by its name in a request, in any case. Subcommands are not found here: the name
    /// `config|set` is unknown to Redis too.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<CommandId> {
        self.names.find(name).map(CommandId)
    }

    /// A subcommand by its own name in a request, in any case.
    #[inline]
    pub fn find_sub(&self, container: CommandId, name: &[u8]) -> Option<CommandId> {
        self.subcommands
            .get(container.index())?
            .find(name)
            .map(CommandId)
    }

    /// A command or subcommand by its full name in an ACL rule, `config|set`, in any case.
    pub fn find_full(&self, name: &str) -> Option<CommandId> {
        match name.split_once('|') {
            None => self.find(name.as_bytes()),
            Some((container, own)) => {
                self.find_sub(self.find(container.as_bytes())?, own.as_bytes())
            }
        }
    }

    /// What is known of the command.
    ///
    /// # Panics
    ///
    /// If the id is another, larger table's.
    #[inline]
    pub fn command(&self, id: CommandId) -> &Command {
        &self.commands[id.index()]
    }

    /// The subcommands of a container.
    pub fn subcommands(&self, container: CommandId) -> impl Iterator<Item = CommandId> {
        self.iter()
            .filter(move |(_, command)| command.parent == Some(container))
            .map(|(id, _)| id)
    }

    /// The commands and subcommands of a category.
    pub fn in_category(&self, category: Category) -> impl Iterator<Item = CommandId> {
        self.iter()
            .filter(move |(_, command)| command.categories.contains(category))
            .map(|(id, _)| id)
    }

    /// Every command and subcommand, by id.
    pub fn iter(&self) -> impl Iterator<Item = (CommandId, &Command)> {
        (0..).map(CommandId).zip(&self.commands)
    }

    /// How many commands and subcommands there are; every id's index is below.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Never true for a table that [`Table::builtin`] made.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The command that a request calls.
    #[inline]
    pub fn resolve(&self, args: &Args<'_>) -> Resolved {
        let Some(name) = args.get(0) else {
            return Resolved::Incomplete;
        };
        let Some(id) = self.find(name) else {
            return Resolved::UnknownCommand;
        };
        if !self.command(id).container || args.len() == 1 {
            return Resolved::Command(id);
        }
        let Some(name) = args.get(1) else {
            return Resolved::Incomplete;
        };
        match self.find_sub(id, name) {
            Some(id) => Resolved::Command(id),
            None => Resolved::UnknownSubcommand(id),
        }
    }
}
