//! A model of a Redis whose connections have a state, as far as it matters who uses them.

use std::collections::{BTreeSet, VecDeque};

use super::speaker::bulk;
use crate::fixtures::Random;
use crate::session::Berth;

/// One connection.
#[derive(Default)]
pub(super) struct Connection {
    /// Clients share it.
    pub(super) is_shared: bool,
    pub(super) resp3: bool,
    pub(super) database: u32,
    multi: bool,
    dirty: bool,
    watching: bool,
    listens: BTreeSet<String>,
    queue: Vec<(usize, String)>,
    /// Turns that it is blocked for.
    pub(super) blocked: usize,
    /// The reply that comes then.
    pub(super) held: String,
    /// What it was sent, and what it has said.
    pub(super) input: VecDeque<u8>,
    pub(super) output: VecDeque<u8>,
}

/// Commands that may stand between those of others.
const SHARED: [&str; 11] = [
    "GET", "SET", "PING", "MULTI", "EXEC", "SELECT", "HELLO", "ECHO", "UNWATCH", "XREAD", "INCR",
];

// === impl Connection ===

impl Connection {
    pub(super) fn new(berth: Berth, is_shared: bool) -> Self {
        Self {
            is_shared,
            resp3: berth.resp3,
            database: berth.database,
            ..Self::default()
        }
    }

    /// Whether nothing of a client is left on it, and another one finds what it expects.
    pub(super) fn assert_is_clean(&self, berth: Berth) {
        assert!(!self.multi && !self.watching && self.listens.is_empty());
        assert!(self.input.is_empty() && self.output.is_empty() && self.blocked == 0);
        self.assert_is_at(berth);
    }

    /// The same of what a shared connection may never be between two clients' requests.
    pub(super) fn assert_is_free(&self, berth: Berth) {
        assert!(!self.multi && !self.watching && self.listens.is_empty());
        self.assert_is_at(berth);
    }

    fn assert_is_at(&self, berth: Berth) {
        let Berth {
            resp3, database, ..
        } = berth;
        assert_eq!((self.resp3, self.database), (resp3, database));
    }

    /// The next request, if it is here whole.
    pub(super) fn next(&mut self) -> Option<String> {
        let bytes = bytes::Bytes::copy_from_slice(self.input.make_contiguous());
        let (request, used) = crate::resp::decode_reply(&bytes).unwrap()?;
        self.input.drain(..used);
        let text = |item: &crate::resp::Reply| {
            String::from_utf8_lossy(item.as_bytes().unwrap()).into_owned()
        };
        let words: Vec<String> = request.as_array().unwrap().iter().map(text).collect();
        Some(words.join(" "))
    }

