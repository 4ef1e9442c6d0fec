//! Random clients that subscribe, monitor, replicate, switch protocols and want no replies, before a
//! model of a server that speaks unasked: whatever is cut into whatever pieces, the client reads one
//! answer a request, in order, and nothing runs that the rules forbid.

use std::collections::{BTreeMap, VecDeque};

use super::speaker::{Server, bulk};
use super::*;
use crate::fixtures::Random;
use crate::resp::ReplyScanner;

/// Names tell who may touch and hear them: the user's letter, and the generation of the rules.
fn users(generation: usize) -> Policy {
    let text = format!(
        "user a on >pw +@all -@dangerous +monitor +replconf ~x:* ~a{generation}:* &x:* \
         &a{generation}:* (+psync +sync ~*)\n\
         user b on >pw +@all -@dangerous ~x:* ~b{generation}:* &x:* &b{generation}:*\n"
    );
    policy(text.as_bytes())
}

fn may(user: &str, generation: usize, name: &str) -> bool {
    name.starts_with("x:") || name.starts_with(&format!("{user}{generation}:"))
}

/// Who was refused what: the names as the client spelled them.
#[derive(Default)]
struct Refusals(Vec<String>);

impl Host for Refusals {
    fn refused(&mut self, refused: &Refused<'_>) {
        let name = String::from_utf8_lossy(refused.args.name()).into_owned();
        self.0.push(name);
    }

    fn would_refuse(&mut self, refused: &Refused<'_>) {
        unreachable!("{refused:?}");
    }

    fn may_log_in(&mut self, _: &str) -> bool {
        true
    }

    fn logged_in(&mut self, _: &str, _: bool) {}
}

/// A request that can be found again: names are spelled so that no two near each other are the same.
pub(super) fn request(random: &mut Random, spelled: &mut BTreeMap<&'static str, usize>) -> String {
    let who = |random: &mut Random| {
        let letter = random.one(&["a", "a", "a", "b"]);
        let name = format!("{letter}{}:{}", random.below(2) + 1, random.below(3));
        match random.below(3) {
            0 => name,
            _ => format!("x:{}", random.below(3)),
        }
    };
    let names = |random: &mut Random, least: usize| {
        let count = least + random.below(3);
        (0..count)
            .map(|_| format!(" {}", who(random)))
            .collect::<String>()
    };
    let (name, rest): (&'static str, String) = match random.below(44) {
        0..=4 => ("SUBSCRIBE", names(random, 1)),
        5 => (
            "PSUBSCRIBE",
            [" x:*", " a1:*", " a2:* x:*"][random.below(3)].into(),
        ),
        6 | 7 => ("SSUBSCRIBE", names(random, 1)),
        8 | 9 => ("UNSUBSCRIBE", names(random, 0)),
        10 => ("PUNSUBSCRIBE", names(random, 0)),
        11 | 12 => ("SUNSUBSCRIBE", names(random, 0)),
        13..=16 => {
            let login = [" AUTH b pw", " AUTH a pw", " AUTH a no", "", "", ""][random.below(6)];
            let version = [2, 3, 3, 9][random.below(4)];
            // By its name it is told from all others: how it was spelled is lost on its way.
            let name = spelled.get("HELLO").unwrap_or(&0);
            ("HELLO", format!(" {version}{login} SETNAME n{name}"))
        }
        17 => ("MONITOR", String::new()),
        18 => ("PSYNC", " ? -1".into()),
        19 => (
            "REPLCONF",
            [" capa eof", " ACK 1", " capa"][random.below(3)].into(),
        ),
        20..=22 => (
            "CLIENT",
            [" REPLY ON", " REPLY OFF", " REPLY SKIP", " REPLY no"][random.below(4)].into(),
        ),
        23 if random.below(3) == 0 => ("RESET", String::new()),
        24 if random.below(4) == 0 => ("QUIT", String::new()),
        25..=27 => ("MULTI", String::new()),
        28..=30 => ("EXEC", ["", "", " now"][random.below(3)].into()),
        31 => ("DISCARD", String::new()),
        32 => ("AUTH", [" a pw", " b pw", " b no"][random.below(3)].into()),
        33 => ("FLUSHALL", String::new()),
        34 => ("NONSENSE", " x".into()),
        35 => ("ACL", " WHOAMI".into()),
        36 => (
            "CLIENT",
            [" SETINFO lib-name n", " ID"][random.below(2)].into(),
        ),
        37 => ("BLPOP", format!(" {} 0", who(random))),
        38 => (
            "SET",
            format!(" {} {}", who(random), "v".repeat(random.below(2) * 20_000)),
        ),
        39 => ("PUBLISH", format!(" {} m", who(random))),
        40 => ("LRANGE", format!(" {} 0 1", who(random))),
        41 => ("EVAL", format!(" s 1 {}", who(random))),
        42 => ("GET", format!(" {}", who(random))),
        _ => ("PING", format!(" {}", random.below(1000))),
    };
    let count = spelled.entry(name).or_default();
    *count += 1;
    let spelled = name.bytes().enumerate().map(|(at, byte)| match at {
        // What the proxy puts in itself is upper case.
        0 => byte.to_ascii_lowercase() as char,
        _ if (*count >> (at - 1)) & 1 == 1 => byte.to_ascii_lowercase() as char,
        _ => byte as char,
    });
    spelled.collect::<String>() + &rest
}

