//! Random clients in front of a model of Redis: whatever is asked in whatever pieces, nothing runs
//! that the rules forbid, and every request has its reply.

use std::collections::{BTreeSet, VecDeque};

use super::*;
use crate::fixtures::Random;
use crate::policy::hash_of;

/// Keys tell who may touch them, and in which databases: see [`Model::run`].
const BEFORE: &str = "user a on >pw -@all script=one.lua (+@all -@dangerous ~a1:r* db=0,1) \
                      (+@all -@dangerous ~a1:w* db=2,3)\n\
                      user b on >pw -@all script=one.lua (+@all -@dangerous ~b1:r* db=1,2) \
                      (+@all -@dangerous ~b1:w* db=0,3)\n";
const AFTER: &str = "user a on >pw -@all script=one.lua (+@all -@dangerous ~a2:r* db=1,2) \
                     (+@all -@dangerous ~a2:w* db=0,3)\n\
                     user b on >pw -@all script=one.lua (+@all -@dangerous ~b2:r* db=0,1) \
                     (+@all -@dangerous ~b2:w* db=2,3)\n";
const BODY: &str = "return-1";

/// One connection of a Redis 5.
#[derive(Default)]
struct Model {
    database: u32,
    multi: bool,
    dirty: bool,
    queue: Vec<(u64, String)>,
    scripts: BTreeSet<String>,
}

impl Model {
    /// The reply to a request that was forwarded under this generation.
    fn call(&mut self, generation: u64, line: &str, random: &mut Random) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let unlucky = random.below(30) == 0;
        match words[0] {
            "MULTI" if self.multi => "-ERR MULTI calls can not be nested\r\n".into(),
            "MULTI" if unlucky => "-LOADING Redis is loading the dataset in memory\r\n".into(),
            "MULTI" => {
                (self.multi, self.dirty) = (true, false);
                "+OK\r\n".into()
            }
            "DISCARD" if self.multi => {
                self.multi = false;
                self.queue.clear();
                "+OK\r\n".into()
            }
            "DISCARD" => "-ERR DISCARD without MULTI\r\n".into(),
            "EXEC" if !self.multi => "-ERR EXEC without MULTI\r\n".into(),
            "EXEC" => {
                self.multi = false;
                let queue = std::mem::take(&mut self.queue);
                if self.dirty {
                    return "-EXECABORT Transaction discarded because of previous errors.\r\n"
                        .into();
                }
                if unlucky {
                    return "*-1\r\n".into();
                }
                let mut out = format!("*{}\r\n", queue.len());
                for (queued, line) in queue {
                    assert_eq!(queued, generation, "{line} was queued under older rules");
                    out.push_str(&self.run(&line, random));
                }
                out
            }
            "ECHO" if words.len() == 1 => {
                self.dirty = true;
                "-ERR wrong number of arguments for 'echo' command\r\n".into()
            }
            _ if self.multi => {
                if unlucky {
                    self.dirty = true;
                    return "-OOM command not allowed\r\n".into();
                }
                self.queue.push((generation, line.to_owned()));
                "+QUEUED\r\n".into()
            }
            _ => self.run(line, random),
        }
    }

    fn run(&mut self, line: &str, random: &mut Random) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0].to_ascii_uppercase().as_str() {
            "SELECT" if random.below(6) == 0 => "-ERR DB index is out of range\r\n".into(),
            "SELECT" => {
                self.database = words[1].parse().unwrap();
                "+OK\r\n".into()
            }
            "SCRIPT" if words[1].eq_ignore_ascii_case("flush") => {
                self.scripts.clear();
                "+OK\r\n".into()
            }
            "SCRIPT" if random.below(6) == 0 => "-OOM no\r\n".into(),
            "SCRIPT" => {
                assert_eq!(words[2], BODY);
                self.scripts.insert(sha());
                format!("$40\r\n{}\r\n", sha())
            }
            "EVALSHA" if !self.scripts.contains(&words[1].to_ascii_lowercase()) => {
                "-NOSCRIPT No matching script. Please use EVAL.\r\n".into()
            }
            "EVAL" | "EVALSHA" => {
                if words[0].eq_ignore_ascii_case("eval") {
                    assert_eq!(words[1], BODY, "{line}");
                    self.scripts.insert(sha());
                }
                self.touch("set", words[3]);
                format!("${}\r\n{}\r\n", words[3].len(), words[3])
            }
            "GET" | "SET" | "WATCH" => {
                self.touch(words[0], words[1]);
                format!("${}\r\n{}\r\n", words[1].len(), words[1])
            }
            "PING" => "+PONG\r\n".into(),
            "CLIENT" | "UNWATCH" => "+OK\r\n".into(),
            _ => panic!("{line} was forwarded"),
        }
    }

    fn touch(&self, command: &str, key: &str) {
        let databases: &[u32] = match &key[..4] {
            "a1:r" | "b2:r" => &[0, 1],
            "a1:w" | "b2:w" => &[2, 3],
            "b1:r" | "a2:r" => &[1, 2],
            "b1:w" | "a2:w" => &[0, 3],
            _ => panic!("{command} {key}"),
        };
        let database = self.database;
        assert!(
            databases.contains(&database),
            "{command} {key} in {database}"
        );
    }
}

