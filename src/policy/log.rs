//! `ACL LOG`: who was refused what, newest first, what repeats merged (`acl.c`,
//! `addACLLogEntry`).
//!
//! Times are milliseconds since 1970, given by whoever asks.

use std::collections::VecDeque;

/// The latest refusals, bounded in number and in bytes.
#[derive(Debug, Default)]
pub struct AclLog {
    /// The newest first.
    entries: VecDeque<LogEntry>,
    /// Goes on behind a reset, as in Redis.
    next_id: u64,
}

/// One refusal, as it is told to the log.
#[derive(Clone, Copy, Debug)]
pub struct LoggedDenial<'a> {
    /// What kind of thing was refused.
    pub reason: LogReason,
    /// Where.
    pub context: LogContext,
    /// The command, key, channel or database; for a login the command as it was written.
    pub object: &'a [u8],
    /// The user; for a login the name that was tried.
    pub username: &'a [u8],
    /// Who asked, as CLIENT LIST would show it.
    pub client_info: &'a str,
}

/// An entry of the log: one refusal, or several that are alike.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogEntry {
    /// How often it happened.
    pub count: u64,
    /// What kind of thing was refused.
    pub reason: LogReason,
    /// Where.
    pub context: LogContext,
    /// What was refused, cut to [`MAX_TEXT`] bytes.
    pub object: Box<[u8]>,
    /// Who was refused, cut likewise.
    pub username: Box<[u8]>,
    /// Of the last of them.
    pub client_info: Box<str>,
    /// Unique as long as the process lives.
    pub id: u64,
    /// When the first happened.
    pub created: u64,
    /// When the last happened.
    pub updated: u64,
}

/// What was refused. Redis knows four of these, Valkey the fifth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogReason {
    /// A command, also for what is asked of it besides a rule that allows it.
    Command,
    /// A key.
    Key,
    /// A channel.
    Channel,
    /// A login.
    Auth,
    /// A database.
    Database,
}

/// Where a request stood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogContext {
    /// By itself.
    TopLevel,
    /// In a transaction, or in what may be one.
    Multi,
}

/// So many entries are kept: Redis' `acllog-max-len`.
const MAX_ENTRIES: usize = 128;

/// Among so many of the newest an alike one is looked for.
const MERGED_AMONG: usize = 10;

/// How far apart alike refusals may lie to be one entry.
const MERGED_WITHIN: u64 = 60_000;

/// The most that is kept of an object or a name, which clients choose.
pub const MAX_TEXT: usize = 512;

// === impl AclLog ===

impl AclLog {
    /// Notes a refusal.
    pub fn add(&mut self, denial: &LoggedDenial<'_>, now: u64) {
        let (object, username) = (cut(denial.object), cut(denial.username));
        let alike = self.entries.iter().take(MERGED_AMONG).position(|entry| {
            entry.reason == denial.reason
                && entry.context == denial.context
                && now.abs_diff(entry.updated) <= MERGED_WITHIN
                && *entry.object == *object
                && *entry.username == *username
        });
        let entry = match alike.and_then(|at| self.entries.remove(at)) {
            Some(entry) => LogEntry {
                count: entry.count + 1,
                client_info: denial.client_info.into(),
                updated: now,
                ..entry
            },
            None => {
                let id = self.next_id;
                self.next_id += 1;
                LogEntry {
                    count: 1,
                    reason: denial.reason,
                    context: denial.context,
                    object: object.into(),
                    username: username.into(),
                    client_info: denial.client_info.into(),
                    id,
                    created: now,
                    updated: now,
                }
            }
        };
        self.entries.push_front(entry);
        self.entries.truncate(MAX_ENTRIES);
    }

    /// The newest entries, the last one first.
    pub fn newest(&self, count: usize) -> impl Iterator<Item = &LogEntry> {
        self.entries.iter().take(count)
    }

    /// Forgets all entries.
    pub fn reset(&mut self) {
        self.entries.clear();
    }
}

fn cut(text: &[u8]) -> &[u8] {
    &text[..text.len().min(MAX_TEXT)]
}

// === impl LogReason ===

impl LogReason {
    /// As ACL LOG says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Key => "key",
            Self::Channel => "channel",
            Self::Auth => "auth",
            Self::Database => "database",
        }
    }
}

// === impl LogContext ===

impl LogContext {
    /// As ACL LOG says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TopLevel => "toplevel",
            Self::Multi => "multi",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial<'a>(object: &'a [u8], client_info: &'a str) -> LoggedDenial<'a> {
        LoggedDenial {
            reason: LogReason::Key,
            context: LogContext::TopLevel,
            object,
            username: b"cart",
            client_info,
        }
    }

    fn objects(log: &AclLog) -> Vec<(&[u8], u64, u64)> {
        let entries = log.newest(usize::MAX);
        entries
            .map(|entry| (&*entry.object, entry.count, entry.id))
            .collect()
    }

    #[test]
    fn alike_refusals_are_one_entry_at_the_front() {
        let mut log = AclLog::default();
        log.add(&denial(b"a", "one"), 1_000);
        log.add(&denial(b"b", "two"), 2_000);
        log.add(&denial(b"a", "three"), 61_000);
        assert_eq!(objects(&log), [(&b"a"[..], 2, 0), (b"b", 1, 1)]);
        let merged = log.newest(1).next().unwrap();
        assert_eq!((merged.created, merged.updated), (1_000, 61_000));
        assert_eq!(&*merged.client_info, "three");
        // More than a minute behind the last one: another entry.
        log.add(&denial(b"a", "four"), 121_001);
        assert_eq!(
            objects(&log),
            [(&b"a"[..], 1, 2), (b"a", 2, 0), (b"b", 1, 1)]
        );
        log.reset();
        assert!(objects(&log).is_empty());
        log.add(&denial(b"c", "five"), 121_001);
        assert_eq!(objects(&log), [(&b"c"[..], 1, 3)]);
    }

    #[test]
    fn reason_context_and_user_set_refusals_apart() {
        let mut log = AclLog::default();
        let one = denial(b"a", "");
        log.add(&one, 0);
        let (reason, context) = (LogReason::Command, LogContext::Multi);
        log.add(&LoggedDenial { reason, ..one }, 0);
        log.add(&LoggedDenial { context, ..one }, 0);
        let username = b"ops";
        log.add(&LoggedDenial { username, ..one }, 0);
        assert_eq!(objects(&log).len(), 4);
    }

    #[test]
    fn only_the_newest_ten_are_looked_at() {
        let mut log = AclLog::default();
        for object in 0..=10_u8 {
            log.add(&denial(&[object], ""), 0);
        }
        log.add(&denial(&[1], ""), 0);
        assert_eq!(objects(&log)[0], (&[1_u8][..], 2, 1));
        log.add(&denial(&[0], ""), 0);
        assert_eq!(objects(&log)[0], (&[0_u8][..], 1, 11));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut log = AclLog::default();
        let long = vec![b'x'; 100_000];
        for number in 0..1_000_u64 {
            log.add(&denial(&long, ""), number * 100_000);
        }
        assert_eq!(objects(&log).len(), MAX_ENTRIES);
        assert!(
            log.newest(usize::MAX)
                .all(|entry| entry.object.len() == MAX_TEXT)
        );
    }
}
