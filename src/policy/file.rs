//! ACL files: `user NAME rule…`, one a line, as Redis writes them.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::command::Table;

use super::password::PasswordHash;
use super::user::User;

/// All users, compiled.
#[derive(Debug)]
pub struct Policy {
    users: HashMap<Box<str>, Arc<User>>,
    content_hash: String,
}

/// One ACL file's content.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it was read, for messages.
    pub path: PathBuf,
    /// What it says.
    pub content: Vec<u8>,
}

/// A line that is refused, or worth a warning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The rule or name as written; a password never.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

// === impl Policy ===

impl Policy {
    /// Compiles ACL files, and says what in them is legal and probably not meant.
    ///
    /// # Errors
    /// All that is wrong, in all files. There is no partial policy.
    pub fn parse(sources: &[Source], table: &Table) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut users: HashMap<Box<str>, Arc<User>> = HashMap::new();
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let mut digest = Sha256::new();
        for source in sources {
            // Length first: two files never hash like one that holds both.
            digest.update((source.content.len() as u64).to_be_bytes());
            digest.update(&source.content);
            let Ok(text) = std::str::from_utf8(&source.content) else {
                problems.push(source.problem(0, "", "the file is not UTF-8"));
                continue;
            };
            for (number, line) in text.lines().enumerate() {
                let number = number + 1;
                let mut words = line.split_ascii_whitespace();
                match words.next() {
                    None => continue,
                    Some(word) if word.starts_with('#') => continue,
                    Some("user") => {}
                    Some("role") => {
                        problems.push(source.problem(number, "role", "not built yet: roles"));
                        continue;
                    }
                    Some(word) => {
                        let reason = "a line starts with 'user' or is a '#' comment";
                        problems.push(source.problem(number, &masked(word), reason));
                        continue;
                    }
                }
                let Some(name) = words.next() else {
                    problems.push(source.problem(number, "user", "the user's name is missing"));
                    continue;
                };
                if users.contains_key(name) {
                    let reason =
                        "Duplicate user found. A user can only be defined once in config files";
                    problems.push(source.problem(number, name, reason));
                    continue;
                }
                let mut user = User::new(name);
                for word in words {
                    if let Err(error) = user.apply(word, table) {
                        problems.push(source.problem(number, &masked(word), &error.to_string()));
                    }
                }
                for reason in doubts(&user, table) {
                    warnings.push(source.problem(number, name, reason));
                }
                user.compile();
                users.insert(name.into(), Arc::new(user));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let content_hash = digest
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok((
            Self {
                users,
                content_hash,
            },
            warnings,
        ))
    }

    /// The same users, and those that are as in `old` are the very values from there: whoever holds
    /// one sees that nothing has changed.
    #[must_use]
    pub fn reusing(mut self, old: &Self) -> Self {
        for (name, user) in &mut self.users {
            if let Some(known) = old.users.get(name)
                && **known == **user
            {
                *user = Arc::clone(known);
            }
        }
        self
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// Every user, in no order.
    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// One SHA-256 over all files, hex.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }

    /// The user that a name and a password log in as. Hashes the password whether the user exists
    /// or not, so that the time taken doesn't tell.
    pub fn authenticate(&self, name: &str, password: &[u8]) -> Option<&Arc<User>> {
        let given = PasswordHash::of(password);
        self.user(name).filter(|user| user.accepts(&given))
    }
}

/// What a file can say legally and hardly mean.
fn doubts(user: &User, table: &Table) -> Vec<&'static str> {
    let mut doubts = Vec::new();
    let root = &user.selectors()[0];
    let publishes = ["publish", "subscribe", "psubscribe"]
        .iter()
        .filter_map(|name| table.find_full(name))
        .any(|id| root.allows_command(id));
    if publishes && !root.has_channels() {
        doubts.push(
            "may publish or subscribe and has no channel: Redis 6.2 gave new users '&*', here it \
             must be spelled out",
        );
    }
    if user.is_enabled() && user.is_nopass() {
        doubts.push("'nopass' lets any password in");
    }
    doubts
}

/// A rule as it may be shown: a password's sign stays, the password does not.
fn masked(word: &str) -> String {
    match word.chars().next() {
        Some(sign @ ('>' | '<' | '#' | '!')) => format!("{sign}…"),
        _ => word.to_owned(),
    }
}

// === impl Source ===

impl Source {
    fn problem(&self, line: usize, text: &str, reason: &str) -> Problem {
        Problem {
            path: self.path.clone(),
            line,
            text: text.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            text,
            reason,
        } = self;
        write!(f, "{}:{line}: '{text}': {reason}", path.display())
    }
}
