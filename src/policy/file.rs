//! ACL files: `user NAME rule…`, one a line, as Redis writes them, and `role NAME rule…`.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::SplitAsciiWhitespace;
use std::sync::Arc;

use crate::command::{Command, Gate, Table};

use super::roles::Roles;
use super::rule::{RuleError, ScriptFiles, ScriptRule, no_files};
use super::setuser::{SetUserError, merge_selectors};
use super::store::Policy;
use super::user::User;

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
    /// It names a command that the table lacks: another table may have it.
    pub unknown_command: bool,
}

/// What one line defines.
struct Definition<'a> {
    source: &'a Source,
    line: usize,
    name: &'a str,
    words: Vec<&'a [u8]>,
}

/// Reads a script that an ACL file names: the file's path, the name as it stands there.
pub type ReadScript<'a> = &'a dyn Fn(&Path, &str) -> Result<Vec<u8>, String>;

/// The files that the rules of an ACL file name as scripts, so that they can be read beforehand.
pub fn script_names(source: &Source) -> impl Iterator<Item = &str> {
    let text = std::str::from_utf8(&source.content).unwrap_or_default();
    let rules = text.lines().filter_map(|line| match read_line(line) {
        LineKind::User { words, .. } | LineKind::Role { words, .. } => Some(words),
        LineKind::Blank | LineKind::Nameless(_) | LineKind::Unknown(_) => None,
    });
    rules.flatten().filter_map(ScriptRule::file)
}

impl Policy {
    /// Compiles ACL files that name no scripts, and says what in them is legal and probably not
    /// meant.
    ///
    /// # Errors
    /// All that is wrong, in all files. There is no partial policy.
    pub fn parse(sources: &[Source], table: &Table) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        Self::parse_with(sources, table, &|_, name| no_files(name))
    }

    /// The same, where `script=FILE` is read with `read`.
    ///
    /// # Errors
    /// As [`Policy::parse`].
    pub fn parse_with(
        sources: &[Source],
        table: &Table,
        read: ReadScript<'_>,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut problems = Vec::new();
        let (mut users, mut roles) = (Vec::new(), Vec::new());
        for source in sources {
            read_lines(source, &mut users, &mut roles, &mut problems);
        }
        let roles = collect_roles(&roles, table, &mut problems);
        let mut warnings = Vec::new();
        let mut compiled: Vec<Arc<User>> = Vec::new();
        let mut names = HashSet::new();
        for definition in &users {
            if !names.insert(definition.name) {
                let reason =
                    "Duplicate user found. A user can only be defined once in config files";
                problems.push(definition.problem(definition.name, reason));
                continue;
            }
            let files = |name: &str| read(&definition.source.path, name);
            let user = compile_user(definition, &roles, table, &files, &mut problems);
            for reason in doubts(&user, definition, table) {
                warnings.push(definition.problem(definition.name, &reason));
            }
            compiled.push(Arc::new(user));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok((Self::new(compiled, roles, sources), warnings))
    }
}

/// Sorts a file's lines into users and roles.
fn read_lines<'a>(
    source: &'a Source,
    users: &mut Vec<Definition<'a>>,
    roles: &mut Vec<Definition<'a>>,
    problems: &mut Vec<Problem>,
) {
    let Ok(text) = std::str::from_utf8(&source.content) else {
        problems.push(source.problem(0, "", "the file is not UTF-8"));
        return;
    };
    for (number, line) in (1..).zip(text.lines()) {
        let (definitions, name, words) = match read_line(line) {
            LineKind::Blank => continue,
            LineKind::User { name, words } => (&mut *users, name, words),
            LineKind::Role { name, words } => (&mut *roles, name, words),
            LineKind::Nameless(kind) => {
                let reason = format!("the {kind}'s name is missing");
                problems.push(source.problem(number, kind, &reason));
                continue;
            }
            LineKind::Unknown(word) => {
                let reason = "a line starts with 'user', 'role' or is a '#' comment";
                problems.push(source.problem(number, &masked_head(word), reason));
                continue;
            }
        };
        definitions.push(Definition {
            source,
            line: number,
            name,
            words: words.map(str::as_bytes).collect(),
        });
    }
}

/// What a line of an ACL file is.
pub(super) enum LineKind<'a> {
    /// Nothing, or a comment.
    Blank,
    User {
        name: &'a str,
        words: SplitAsciiWhitespace<'a>,
    },
    Role {
        name: &'a str,
        words: SplitAsciiWhitespace<'a>,
    },
    /// `user` or `role`, and nothing behind it.
    Nameless(&'a str),
    /// It starts with another word.
    Unknown(&'a str),
}

pub(super) fn read_line(line: &str) -> LineKind<'_> {
    let mut words = line.split_ascii_whitespace();
    let (kind, name) = match words.next() {
        None => return LineKind::Blank,
        Some(word) if word.starts_with('#') => return LineKind::Blank,
        Some(word @ ("user" | "role")) => (word, words.next()),
        Some(word) => return LineKind::Unknown(word),
    };
    match name {
        None => LineKind::Nameless(kind),
        Some(name) if kind == "user" => LineKind::User { name, words },
        Some(name) => LineKind::Role { name, words },
    }
}

