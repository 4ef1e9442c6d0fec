//! Conversations by chance: who speaks, in what state, how a step ends.

use crate::docs::Grammar;
use crate::listeners;
use crate::mask::Mask;
use crate::random::Random;
use crate::scenes;
use crate::script::{Conversation, Ends, Item, Step};
use crate::sides::{Mode, password};

/// A connection as far as the generator knows it. Where it errs, the steps end a little later: the
/// comparison does not rely on it.
#[derive(Clone, Default)]
pub struct Speaker {
    pub multi: bool,
    pub resp3: bool,
    pub subscribed: bool,
    /// No reply is owed to it: CLIENT REPLY OFF.
    pub muted: bool,
    pub monitor: bool,
    /// It waits in a blocking command.
    pub blocked: bool,
    /// It may be told what others change. Where it turns to another protocol meanwhile, it depends on
    /// what Redis read at once whether it is.
    pub tracking: bool,
    /// It has another id since: respgate gave it a fresh connection.
    pub reset: bool,
    /// It has said its last.
    pub ended: bool,
}

/// A conversation in the making.
pub struct Author<'a> {
    pub random: Random,
    pub grammar: &'a Grammar,
    pub user: &'static str,
    /// The user may do everything: else what Redis and respgate refuse at different moments isn't tried.
    pub open: bool,
    pub mode: Mode,
    pub speakers: Vec<Speaker>,
    pub uses_ids: bool,
    in_transaction: bool,
    steps: Vec<Step>,
    number: u64,
}

// === impl Author ===

