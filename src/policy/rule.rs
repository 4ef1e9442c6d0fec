//! One ACL rule: its grammar and its errors, in Redis' words (`acl.c`, `ACLSetUser`).
//!
//! Knows what may be written; not what it does to a user.

use crate::command::{Access, Category, CommandId, Table};
use crate::resp::split_inline;

use super::lethal::Lethal;
use super::password::PasswordHash;
use super::pattern::Pattern;
use super::script::PinnedScript;
use super::selector::Selector;

/// A rule as it is applied to a user, left to right.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    On,
    Off,
    NoPass,
    ResetPass,
    AddPassword(PasswordHash),
    RemovePassword(PasswordHash),
    /// Whether RESTORE's payloads are looked into: only Redis itself can.
    Sanitize(bool),
    Reset,
    ClearSelectors,
    /// `( … )`: a set of permissions of its own.
    Selector(Box<Selector>),
    /// A permission of the root.
    Root(SelectorRule),
    Lethal(LethalRule),
    Script(ScriptRule),
}

/// A rule about permissions that must hold together.
#[derive(Clone, Debug)]
pub(super) enum SelectorRule {
    Command(CommandRule),
    AllKeys,
    ResetKeys,
    Key {
        pattern: Pattern,
        access: Access,
    },
    /// What begins like a key and is none: Redis says so only where it may stand.
    MalformedKey,
    AllChannels,
    ResetChannels,
    Channel(Pattern),
    /// The same of channels.
    MalformedChannel,
    AllDatabases,
    ResetDatabases,
    Databases(Vec<u32>),
}

/// A rule about commands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum CommandRule {
    All(bool),
    Category(bool, Category),
    /// A command, and its subcommands if it is a container.
    Command(bool, CommandId),
    /// A command that isn't allowed, with this first argument all the same (deprecated in Redis 7).
    FirstArg(CommandId, Box<[u8]>),
}

/// `lethal=…`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LethalRule {
    None,
    Any,
    Command(CommandId),
}

/// `script=…`.
#[derive(Clone, Debug)]
pub(super) enum ScriptRule {
    None,
    Any,
    Pinned(PinnedScript),
}

/// Why a rule was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
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
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal \
         characters"
    )]
    Hash,
    /// `<` or `!` for a password that the user doesn't have.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// `+a|b|c`.
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgOfSubcommand,
    /// `role=` with a name that no `role` line has.
    #[error("there is no role of this name")]
    UnknownRole,
    /// Roles that stand for one another.
    #[error("the role stands for itself")]
    RoleCycle,
    /// `lethal=` with a command that needs no such rule.
    #[error("the command is none of the lethal ones: +command is all that it needs")]
    NotLethal,
    /// `db=` with something else.
    #[error("databases are numbers with commas between them, such as db=0,3")]
    Databases,
    /// `script=sha1:` with something else.
    #[error("a SHA-1 has 40 hexadecimal digits")]
    Sha1,
    /// `script=` with a file that can't be read here.
    #[error("the script can't be read: {0}")]
    Script(String),
}

/// Reads the file that `script=NAME` names.
pub type ScriptFiles<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

/// Where nothing can be read: a rule that a client sent names no file of this machine.
pub(super) fn no_files(_: &str) -> Result<Vec<u8>, String> {
    Err("script files are named in ACL files only; use script=sha1:…".to_owned())
}

// === impl Rule ===

impl Rule {
    /// Reads one rule. The empty one is none: "Empty string is a no-operation" (acl.c).
    pub(super) fn parse(
        text: &[u8],
        table: &Table,
        files: ScriptFiles<'_>,
    ) -> Result<Option<Self>, RuleError> {
        let hash = |hex| PasswordHash::from_hex(hex).ok_or(RuleError::Hash);
        Ok(Some(match text {
            [] => return Ok(None),
            [b'>', password @ ..] => Self::AddPassword(PasswordHash::of(password)),
            [b'<', password @ ..] => Self::RemovePassword(PasswordHash::of(password)),
            [b'#', hex @ ..] => Self::AddPassword(hash(hex)?),
            [b'!', hex @ ..] => Self::RemovePassword(hash(hex)?),
            [b'(', inner @ .., b')'] => Self::parse_selector(inner, table)?,
            _ => match word(text).as_str() {
                "on" => Self::On,
                "off" => Self::Off,
                "nopass" => Self::NoPass,
                "resetpass" => Self::ResetPass,
                "sanitize-payload" => Self::Sanitize(true),
                "skip-sanitize-payload" => Self::Sanitize(false),
                "reset" => Self::Reset,
                "clearselectors" => Self::ClearSelectors,
                folded => match folded.split_once('=') {
                    Some(("lethal", what)) => Self::Lethal(LethalRule::parse(what, table)?),
                    // Names of files are not folded.
                    Some(("script", _)) => Self::Script(ScriptRule::parse(text, files)?),
                    _ => Self::Root(SelectorRule::parse(text, table)?),
                },
            },
        }))
    }

