//! Random clients that share connections, before a model of a Redis: each reads its own replies in
//! order, nothing runs that the rules forbid, and nothing stays of one where others come.
//!
//! What the proxy does with its connections is done here without a socket, one step after another.

use std::collections::{BTreeMap, VecDeque};

use super::model::Random;
use super::redis::Connection;
use super::speaker::bulk;
use super::*;
use crate::session::{Berth, Load, Need, Rider, Trunk};

/// In which databases the keys `l…` and `h…` may be touched. Generation 1 and 2.
fn users(generation: usize) -> Policy {
    let (low, high) = if generation == 1 {
        ("l", "h")
    } else {
        ("h", "l")
    };
    let text = format!(
        "user a on >pw -@all (+@all -flushall ~{low}* ~x* &* db=0,1) \
         (+@all -flushall ~{high}* ~x* &* db=2,3)\n"
    );
    policy(text.as_bytes())
}

/// A connection that is shared.
struct Line {
    berth: Berth,
    trunk: Trunk,
    server: Connection,
    /// Whose the requests are that it was sent: the client, and the rules that it obeyed.
    asked: VecDeque<(usize, usize)>,
    /// Whose request was answered last.
    last: Option<usize>,
    closed: bool,
    /// A reply was too much, or one too few: so many canaries had been sent then.
    lied_at: Option<usize>,
    canaries: usize,
}

/// A connection of a client's own.
struct Own {
    server: Connection,
    /// What it was sent: bytes, and the rules that they were judged by.
    asked: VecDeque<(usize, usize)>,
    name: Option<Box<[u8]>>,
    fresh: bool,
}

enum Way {
    None,
    Own(Own),
    Ride(usize, Rider),
}

struct Client {
    /// Unlike all others' since the begin.
    number: usize,
    session: Session,
    up: Pipe,
    down: Pipe,
    way: Way,
    unsent: u32,
    /// How many of them may tell that a command is queued.
    queued: u32,
    input: VecDeque<u8>,
    requests: Vec<String>,
    /// The replies to what was forwarded, by the request.
    served: BTreeMap<usize, String>,
    next: usize,
    /// How many requests were refused, by the command.
    refused: BTreeMap<String, usize>,
    /// Requests that no connection was to be had for.
    denied: usize,
    got: Vec<u8>,
    gone: bool,
}

