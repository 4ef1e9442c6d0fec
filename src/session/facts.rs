//! What is known of an upstream: its version, its role, its commands.

use std::collections::HashSet;

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
    /// The names of its commands, lower case, as it knows them after its own renames; `None` where
    /// it can't be asked (COMMAND came with 2.8.13, or is renamed).
    pub commands: Option<HashSet<Box<str>>>,
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

    fn parse(text: &str) -> Option<Self> {
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
    /// Reads the answers to INFO and COMMAND; `None` if INFO tells no version.
    pub fn read(info: &[u8], command: &Reply) -> Option<Self> {
        let info = String::from_utf8_lossy(info);
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        let commands = command.as_array().map(|items| {
            items
                .iter()
                .filter_map(|item| item.as_array()?.first()?.as_bytes())
                .map(|name| {
                    String::from_utf8_lossy(name)
                        .to_ascii_lowercase()
                        .into_boxed_str()
                })
                .collect()
        });
        Some(Self {
            version: Version::parse(&field("redis_version")?)?,
            mode: field("redis_mode").unwrap_or_else(|| "standalone".to_owned()),
            role: field("role").unwrap_or_else(|| "master".to_owned()),
            run_id: field("run_id").unwrap_or_default(),
            commands,
        })
    }

    /// Whether the upstream is known to have a command of this name (lower case).
    pub fn knows(&self, name: &str) -> bool {
        self.commands
            .as_ref()
            .is_some_and(|commands| commands.contains(name))
    }

    /// Whether the upstream has HELLO, and so RESP3: since 6.0.
    pub fn has_hello(&self) -> bool {
        self.version >= Version::new(6, 0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_info() {
        let info = b"# Server\r\nredis_version:5.0.6\r\nredis_mode:standalone\r\nrun_id:ab\r\n";
        let facts = Facts::read(info, &Reply::Error("ERR unknown command".into())).unwrap();
        assert_eq!(facts.version, Version::new(5, 0, 6));
        assert_eq!(
            (facts.mode.as_str(), facts.run_id.as_str()),
            ("standalone", "ab")
        );
        assert!(!facts.knows("get"));
        assert_eq!(Version::parse("7.4-rc1"), Some(Version::new(7, 4, 0)));
        assert_eq!(Version::parse("unstable"), None);
        assert!(Facts::read(b"-ERR", &Reply::Null).is_none());
    }
}