/// What goes upstream for it.
fn forwarded(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    if !words[0].eq_ignore_ascii_case("hello") {
        return line.into();
    }
    let mut out = vec!["HELLO"];
    let mut words = words[1..].iter();
    while let Some(word) = words.next() {
        match *word {
            "AUTH" => drop(words.nth(1)),
            word => out.push(word),
        }
    }
    out.join(" ")
}

struct Crowd {
    session: Session,
    rules: Rules,
    facts: Facts,
    up: Pipe,
    down: Pipe,
    host: Refusals,
    server: Server,
    random: Random,
    requests: Vec<String>,
    /// Of each request that was forwarded: under which generation, and the replies.
    served: BTreeMap<usize, (usize, Vec<String>)>,
    next: usize,
    generation: usize,
    sent: Vec<u8>,
    sent_at: VecDeque<(usize, usize)>,
    got: Vec<u8>,
    unasked: Vec<Vec<u8>>,
    revoked: bool,
}

impl Crowd {
    fn step(&mut self, write: bool) {
        let (up, down) = (&mut self.up, &mut self.down);
        self.session
            .receive(&self.rules, &self.facts, up, down, &mut self.host);
        if self.session.has_changed_rules() {
            self.adopt();
        }
        if write {
            self.write();
        }
        self.answer();
        if self.session.is_detached() {
            assert!(self.sent.is_empty() && self.up.waiting() == 0);
            self.server = Server::default();
        }
        if self.session.wants_upstream() {
            self.session.attach(&mut self.up);
        }
    }

    fn write(&mut self) {
        while self.up.waiting() > 0 {
            let bytes = self.up.writable().to_vec();
            self.up.wrote(bytes.len());
            self.sent.extend(&bytes);
            self.sent_at.push_back((bytes.len(), self.generation));
        }
    }

    fn answer(&mut self) {
        self.session.answer(&mut self.down).unwrap();
        while self.down.waiting() > 0 {
            let bytes = self.down.writable().to_vec();
            self.down.wrote(bytes.len());
            self.got.extend(&bytes);
        }
        assert!(self.session.slots.held() < 64 * 1024);
    }

    fn adopt(&mut self) {
        let result = self.session.adopt(&self.rules, &mut self.up);
        let user = self.session.login().user().unwrap().name().to_owned();
        let names = self.server.listens.iter().flatten();
        let pattern = |name: &String| name.trim_end_matches('*').to_owned();
        let all = names
            .map(pattern)
            .all(|name| may(&user, self.generation, &name));
        let resetting = self.session.phase == state::Phase::Resetting;
        let in_force = self.session.slots.turn_pending() || resetting || all;
        self.revoked |= result.is_err();
        assert!(
            self.revoked || in_force,
            "{user} hears {:?}",
            self.server.listens
        );
    }