fn sha() -> String {
    let hash = hash_of(BODY.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn users(text: &str) -> Policy {
    let source = Source {
        path: "users.acl".into(),
        content: text.into(),
    };
    let read = |_: &std::path::Path, _: &str| Ok(BODY.as_bytes().to_vec());
    Policy::parse_with(&[source], &Table::builtin(), &read)
        .unwrap()
        .0
}

fn request(random: &mut Random) -> String {
    let key = format!(
        "{}{}:{}{}",
        random.one(&["a", "a", "a", "b"]),
        random.one(&["1", "1", "2"]),
        random.one(&["r", "w"]),
        random.below(9)
    );
    match random.below(40) {
        0..=7 => format!("SELECT {}", random.below(4)),
        8..=14 => format!("GET {key}"),
        15..=18 => format!("SET {key} v"),
        19..=22 => "MULTI".into(),
        23..=27 => random.one(&["EXEC", "EXEC", "DISCARD", "exec"]).into(),
        28..=30 => format!("EVALSHA {} 1 {key}", sha()),
        31 => format!(
            "AUTH {} {}",
            random.one(&["a", "b"]),
            random.one(&["pw", "no"])
        ),
        32 => format!(
            "EVALSHA {} 1 {key} {}",
            sha().to_uppercase(),
            "x".repeat(20_000)
        ),
        33 | 34 => format!("SET {key} {}", "x".repeat(20_000)),
        35 => format!("EVAL {} 1 {key}", random.one(&[BODY, "return-2"])),
        36..=38 => random
            .one(&["PING", "SCRIPT FLUSH", "UNWATCH", "NONSENSE"])
            .into(),
        _ => random
            .one(&[
                "RESET",
                "HELLO 2 SETNAME n",
                "WATCH a1:r b1:r",
                "SELECT 99999999999",
            ])
            .into(),
    }
}

struct World {
    it: Harness,
    model: Model,
    random: Random,
    /// Bytes for the upstream, with the generation that they were forwarded under.
    sent: Vec<u8>,
    sent_at: VecDeque<(usize, u64)>,
    answered: Vec<u8>,
    asked: usize,
}

impl World {
    fn step(&mut self) {
        let write = self.random.below(4) != 0;
        self.step_and(write);
    }

    fn step_and(&mut self, write: bool) {
        let Harness {
            session,
            rules,
            facts,
            up,
            down,
            notes,
        } = &mut self.it;
        session.receive(rules, facts, up, down, notes);
        if write {
            while up.waiting() > 0 {
                let bytes = up.writable().to_vec();
                up.wrote(bytes.len());
                self.sent.extend(&bytes);
                self.sent_at.push_back((bytes.len(), session.generation()));
            }
        }
        session.answer(down).unwrap();
        if session.is_detached() {
            self.model = Model::default();
        }
        if session.wants_upstream() {
            assert!(self.sent.is_empty());
            session.attach(up);
        }
        while down.waiting() > 0 {
            let bytes = down.writable().to_vec();
            down.wrote(bytes.len());
            self.answered.extend(&bytes);
        }
    }

    /// The upstream takes one request, if it has one.
    fn serve(&mut self) -> bool {
        let bytes = bytes::Bytes::copy_from_slice(&self.sent);
        let Some((request, used)) = crate::resp::decode_reply(&bytes).unwrap() else {
            return false;
        };
        self.sent.drain(..used);
        // Under the rules of its last byte.
        let (mut left, mut generation) = (used, 0);
        while left > 0 {
            let (len, at) = self.sent_at.front_mut().unwrap();
            generation = *at;
            let taken = left.min(*len);
            *len -= taken;
            left -= taken;
            if *len == 0 {
                self.sent_at.pop_front();
            }
        }
        let text = |item: &Reply| String::from_utf8_lossy(item.as_bytes().unwrap()).into_owned();
        let words: Vec<String> = request.as_array().unwrap().iter().map(text).collect();
        let line = words.join(" ");
        let line = if line == "exec" { "EXEC".into() } else { line };
        let reply = self.model.call(generation, &line, &mut self.random);
        for piece in reply.as_bytes().chunks(1 + self.random.below(40)) {
            self.it.down.input().extend_from_slice(piece);
            self.it.session.answer(&mut self.it.down).unwrap();
        }
        true
    }
}

fn play(seed: u64) {
    let mut random = Random(seed);
    let rules = rules(&[], &[]).with_policy(users(BEFORE));
    let names = ["a", "b"].map(Into::into);
    let mut it = Harness::new(Who::OneOf(names.into()), AuthKind::Certificate, rules);
    it.facts.commands.as_mut().unwrap().insert("script".into());
    let mut input: VecDeque<u8> = VecDeque::new();
    let mut asked = 0;
    for _ in 0..random.below(60) {
        let line = request(&mut random);
        asked += 1;
        if random.below(6) == 0 && line.len() < 1000 {
            input.extend(format!("{line}\r\n").as_bytes());
        } else {
            input.extend(encode(&line));
        }
    }
    let adopt_at = random.below(80);
    let mut world = World {
        it,
        model: Model::default(),
        random,
        sent: Vec::new(),
        sent_at: VecDeque::new(),
        answered: Vec::new(),
        asked,
    };
    let (mut turns, mut adopted) = (0, false);
    let mut idle = 0;
    while idle < 4 {
        turns += 1;
        idle += 1;
        let streams = world.it.session.flow != state::Flow::Requests;
        let adopts = turns >= adopt_at || (streams && world.random.below(8) == 0);
        if adopts && !adopted {
            adopted = true;
            // What was forwarded before stands in the queue as such.
            world.step_and(true);
            world.it.reload(users(AFTER)).unwrap();
        }
        let size = [3, 50, 700, 30_000][world.random.below(4)];
        if world.random.below(2) == 0 && !input.is_empty() {
            let len = (1 + world.random.below(size)).min(input.len());
            let bytes: Vec<u8> = input.drain(..len).collect();
            world.it.up.input().extend_from_slice(&bytes);
            idle = 0;
        } else if !input.is_empty() {
            idle = 0;
        }
        world.step();
        for _ in 0..world.random.below(4) {
            if world.serve() {
                idle = 0;
            }
        }
        if world.it.up.waiting() > 0 || !world.sent.is_empty() {
            idle = 0;
        }
        world.step();
    }
    assert!(world.it.session.is_settled(), "something is owed");
    assert!(
        world.it.up.unscanned().is_empty(),
        "something is held for ever"
    );
    let mut rest = bytes::Bytes::from(world.answered);
    let mut replies = 0;
    while let Some((_, used)) = crate::resp::decode_reply(&rest).unwrap() {
        replies += 1;
        rest = rest.slice(used..);
    }
    assert!(rest.is_empty());
    assert_eq!(replies, world.asked);
}

#[test]
fn nothing_forbidden_runs_and_every_request_is_answered() {
    let count = std::env::var("RESPGATE_SEEDS").map_or(300, |text| text.parse().unwrap());
    for seed in 0..count {
        let played = std::panic::catch_unwind(|| play(seed));
        assert!(played.is_ok(), "seed {seed}");
    }
}
