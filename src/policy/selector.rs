//! One set of permissions that must hold together: commands, keys, channels.

use crate::command::{Access, CommandId, Table};

use super::heads::HeadIndex;
use super::pattern::Pattern;
use super::rule::{CommandRule, Rule, RuleError};

/// What one selector of a user allows. A user has one at least: the root.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selector {
    commands: CommandSet,
    keys: Keys,
    channels: Channels,
    /// The command rules as written, to name the one that decided.
    rules: Vec<(CommandRule, Box<str>)>,
}

/// A bit a command.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct CommandSet(Box<[u64]>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Keys {
    All,
    Some(KeyPatterns),
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct KeyPatterns {
    /// In the order of their rules.
    list: Vec<KeyPattern>,
    /// Only saves time: without it the list is gone through.
    index: Option<HeadIndex>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct KeyPattern {
    pattern: Pattern,
    access: Access,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Channels {
    All,
    Some(Vec<Pattern>),
}

/// So many key patterns are sooner gone through than looked up.
const UNINDEXED: usize = 4;

// === impl Selector ===

impl Selector {
    /// Applies a rule to these permissions. Rules about the user itself change nothing here.
    pub(super) fn apply(&mut self, rule: Rule, text: &str, table: &Table) -> Result<(), RuleError> {
        match rule {
            Rule::Command(rule) => {
                for (id, _) in table.iter().filter(|(id, _)| rule.what.cover(*id, table)) {
                    self.commands.set(id, rule.allow, table.len());
                }
                self.rules.push((rule, text.into()));
            }
            Rule::AllKeys => self.keys = Keys::All,
            Rule::ResetKeys => self.keys = Keys::default(),
            Rule::Key {
                pattern,
                read,
                write,
            } => self.keys.add(pattern, read, write)?,
            Rule::AllChannels => self.channels = Channels::All,
            Rule::ResetChannels => self.channels = Channels::default(),
            Rule::Channel(pattern) => match &mut self.channels {
                Channels::All => return Err(RuleError::ChannelAfterAll),
                Channels::Some(patterns) if patterns.contains(&pattern) => {}
                Channels::Some(patterns) => patterns.push(pattern),
            },
            Rule::Reset => *self = Self::default(),
            _ => {}
        }
        Ok(())
    }

    /// After the last rule: prepares for many requests.
    pub(super) fn compile(&mut self) {
        if let Keys::Some(patterns) = &mut self.keys
            && patterns.list.len() > UNINDEXED
        {
            let heads = patterns.list.iter().map(|key| key.pattern.head());
            patterns.index = Some(HeadIndex::new(heads));
        }
    }

    /// Whether the command may be run at all.
    #[inline]
    pub fn allows_command(&self, id: CommandId) -> bool {
        self.commands.contains(id)
    }

    /// Whether no key needs to be looked at.
    #[inline]
    pub fn allows_all_keys(&self) -> bool {
        matches!(self.keys, Keys::All)
    }

    /// Whether every key may be read and written: `allkeys`, or `*` as a pattern (`%RW~*`), which
    /// Redis looks at key by key and takes for all in SORT … BY
    /// (`ACLSelectorHasUnrestrictedKeyAccess`).
    pub fn allows_any_key(&self) -> bool {
        match &self.keys {
            Keys::All => true,
            Keys::Some(patterns) => patterns
                .list
                .iter()
                .any(|key| key.pattern.source() == b"*" && grants(key.access, Access::READ_WRITE)),
        }
    }

    /// Whether no channel needs to be looked at.
    #[inline]
    pub fn allows_all_channels(&self) -> bool {
        matches!(self.channels, Channels::All)
    }

    /// Whether a key may be touched like this. A key that is neither read nor written (EXISTS)
    /// needs some pattern that matches, whatever it grants.
    #[inline]
    pub fn allows_key(&self, name: &[u8], access: Access) -> bool {
        match &self.keys {
            Keys::All => true,
            Keys::Some(patterns) => {
                let allows =
                    |key: &KeyPattern| grants(key.access, access) && key.pattern.matches(name);
                match &patterns.index {
                    None => patterns.list.iter().any(allows),
                    Some(index) => index.any(name, |number| allows(&patterns.list[number])),
                }
            }
        }
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

    /// The last rule that speaks of a command: the one that decided. `None`: no rule does.
    pub fn command_rule(&self, id: CommandId, table: &Table) -> Option<&str> {
        let deciding = |(rule, _): &&(CommandRule, Box<str>)| rule.what.cover(id, table);
        self.rules
            .iter()
            .rev()
            .find(deciding)
            .map(|(_, text)| &**text)
    }

    /// The pattern that allows a key like this, or else one that matches it and doesn't allow
    /// enough, as a rule.
    pub fn key_rule(&self, name: &[u8], access: Access) -> Option<String> {
        let Keys::Some(patterns) = &self.keys else {
            return Some("~*".to_owned());
        };
        let matching = || patterns.list.iter().filter(|key| key.pattern.matches(name));
        matching()
            .find(|key| grants(key.access, access))
            .or_else(|| matching().next())
            .map(KeyPattern::to_rule)
    }
}

/// Whether what a pattern grants covers what a command asks for.
#[inline]
fn grants(granted: Access, asked: Access) -> bool {
    (granted.reads() || !asked.reads()) && (granted.writes() || !asked.writes())
}

// === impl CommandSet ===

impl CommandSet {
    #[inline]
    fn contains(&self, id: CommandId) -> bool {
        let index = id.index();
        self.0
            .get(index / 64)
            .is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn set(&mut self, id: CommandId, allow: bool, size: usize) {
        if self.0.is_empty() {
            self.0 = vec![0; size.div_ceil(64)].into();
        }
        let index = id.index();
        let mask = 1 << (index % 64);
        if let Some(word) = self.0.get_mut(index / 64) {
            *word = if allow { *word | mask } else { *word & !mask };
        }
    }
}

// === impl Keys ===

impl Default for Keys {
    fn default() -> Self {
        Self::Some(KeyPatterns::default())
    }
}

impl Keys {
    /// The same pattern twice adds its permissions up.
    fn add(&mut self, pattern: Pattern, read: bool, write: bool) -> Result<(), RuleError> {
        let Self::Some(patterns) = self else {
            return Err(RuleError::KeyAfterAll);
        };
        let mut access = Access::NONE;
        if read {
            access = access | Access::READ;
        }
        if write {
            access = access | Access::WRITE;
        }
        patterns.index = None;
        let list = &mut patterns.list;
        match list.iter_mut().find(|key| key.pattern == pattern) {
            Some(known) => known.access = known.access | access,
            None => list.push(KeyPattern { pattern, access }),
        }
        Ok(())
    }
}

// === impl KeyPattern ===

impl KeyPattern {
    fn to_rule(&self) -> String {
        let sign = match (self.access.reads(), self.access.writes()) {
            (true, true) => "~",
            (true, false) => "%R~",
            (false, _) => "%W~",
        };
        format!("{sign}{}", String::from_utf8_lossy(self.pattern.source()))
    }
}

// === impl Channels ===

impl Default for Channels {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}