    /// The upstream takes one request, if it has one.
    fn serve(&mut self) -> bool {
        if self.server.blocked > 0 {
            self.server.blocked -= 1;
            return true;
        }
        let bytes = bytes::Bytes::copy_from_slice(&self.sent);
        let Some((request, used)) = crate::resp::decode_reply(&bytes).unwrap() else {
            return false;
        };
        self.sent.drain(..used);
        // Under the rules of its first byte.
        let (mut left, mut generation) = (used, None);
        while left > 0 {
            let (len, at) = self.sent_at.front_mut().unwrap();
            generation = generation.or(Some(*at));
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
        let replies = self.server.call(&line, &mut self.random);
        for reply in &replies {
            self.server
                .wire
                .push_back((reply.clone().into_bytes(), false));
        }
        if line != "ECHO" && line != "DISCARD" {
            let mut rest = (self.next..self.requests.len())
                .filter(|&at| forwarded(&self.requests[at]) == line);
            let at = rest
                .next()
                .unwrap_or_else(|| panic!("nobody asked for {line}"));
            self.next = at + 1;
            self.served.insert(at, (generation.unwrap(), replies));
        }
        true
    }

    /// A piece of what the server has sent arrives.
    fn deliver(&mut self) -> bool {
        let most = [1, 5, 60, 30_000][self.random.below(4)];
        let mut left = 1 + self.random.below(most);
        let mut any = false;
        while left > 0
            && let Some((bytes, unasked)) = self.server.wire.front()
        {
            any = true;
            let rest = &bytes[self.server.delivered..];
            let taken = left.min(rest.len());
            self.down.input().extend_from_slice(&rest[..taken]);
            left -= taken;
            self.server.delivered += taken;
            if taken == rest.len() {
                if *unasked {
                    self.unasked.push(bytes.clone());
                }
                self.server.wire.pop_front();
                self.server.delivered = 0;
            }
        }
        any
    }

    /// What the client must have read, without what answers nobody; and, of each, whether that is
    /// the beginning alone.
    fn expected(&self) -> Vec<String> {
        #[derive(PartialEq)]
        enum Wants {
            All,
            NotNext,
            Nothing,
        }
        let mut wants = Wants::All;
        let mut user = "a".to_owned();
        let mut refusals = self.host.0.iter().peekable();
        let mut out = Vec::new();
        for (at, line) in self.requests.iter().enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            let name = words[0].to_ascii_uppercase();
            let served = self.served.get(&at);
            let refused = refusals.next_if(|refused| **refused == words[0]).is_some();
            let reply = words.get(1) == Some(&"REPLY");
            if name == "CLIENT" && reply && !refused {
                match (words[2], &wants) {
                    ("ON", _) => {
                        wants = Wants::All;
                        out.push("+OK\r\n".into());
                    }
                    ("OFF", _) => wants = Wants::Nothing,
                    (_, Wants::All) => wants = Wants::NotNext,
                    _ => {}
                }
                continue;
            }
            let logs_in = words
                .iter()
                .position(|word| *word == "AUTH" || word.eq_ignore_ascii_case("auth"));
            if let (Some(at), false) = (logs_in, refused) {
                user = words[at + 1].into();
            }
            let replies = match served {
                Some((generation, replies)) => {
                    let touches = match &*name {
                        "GET" | "SET" | "BLPOP" | "LRANGE" | "PUBLISH" => &words[1..2],
                        "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" => &words[1..],
                        _ => &[],
                    };
                    for name in touches {
                        assert!(may(&user, *generation, name), "{user} {generation}: {line}");
                    }
                    assert!(user == "a" || !matches!(&*name, "MONITOR" | "PSYNC"));
                    replies.clone()
                }
                None if refused => vec!["-".into()],
                None => match &*name {
                    "AUTH" | "QUIT" => vec!["+OK\r\n".into()],
                    // CLIENT SETINFO, which this server lacks.
                    "CLIENT" => vec!["+OK\r\n".into()],
                    "RESET" => vec!["+RESET\r\n".into()],
                    "ACL" => vec![bulk(&user)],
                    // A monitor's.
                    "MONITOR" | "PSYNC" => vec![],
                    // Not taken any more.
                    _ => vec!["?".into()],
                },
            };
            let pushed = name.ends_with("SUBSCRIBE") && replies[0].starts_with(['*', '>']);
            let replicates =
                name == "PSYNC" && replies.iter().any(|reply| reply.starts_with("+FULL"));
            if wants == Wants::All || pushed || replicates || name == "RESET" {
                out.extend(replies);
            }
            if wants == Wants::NotNext || name == "RESET" {
                wants = Wants::All;
            }
            if name == "RESET" {
                user = "a".into();
            }
            if name == "QUIT" || replicates {
                break;
            }
        }
        out
    }

    /// Compares it with what the client has read.
    fn check(&self, whole: bool) {
        let (expected, mut got) = (self.expected(), &self.got[..]);
        let mut unasked = self.unasked.iter();
        let mut next = unasked.next();
        for reply in &expected {
            loop {
                let raw = reply.starts_with("+FULL");
                let scanned = ReplyScanner::default().advance(got).unwrap();
                if scanned.done.is_none() {
                    assert!(!whole || reply == "?", "{reply:?} is missing");
                    return;
                }
                let item = &got[..scanned.consumed];
                if raw && got.starts_with(reply.as_bytes()) {
                    got = &got[reply.len()..];
                    break;
                }
                let text = String::from_utf8_lossy(item);
                if text == **reply || reply == "-" && text.starts_with('-') {
                    got = &got[scanned.consumed..];
                    break;
                }
                assert_eq!(
                    Some(text.as_bytes()),
                    next.map(|item| &item[..]),
                    "instead of {reply:?}"
                );
                next = unasked.next();
                got = &got[scanned.consumed..];
            }
        }
        let mut rest: Vec<u8> = next.cloned().unwrap_or_default();
        unasked.for_each(|item| rest.extend(item));
        if whole {
            assert_eq!(
                got.escape_ascii().to_string(),
                rest.escape_ascii().to_string()
            );
        }
    }
}

