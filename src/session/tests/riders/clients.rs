//! What random clients ask, and what each must have read.

use super::*;

/// Requests of one client. What may be refused or answered by the proxy can be told from all others.
fn requests(number: usize, random: &mut Random) -> Vec<String> {
    let mut all = Vec::new();
    for at in 0..random.below(40) {
        let tag = format!("{number}:{at}");
        let key = format!("{}{tag}", random.one(&["l", "h", "x", "x"]));
        let line = match random.below(48) {
            0..=9 => format!("GET {key}"),
            10..=13 => format!("SET {key} v"),
            14 | 15 => format!("PING {tag}"),
            16..=20 => format!("SELECT {}", random.below(4)),
            21 => "SELECT 77".into(),
            22..=25 => {
                // Mostly one that is whole.
                all.push("MULTI".into());
                for more in 0..random.below(4) {
                    let key = format!("{}{tag}-{more}", random.one(&["l", "x", "x", "x"]));
                    all.push(match random.below(12) {
                        0 => "SELECT 1".into(),
                        1 => format!("BLPOP {key} 0"),
                        _ => format!("GET {key}"),
                    });
                }
                random
                    .one(&["EXEC", "EXEC", "EXEC", "EXEC", "DISCARD", "MULTI"])
                    .into()
            }
            26 => random.one(&["EXEC", "DISCARD", "UNWATCH"]).into(),
            27 | 28 => format!("WATCH {key}"),
            29 => "UNWATCH".into(),
            30 | 31 => format!("BLPOP {key} 0"),
            32 => format!("XREAD BLOCK 5 STREAMS {key} 0"),
            33 => format!("XREAD STREAMS {key} 0"),
            34 => format!(
                "SET {key} {}",
                "v".repeat([20_000, 70_000][random.below(2)])
            ),
            35 | 36 => format!("HELLO {}", 2 + random.below(2)),
            37 => format!("FLUSHALL {tag}"),
            38 => format!("CLIENT UNBLOCK {number}{at}"),
            39 => format!("CLIENT SETNAME n{tag}"),
            40 => "CLIENT GETNAME".into(),
            41 => "CLIENT ID".into(),
            42 if random.below(3) == 0 => "RESET".into(),
            43 if random.below(2) == 0 => format!("DEBUG {tag}"),
            44 if random.below(4) == 0 => format!("SUBSCRIBE {tag}"),
            45 => format!("CLIENT REPLY {}", random.one(&["ON", "OFF", "SKIP"])),
            _ => format!("INCR {key}"),
        };
        all.push(line);
    }
    all
}

// === impl Client ===

impl Client {
    pub(super) fn new(number: usize, rules: &Rules, random: &mut Random) -> Self {
        let who = Who::Fixed("a".into());
        let auth = AuthKind::Certificate;
        let login = Login::new(Identity { rule: 0, who, auth }, rules.policy()).unwrap();
        let mut session = Session::new(number as u64, login, rules);
        session.share();
        session.ride();
        let requests = requests(number, random);
        let mut input = VecDeque::new();
        for line in &requests {
            if random.below(6) == 0 && line.len() < 1000 {
                input.extend(format!("{line}\r\n").as_bytes());
            } else {
                input.extend(encode(line));
            }
        }
        Self {
            number,
            session,
            up: Pipe::default(),
            down: Pipe::default(),
            way: Way::None,
            unsent: 0,
            queued: 0,
            input,
            requests,
            served: BTreeMap::new(),
            next: 0,
            refused: BTreeMap::new(),
            denied: 0,
            got: Vec::new(),
            gone: false,
        }
    }

    /// Another one when something was done.
    pub(super) fn progress(&self) -> [usize; 4] {
        let owed = match &self.way {
            Way::Own(own) => own.server.output.len(),
            Way::Ride(index, _) => 1 << 40 | *index,
            Way::None => 1 << 41,
        };
        let held = [self.up.unscanned().len(), self.down.unscanned().len()];
        [owed, held[0], held[1], self.got.len()]
    }

    /// The server has answered one of its requests.
    pub(super) fn note(&mut self, line: &str, reply: &str) {
        let named = line.starts_with("CLIENT SETNAME") && reply == "+OK\r\n";
        if line == "ECHO" || named {
            return;
        }
        let mut rest = self.next..self.requests.len();
        let found = rest.find(|&at| self.requests[at] == line);
        let at = found.unwrap_or_else(|| panic!("{} did not ask for {line}", self.number));
        self.next = at + 1;
        self.served.insert(at, reply.to_owned());
    }

