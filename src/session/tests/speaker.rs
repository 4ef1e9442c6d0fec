//! A model of one connection of a server that speaks unasked.

use std::collections::{BTreeSet, VecDeque};

use crate::fixtures::Random;

/// One connection of a server.
#[derive(Default)]
pub(super) struct Server {
    pub(super) resp3: bool,
    pub(super) multi: bool,
    pub(super) dirty: bool,
    pub(super) queue: Vec<String>,
    pub(super) monitors: bool,
    pub(super) replicates: bool,
    /// Turns that it is blocked for.
    pub(super) blocked: usize,
    pub(super) listens: [BTreeSet<String>; 3],
    /// What it has sent, and whether unasked. What has come of the first was delivered.
    pub(super) wire: VecDeque<(Vec<u8>, bool)>,
    pub(super) delivered: usize,
}

pub(super) fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

impl Server {
    fn aggregate(&self, kind: char, len: usize) -> String {
        let kind = if self.resp3 { kind } else { '*' };
        format!("{kind}{len}\r\n")
    }

    fn is_subscriber(&self) -> bool {
        !self.resp3 && self.listens.iter().any(|names| !names.is_empty())
    }

    /// The replies to a request.
    pub(super) fn call(&mut self, line: &str, random: &mut Random) -> Vec<String> {
        let words: Vec<&str> = line.split(' ').collect();
        let name = words[0].to_ascii_uppercase();
        assert!(!self.replicates || name == "REPLCONF", "{line}");
        let listens = name.ends_with("SUBSCRIBE");
        if self.is_subscriber() && !listens && name != "PING" {
            return vec!["-ERR Can't execute\r\n".into()];
        }
        let one = |reply: &str| vec![format!("{reply}\r\n")];
        match &*name {
            "MULTI" if self.multi => one("-ERR MULTI calls can not be nested"),
            "MULTI" if random.below(20) == 0 => one("-LOADING Redis"),
            "MULTI" => {
                (self.multi, self.dirty) = (true, false);
                one("+OK")
            }
            "DISCARD" | "EXEC" if !self.multi => one(&format!("-ERR {name} without MULTI")),
            "DISCARD" => {
                (self.multi, self.queue) = (false, Vec::new());
                one("+OK")
            }
            "EXEC" => {
                self.multi = false;
                let queue = std::mem::take(&mut self.queue);
                if self.dirty {
                    return one("-EXECABORT Transaction discarded");
                }
                if random.below(10) == 0 {
                    return one(if self.resp3 { "_" } else { "*-1" });
                }
                let replies = queue.iter().flat_map(|line| self.run(line, random));
                vec![format!("*{}\r\n", queue.len()) + &replies.collect::<String>()]
            }
            "ECHO" if words.len() == 1 => {
                self.dirty = true;
                one("-ERR wrong number of arguments for 'echo' command")
            }
            _ if self.multi => {
                assert!(!listens && !matches!(&*name, "HELLO" | "MONITOR" | "PSYNC"));
                self.queue.push(line.into());
                one("+QUEUED")
            }
            _ => self.run(line, random),
        }
    }