    /// What stands between parentheses, split as Redis splits it: quotes may hold blanks.
    fn parse_selector(inner: &[u8], table: &Table) -> Result<Self, RuleError> {
        let words = split_inline(inner).map_err(|_| RuleError::Syntax)?;
        let mut selector = Selector::default();
        for rule in words.as_args().iter() {
            selector.apply(SelectorRule::parse(rule, table)?, table)?;
        }
        Ok(Self::Selector(Box::new(selector)))
    }
}

// === impl SelectorRule ===

impl SelectorRule {
    pub(super) fn parse(text: &[u8], table: &Table) -> Result<Self, RuleError> {
        Ok(match word(text).as_str() {
            "allkeys" | "~*" => Self::AllKeys,
            "resetkeys" => Self::ResetKeys,
            "allchannels" | "&*" => Self::AllChannels,
            "resetchannels" => Self::ResetChannels,
            "alldbs" => Self::AllDatabases,
            "resetdbs" => Self::ResetDatabases,
            "allcommands" => Self::Command(CommandRule::All(true)),
            "nocommands" => Self::Command(CommandRule::All(false)),
            folded => match text {
                [b'~', pattern @ ..] => Self::key(pattern, Access::READ_WRITE),
                [b'%', rest @ ..] => Self::parse_key_permission(rest),
                [b'&', pattern @ ..] => {
                    printable(pattern).map_or(Self::MalformedChannel, Self::Channel)
                }
                [b'+' | b'-', ..] => Self::Command(CommandRule::parse(text, table)?),
                _ => match folded.strip_prefix("db=") {
                    Some(numbers) => Self::parse_databases(numbers)?,
                    None => return Err(RuleError::Syntax),
                },
            },
        })
    }

    /// `%R~`, `%W~`, `%RW~`, each letter once, in any case and order. Redis takes `%R` too, for the
    /// empty pattern.
    fn parse_key_permission(rest: &[u8]) -> Self {
        let mut access = Access::NONE;
        for (at, letter) in rest.iter().enumerate() {
            match letter.to_ascii_uppercase() {
                b'R' if !access.reads() => access = access | Access::READ,
                b'W' if !access.writes() => access = access | Access::WRITE,
                b'~' if access != Access::NONE => return Self::key(&rest[at + 1..], access),
                _ => return Self::MalformedKey,
            }
        }
        if access == Access::NONE {
            return Self::MalformedKey;
        }
        Self::key(b"", access)
    }

    fn key(pattern: &[u8], access: Access) -> Self {
        printable(pattern).map_or(Self::MalformedKey, |pattern| Self::Key { pattern, access })
    }

    /// `db=0,3`: canonical numbers, as Valkey 9 has them.
    fn parse_databases(numbers: &str) -> Result<Self, RuleError> {
        numbers
            .split(',')
            .map(|number| {
                let value: u32 = number.parse().map_err(|_| RuleError::Databases)?;
                // What Redis would not read as this number: signs, leading zeros, more than an int.
                let canonical = value.to_string() == number && i32::try_from(value).is_ok();
                canonical.then_some(value).ok_or(RuleError::Databases)
            })
            .collect::<Result<_, _>>()
            .map(Self::Databases)
    }
}

/// Patterns hold no blank and no NUL (`ACLStringHasSpaces`).
fn printable(pattern: &[u8]) -> Option<Pattern> {
    (!has_spaces(pattern)).then(|| Pattern::new(pattern))
}

/// Redis' `ACLStringHasSpaces`: names and patterns that hold such bytes could not be written down.
pub(super) fn has_spaces(text: &[u8]) -> bool {
    let bad = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace() || *byte == 0x0b;
    text.iter().any(bad)
}

// === impl CommandRule ===

