//! What is known of an upstream: its version, its role, its commands.

use std::collections::{BTreeSet, HashSet};

use crate::command::{Learned, Table, learn};
use crate::resp::Reply;

/// A Redis version. Forks that report another one besides (Valkey) give the Redis version that
/// they are compatible with.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version {
    /// 5 of 5.0.6.
    pub major: u16,
    /// 0 of 5.0.6.
    pub minor: u16,
    /// 6 of 5.0.6.
    pub patch: u16,
}

/// What an upstream said of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// `redis_version`.
    pub version: Version,
    /// `redis_mode`: standalone, sentinel or cluster.
    pub mode: String,
    /// `role`: master or slave.
    pub role: String,
    /// `run_id`: another one means that the server was started anew.
    pub run_id: String,
    /// The commands that can be called there by their own names, lower case; `None` where it can't
    /// be asked (COMMAND came with 2.8.13, or is renamed).
    pub commands: Option<HashSet<Box<str>>>,
    /// What it has and knows by other names only (its `rename-command`); which ones, it doesn't say.
    pub renamed: Vec<Box<str>>,
    /// What its version should have, and it has under no name: disabled, or left out of its build.
    pub missing: Vec<Box<str>>,
    /// Names of commands by which it runs other ones. What is judged there is not what runs.
    pub swapped: Vec<Swapped>,
    /// What it has and the table lacks.
    pub learned: Learned,
}

/// A name that a renamed command has taken from another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Swapped {
    /// What a client says.
    pub name: Box<str>,
    /// What the server runs.
    pub runs: Box<str>,
}

// === impl Version ===

impl Version {
    /// A version from its parts.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| {
            let digits = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            part[..digits].parse().ok()
        });
        let mut next = || parts.next().unwrap_or(Some(0));
        Some(Self {
            major: next()?,
            minor: next()?,
            patch: next()?,
        })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

// === impl Facts ===

impl Facts {
    /// Reads the answer to INFO; `None` if it tells no version. Of the commands nothing is known yet.
    pub fn read(info: &[u8]) -> Option<Self> {
        let info = String::from_utf8_lossy(info);
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        Some(Self {
            version: Version::parse(&field("redis_version")?)?,
            mode: field("redis_mode").unwrap_or_else(|| "standalone".to_owned()),
            role: field("role").unwrap_or_else(|| "master".to_owned()),
            run_id: field("run_id").unwrap_or_default(),
            ..Self::default()
        })
    }

