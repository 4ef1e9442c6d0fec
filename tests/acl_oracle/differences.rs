//! The differences that are meant: the list of them in the documentation, and how one is told.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use respgate::command::Access;

const PAGE: &str = include_str!("../../docs/policy.md");
const SECTION: &str = "## Where it differs from Redis' ACL";

/// The list's rows, and how often each was met.
pub struct Differences {
    rows: Vec<Row>,
    met: BTreeMap<String, usize>,
    server: &'static str,
}

struct Row {
    name: String,
    /// Names of commands; none: any command.
    commands: Vec<String>,
    servers: String,
    /// Ours may also be looser, or another refusal.
    either_way: bool,
}

/// What was decided on a request, in the terms that both sides have.
#[derive(Clone, Eq, PartialEq)]
pub enum Verdict {
    Allow,
    /// No such command or subcommand.
    Unknown,
    Arity,
    /// The command of this full name isn't allowed.
    Command(Vec<u8>),
    Key(Vec<u8>),
    Channel(Vec<u8>),
    /// For a reason that Redis doesn't have; with its label.
    Other(&'static str),
}

/// A request on which the two sides don't agree.
pub struct Disagreement<'a> {
    pub args: &'a [Vec<u8>],
    /// The full name of the command, if we know it.
    pub command: &'a str,
    /// It was made as a correct one.
    pub valid: bool,
    /// We can't tell which keys it touches.
    pub unreadable: bool,
    /// The keys that we find in it, and what happens to them.
    pub keys: &'a [(usize, Access)],
    pub ours: &'a Verdict,
    pub theirs: &'a Verdict,
    /// The command, its container or one of its other names is in other categories on this server.
    pub recategorized: bool,
    /// Some rule allows the command with a first argument.
    pub by_first_arg: bool,
    /// It takes another number of arguments on this server.
    pub rearranged: bool,
    /// Some selector allows the command, and every key to be read: Redis runs SORT with BY or GET if
    /// this one allows the keys that it finds.
    pub holds_all_keys: bool,
}

// === impl Differences ===

impl Differences {
    /// Those from the server of this version.
    pub fn read(server: &'static str) -> Self {
        let (_, section) = PAGE.split_once(SECTION).expect("the page has the list");
        let section = section.split("\n#").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let rows: Vec<Row> = rows.map(Row::read).collect();
        assert!(rows.len() > 5, "the list was not read");
        Self {
            rows,
            met: BTreeMap::new(),
            server,
        }
    }

    /// The difference that explains a disagreement, counted; `None`: none does.
    pub fn explain(&mut self, case: &Disagreement<'_>) -> Option<&str> {
        let applies = |row: &&Row| {
            let named =
                |one: &String| one == case.command || case.command.starts_with(&format!("{one}|"));
            let concerns = row.commands.is_empty() || row.commands.iter().any(named);
            let direction = row.either_way || *case.ours != Verdict::Allow;
            row.servers.contains(self.server) && concerns && direction && case.is(&row.name)
        };
        let row = self.rows.iter().find(applies)?;
        *self.met.entry(row.name.clone()).or_default() += 1;
        Some(&row.name)
    }

    /// Counts a difference that the caller has told by itself, if the list has it for this server and
    /// in this direction.
    pub fn count(&mut self, name: &str, looser: bool) -> bool {
        let listed = |row: &Row| {
            row.name == name && row.servers.contains(self.server) && (row.either_way || !looser)
        };
        let listed = self.rows.iter().any(listed);
        if listed {
            *self.met.entry(name.to_owned()).or_default() += 1;
        }
        listed
    }

    /// How often which was met, and of those `about` which never.
    pub fn summary(&self, about: &[&str]) -> String {
        let mut text = String::new();
        for (name, times) in &self.met {
            text += &format!(" {name} {times}");
        }
        let never = |row: &&Row| {
            let here = row.servers.contains(self.server) && about.contains(&&*row.name);
            here && !self.met.contains_key(&row.name)
        };
        for row in self.rows.iter().filter(never) {
            text += &format!("; NEVER MET: {}", row.name);
        }
        text
    }
}

// === impl Row ===

impl Row {
    /// `| name | commands | servers | direction | why |`
    fn read(line: &str) -> Self {
        let line = line.replace("\\|", "\u{1}");
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, about, servers, direction, why, _] = cells[..] else {
            panic!("not five columns: {line}");
        };
        assert!(!why.is_empty(), "{name} has no reason");
        let code = |cell: &str| -> Vec<String> {
            let words = cell.split('`').skip(1).step_by(2);
            words.map(|word| word.replace('\u{1}', "|")).collect()
        };
        Self {
            name: code(name).remove(0),
            commands: code(about),
            servers: servers.to_owned(),
            either_way: match direction {
                "stricter" => false,
                "other" => true,
                _ => panic!("{name}: stricter or other, not {direction}"),
            },
        }
    }
}

/// Those that are about decisions.
pub const OF_DECISIONS: &[&str] = &[
    "lethal",
    "scripts",
    "all-keys",
    "debug",
    "unreadable",
    "misread",
    "compare",
    "nul",
    "recategorized",
    "arity",
    "pfmerge",
];