impl CommandRule {
    /// What begins with `+` or `-`.
    pub(super) fn parse(text: &[u8], table: &Table) -> Result<Self, RuleError> {
        let allow = text.first() == Some(&b'+');
        let text = text.get(1..).unwrap_or_default();
        let name = word(text);
        if let Some(category) = name.strip_prefix('@') {
            return match category {
                "all" => Ok(Self::All(allow)),
                _ => Category::parse(category)
                    .map(|category| Self::Category(allow, category))
                    .ok_or(RuleError::UnknownCommand),
            };
        }
        if let Some(id) = table.find_full(&name) {
            return Ok(Self::Command(allow, id));
        }
        // The last part is a first argument: what is before it names a command.
        let bar = text.iter().rposition(|&byte| byte == b'|');
        let Some(bar) = bar.filter(|_| allow) else {
            return Err(RuleError::UnknownCommand);
        };
        let (command, argument) = (word(&text[..bar]), &text[bar + 1..]);
        let id = table.find_full(&command).ok_or(RuleError::UnknownCommand)?;
        match table.command(id) {
            known if known.parent.is_some() => Err(RuleError::FirstArgOfSubcommand),
            _ if argument.is_empty() => Err(RuleError::Syntax),
            known if known.container => Err(RuleError::UnknownCommand),
            // Redis takes blanks, can't read what it then prints, and 8.2 dies of the next rule.
            _ if has_spaces(argument) => Err(RuleError::Syntax),
            _ => Ok(Self::FirstArg(id, argument.into())),
        }
    }

    /// Whether this rule is about `id`.
    pub(super) fn covers(&self, id: CommandId, table: &Table) -> bool {
        let command = table.command(id);
        match self {
            Self::All(_) => true,
            // A category that has a container has its subcommands too (`ACLChangeSelectorPerm`).
            Self::Category(_, category) => {
                let parent = command.parent.map(|parent| table.command(parent));
                command.categories.contains(*category)
                    || parent.is_some_and(|parent| parent.categories.contains(*category))
            }
            Self::Command(_, one) => *one == id || command.parent == Some(*one),
            Self::FirstArg(one, _) => *one == id,
        }
    }
}

// === impl LethalRule ===

impl LethalRule {
    fn parse(what: &str, table: &Table) -> Result<Self, RuleError> {
        match what {
            "*" => Ok(Self::Any),
            "none" => Ok(Self::None),
            name => {
                let id = table.find_full(name).ok_or(RuleError::UnknownCommand)?;
                let lethal = Lethal::names(id, table);
                lethal
                    .then_some(Self::Command(id))
                    .ok_or(RuleError::NotLethal)
            }
        }
    }
}

// === impl ScriptRule ===

impl ScriptRule {
    /// The file that a rule names, if it is `script=FILE`.
    pub(super) fn file(rule: &str) -> Option<&str> {
        let (_, what) = rule
            .split_once('=')
            .filter(|(key, _)| key.eq_ignore_ascii_case("script"))?;
        let words = ["any", "none"];
        let other = words.iter().any(|word| what.eq_ignore_ascii_case(word))
            || (what.get(..5)).is_some_and(|kind| kind.eq_ignore_ascii_case("sha1:"));
        (!other && !what.is_empty()).then_some(what)
    }

    /// `script=any`, `script=none`, `script=sha1:…` or `script=FILE`.
    fn parse(text: &[u8], files: ScriptFiles<'_>) -> Result<Self, RuleError> {
        let what = text.splitn(2, |&byte| byte == b'=').nth(1);
        let what = std::str::from_utf8(what.unwrap_or_default()).map_err(|_| RuleError::Syntax)?;
        match what.split_once(':') {
            Some((kind, hex)) if kind.eq_ignore_ascii_case("sha1") => {
                let script = PinnedScript::from_sha1(hex).ok_or(RuleError::Sha1)?;
                Ok(Self::Pinned(script))
            }
            _ if what.eq_ignore_ascii_case("any") => Ok(Self::Any),
            _ if what.eq_ignore_ascii_case("none") => Ok(Self::None),
            _ if what.is_empty() || has_spaces(what.as_bytes()) => Err(RuleError::Syntax),
            _ => {
                let body = files(what).map_err(RuleError::Script)?;
                Ok(Self::Pinned(PinnedScript::from_body(what, body)))
            }
        }
    }
}

/// A word to compare with names, which are ASCII: in lower case, and none of them if it is not text.
fn word(text: &[u8]) -> String {
    String::from_utf8_lossy(text).to_ascii_lowercase()
}
