//! One ACL rule: its grammar and its errors, in Redis' words (`acl.c`, `ACLSetUser`).

use crate::command::{Category, CommandId, Table};

use super::password::PasswordHash;
use super::pattern::Pattern;

/// A rule as it is applied to a user, left to right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Rule {
    On,
    Off,
    NoPass,
    ResetPass,
    AddPassword(PasswordHash),
    RemovePassword(PasswordHash),
    Reset,
    Command(CommandRule),
    AllKeys,
    ResetKeys,
    Key {
        pattern: Pattern,
        read: bool,
        write: bool,
    },
    AllChannels,
    ResetChannels,
    Channel(Pattern),
    /// About RESTORE's payloads: taken, and without effect.
    Payload,
}

/// A rule about commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct CommandRule {
    pub(super) allow: bool,
    pub(super) what: Commands,
}

/// Which commands a rule is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Commands {
    All,
    Category(Category),
    /// A command, and its subcommands if it is a container.
    One(CommandId),
}

/// Why a rule was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// A name after `+` or `-` that nobody knows. After `-` it would be a hole.
    #[error("Unknown command or category name in ACL")]
    UnknownCommand,
    /// No rule looks like this.
    #[error("Syntax error")]
    Syntax,
    /// `~` after `allkeys`.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not \
         have any effect. Try 'resetkeys' to start with an empty list of patterns"
    )]
    KeyAfterAll,
    /// `&` after `allchannels`.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does \
         not have any effect. Try 'resetchannels' to start with an empty list of channels"
    )]
    ChannelAfterAll,
    /// `#` or `!` without a digest.
    #[error(
        "The provided password hash must be exactly 64 characters and contain only lowercase \
         hexadecimal characters"
    )]
    Hash,
    /// `<` or `!` for a password that the user doesn't have.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// `+a|b|c`.
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgOfSubcommand,
    /// A part of the grammar that is known and not built.
    #[error("not built yet: {0}")]
    NotBuilt(&'static str),
}

// === impl Rule ===

impl Rule {
    /// Reads one rule.
    pub(super) fn parse(text: &str, table: &Table) -> Result<Self, RuleError> {
        let word = text.to_ascii_lowercase();
        Ok(match word.as_str() {
            "on" => Self::On,
            "off" => Self::Off,
            "nopass" => Self::NoPass,
            "resetpass" => Self::ResetPass,
            "reset" => Self::Reset,
            "allkeys" | "~*" => Self::AllKeys,
            "resetkeys" => Self::ResetKeys,
            "allchannels" | "&*" => Self::AllChannels,
            "resetchannels" => Self::ResetChannels,
            "allcommands" => Self::command(true, Commands::All),
            "nocommands" => Self::command(false, Commands::All),
            "clearselectors" => return Err(RuleError::NotBuilt("selectors")),
            // `ACL LIST` of every Redis since 6.2 prints one of these, so files that were copied from
            // one hold it. Only Redis itself can look into a RESTORE's payload: it changes nothing
            // here.
            "sanitize-payload" | "skip-sanitize-payload" => Self::Payload,
            "alldbs" | "resetdbs" => return Err(RuleError::NotBuilt("database rules")),
            _ => return Self::parse_prefixed(text, &word, table),
        })
    }

    fn parse_prefixed(text: &str, word: &str, table: &Table) -> Result<Self, RuleError> {
        let mut chars = text.chars();
        let first = chars.next();
        let rest = chars.as_str();
        let hash = || PasswordHash::from_hex(rest.as_bytes()).ok_or(RuleError::Hash);
        match first {
            Some('>') => Ok(Self::AddPassword(PasswordHash::of(rest.as_bytes()))),
            Some('<') => Ok(Self::RemovePassword(PasswordHash::of(rest.as_bytes()))),
            Some('#') => hash().map(Self::AddPassword),
            Some('!') => hash().map(Self::RemovePassword),
            Some('~') => Self::key(rest, true, true),
            Some('%') => Self::parse_key_permission(rest),
            Some('&') => printable(rest).map(|()| Self::Channel(Pattern::new(rest.as_bytes()))),
            Some(sign @ ('+' | '-')) => {
                let what = Commands::parse(&word[1..], sign == '+', table)?;
                Ok(Self::command(sign == '+', what))
            }
            Some('(') => Err(RuleError::NotBuilt("selectors")),
            _ if word.starts_with("role=") => Err(RuleError::NotBuilt("roles")),
            _ if word.starts_with("db=") => Err(RuleError::NotBuilt("database rules")),
            _ if word.starts_with("script=") => Err(RuleError::NotBuilt("pinned scripts")),
            _ if word.starts_with("lethal=") => Err(RuleError::NotBuilt("lethal commands")),
            _ => Err(RuleError::Syntax),
        }
    }

    /// `%R~`, `%W~`, `%RW~`, each letter once, in any case and order.
    fn parse_key_permission(rest: &str) -> Result<Self, RuleError> {
        let (letters, pattern) = rest.split_once('~').ok_or(RuleError::Syntax)?;
        let (mut read, mut write) = (false, false);
        for letter in letters.chars() {
            match letter.to_ascii_uppercase() {
                'R' if !read => read = true,
                'W' if !write => write = true,
                _ => return Err(RuleError::Syntax),
            }
        }
        if !read && !write {
            return Err(RuleError::Syntax);
        }
        Self::key(pattern, read, write)
    }

    fn key(pattern: &str, read: bool, write: bool) -> Result<Self, RuleError> {
        printable(pattern)?;
        let pattern = Pattern::new(pattern.as_bytes());
        Ok(Self::Key {
            pattern,
            read,
            write,
        })
    }

    fn command(allow: bool, what: Commands) -> Self {
        Self::Command(CommandRule { allow, what })
    }
}

/// Patterns hold no blank and no NUL (`ACLStringHasSpaces`).
fn printable(pattern: &str) -> Result<(), RuleError> {
    let bad = |byte: u8| byte == 0 || byte.is_ascii_whitespace() || byte == 0x0b;
    if pattern.bytes().any(bad) {
        return Err(RuleError::Syntax);
    }
    Ok(())
}

// === impl Commands ===

impl Commands {
    /// What follows `+` or `-`, in lower case.
    fn parse(name: &str, allow: bool, table: &Table) -> Result<Self, RuleError> {
        if let Some(category) = name.strip_prefix('@') {
            if category == "all" {
                return Ok(Self::All);
            }
            return Category::parse(category)
                .map(Self::Category)
                .ok_or(RuleError::UnknownCommand);
        }
        if let Some(id) = table.find_full(name) {
            return Ok(Self::One(id));
        }
        let Some((command, sub)) = name.split_once('|') else {
            return Err(RuleError::UnknownCommand);
        };
        let Some(id) = table.find_full(command) else {
            return Err(RuleError::UnknownCommand);
        };
        if sub.is_empty() {
            return Err(RuleError::Syntax);
        }
        if sub.contains('|') {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if table.command(id).container || !allow {
            return Err(RuleError::UnknownCommand);
        }
        Err(RuleError::NotBuilt("first-argument rules"))
    }

    /// Whether a rule about these commands is about `id`.
    pub(super) fn cover(self, id: CommandId, table: &Table) -> bool {
        let command = table.command(id);
        match self {
            Self::All => true,
            // A category that has a container has its subcommands too (`ACLChangeSelectorPerm`).
            Self::Category(category) => {
                let parent = command.parent.map(|parent| table.command(parent));
                command.categories.contains(category)
                    || parent.is_some_and(|parent| parent.categories.contains(category))
            }
            Self::One(one) => one == id || command.parent == Some(one),
        }
    }
}
