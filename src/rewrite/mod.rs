//! What a client's command name stands for: `rename` first, then `substitute`. And what replies say
//! of where a Redis is: [`Addresses`].
//!
//! Knows names and commands; not users. Policy judges what comes out of here, since that is what
//! Redis will run; a refusal names what went in.

mod addresses;

use bytes::{Bytes, BytesMut};

use crate::command::{CommandId, NameIndex, Resolved, Table};
use crate::resp::{Args, OwnedArgs, encode_bulk};

pub use addresses::{
    Addresses, Answer, rewrite_answer, rewrite_message, rewrite_redirect, rewrite_transaction,
};

/// Every name that a client may use, compiled with the rewrites.
#[derive(Debug)]
pub struct Names {
    index: NameIndex,
    entries: Vec<Entry>,
    /// Names that a rename took away.
    hidden: Vec<Box<str>>,
    /// As configured, to compile them again.
    rename: Vec<(String, String)>,
    substitute: Vec<(String, String)>,
}

/// What one name stands for.
#[derive(Debug)]
pub struct Entry {
    /// The name that clients use, lower case.
    visible: Box<str>,
    /// The command that the client means.
    sent: CommandId,
    /// The command that Redis will run.
    run: CommandId,
    /// What is forwarded in place of the name; `None`: the name as it came.
    replacement: Option<Replacement>,
}

/// What takes a name's place on the way to the upstream.
#[derive(Debug)]
pub struct Replacement {
    /// Encoded bulk strings: the name, and the arguments if it has some.
    head: Bytes,
    /// How many.
    count: usize,
    /// A replacement with arguments: it takes the place of the bare command and of nothing else.
    fixed: Option<OwnedArgs>,
    /// Whether the upstream must be asked for the command: true for substitutes.
    substitute: bool,
}

/// A rewrite that can't be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RewriteError {
    /// The command isn't in the table.
    #[error("rewrite.{section}.{name}: no such command")]
    UnknownCommand {
        /// `rename` or `substitute`.
        section: &'static str,
        /// The name as configured.
        name: String,
    },
    /// A rename to the name of a command that clients can still use.
    #[error("rewrite.rename.{name} = \"{target}\": the name is taken by another command")]
    NameTaken {
        /// The renamed command.
        name: String,
        /// Its new name.
        target: String,
    },
    /// The proxy answers this command itself, so nothing would be forwarded in its place.
    #[error("rewrite.{section}.{name}: the proxy answers {name} itself")]
    OwnCommand {
        /// `rename` or `substitute`.
        section: &'static str,
        /// The name as configured.
        name: String,
    },
    /// A substitute whose number of arguments is wrong for its command.
    #[error("rewrite.substitute.{name} = \"{target}\": wrong number of arguments for its command")]
    Arity {
        /// The substituted command.
        name: String,
        /// The substitute.
        target: String,
    },
    /// A rename to a name that no client could send.
    #[error("rewrite.rename: {0}")]
    Index(String),
}

/// Commands that the proxy answers itself, and those whose replies it follows: they can't stand
/// for anything else.
const OWN: [&str; 7] = ["auth", "hello", "quit", "reset", "multi", "exec", "discard"];

/// So is this one, but it may be hidden, or given another name.
const OWN_ACL: &str = "acl";

// === impl Names ===

impl Names {
    /// Whether these are made of the same pairs.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.rename == other.rename && self.substitute == other.substitute
    }

    /// Compiles the names of `table` under the configured pairs (names in lower case).
    ///
    /// # Errors
    /// All pairs that can't be, together.
    pub fn compile(
        table: &Table,
        rename: &[(String, String)],
        substitute: &[(String, String)],
    ) -> Result<Self, Vec<RewriteError>> {
        let mut errors = Vec::new();
        for (section, pairs) in [("rename", rename), ("substitute", substitute)] {
            for (name, _) in pairs {
                let name = name.clone();
                let own = OWN.contains(&name.as_str());
                if own || (section == "substitute" && name == OWN_ACL) {
                    errors.push(RewriteError::OwnCommand { section, name });
                } else if table.find(name.as_bytes()).is_none() {
                    errors.push(RewriteError::UnknownCommand { section, name });
                }
            }
        }
        let mut entries = Vec::new();
        for (id, command) in table.iter().filter(|(_, command)| command.parent.is_none()) {
            let name: &str = &command.name;
            let visible = match rename.iter().find(|(from, _)| from == name) {
                Some((_, target)) if target.is_empty() => continue,
                Some((_, target)) => target.to_ascii_lowercase(),
                None => name.to_owned(),
            };
            let replacement = match substitute.iter().find(|(from, _)| from == name) {
                Some((_, target)) => match Replacement::substitute(table, name, target) {
                    Ok(found) => Some(found),
                    Err(error) => {
                        errors.push(error);
                        None
                    }
                },
                None if visible != name => Some((id, Replacement::name(name))),
                None => None,
            };
            let run = replacement.as_ref().map_or(id, |(run, _)| *run);
            entries.push(Entry {
                visible: visible.into(),
                sent: id,
                run,
                replacement: replacement.map(|(_, replacement)| replacement),
            });
        }
        for (name, target) in rename.iter().filter(|(_, target)| !target.is_empty()) {
            let target = target.to_ascii_lowercase();
            let holders = entries
                .iter()
                .filter(|entry| *entry.visible == *target)
                .count();
            if holders > 1 {
                errors.push(RewriteError::NameTaken {
                    name: name.clone(),
                    target,
                });
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let numbered = entries
            .iter()
            .enumerate()
            .map(|(number, entry)| (entry.visible.as_bytes(), number as u16));
        let index = NameIndex::build(numbered)
            .map_err(|error| vec![RewriteError::Index(error.to_string())])?;
        let hidden = rename.iter().map(|(name, _)| name.as_str());
        let hidden = hidden
            .filter(|name| index.find(name.as_bytes()).is_none())
            .map(Into::into);
        Ok(Self {
            hidden: hidden.collect(),
            index,
            entries,
            rename: rename.to_vec(),
            substitute: substitute.to_vec(),
        })
    }

    /// The same pairs over another table.
    ///
    /// # Errors
    /// As [`Names::compile`]: a name may be taken there.
    pub fn over(&self, table: &Table) -> Result<Self, Vec<RewriteError>> {
        Self::compile(table, &self.rename, &self.substitute)
    }

    /// Whether a rename took this name away. The client is told that nobody knows it; the operator
    /// is told the difference.
    pub fn is_hidden(&self, name: &[u8]) -> bool {
        self.hidden
            .iter()
            .any(|hidden| hidden.as_bytes().eq_ignore_ascii_case(name))
    }

    /// What a name stands for; `None`: nobody knows it, or it is hidden.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        self.index
            .find(name)
            .map(|number| &self.entries[number as usize])
    }

    /// The substitutes whose command `known` doesn't have, to warn the operator.
    pub fn unknown_substitutes<'a>(
        &'a self,
        table: &'a Table,
        known: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.entries
            .iter()
            .filter(|entry| entry.is_substitute())
            .map(|entry| (&*entry.visible, &*table.command(entry.run).name))
            .filter(move |(_, run)| !known(run))
    }
}

