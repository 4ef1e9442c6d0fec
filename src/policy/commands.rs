//! Which commands a selector allows: a bit a command, and the rules that made them.

use crate::command::{CommandId, Table};

use super::rule::CommandRule;

/// The commands of one selector.
#[derive(Clone, Debug, Default)]
pub(super) struct Commands {
    allowed: CommandSet,
    /// `+@all` is the base: commands that are learned later are allowed too.
    future: bool,
    /// Commands that aren't allowed but with these first arguments.
    first_args: Vec<(CommandId, Box<[u8]>)>,
    /// The rules since the last about all commands, as Redis keeps them to print them
    /// (`command_rules`): a later rule takes the place of one about the same.
    rules: Vec<Written>,
}

/// A rule as it is printed.
#[derive(Clone, Debug)]
struct Written {
    allow: bool,
    /// Without its sign, in lower case.
    text: Box<[u8]>,
}

/// A bit a command.
#[derive(Clone, Debug, Default)]
struct CommandSet(Box<[u64]>);

// === impl Commands ===

impl Commands {
    pub(super) fn apply(&mut self, rule: &CommandRule, table: &Table) {
        match rule {
            CommandRule::All(allow) => {
                *self = Self {
                    future: *allow,
                    ..Self::default()
                };
                self.set(rule, *allow, table);
            }
            CommandRule::Category(allow, category) => {
                self.set(rule, *allow, table);
                self.write(*allow, format!("@{category}").into_bytes());
            }
            CommandRule::Command(allow, id) => {
                self.set(rule, *allow, table);
                self.write(*allow, table.command(*id).name.as_bytes().to_vec());
            }
            CommandRule::FirstArg(id, argument) => {
                let known = |(one, other): &(CommandId, Box<[u8]>)| {
                    one == id && other.eq_ignore_ascii_case(argument)
                };
                if !self.first_args.iter().any(known) {
                    self.first_args.push((*id, argument.clone()));
                }
                let name = table.command(*id).name.as_bytes();
                let mut text = [name, b"|", argument].concat();
                text.make_ascii_lowercase();
                self.write(true, text);
            }
        }
    }

    /// The same rules over a table that has grown.
    pub(super) fn recompile(&mut self, table: &Table) {
        let old = std::mem::take(self);
        self.apply(&CommandRule::All(old.future), table);
        for written in old.rules {
            match CommandRule::parse(&written.to_bytes(), table) {
                Ok(rule) => self.apply(&rule, table),
                // About a command that is no more: kept for when it comes back.
                Err(_) => self.rules.push(written),
            }
        }
    }

    fn set(&mut self, rule: &CommandRule, allow: bool, table: &Table) {
        for (id, _) in table.iter().filter(|(id, _)| rule.covers(*id, table)) {
            self.allowed.set(id, allow, table.len());
            self.first_args.retain(|(known, _)| *known != id);
        }
    }

    /// Keeps a rule; those that it takes the place of go: the same one, and those about parts of it.
    fn write(&mut self, allow: bool, text: Vec<u8>) {
        self.rules.retain(|known| {
            let rest = known.text.strip_prefix(&*text);
            !rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'|')
        });
        self.rules.push(Written {
            allow,
            text: text.into(),
        });
    }

    /// Whether the command may be run, whatever its arguments.
    #[inline]
    pub(super) fn allow(&self, id: CommandId) -> bool {
        self.allowed.contains(id)
    }

    /// Whether a rule allows the command with this first argument.
    pub(super) fn allow_first_arg(&self, id: CommandId, argument: &[u8]) -> bool {
        self.first_args
            .iter()
            .any(|(known, one)| *known == id && one.eq_ignore_ascii_case(argument))
    }

    /// Whether some first argument opens the command.
    pub(super) fn has_first_args(&self, id: CommandId) -> bool {
        self.first_args.iter().any(|(known, _)| *known == id)
    }

    /// Whether no command is refused, nor will be.
    pub(super) fn allow_all(&self, table: &Table) -> bool {
        self.future && table.iter().all(|(id, _)| self.allow(id))
    }

    /// The last rule that speaks of a command: the one that decided.
    pub(super) fn deciding_rule(&self, id: CommandId, table: &Table) -> Option<String> {
        let written = self.rules.iter().rev().map(Written::to_bytes);
        let base = if self.future { "+@all" } else { "-@all" };
        written
            .filter(|text| CommandRule::parse(text, table).is_ok_and(|rule| rule.covers(id, table)))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .next()
            .or_else(|| self.future.then(|| base.to_owned()))
    }

    /// The commands that rules allow by their names.
    pub(super) fn named(&self, table: &Table) -> impl Iterator<Item = CommandId> {
        let allowing = self.rules.iter().filter(|rule| rule.allow);
        allowing.filter_map(|rule| table.find_full(std::str::from_utf8(&rule.text).ok()?))
    }

    /// The rules as Redis prints them: `-@all +get`.
    pub(super) fn describe(&self) -> Vec<u8> {
        let mut out = if self.future { b"+@all" } else { b"-@all" }.to_vec();
        for rule in &self.rules {
            out.push(b' ');
            out.extend_from_slice(&rule.to_bytes());
        }
        out
    }
}

// === impl Written ===

impl Written {
    fn to_bytes(&self) -> Vec<u8> {
        let sign: &[u8] = if self.allow { b"+" } else { b"-" };
        [sign, &self.text].concat()
    }
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
