//! One set of permissions that must hold together: commands, keys, channels, databases.

use crate::command::{Access, CommandId, Table};

use super::commands::Commands;
use super::keys::Keys;
use super::pattern::Pattern;
use super::rule::{RuleError, SelectorRule};

/// What one selector of a user allows. A user has one at least: the root.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    commands: Commands,
    keys: Keys,
    channels: Channels,
    databases: Allowed,
}

#[derive(Clone, Debug)]
enum Channels {
    All,
    Some(Vec<Pattern>),
}

/// The databases of one selector. New ones have all, as in Valkey 9: rules from before there were
/// any about databases mean what they meant.
#[derive(Clone, Debug, Default)]
enum Allowed {
    #[default]
    All,
    /// Sorted.
    Some(Vec<u32>),
}

// === impl Selector ===

impl Selector {
    pub(super) fn apply(&mut self, rule: SelectorRule, table: &Table) -> Result<(), RuleError> {
        match rule {
            SelectorRule::Command(rule) => self.commands.apply(&rule, table),
            SelectorRule::AllKeys => self.keys = Keys::All,
            SelectorRule::ResetKeys => self.keys = Keys::default(),
            SelectorRule::Key { pattern, access } => self.keys.add(pattern, access)?,
            SelectorRule::MalformedKey if self.allows_all_keys() => {
                return Err(RuleError::KeyAfterAll);
            }
            SelectorRule::MalformedChannel if self.allows_all_channels() => {
                return Err(RuleError::ChannelAfterAll);
            }
            SelectorRule::MalformedKey | SelectorRule::MalformedChannel => {
                return Err(RuleError::Syntax);
            }
            SelectorRule::AllChannels => self.channels = Channels::All,
            SelectorRule::ResetChannels => self.channels = Channels::default(),
            SelectorRule::Channel(pattern) => match &mut self.channels {
                Channels::All => return Err(RuleError::ChannelAfterAll),
                Channels::Some(patterns) if patterns.contains(&pattern) => {}
                Channels::Some(patterns) => patterns.push(pattern),
            },
            SelectorRule::AllDatabases => self.databases = Allowed::All,
            SelectorRule::ResetDatabases => self.databases = Allowed::Some(Vec::new()),
            SelectorRule::Databases(numbers) => self.databases.add(numbers),
        }
        Ok(())
    }

    /// After the last rule: prepares for many requests.
    pub(super) fn compile(&mut self) {
        self.keys.compile();
    }

    /// The same rules over a table that has grown.
    pub(super) fn recompile(&mut self, table: &Table) {
        self.commands.recompile(table);
    }

    /// Whether the command may be run at all.
    #[inline]
    pub fn allows_command(&self, id: CommandId) -> bool {
        self.commands.allow(id)
    }

    /// Whether the command may be run with this first argument only.
    pub fn allows_first_arg(&self, id: CommandId, argument: &[u8]) -> bool {
        self.commands.allow_first_arg(id, argument)
    }

    /// Whether some first argument opens the command.
    pub fn has_first_args(&self, id: CommandId) -> bool {
        self.commands.has_first_args(id)
    }

    /// Whether no key needs to be looked at.
    #[inline]
    pub fn allows_all_keys(&self) -> bool {
        matches!(self.keys, Keys::All)
    }

    /// Whether every key may be touched like this, be it by a pattern.
    pub fn allows_any_key(&self, access: Access) -> bool {
        self.keys.allow_any(access)
    }

    /// Whether no channel needs to be looked at.
    #[inline]
    pub fn allows_all_channels(&self) -> bool {
        matches!(self.channels, Channels::All)
    }

    /// Whether a key may be touched like this.
    #[inline]
    pub fn allows_key(&self, name: &[u8], access: Access) -> bool {
        self.keys.allow(name, access)
    }