fn play(seed: u64) {
    let mut random = Random(seed);
    let rules = rules(&[], &[]).with_policy(users(1));
    let names = ["a", "b"].map(Into::into);
    let who = Who::OneOf(names.into());
    let identity = Identity {
        rule: 0,
        who,
        auth: AuthKind::Certificate,
    };
    let session = Session::new(7, Login::new(identity, rules.policy()).unwrap(), &rules);
    let mut spelled = BTreeMap::new();
    let count = random.below(60);
    let requests: Vec<String> = (0..count)
        .map(|_| request(&mut random, &mut spelled))
        .collect();
    let mut input: VecDeque<u8> = VecDeque::new();
    for line in &requests {
        if random.below(6) == 0 && line.len() < 1000 {
            input.extend(format!("{line}\r\n").as_bytes());
        } else {
            input.extend(encode(line));
        }
    }
    let adopt_at = random.below(120);
    let breaks_off = random.below(10) == 0;
    let version = random.one(&["6.2.14", "7.0.15", "8.2.3"]);
    let mut it = Crowd {
        session,
        rules,
        facts: facts(version),
        up: Pipe::default(),
        down: Pipe::default(),
        host: Refusals::default(),
        server: Server::default(),
        random,
        requests,
        served: BTreeMap::new(),
        next: 0,
        generation: 1,
        sent: Vec::new(),
        sent_at: VecDeque::new(),
        got: Vec::new(),
        unasked: Vec::new(),
        revoked: false,
    };
    let (mut turns, mut idle) = (0, 0);
    while idle < 6 && !it.revoked {
        turns += 1;
        idle += 1;
        if turns >= adopt_at && it.generation == 1 {
            // What was forwarded before stands in the queue as such.
            it.step(true);
            it.write();
            it.generation = 2;
            it.rules = it.rules.with_policy(users(2).reusing(it.rules.policy()));
            it.adopt();
            if it.revoked {
                break;
            }
        }
        let size = [3, 50, 700, 30_000][it.random.below(4)];
        if it.random.below(2) == 0 && !input.is_empty() {
            let len = (1 + it.random.below(size)).min(input.len());
            let bytes: Vec<u8> = input.drain(..len).collect();
            it.up.input().extend_from_slice(&bytes);
        }
        if !input.is_empty() || it.server.blocked > 0 {
            idle = 0;
        }
        if breaks_off && !it.session.has_ended() && it.random.below(30) == 0 {
            it.session.end();
            it.up.discard_input();
            input.clear();
        }
        let write = it.random.below(4) != 0;
        it.step(write);
        for _ in 0..it.random.below(4) {
            if !it.revoked && it.serve() {
                idle = 0;
            }
        }
        if it.random.below(3) == 0 && idle == 0 {
            // Who asks for it at the same time can't tell the one from the other, nor can the proxy.
            let asks_no_more = input.is_empty() && it.up.unscanned().is_empty();
            let settled = asks_no_more && !it.session.slots.turn_pending();
            let mut random = Random(it.random.0);
            it.server.speak(settled, &mut random);
            it.random.0 = random.0;
        }
        if !it.revoked && it.deliver() {
            idle = 0;
            it.answer();
        }
        let sent = bytes::Bytes::copy_from_slice(&it.sent);
        if it.up.waiting() > 0 || crate::resp::decode_reply(&sent).unwrap().is_some() {
            idle = 0;
        }
    }
    let ended = it.session.has_ended();
    if !it.revoked {
        assert!(it.session.is_settled(), "something is owed");
        assert!(
            ended || it.up.unscanned().is_empty(),
            "something is held for ever"
        );
    }
    let whole = !(it.revoked || breaks_off && ended);
    it.check(whole);
}

#[test]
fn each_request_is_answered_once_whatever_mode_it_comes_in() {
    let count = std::env::var("RESPGATE_SEEDS").map_or(300, |text| text.parse().unwrap());
    for seed in 0..count {
        let played = std::panic::catch_unwind(|| play(seed));
        assert!(played.is_ok(), "seed {seed}");
    }
}