    /// What was refused for want of a connection: all before it was answered, so that of those of its
    /// name it is the one behind as many as were served or refused.
    pub(super) fn note_refused(&mut self, notes: &Notes) {
        for (_, command, label) in &notes.0 {
            let is_it = |at: &usize| {
                let name = self.requests[*at].split(' ').next().unwrap_or_default();
                name.eq_ignore_ascii_case(command)
            };
            let refused = self.refused.entry(command.to_lowercase()).or_default();
            if *label == "max_connections" {
                self.denied += 1;
                let before = self.served.keys().copied().filter(is_it).count() + *refused;
                let mut alike = (0..self.requests.len()).filter(is_it);
                if let Some(at) = alike.nth(before)
                    && !self.requests[at].contains(':')
                {
                    // What the proxy answers itself is not counted: of CLIENT it may be an earlier one.
                    self.next = self.next.max(at + 1);
                }
            }
            *refused += 1;
        }
    }

    /// What it must have read; `?`: a refusal.
    fn expected(&self) -> Vec<String> {
        let (mut muted, mut skip) = (false, false);
        let (mut resp3, mut multi, mut listens) = (false, false, false);
        let mut name: Option<String> = None;
        let id = (1u64 << 52) + self.number as u64;
        let mut out = Vec::new();
        for (at, line) in self.requests.iter().enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            let served = self.served.get(&at);
            let refused = multi || listens && !resp3;
            let reply = match (words[0], words.get(1)) {
                _ if let Some(served) = served => {
                    served.replace("id\r\n:5\r\n", &format!("id\r\n:{id}\r\n"))
                }
                ("RESET", _) => {
                    (muted, skip, name) = (false, false, None);
                    (resp3, multi, listens) = (false, false, false);
                    "+RESET\r\n".into()
                }
                ("CLIENT", _) if refused => "?".into(),
                ("CLIENT", Some(&"REPLY")) if words[2] == "ON" => {
                    (muted, skip) = (false, false);
                    "+OK\r\n".into()
                }
                ("CLIENT", Some(&"REPLY")) => {
                    (muted, skip) = (muted || words[2] == "OFF", !muted && words[2] == "SKIP");
                    continue;
                }
                ("CLIENT", Some(&"ID")) => format!(":{id}\r\n"),
                ("CLIENT", Some(&"SETNAME")) => {
                    name = Some(words[2].to_owned());
                    "+OK\r\n".into()
                }
                ("CLIENT", Some(&"GETNAME")) => match (&name, resp3) {
                    (Some(name), _) => bulk(name),
                    (None, false) => "$-1\r\n".into(),
                    (None, true) => "_\r\n".into(),
                },
                _ => "?".into(),
            };
            if served.is_some() {
                match words[0] {
                    "MULTI" => multi = true,
                    "EXEC" | "DISCARD" => multi = false,
                    "HELLO" => resp3 = words[1] == "3",
                    "SUBSCRIBE" => listens = true,
                    _ => {}
                }
            }
            let confirmed = words[0] == "SUBSCRIBE" && served.is_some();
            if !std::mem::take(&mut skip) && !muted || confirmed {
                out.push(reply);
            }
        }
        out
    }

    /// Compares; `whole`: it has stayed to the end.
    pub(super) fn check(&self, whole: bool) {
        let mut got = &self.got[..];
        for (at, reply) in self.expected().iter().enumerate() {
            let scanned = crate::resp::ReplyScanner::default().advance(got).unwrap();
            if scanned.done.is_none() {
                assert!(!whole, "{}: {at}, {reply:?} is missing", self.number);
                return;
            }
            let (item, rest) = got.split_at(scanned.consumed);
            let text = String::from_utf8_lossy(item);
            let right = text == **reply || reply == "?" && text.starts_with('-');
            assert!(
                right,
                "{}: {at}, {text:?} instead of {reply:?}",
                self.number
            );
            got = rest;
        }
        assert!(got.is_empty(), "{}: {:?}", self.number, got.escape_ascii());
        // Its rights say nothing of these.
        let free = |at: &usize| {
            let mut words = self.requests[*at].split(' ');
            let plain = matches!(words.next(), Some("GET" | "SET" | "INCR" | "BLPOP"));
            plain && words.next().is_some_and(|key| key.starts_with('x'))
        };
        let unserved = (0..self.requests.len()).filter(|at| !self.served.contains_key(at));
        assert!(!whole || unserved.filter(free).count() <= self.denied);
    }
}