// === impl Entry ===

impl Entry {
    /// The name that clients use, lower case.
    pub fn visible(&self) -> &str {
        &self.visible
    }

    /// The command that the client means, top level.
    pub fn sent(&self) -> CommandId {
        self.sent
    }

    /// The command that Redis will run, top level.
    #[inline]
    pub fn run(&self) -> CommandId {
        self.run
    }

    /// What takes the name's place; `None`: it is forwarded as it came.
    #[inline]
    pub fn replacement(&self) -> Option<&Replacement> {
        self.replacement.as_ref()
    }

    /// Whether another command runs than the client named: one that the upstream may not have.
    pub fn is_substitute(&self) -> bool {
        self.replacement
            .as_ref()
            .is_some_and(|replacement| replacement.substitute)
    }

    /// The arguments that policy judges and Redis will see; `None` if the substitute doesn't apply
    /// to this form of the command.
    #[inline]
    pub fn judged<'a>(&'a self, args: &Args<'a>) -> Option<Args<'a>> {
        match self
            .replacement
            .as_ref()
            .and_then(|replacement| replacement.fixed.as_ref())
        {
            None => Some(*args),
            Some(fixed) => (args.len() == 1).then(|| fixed.as_args()),
        }
    }

    /// The deepest command that the arguments name, starting from what Redis will run.
    #[inline]
    pub fn resolve(&self, args: &Args<'_>, table: &Table) -> Resolved {
        if !table.command(self.run).container || args.len() < 2 {
            return Resolved::Command(self.run);
        }
        match args.get(1) {
            None => Resolved::Incomplete,
            Some(sub) => table
                .find_sub(self.run, sub)
                .map_or(Resolved::UnknownSubcommand(self.run), Resolved::Command),
        }
    }
}

// === impl Replacement ===

impl Replacement {
    /// The real name of a renamed command.
    fn name(name: &str) -> Self {
        Self {
            head: encode_words(&[name]),
            count: 1,
            fixed: None,
            substitute: false,
        }
    }

    fn substitute(
        table: &Table,
        name: &str,
        target: &str,
    ) -> Result<(CommandId, Self), RewriteError> {
        let words: Vec<&str> = target.split(' ').collect();
        let unknown = || RewriteError::UnknownCommand {
            section: "substitute",
            name: format!("{name} = \"{target}\""),
        };
        let run = table.find(words[0].as_bytes()).ok_or_else(unknown)?;
        let own = &*table.command(run).name;
        if OWN.contains(&own) || own == OWN_ACL {
            let name = table.command(run).name.clone().into_owned();
            return Err(RewriteError::OwnCommand {
                section: "substitute",
                name,
            });
        }
        let fixed = (words.len() > 1).then(|| words.iter().collect::<OwnedArgs>());
        if fixed.is_some() && !table.command(run).arity_fits(words.len()) {
            let (name, target) = (name.to_owned(), target.to_owned());
            return Err(RewriteError::Arity { name, target });
        }
        let replacement = Self {
            head: encode_words(&words),
            count: words.len(),
            fixed,
            substitute: true,
        };
        Ok((run, replacement))
    }

    /// Encoded bulk strings that stand where the name stood.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// How many arguments the request has with the replacement, of `len` that it had.
    pub fn count(&self, len: usize) -> usize {
        len - 1 + self.count
    }
}

fn encode_words(words: &[&str]) -> Bytes {
    let mut out = BytesMut::new();
    for word in words {
        encode_bulk(word.as_bytes(), &mut out);
    }
    out.freeze()
}

#[cfg(test)]
mod tests;