    /// Takes the answer to COMMAND. Returns the names to ask COMMAND INFO for; none where COMMAND
    /// isn't known.
    ///
    /// COMMAND lists every command under the name that it had before `rename-command`, seen from
    /// 5.0 to 8.2; COMMAND INFO looks up the names that clients use.
    pub fn take_commands(&mut self, listed: &Reply, table: &Table) -> Vec<String> {
        if listed.as_array().is_none() {
            return Vec::new();
        }
        self.learned = learn(listed, table);
        let known = table.iter().map(|(_, command)| command);
        let all = known.chain(&self.learned.commands);
        let names = all.map(|command| &*command.name);
        let names: BTreeSet<&str> = names.filter(|name| !name.contains('|')).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// Takes the answer to COMMAND INFO for the names that [`Self::take_commands`] gave, beside the
    /// answer to COMMAND.
    pub fn take_names(&mut self, asked: &[String], found: &Reply, listed: &Reply, table: &Table) {
        let (Some(found), Some(listed)) = (found.as_array(), listed.as_array()) else {
            return;
        };
        let listed: HashSet<String> = listed.iter().filter_map(name_of).collect();
        let mut callable = HashSet::new();
        for (name, entry) in asked.iter().zip(found) {
            match name_of(entry) {
                Some(own) if own == *name => {
                    callable.insert(name.as_str().into());
                    continue;
                }
                Some(other) => self.swapped.push(Swapped {
                    name: name.as_str().into(),
                    // Of a server's own choosing, and it will be shown.
                    runs: other.escape_debug().to_string().into(),
                }),
                None => {}
            }
            if listed.contains(name) {
                self.renamed.push(name.as_str().into());
            } else if self.should_have(name, table) {
                self.missing.push(name.as_str().into());
            }
        }
        self.commands = Some(callable);
    }

    /// Whether every server of this version has the command, unless somebody took it away.
    fn should_have(&self, name: &str, table: &Table) -> bool {
        // A Sentinel has little else, and nobody else has this.
        if (name == "sentinel") != (self.mode == "sentinel") {
            return false;
        }
        // Before 7.0 QUIT is no command there, and works all the same. We answer it ourselves.
        let since = match table.find(name.as_bytes()) {
            Some(id) if name != "quit" => table.command(id).since,
            _ => return false,
        };
        // Of some commands no server says since when it has them.
        !since.is_empty() && Version::parse(since).is_some_and(|since| since <= self.version)
    }

    /// Whether the upstream is known to run the command of this name (lower case) when it is called
    /// by it.
    pub fn knows(&self, name: &str) -> bool {
        self.commands
            .as_ref()
            .is_some_and(|commands| commands.contains(name))
    }

    /// Whether the upstream has HELLO, and so RESP3: since 6.0, unless it is renamed there.
    pub fn has_hello(&self) -> bool {
        let renamed = self.commands.is_some() && !self.knows("hello");
        self.version >= Version::new(6, 0, 0) && !renamed
    }
}

/// The name that an element of COMMAND's answer starts with, lower case.
fn name_of(entry: &Reply) -> Option<String> {
    let name = entry.as_array()?.first()?.as_bytes()?;
    Some(String::from_utf8_lossy(name).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Reply {
        let mut items = vec![Reply::Bulk(name.to_owned().into()), Reply::Integer(-1)];
        items.push(Reply::Array(Vec::new()));
        items.extend([0, 0, 0].map(Reply::Integer));
        Reply::Array(items)
    }

    /// What a server says that lists `listed` and finds `found` (name, and what it runs).
    fn facts(version: &str, listed: &[&str], found: &[(&str, &str)]) -> Facts {
        let table = Table::builtin();
        let mut facts = Facts::read(format!("redis_version:{version}\r\n").as_bytes()).unwrap();
        let listed = Reply::Array(listed.iter().map(|name| entry(name)).collect());
        let asked = facts.take_commands(&listed, &table);
        let lookup = |name: &String| {
            let hit = found.iter().find(|(called, _)| called == name);
            hit.map_or(Reply::Null, |(_, runs)| entry(runs))
        };
        let found = Reply::Array(asked.iter().map(lookup).collect());
        facts.take_names(&asked, &found, &listed, &table);
        facts
    }

    fn texts(names: &[Box<str>]) -> Vec<&str> {
        names.iter().map(|name| &**name).collect()
    }

    #[test]
    fn renamed_commands_are_not_known_by_their_names() {
        let facts = facts(
            "5.0.6",
            &["get", "CONFIG", "FT.SEARCH", "post"],
            &[("get", "get"), ("ft.search", "FT.SEARCH")],
        );
        assert!(facts.knows("get") && facts.knows("ft.search"));
        assert!(!facts.knows("config") && !facts.knows("debug") && !facts.knows("post"));
        assert_eq!(texts(&facts.renamed), ["config"]);
        let missing = texts(&facts.missing);
        assert!(missing.contains(&"debug") && missing.contains(&"unlink"));
        // Too new, no command there, and not said since when.
        for name in ["copy", "quit", "vadd", "ft.search", "config"] {
            assert!(!missing.contains(&name), "{name}");
        }
        assert_eq!(facts.learned.commands.len(), 1);
        assert_eq!(facts.swapped, []);
    }

    #[test]
    fn a_name_that_runs_another_command_is_not_known() {
        let facts = facts("7.0.15", &["set", "flushall"], &[("set", "flushall")]);
        assert!(!facts.knows("set") && !facts.knows("flushall"));
        let (name, runs) = ("set".into(), "flushall".into());
        assert_eq!(facts.swapped, [Swapped { name, runs }]);
        assert_eq!(texts(&facts.renamed), ["flushall", "set"]);
    }

    #[test]
    fn nothing_is_known_where_command_is_not() {
        let table = Table::builtin();
        let unknown = Reply::Error("ERR unknown command".into());
        let mut facts = Facts::read(b"redis_version:2.8.4\r\n").unwrap();
        assert_eq!(facts.take_commands(&unknown, &table), [""; 0]);
        assert_eq!(facts.commands, None);
        assert!(!facts.knows("get"));
        // Nor where it lists and finds nothing.
        let listed = Reply::Array(vec![entry("get")]);
        let asked = facts.take_commands(&listed, &table);
        facts.take_names(&asked, &unknown, &listed, &table);
        assert_eq!(facts.commands, None);
    }

    #[test]
    fn versions_are_read_from_info() {
        let info = b"# Server\r\nredis_version:5.0.6\r\nredis_mode:standalone\r\nrun_id:ab\r\n";
        let facts = Facts::read(info).unwrap();
        assert_eq!(facts.version, Version::new(5, 0, 6));
        assert_eq!(
            (facts.mode.as_str(), facts.run_id.as_str()),
            ("standalone", "ab")
        );
        assert!(!facts.knows("get"));
        assert_eq!(Version::parse("7.4-rc1"), Some(Version::new(7, 4, 0)));
        assert_eq!(Version::parse("unstable"), None);
        assert!(Facts::read(b"-ERR").is_none());
    }
}