/// Roles stand for their rules; each is checked by itself too, so that an unused one is no trap.
fn collect_roles(
    definitions: &[Definition<'_>],
    table: &Table,
    problems: &mut Vec<Problem>,
) -> Roles {
    let mut roles = Roles::default();
    for definition in definitions {
        if !roles.insert(definition.name, &definition.words) {
            let reason = "Duplicate role found. A role can only be defined once";
            problems.push(definition.problem(definition.name, reason));
        }
    }
    for definition in definitions {
        let files = |_: &str| Ok(Vec::new());
        compile_user(definition, &roles, table, &files, problems);
    }
    roles
}

/// The user that a line makes, with all that is wrong in it.
fn compile_user(
    definition: &Definition<'_>,
    roles: &Roles,
    table: &Table,
    files: ScriptFiles<'_>,
    problems: &mut Vec<Problem>,
) -> User {
    let mut user = User::new(definition.name);
    let mut told = Vec::new();
    if definition.words.contains(&&b"#"[..]) {
        problems.push(definition.problem("#", "a comment stands on a line of its own"));
        return user;
    }
    let words = roles.expand(&definition.words, &mut |word, error| {
        told.push(definition.problem(&masked(word), &error.to_string()));
    });
    match merge_selectors(&words) {
        Ok(rules) => {
            for rule in &rules {
                if let Err(error) = user.apply_with(rule, table, files) {
                    let shown = match error {
                        RuleError::Syntax => masked_wholly(rule),
                        _ => masked(rule),
                    };
                    told.push(Problem {
                        unknown_command: error == RuleError::UnknownCommand,
                        ..definition.problem(&shown, &error.to_string())
                    });
                }
            }
        }
        Err(SetUserError::Unmatched(start)) => {
            // Redis' text repeats the word.
            let reason = "Unmatched parenthesis in acl selector";
            told.push(definition.problem(&masked_wholly(start.as_bytes()), reason));
        }
        Err(error) => told.push(definition.problem("", &error.to_string())),
    }
    user.compile(table);
    problems.extend(told);
    user
}

/// What a file can say legally and hardly mean.
fn doubts(user: &User, definition: &Definition<'_>, table: &Table) -> Vec<String> {
    let mut doubts = Vec::new();
    let named = user
        .selectors()
        .iter()
        .flat_map(|one| one.named_commands(table));
    for id in named {
        let Command { name, gate, .. } = table.command(id);
        if *gate == Gate::Lethal && !user.lethal().allows(id, table) {
            doubts.push(format!("'+{name}' opens nothing without 'lethal={name}'"));
        }
    }
    let root = &user.selectors()[0];
    let allows = |names: &[&str]| {
        let mut ids = names.iter().filter_map(|name| table.find_full(name));
        ids.any(|id| root.allows_command(id))
    };
    // Redis 7 and later write it into every line: then nobody relies on another default.
    let says_so = |word: &&[u8]| word.eq_ignore_ascii_case(b"resetchannels");
    if allows(&["publish", "subscribe", "psubscribe"])
        && !root.has_channels()
        && !definition.words.iter().any(says_so)
    {
        doubts.push(
            "may publish or subscribe and has no channel: Redis 6.2 gave new users '&*', here it \
             must be spelled out ('resetchannels': there shall be none)"
                .to_owned(),
        );
    }
    if allows(&["eval", "evalsha", "fcall"]) && user.scripts().is_empty() && !user.is_unrestricted()
    {
        doubts.push(
            "may run EVAL or FCALL by its rules and less than '+@all ~* &*' else: its scripts are \
             refused unless 'script=' names them"
                .to_owned(),
        );
    }
    if user.is_enabled() && user.is_nopass() {
        doubts.push("'nopass' lets any password in".to_owned());
    }
    doubts
}

/// A word that is no rule, as it may be shown: one that doesn't begin as rules do may be a password
/// without its sign.
fn masked_wholly(word: &[u8]) -> String {
    let keys: [&[u8]; 4] = [b"db=", b"lethal=", b"script=", b"role="];
    let names = |key: &&[u8]| {
        word.get(..key.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(key))
    };
    match word.first() {
        Some(b'(' | b'~' | b'%' | b'&' | b'+' | b'-' | b'>' | b'<' | b'#' | b'!') => {
            shown(word, masked_wholly)
        }
        _ if keys.iter().any(names) => masked(word),
        Some(first) if first.is_ascii_alphanumeric() => format!("{}…", char::from(*first)),
        _ => "…".to_owned(),
    }
}

/// What a line begins with in place of `user` or `role`. A file that is no ACL file may hold
/// anything, a private key too: what is longer than a slip of the pen is not shown.
fn masked_head(word: &str) -> String {
    if word.len() <= 5 && word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return word.to_owned();
    }
    let first = word.chars().next();
    first.map_or_else(String::new, |first| format!("{first}…"))
}

/// A rule as it may be shown: a password's sign stays, the password does not.
pub fn masked(word: &[u8]) -> String {
    shown(word, masked)
}

/// The words of a selector are shown as `inner` shows them: a password has no place in there, and may
/// be there all the same.
fn shown(word: &[u8], inner: fn(&[u8]) -> String) -> String {
    match word {
        [sign @ (b'>' | b'<' | b'#' | b'!'), ..] => format!("{}…", char::from(*sign)),
        [b'(', ..] => {
            // All of them at once: one after the other would be as deep as a client likes.
            let begin = word.iter().position(|byte| *byte != b'(');
            let rest = &word[begin.unwrap_or(word.len())..];
            let words = rest.split(u8::is_ascii_whitespace).map(inner);
            format!("({}", words.collect::<Vec<_>>().join(" "))
        }
        _ => String::from_utf8_lossy(word).into_owned(),
    }
}

// === impl Definition ===

impl Definition<'_> {
    fn problem(&self, text: &str, reason: &str) -> Problem {
        self.source.problem(self.line, text, reason)
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
            unknown_command: false,
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
            unknown_command: _,
        } = self;
        write!(f, "{}:{line}: '{text}': {reason}", path.display())
    }
}