struct World {
    rules: Rules,
    facts: Facts,
    generation: usize,
    clients: Vec<Client>,
    lines: Vec<Line>,
    idle: Vec<(Berth, Own)>,
    random: Random,
    numbers: usize,
    /// Whether the server lies.
    lies: bool,
}

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
    fn new(number: usize, rules: &Rules, random: &mut Random) -> Self {
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
    fn progress(&self) -> [usize; 4] {
        let owed = match &self.way {
            Way::Own(own) => own.server.output.len(),
            Way::Ride(index, _) => 1 << 40 | *index,
            Way::None => 1 << 41,
        };
        let held = [self.up.unscanned().len(), self.down.unscanned().len()];
        [owed, held[0], held[1], self.got.len()]
    }

    /// The server has answered one of its requests.
    fn note(&mut self, line: &str, reply: &str) {
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
    fn note_refused(&mut self, notes: &Notes) {
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
    fn check(&self, whole: bool) {
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

// === impl World ===

impl World {
    /// What the relay does when it is woken.
    fn step(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let size = [3, 50, 700, 30_000][self.random.below(4)];
        if client.session.takes_requests(&client.down) || client.up.unscanned().len() < 16 * 1024 {
            let len = self.random.below(size).min(client.input.len());
            let bytes: Vec<u8> = client.input.drain(..len).collect();
            client.up.input().extend_from_slice(&bytes);
        }
        if client.session.has_changed_rules() {
            client.session.adopt(&self.rules, &mut client.up).unwrap();
        }
        let notes = &mut Notes::default();
        let (up, down) = (&mut client.up, &mut client.down);
        client
            .session
            .receive(&self.rules, &self.facts, up, down, notes);
        client.note_refused(notes);
        let up_to_date = !client.session.has_changed_rules();
        if client.input.is_empty() && up_to_date && client.session.takes_requests(&client.down) {
            client.session.end();
        }
        if self.random.below(4) != 0 {
            self.write_requests(at);
        }
        self.read_replies(at);
        self.answer(at);
        let client = &mut self.clients[at];
        if client.gone {
            return;
        }
        while client.down.waiting() > 0 {
            let bytes = client.down.writable().to_vec();
            client.down.wrote(bytes.len());
            client.got.extend(&bytes);
        }
        self.change_way(at);
        let client = &mut self.clients[at];
        let lacks =
            client.session.rides() && client.up.waiting() > 0 && matches!(client.way, Way::None);
        if client.session.need().is_some() || client.session.wants_upstream() || lacks {
            self.connect(at);
        }
    }

    fn write_requests(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.up.waiting() == 0 {
            return;
        }
        if let Way::Own(own) = &mut client.way
            && !client.session.rides()
        {
            while client.up.waiting() > 0 {
                let bytes = client.up.writable().to_vec();
                client.up.wrote(bytes.len());
                own.server.input.extend(&bytes);
                own.asked.push_back((bytes.len(), self.generation));
            }
            return;
        }
        assert!(client.session.rides() && !client.session.is_parted());
        let (replies, queued) = client.session.take_sent();
        client.unsent += replies;
        client.queued += queued;
        let Way::Ride(index, rider) = client.way else {
            return;
        };
        let line = &mut self.lines[index];
        let is_of_use = !line.closed && line.berth == client.session.berth();
        if !is_of_use && line.trunk.owed(rider) == 0 {
            line.trunk.leave(rider);
            client.way = Way::None;
            return;
        }
        assert!(line.closed || is_of_use);
        let bytes = client.up.pieces().concat();
        let load = Load {
            requests: [&bytes, b""],
            replies: client.unsent,
            queued: std::mem::take(&mut client.queued),
        };
        line.trunk.send(rider, load);
        client.up.wrote_all();
        client.unsent = 0;
        let mut rest = bytes::Bytes::from(bytes);
        while let Some((_, used)) = crate::resp::decode_reply(&rest).unwrap() {
            line.asked.push_back((client.number, self.generation));
            rest = rest.slice(used..);
        }
        assert!(rest.is_empty(), "half a request on a shared connection");
    }

    fn read_replies(&mut self, at: usize) {
        let client = &mut self.clients[at];
        match &mut client.way {
            Way::None => {}
            Way::Own(own) => {
                let most = [1, 5, 60, 30_000][self.random.below(4)];
                let len = self.random.below(most + 1).min(own.server.output.len());
                let bytes: Vec<u8> = own.server.output.drain(..len).collect();
                client.down.input().extend_from_slice(&bytes);
            }
            Way::Ride(index, rider) => {
                let line = &mut self.lines[*index];
                while let Some(bytes) = line.trunk.take(*rider) {
                    client.down.input().extend_from_slice(&bytes);
                }
                if line.closed {
                    client.gone |= line.trunk.owed(*rider) > 0;
                    client.way = Way::None;
                }
            }
        }
    }

    fn answer(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if let Err(error) = client.session.answer(&mut client.down) {
            assert!(self.lies, "{}: {error}", client.number);
            if let Way::Ride(index, _) = client.way {
                self.lines[index].closed = true;
            }
            client.gone = true;
        }
    }

    fn change_way(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.session.is_detached() {
            self.get_off(at);
        }
        let client = &mut self.clients[at];
        if client.session.wants_upstream() {
            client.session.ride();
            client.unsent = 0;
            return;
        }
        let at_rest = client.up.waiting() == 0 && client.down.unscanned().is_empty();
        if !matches!(client.way, Way::Own(_)) || !at_rest || !client.session.may_leave() {
            return;
        }
        let berth = client.session.leave();
        client.unsent = 0;
        if let (Way::Own(mut own), Some(berth)) =
            (std::mem::replace(&mut client.way, Way::None), berth)
        {
            own.server.assert_is_clean(berth);
            own.fresh = false;
            self.idle.push((berth, own));
        }
    }

    /// Its connection is dropped, whatever is on its way there.
    fn get_off(&mut self, at: usize) {
        if let Way::Ride(index, rider) = self.clients[at].way {
            self.lines[index].trunk.leave(rider);
        }
        self.clients[at].way = Way::None;
    }

    fn connect(&mut self, at: usize) {
        let need = self.clients[at].session.need();
        let unlucky = self.random.below(8) == 0;
        match need {
            Some(Need::Own(_) | Need::Errand(_)) if unlucky => {
                self.clients[at].session.deny_own();
            }
            Some(Need::Own(berth)) => self.borrow(at, berth),
            Some(Need::Errand(berth)) => self.borrow(
                at,
                Berth {
                    database: 0,
                    ..berth
                },
            ),
            Some(Need::Database(berth)) if unlucky || berth.database > 3 => {
                self.clients[at].session.stay(berth.database);
            }
            Some(Need::Database(berth)) => {
                self.board(at, berth);
                self.clients[at].session.moved(berth.database);
            }
            None => {
                let berth = self.clients[at].session.berth();
                self.board(at, berth);
            }
        }
    }

    fn borrow(&mut self, at: usize, berth: Berth) {
        self.get_off(at);
        let idle = self.idle.iter().position(|(its, _)| *its == berth);
        let mut own = match idle {
            Some(idle) => self.idle.swap_remove(idle).1,
            None => Own {
                server: Connection::new(berth, false),
                asked: VecDeque::new(),
                name: None,
                fresh: true,
            },
        };
        let client = &mut self.clients[at];
        own.name = client
            .session
            .borrow(own.fresh, own.name.as_deref(), &mut client.up);
        client.way = Way::Own(own);
    }

    fn board(&mut self, at: usize, berth: Berth) {
        self.get_off(at);
        let open = (self.lines.iter()).position(|line| !line.closed && line.berth == berth);
        let index = open.unwrap_or_else(|| {
            self.lines.push(Line {
                berth,
                trunk: Trunk::new([self.lines.len() as u8; 16], 1 << 30, berth.scripts),
                server: Connection::new(berth, true),
                asked: VecDeque::new(),
                last: None,
                closed: false,
                lied_at: None,
                canaries: 0,
            });
            self.lines.len() - 1
        });
        let rider = self.lines[index].trunk.board();
        self.clients[at].session.changed_trunk();
        self.clients[at].way = Way::Ride(index, rider);
    }

    /// A client has gone without a word; another one comes.
    fn replace(&mut self, at: usize) {
        self.get_off(at);
        self.numbers += 1;
        let next = Client::new(self.numbers, &self.rules, &mut self.random);
        let gone = std::mem::replace(&mut self.clients[at], next);
        if !self.lies {
            gone.check(false);
        }
    }

    /// The server takes a request of a client's own connection, if there is one.
    fn serve_own(&mut self, at: usize) -> bool {
        let client = &mut self.clients[at];
        let Way::Own(own) = &mut client.way else {
            return false;
        };
        if own.server.blocked > 0 {
            own.server.blocked -= 1;
            if own.server.blocked == 0 {
                let reply = std::mem::take(&mut own.server.held);
                own.server.output.extend(reply.as_bytes());
            }
            return true;
        }
        let before = own.server.input.len();
        let Some(line) = own.server.next() else {
            return false;
        };
        // By the rules of its first byte.
        let (mut left, mut generation) = (before - own.server.input.len(), None);
        while left > 0 {
            let (len, at) = own.asked.front_mut().unwrap();
            generation = generation.or(Some(*at));
            let taken = left.min(*len);
            *len -= taken;
            left -= taken;
            if *len == 0 {
                own.asked.pop_front();
            }
        }
        let reply = own
            .server
            .call(generation.unwrap(), &line, &mut self.random);
        match own.server.blocked {
            0 => own.server.output.extend(reply.as_bytes()),
            _ => own.server.held = reply.clone(),
        }
        // Who was lied to may ask for what he would not.
        if !self.lies {
            client.note(&line, &reply);
        }
        true
    }

    /// The same of a shared one.
    fn serve_line(&mut self, index: usize) -> bool {
        let line = &mut self.lines[index];
        if line.closed {
            return false;
        }
        let Some(request) = line.server.next() else {
            return false;
        };
        let mut reply;
        if request.starts_with("ECHO ") {
            line.server.assert_is_free(line.berth);
            reply = line.server.call(0, &request, &mut self.random);
            line.canaries += 1;
        } else {
            let (number, generation) = line.asked.pop_front().unwrap();
            if line.last != Some(number) {
                line.server.assert_is_free(line.berth);
            }
            line.last = Some(number);
            reply = line.server.call(generation, &request, &mut self.random);
            let mut clients = self.clients.iter_mut();
            if let Some(client) = clients.find(|client| client.number == number && !self.lies) {
                client.note(&request, &reply);
            }
            if self.lies && self.random.below(20) == 0 {
                const LIES: [&str; 6] = [
                    "+QUEUED\r\n",
                    "-ERR no\r\n",
                    "*-1\r\n",
                    ":1\r\n",
                    "+OK\r\n",
                    "$-1\r\n",
                ];
                reply = self.random.one(&LIES).into();
            }
        }
        if self.lies && line.lied_at.is_none() && self.random.below(60) == 0 {
            let lie = self.random.below(3);
            // Where one is missing, the canary's own is taken for it, and only the next one is odd.
            line.lied_at = Some(line.canaries + usize::from(lie == 0));
            reply = match lie {
                0 => String::new(),
                1 => format!("+more\r\n{reply}"),
                _ => format!("{reply}+more\r\n"),
            };
        }
        line.server.output.extend(reply.as_bytes());
        true
    }

    /// What is to be written is written, and what has come is handed over.
    fn drive(&mut self, index: usize) -> bool {
        let line = &mut self.lines[index];
        if line.closed {
            return false;
        }
        let mut any = false;
        if !line.trunk.unwritten().is_empty() && self.random.below(12) == 0 {
            line.trunk.check();
        }
        if self.random.below(3) != 0 {
            let batch = line.trunk.batch().to_vec();
            line.trunk.wrote(batch.len());
            line.server.input.extend(&batch);
            any |= !batch.is_empty();
        }
        let most = [1, 5, 60, 30_000][self.random.below(4)];
        let len = self.random.below(most + 1).min(line.server.output.len());
        any |= !line.server.output.is_empty();
        let bytes: Vec<u8> = line.server.output.drain(..len).collect();
        line.trunk.input().extend_from_slice(&bytes);
        if let Err(error) = line.trunk.deliver(|_| {}, |_| {}) {
            // A lie that is noticed at once: there is no transaction.
            let queued = self.lies && error == Desync::Queued;
            assert!(line.lied_at.is_some() || queued, "{error}");
            line.closed = true;
        }
        let told = line.lied_at.is_some_and(|at| line.canaries > at);
        if told && line.server.output.is_empty() {
            assert!(line.closed, "a reply too much or too few was not noticed");
        }
        any
    }

    /// New rules for all at once, where what was judged by the old ones has been sent.
    fn adopt(&mut self) {
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            let berth = client.session.berth();
            if client.up.waiting() > 0 && matches!(client.way, Way::None) {
                self.board(at, berth);
            }
            // The first time finds out that a connection is of no use any more.
            self.write_requests(at);
            if self.clients[at].up.waiting() > 0 {
                self.board(at, berth);
                self.write_requests(at);
            }
        }
        self.generation = 2;
        self.rules = self
            .rules
            .with_policy(users(2).reusing(self.rules.policy()));
        for client in &mut self.clients {
            client.session.adopt(&self.rules, &mut client.up).unwrap();
        }
    }
}

fn play(seed: u64, lies: bool) {
    let mut random = Random(seed);
    let rules = rules(&[], &[]).with_policy(users(1));
    let count = 2 + random.below(3);
    let clients = (1..=count).map(|number| Client::new(number, &rules, &mut random));
    let mut it = World {
        clients: clients.collect(),
        rules,
        facts: facts(["6.2.14", "7.0.15", "8.2.3"][seed as usize % 3]),
        generation: 1,
        lines: Vec::new(),
        idle: Vec::new(),
        random,
        numbers: count,
        lies,
    };
    let adopt_at = it.random.below(300);
    let (mut turns, mut idle) = (0, 0);
    // By chance nothing is done for a while. Who is owed what was left out waits for ever.
    while idle < 60 && !(lies && turns > 2000) {
        turns += 1;
        idle += 1;
        assert!(turns < 20_000, "it goes on and on");
        if turns == adopt_at {
            it.adopt();
        }
        for at in 0..it.clients.len() {
            let leaves = it.random.below(200) == 0;
            if it.numbers < 10 && (it.clients[at].gone || leaves) {
                it.replace(at);
                idle = 0;
            }
            if it.clients[at].gone {
                it.get_off(at);
                continue;
            }
            if it.random.below(2) == 0 {
                let before = it.clients[at].progress();
                it.step(at);
                if it.clients[at].progress() != before {
                    idle = 0;
                }
            }
            for _ in 0..it.random.below(3) {
                if !it.clients[at].gone && it.serve_own(at) {
                    idle = 0;
                }
            }
            let client = &it.clients[at];
            if !client.input.is_empty() || client.up.waiting() > 0 {
                idle = 0;
            }
        }
        for index in 0..it.lines.len() {
            for _ in 0..it.random.below(4) {
                if it.serve_line(index) {
                    idle = 0;
                }
            }
            if it.drive(index) {
                idle = 0;
            }
        }
    }
    for client in it.clients.iter().filter(|client| !client.gone && !lies) {
        let number = client.number;
        assert!(client.session.is_settled(), "{number} is owed something");
        let rest = client.up.unscanned();
        assert!(rest.is_empty(), "{number}: {} is held", rest.escape_ascii());
        client.check(true);
    }
    for line in it.lines.iter().filter(|line| !line.closed) {
        line.server.assert_is_free(line.berth);
    }
}

fn play_all(lies: bool) {
    let count = std::env::var("RESPGATE_SEEDS").map_or(300, |text| text.parse().unwrap());
    for seed in 0..count {
        let played = std::panic::catch_unwind(|| play(seed, lies));
        assert!(played.is_ok(), "seed {seed}");
    }
}

#[test]
fn who_shares_connections_reads_his_own_replies_and_leaves_nothing_behind() {
    play_all(false);
}

#[test]
fn a_reply_too_much_or_too_few_is_noticed_by_the_next_canary() {
    play_all(true);
}