    /// Whether a channel, or literally this pattern of channels, may be used.
    pub fn allows_channel(&self, name: &[u8], is_pattern: bool) -> bool {
        match &self.channels {
            Channels::All => true,
            Channels::Some(patterns) if is_pattern => {
                patterns.iter().any(|pattern| pattern.source() == name)
            }
            Channels::Some(patterns) => patterns.iter().any(|pattern| pattern.matches(name)),
        }
    }

    /// Whether there is any channel to use.
    pub fn has_channels(&self) -> bool {
        !matches!(&self.channels, Channels::Some(patterns) if patterns.is_empty())
    }

    /// Whether no database needs to be looked at.
    #[inline]
    pub fn allows_all_databases(&self) -> bool {
        matches!(self.databases, Allowed::All)
    }

    /// Whether a database may be used.
    pub fn allows_database(&self, number: u32) -> bool {
        match &self.databases {
            Allowed::All => true,
            Allowed::Some(numbers) => numbers.binary_search(&number).is_ok(),
        }
    }

    /// Whether it allows everything there is: `+@all ~* &*` in every database.
    pub fn allows_everything(&self, table: &Table) -> bool {
        self.allows_all_keys()
            && self.allows_all_channels()
            && self.allows_all_databases()
            && self.commands.allow_all(table)
    }

    /// The commands that rules allow by their names.
    pub(super) fn named_commands(&self, table: &Table) -> impl Iterator<Item = CommandId> {
        self.commands.named(table)
    }

    /// The last rule that speaks of a command: the one that decided. `None`: no rule does.
    pub fn command_rule(&self, id: CommandId, table: &Table) -> Option<String> {
        self.commands.deciding_rule(id, table)
    }

    /// The pattern that allows a key like this, or else one that matches it and doesn't allow
    /// enough, as a rule.
    pub fn key_rule(&self, name: &[u8], access: Access) -> Option<String> {
        self.keys.deciding_rule(name, access)
    }

    /// The rules about commands as `ACL GETUSER` prints them: `-@all +get`.
    pub fn describe_commands(&self) -> Vec<u8> {
        self.commands.describe()
    }

    /// The rules about keys as `ACL GETUSER` prints them: `~a %R~b`.
    pub fn describe_keys(&self) -> Vec<u8> {
        self.keys.describe()
    }

    /// The rules about channels as `ACL GETUSER` prints them: `&a &b`.
    pub fn describe_channels(&self) -> Vec<u8> {
        match &self.channels {
            Channels::All => b"&*".to_vec(),
            Channels::Some(patterns) => {
                let rules = patterns.iter().map(|one| [b"&", one.source()].concat());
                rules.collect::<Vec<_>>().join(&b' ')
            }
        }
    }

    /// The rule about databases, `db=0,3`; `None`: it may use all, about which Redis says nothing.
    pub fn describe_databases(&self) -> Option<String> {
        match &self.databases {
            Allowed::All => None,
            Allowed::Some(numbers) if numbers.is_empty() => Some("resetdbs".to_owned()),
            Allowed::Some(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                Some(format!("db={}", numbers.join(",")))
            }
        }
    }

    /// All of it, in the order of `ACL LIST` (`ACLDescribeSelector`).
    pub(super) fn describe(&self, out: &mut Vec<u8>) {
        let mut put = |text: &[u8]| {
            if !text.is_empty() {
                out.extend_from_slice(text);
                out.push(b' ');
            }
        };
        put(&self.describe_keys());
        if !self.allows_all_channels() {
            put(b"resetchannels");
        }
        put(&self.describe_channels());
        put(self.describe_databases().unwrap_or_default().as_bytes());
        out.extend_from_slice(&self.describe_commands());
    }
}

// === impl Channels ===

impl Default for Channels {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

// === impl Allowed ===

impl Allowed {
    /// The first rule that names databases takes all others away.
    fn add(&mut self, numbers: Vec<u32>) {
        let mut all = match std::mem::take(self) {
            Self::All => Vec::new(),
            Self::Some(known) => known,
        };
        all.extend(numbers);
        all.sort_unstable();
        all.dedup();
        *self = Self::Some(all);
    }
}