    fn run(&mut self, line: &str, random: &mut Random) -> Vec<String> {
        let words: Vec<&str> = line.split(' ').collect();
        let name = words[0].to_ascii_uppercase();
        match &*name {
            "HELLO" => {
                assert!(!words.contains(&"pw"));
                if random.below(12) == 0 {
                    return vec!["-ERR no\r\n".into()];
                }
                self.resp3 = match words.get(1) {
                    Some(version) => *version == "3",
                    None => self.resp3,
                };
                let (kind, len) = if self.resp3 { ('%', 1) } else { ('*', 2) };
                vec![self.aggregate(kind, len) + &bulk("proto") + ":2\r\n"]
            }
            "PING" if self.is_subscriber() => {
                vec![self.aggregate('*', 2) + &bulk("pong") + &bulk(words[1])]
            }
            "PING" => vec![bulk(words[1])],
            "MONITOR" => {
                assert!(!self.monitors, "it would not be answered");
                self.monitors = true;
                vec!["+OK\r\n".into()]
            }
            "REPLCONF" if self.replicates => Vec::new(),
            "REPLCONF" => vec!["+OK\r\n".into()],
            "PSYNC" => {
                assert!(!self.monitors, "it would not be answered");
                if random.below(2) == 0 {
                    return vec!["-NOMASTERLINK no\r\n".into()];
                }
                self.replicates = true;
                vec!["+FULLRESYNC x 1\r\n$4\r\n>1\r-".into()]
            }
            _ if name.ends_with("SUBSCRIBE") => self.subscribe(&name, &words[1..]),
            _ if self.monitors => vec!["-ERR Replica can't interact with the keyspace\r\n".into()],
            // Everything that an answer can be mistaken for.
            "LRANGE" => {
                let word = random.one(&["message", "subscribe", "unsubscribe", "sunsubscribe"]);
                vec![format!("*3\r\n{}{}:1\r\n", bulk(word), bulk("x"))]
            }
            "BLPOP" => {
                self.blocked = random.below(6);
                vec![if self.resp3 { "_\r\n" } else { "*-1\r\n" }.into()]
            }
            "EVAL" => vec!["+1700000000.1 [0\r\n".into()],
            "GET" => vec![bulk(&"+1\r\n>2\r\n".repeat(random.below(3) * 900))],
            "SET" | "CLIENT" => vec!["+OK\r\n".into()],
            "PUBLISH" => vec![":0\r\n".into()],
            _ => panic!("{line} was forwarded"),
        }
    }

    fn subscribe(&mut self, name: &str, names: &[&str]) -> Vec<String> {
        let word = name.to_ascii_lowercase();
        let on = !word.ends_with("unsubscribe");
        let kind = match word.as_bytes()[0] {
            b'p' => 1,
            b's' if !word.starts_with("sub") => 2,
            _ => 0,
        };
        let names: Vec<String> = match names {
            [] => self.listens[kind].iter().cloned().collect(),
            names => names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let confirm = |it: &Self, name: Option<&str>| {
            let count = match kind {
                2 => it.listens[2].len(),
                _ => it.listens[0].len() + it.listens[1].len(),
            };
            let name = name.map_or("$-1\r\n".into(), bulk);
            it.aggregate('>', 3) + &bulk(&word) + &name + &format!(":{count}\r\n")
        };
        if names.is_empty() {
            return vec![confirm(self, None)];
        }
        let mut replies = Vec::new();
        for name in names {
            if on {
                self.listens[kind].insert(name.clone());
            } else {
                self.listens[kind].remove(&name);
            }
            replies.push(confirm(self, Some(&name)));
        }
        replies
    }

    /// Something that answers nobody. `settled`: no subscription is being changed.
    pub(super) fn speak(&mut self, settled: bool, random: &mut Random) {
        let said = match random.below(4) {
            _ if self.replicates => {
                ["\n", "*1\r\n$4\r\nPING\r\n", "-", ">9"][random.below(4)].into()
            }
            0 if self.monitors => "+1700000000.000001 [0 1] \"get\" \"k\"\r\n".into(),
            1 if self.resp3 => ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n".into(),
            2 if settled && !self.listens[2].is_empty() => {
                let name = self.listens[2].pop_first().unwrap_or_default();
                let count = self.listens[2].len();
                let word = bulk("sunsubscribe");
                self.aggregate('>', 3) + &word + &bulk(&name) + &format!(":{count}\r\n")
            }
            _ => match self.listens[0].first() {
                Some(name) => {
                    let payload = random.one(&["unsubscribe", "*3\r\n", ""]);
                    self.aggregate('>', 3) + &bulk("message") + &bulk(name) + &bulk(payload)
                }
                None => return,
            },
        };
        self.wire.push_back((said.into_bytes(), true));
    }
}