// === impl Verdict ===

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allowed"),
            Self::Unknown => f.write_str("unknown command"),
            Self::Arity => f.write_str("wrong number of arguments"),
            Self::Command(name) => write!(f, "not the command '{}'", name.escape_ascii()),
            Self::Key(name) => write!(f, "not the key '{}'", name.escape_ascii()),
            Self::Channel(name) => write!(f, "not the channel '{}'", name.escape_ascii()),
            Self::Other(label) => write!(f, "refused: {label}"),
        }
    }
}

// === impl Disagreement ===

impl Disagreement<'_> {
    fn is(&self, name: &str) -> bool {
        let (ours, theirs) = (self.ours, self.theirs);
        let allowed = *theirs == Verdict::Allow;
        match name {
            "lethal" => *ours == Verdict::Other("lethal") && allowed,
            "scripts" => *ours == Verdict::Other("script") && allowed,
            // Where one selector lacks all keys, and another only the key that Redis misses.
            "all-keys" => {
                let misread = self.is("misread") && self.has_keyword_as_value();
                *ours == Verdict::Other("all_keys") && !(self.holds_all_keys && misread)
            }
            "debug" => allowed || *theirs == Verdict::Command(b"debug".to_vec()),
            "unreadable" => self.unreadable && !self.valid,
            "misread" => {
                let used = keys_used(self.args);
                let stricter = *ours != Verdict::Allow;
                used.is_some_and(|used| used == self.keys)
                    && (stricter || self.has_keyword_as_value())
            }
            "compare" => self.args[3..]
                .iter()
                .any(|word| word.to_ascii_uppercase().starts_with(b"IF")),
            // In a name, in the first argument that a rule allows, in a pattern of channels, in the GET
            // of a BITFIELD that only gets.
            "nul" => {
                let cut = |from: usize, to: usize| {
                    let args = self.args.iter().take(to).skip(from);
                    args.into_iter().any(|arg| arg.contains(&0))
                };
                match self.command {
                    _ if self.by_first_arg && cut(1, 2) => true,
                    "" => *ours == Verdict::Unknown && cut(0, 2),
                    "psubscribe" => cut(1, usize::MAX),
                    "bitfield" => cut(2, usize::MAX),
                    _ => false,
                }
            }
            "recategorized" => self.recategorized,
            "arity" => self.rearranged && (*ours == Verdict::Arity || *theirs == Verdict::Arity),
            "pfmerge" => self.args.len() == 2 && allowed,
            _ => false,
        }
    }

    /// Redis takes the place behind a keyword for an option too, or stops at the first keyword.
    fn has_keyword_as_value(&self) -> bool {
        let keywords = [
            "STORE",
            "STOREDIST",
            "STREAMS",
            "GROUP",
            "BY",
            "GET",
            "LIMIT",
            "COUNT",
        ];
        let is_one = |arg: &&Vec<u8>| {
            let word = String::from_utf8_lossy(arg).to_ascii_uppercase();
            keywords.contains(&&*word)
        };
        self.args[1..].iter().filter(is_one).count() > 1
    }
}

/// The keys that a correct request uses, found by the rules of its command's syntax and by nothing
/// else; for the commands in which Redis' own search goes wrong.
pub fn keys_used(args: &[Vec<u8>]) -> Option<Vec<(usize, Access)>> {
    let upper: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_ascii_uppercase()).collect();
    let words: Vec<&[u8]> = upper.iter().map(Vec::as_slice).collect();
    // Each option with how many values it takes; the one that names the destination.
    let sort: &[(&[u8], usize)] = &[
        (b"ASC", 0),
        (b"DESC", 0),
        (b"ALPHA", 0),
        (b"LIMIT", 2),
        (b"BY", 1),
        (b"GET", 1),
        (b"STORE", 1),
    ];
    let geo: &[(&[u8], usize)] = &[
        (b"ASC", 0),
        (b"DESC", 0),
        (b"ANY", 0),
        (b"COUNT", 1),
        (b"WITHDIST", 0),
        (b"WITHHASH", 0),
        (b"WITHCOORD", 0),
        (b"STORE", 1),
        (b"STOREDIST", 1),
    ];
    let stream: &[(&[u8], usize)] = &[(b"COUNT", 1), (b"BLOCK", 1), (b"NOACK", 0), (b"GROUP", 2)];
    let (start, options) = match *words.first()? {
        b"SORT" => (2, sort),
        b"GEORADIUS" => (6, geo),
        b"GEORADIUSBYMEMBER" => (5, geo),
        b"XREADGROUP" | b"XREAD" => {
            let mut at = 1;
            while *words.get(at)? != b"STREAMS" {
                at += 1 + takes(stream, words[at])?;
            }
            let keys = (words.len() - at - 1) / 2;
            return Some((at + 1..=at + keys).map(|at| (at, Access::READ)).collect());
        }
        _ => return None,
    };
    let mut at = start;
    let mut keys = vec![(1, Access::READ)];
    while at < words.len() {
        if words[at].starts_with(b"STORE") {
            keys.truncate(1);
            keys.push((at + 1, Access::WRITE));
        }
        at += 1 + takes(options, words[at])?;
    }
    let new: HashSet<usize> = keys.iter().map(|(at, _)| *at).collect();
    (at == words.len() && new.len() == keys.len()).then_some(keys)
}

fn takes(options: &[(&[u8], usize)], word: &[u8]) -> Option<usize> {
    options
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, values)| *values)
}

/// Those that are about `ACL SETUSER`.
pub const OF_CHANGES: &[&str] = &[
    "names",
    "own-rules",
    "nul-in-rules",
    "quotes",
    "parentheses",
    "first-argument",
];