impl<'a> Author<'a> {
    /// The conversation of this number.
    pub fn write(
        seed: u64,
        number: u64,
        users: &[&'static str],
        mode: Mode,
        grammar: &'a Grammar,
    ) -> Conversation {
        let mut random = Random::new(seed, number);
        let user = users[random.below(users.len())];
        let connections = match random.below(10) {
            0..=4 => 1,
            5..=7 => 2,
            _ => 3,
        };
        let mut author = Self {
            random,
            grammar,
            user,
            open: user == "admin",
            mode,
            speakers: vec![Speaker::default(); connections],
            uses_ids: false,
            in_transaction: false,
            steps: Vec::new(),
            number,
        };
        for connection in 0..connections {
            author.log_in(connection);
        }
        for _ in 0..author.random.between(2, 9) {
            author.scene();
        }
        author.see_pushes();
        if author.random.chance(35) {
            author.last_words();
        }
        Conversation {
            user,
            connections,
            mode,
            uses_ids: author.uses_ids,
            steps: author.steps,
        }
    }

    /// Invalidations come with the replies of a turn at the latest: after another turn all are here.
    fn see_pushes(&mut self) {
        let tracked = |item: &Item| match item {
            Item::Request { args, .. } => args.iter().any(|arg| arg == b"TRACKING"),
            Item::Raw(_) => false,
        };
        let tracks = |step: &Step| step.items.iter().any(tracked);
        if !self.steps.iter().any(tracks) {
            return;
        }
        for speaker in 0..self.speakers.len() {
            let state = &self.speakers[speaker];
            if !state.ended && !state.blocked && !state.multi {
                self.say_it(speaker, Vec::new());
            }
        }
    }

    /// What follows is said by `connection`, in any pieces.
    pub fn say(&mut self, connection: usize, items: Vec<Item>, ends: Ends) {
        let cuts = match self.random.below(10) {
            0..=5 => 0,
            6..=8 => self.random.between(1, 4),
            _ => self.random.between(5, 40),
        };
        let cuts = (0..cuts).map(|_| self.random.below(65536) as u16).collect();
        self.steps.push(Step {
            connection,
            items,
            cuts,
            ends,
        });
    }

    /// The same, to the end that fits what the connection is doing.
    pub fn say_it(&mut self, connection: usize, items: Vec<Item>) {
        let speaker = &self.speakers[connection];
        let ends = match speaker.multi || speaker.muted || speaker.blocked || speaker.ended {
            true => Ends::Quiet,
            false => Ends::Pong(format!("@pong-{}-{}@", self.number, self.steps.len())),
        };
        self.say(connection, items, ends);
    }

    /// A connection that can speak now.
    pub fn somebody(&mut self) -> Option<usize> {
        let able = |speaker: &Speaker| !speaker.ended && !speaker.blocked;
        let free: Vec<usize> = (0..self.speakers.len())
            .filter(|&index| able(&self.speakers[index]))
            .collect();
        (!free.is_empty()).then(|| free[self.random.below(free.len())])
    }

    /// Somebody in no special state, or one who is made to leave it.
    pub fn somebody_plain(&mut self) -> Option<usize> {
        let speaker = self.somebody()?;
        self.somebody_is_plain(speaker).then_some(speaker)
    }

    /// Somebody who may be a subscriber already.
    pub fn somebody_plain_or_subscribed(&mut self) -> Option<usize> {
        let speaker = self.somebody()?;
        let subscribed = self.speakers[speaker].subscribed;
        let kept = std::mem::replace(&mut self.speakers[speaker].subscribed, false);
        let free = self.somebody_is_plain(speaker);
        self.speakers[speaker].subscribed = kept;
        (subscribed || free).then_some(speaker)
    }

    fn somebody_is_plain(&mut self, speaker: usize) -> bool {
        if self.speakers[speaker].multi {
            self.say_end_of_transaction(speaker);
        }
        let state = &self.speakers[speaker];
        !state.subscribed && !state.muted && !state.monitor
    }

    pub fn say_end_of_transaction(&mut self, speaker: usize) {
        let word = self.random.pick(&["EXEC", "EXEC", "EXEC", "DISCARD"]);
        self.speakers[speaker].multi = false;
        self.say_it(speaker, vec![Item::request(&[word])]);
    }

    /// The same words to both: respgate knows the certificate, Redis must be told.
    fn log_in(&mut self, connection: usize) {
        let item = self.introduction(connection);
        self.say_it(connection, vec![item]);
    }

    /// AUTH, or HELLO with it.
    pub fn introduction(&mut self, connection: usize) -> Item {
        let (user, password) = (self.user, password(self.user));
        let resp3 = self.random.chance(45);
        if !resp3 && self.random.chance(70) {
            return Item::request(&["AUTH", user, &password]);
        }
        self.speakers[connection].resp3 = resp3;
        let version = if resp3 { "3" } else { "2" };
        let mut args = vec!["HELLO", version, "AUTH", user, &password];
        if self.random.chance(30) {
            args.extend(["SETNAME", "me"]);
        }
        Item::masked(Mask::Hello, &args)
    }

    /// The id of a connection, where it is known.
    pub fn id_of(&mut self, connection: usize) -> Option<Vec<u8>> {
        // Where connections are shared, clients are told numbers that Redis doesn't know.
        let known = !self.speakers[connection].reset && self.mode == Mode::Dedicated;
        self.uses_ids |= known;
        known.then(|| Item::id_of(connection))
    }

    /// Back to the beginning, on the way of respgate: Redis falls back to `default`, respgate to whom
    /// the certificate names, and it opens a fresh connection.
    pub fn reset(&mut self, connection: usize) -> Vec<Item> {
        let ended = self.speakers[connection].ended;
        self.speakers[connection] = Speaker {
            reset: true,
            ended,
            ..Speaker::default()
        };
        let introduction = self.introduction(connection);
        vec![Item::request(&["RESET"]), introduction]
    }

    /// A request that the state of a connection allows, mostly about data.
    pub fn request(&mut self) -> Item {
        let item = loop {
            let item = match self.random.below(100) {
                0..=84 => self.grammar.request(&mut self.random),
                _ => scenes::connection_request(self),
            };
            let otherwise = !self.open && item.is_judged_otherwise();
            let barred = self.may_be_queued() && item.is_barred_from_multi(self.mode);
            if !otherwise && !barred {
                break item;
            }
        };
        let damage = match self.open {
            true => 12,
            // Where keys can't be told, respgate refuses what fails in Redis: see docs/policy.md.
            false if self.may_be_queued() => 0,
            false => 3,
        };
        if self.random.chance(damage) && self.grammar.made(&item) {
            let damaged = self.damaged(item.clone());
            return match !self.open && damaged.is_judged_otherwise() {
                true => item,
                false => damaged,
            };
        }
        if self.random.chance(6) {
            return self.inline(item);
        }
        item
    }

    /// Whether what is made now may be said inside MULTI.
    fn may_be_queued(&self) -> bool {
        self.in_transaction || self.speakers.iter().any(|speaker| speaker.multi)
    }

    /// Something is wrong with it.
    fn damaged(&mut self, item: Item) -> Item {
        let Item::Request { mut args, mask } = item else {
            return item;
        };
        let random = &mut self.random;
        let at = random.below(args.len());
        match random.below(8) {
            0 if at > 0 => {
                args.remove(at);
            }
            1 => args.push(b"more".to_vec()),
            2 if at > 0 => args[at] = Vec::new(),
            3 if at > 0 => args[at] = b"99999999999999999999".to_vec(),
            4 if at > 0 => args[at] = vec![b'\r', b'\n', 255, 1],
            5 if args.len() > 1 => {
                args.truncate(at.max(1));
            }
            6 => args[0].push(b'x'),
            7 if at > 0 => args[at] = b"nosuchword".to_vec(),
            _ => {
                args[0] = random
                    .pick(&["nosuch", "hexpire", "", "msetex", "x\r\ny"])
                    .into()
            }
        }
        Item::Request { args, mask }
    }

    /// The same in quotes, as a person at a terminal would type it.
    fn inline(&mut self, item: Item) -> Item {
        let Item::Request { args, mask: None } = &item else {
            return item;
        };
        if args.iter().map(Vec::len).sum::<usize>() > 10_000 {
            return item;
        }
        let mut line = Vec::new();
        for arg in args {
            line.push(b'"');
            for &byte in arg {
                match byte {
                    b' '..=b'~' if byte != b'"' && byte != b'\\' => line.push(byte),
                    _ => line.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
                }
            }
            line.extend_from_slice(b"\" ");
        }
        line.extend_from_slice(if self.random.chance(50) {
            b"\r\n"
        } else {
            b"\n"
        });
        Item::Raw(line)
    }

    /// Several of them.
    pub fn requests(&mut self, most: usize) -> Vec<Item> {
        let count = self.random.between(1, most);
        let mut items = Vec::new();
        for _ in 0..count {
            if self.random.chance(4) {
                let nothing = self.random.pick(&["\r\n", "*0\r\n", "*-1\r\n", "  \r\n"]);
                items.push(Item::Raw(nothing.as_bytes().to_vec()));
            }
            items.push(self.request());
        }
        items
    }

    fn scene(&mut self) {
        match self.random.below(100) {
            0..=34 => self.pipeline(),
            35..=54 => self.transaction(),
            55..=62 => scenes::scripts(self),
            63..=70 => scenes::blocking(self),
            71..=80 => listeners::pubsub(self),
            81..=85 => scenes::login(self),
            86..=88 => scenes::large(self),
            89..=91 => listeners::reply(self),
            92..=95 => listeners::tracking(self),
            96 if self.open => listeners::monitor(self),
            97..=98 => scenes::others(self),
            _ => self.pipeline(),
        }
    }

    fn pipeline(&mut self) {
        let Some(speaker) = self.somebody() else {
            return;
        };
        let most = if self.random.chance(10) { 60 } else { 8 };
        let items = self.requests(most);
        self.say_it(speaker, items);
    }

    fn transaction(&mut self) {
        let Some(speaker) = self.somebody_plain() else {
            return;
        };
        let mut items = Vec::new();
        if self.random.chance(30) {
            let key = crate::docs::key("", &mut self.random);
            items.push(Item::request(&[&b"WATCH"[..], &key]));
            if self.random.chance(50) {
                self.say_it(speaker, std::mem::take(&mut items));
                let other = self.somebody_plain().unwrap_or(speaker);
                if self.speakers[speaker].ended || self.speakers[speaker].multi {
                    return;
                }
                self.say_it(other, vec![Item::request(&[&b"SET"[..], &key, b"watched"])]);
            }
        }
        items.push(Item::request(&["MULTI"]));
        self.in_transaction = true;
        for _ in 0..self.random.below(6) {
            let item = match self.random.below(12) {
                0 => Item::request(self.random.pick(&[
                    &["MULTI"][..],
                    &["WATCH", "a:s1"],
                    &["UNWATCH"],
                    &["GET"],
                    &["nosuch", "a"],
                    &["CONFIG", "nosuch"],
                    &["SELECT", "1"],
                    &["SELECT", "99"],
                    &["DISCARD", "x"],
                    &["BLPOP", "a:l1", "0"],
                ])),
                _ => self.request(),
            };
            items.push(item);
        }
        self.in_transaction = false;
        self.speakers[speaker].multi = true;
        if self.random.chance(25) {
            // The rest comes later, or never.
            self.say_it(speaker, items);
            return;
        }
        items.push(match self.random.below(12) {
            0 => Item::request(&["DISCARD"]),
            1 => Item::request(&["EXEC", "x"]),
            _ => Item::request(&["EXEC"]),
        });
        if self.random.chance(20) {
            items.push(Item::request(&["EXEC"]));
        }
        self.speakers[speaker].multi = false;
        items.extend(self.requests(3));
        self.say_it(speaker, items);
    }

    /// What ends a connection, and what must not be done behind it.
    fn last_words(&mut self) {
        let Some(speaker) = self.somebody() else {
            return;
        };
        if self.random.chance(15) {
            let half = b"*3\r\n$3\r\nSET\r\n$4\r\na:s1\r\n$9\r\nmust not\r".to_vec();
            self.speakers[speaker].ended = true;
            self.say(speaker, vec![Item::Raw(half)], Ends::Cut);
            return;
        }
        let mut items = self.requests(6);
        let end: &[u8] = match self.random.below(16) {
            0 => b"*1\r\n$4\r\nQUIT\r\n",
            1 => b"QUIT now\r\n",
            2 => b"*1\r\nx\r\n",
            3 => b"*2\r\n$3\r\nGET\r\n$-1\r\n",
            4 => b"*99999999999999999999\r\n",
            5 => b"*-0\r\n",
            6 => b"*1x\r\n",
            7 => b"*2\r\n$3\r\nGET\r\n:1\r\n",
            8 => b"GET \"a\r\n",
            9 => b"GET \"a\"b\r\n",
            10 => b"POST / HTTP/1.1\r\n",
            11 => b"*1\r\n$5\r\nhost:\r\n",
            12 => b"*2\r\n$4\r\nECHO\r\n$01\r\nx\r\n",
            13 => b"*+1\r\n$4\r\nPING\r\n",
            _ => b"",
        };
        if matches!(end.first(), Some(b'P')) || end.ends_with(b"host:\r\n") {
            // Redis drops the replies that it has not yet written; respgate delivers them.
            self.say_it(speaker, std::mem::take(&mut items));
        }
        let pieces = !end.is_empty();
        if pieces {
            items.push(Item::Raw(end.to_vec()));
            if self.random.chance(60) {
                items.push(Item::request(&["SET", "a:s1", "must not be"]));
            }
        }
        let ends = if pieces {
            Ends::Quiet
        } else {
            Ends::HalfClosed
        };
        self.speakers[speaker].ended = true;
        self.say(speaker, items, ends);
    }
}