    /// The reply to a request that was judged under these rules.
    pub(super) fn call(&mut self, generation: usize, line: &str, random: &mut Random) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let name = words[0];
        assert!(!self.is_shared || SHARED.contains(&name), "{line}");
        let waits = name == "XREAD" && line.contains("BLOCK");
        assert!(
            !self.is_shared || !waits && line.len() <= 64 * 1024,
            "{line:.80}"
        );
        if !self.resp3 && !self.listens.is_empty() && !name.ends_with("SUBSCRIBE") {
            return match name {
                "PING" => format!("*2\r\n$4\r\npong\r\n{}", bulk(words[1])),
                _ => "-ERR Can't execute\r\n".into(),
            };
        }
        match name {
            "MULTI" if self.multi => "-ERR MULTI calls can not be nested\r\n".into(),
            // Like a server that loads, where the whole transaction fares so.
            "MULTI" => {
                (self.multi, self.dirty) = (true, false);
                "+OK\r\n".into()
            }
            "DISCARD" | "EXEC" if !self.multi => format!("-ERR {name} without MULTI\r\n"),
            "DISCARD" => {
                self.end_transaction();
                "+OK\r\n".into()
            }
            "EXEC" => self.exec(generation, random),
            "WATCH" if self.multi => "-ERR WATCH inside MULTI is not allowed\r\n".into(),
            "ECHO" if words.len() == 1 => {
                self.dirty = true;
                "-ERR wrong number of arguments for 'echo' command\r\n".into()
            }
            _ if self.multi => {
                assert!(!name.ends_with("SUBSCRIBE") && name != "HELLO", "{line}");
                if random.below(20) == 0 {
                    self.dirty = true;
                    return "-OOM command not allowed\r\n".into();
                }
                self.queue.push((generation, line.to_owned()));
                "+QUEUED\r\n".into()
            }
            _ => self.run(generation, line, random),
        }
    }

    fn exec(&mut self, generation: usize, random: &mut Random) -> String {
        let touched = self.watching && random.below(2) == 0;
        let (dirty, queue) = (self.dirty, self.end_transaction());
        if dirty {
            return "-EXECABORT Transaction discarded because of previous errors.\r\n".into();
        }
        if touched {
            return if self.resp3 { "_\r\n" } else { "*-1\r\n" }.into();
        }
        let mut out = format!("*{}\r\n", queue.len());
        for (queued, line) in queue {
            assert_eq!(queued, generation, "{line} was queued under older rules");
            out.push_str(&self.run(generation, &line, random));
        }
        out
    }

    fn end_transaction(&mut self) -> Vec<(usize, String)> {
        (self.multi, self.watching) = (false, false);
        std::mem::take(&mut self.queue)
    }

    fn run(&mut self, generation: usize, line: &str, random: &mut Random) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            // Where it is selected already it works.
            "SELECT" if words[1].len() > 1 || !self.is_shared && random.below(6) == 0 => {
                "-ERR DB index is out of range\r\n".into()
            }
            "SELECT" => {
                self.database = words[1].parse().unwrap();
                "+OK\r\n".into()
            }
            "HELLO" => {
                let resp3 = words.get(1).map_or(self.resp3, |version| *version == "3");
                assert!(!self.is_shared || resp3 == self.resp3, "{line}");
                self.resp3 = resp3;
                // Of the right length; the number is the proxy's to change.
                let kind = if resp3 { "%1" } else { "*2" };
                format!("{kind}\r\n$2\r\nid\r\n:5\r\n")
            }
            "WATCH" => {
                self.touch(generation, words[1]);
                self.watching = true;
                "+OK\r\n".into()
            }
            "UNWATCH" => {
                self.watching = false;
                "+OK\r\n".into()
            }
            "GET" | "SET" | "BLPOP" | "INCR" => {
                self.touch(generation, words[1]);
                if words[0] == "BLPOP" && !self.multi {
                    self.blocked = random.below(6);
                }
                bulk(words[1])
            }
            "XREAD" => {
                let key = words[words.len() - 2];
                self.touch(generation, key);
                bulk(key)
            }
            "PING" | "DEBUG" => bulk(words[1]),
            "ECHO" if words[1].len() == 48 => bulk(words[1]),
            "CLIENT" if words[1] == "UNBLOCK" => format!(":{}\r\n", words[2]),
            "CLIENT" if words[1] == "SETNAME" => "+OK\r\n".into(),
            // In a transaction, or where a lie made one of it.
            "CLIENT" => "$2\r\nme\r\n".into(),
            "SUBSCRIBE" => {
                self.listens.insert(words[1].into());
                self.confirm("subscribe", words[1])
            }
            "UNSUBSCRIBE" => {
                self.listens.remove(words[1]);
                self.confirm("unsubscribe", words[1])
            }
            _ => panic!("{line} was forwarded"),
        }
    }

    fn confirm(&self, word: &str, name: &str) -> String {
        let kind = if self.resp3 { '>' } else { '*' };
        let count = self.listens.len();
        format!("{kind}3\r\n{}{}:{count}\r\n", bulk(word), bulk(name))
    }

    /// Keys tell in which databases they may be touched, under which rules.
    fn touch(&self, generation: usize, key: &str) {
        let allowed = may(generation, key, self.database);
        assert!(allowed, "{key} in {} under {generation}", self.database);
    }
}

/// Whether the rules of this generation allow a key in a database.
pub(super) fn may(generation: usize, key: &str, database: u32) -> bool {
    match key.as_bytes()[0] {
        b'l' => (database < 2) == (generation == 1),
        b'h' => (database < 2) == (generation == 2),
        _ => true,
    }
}
