//! What the proxy does for its clients: it takes, sends and answers, and finds each a connection.

use super::*;

// === impl World ===

impl World {
    /// What the relay does when it is woken.
    pub(super) fn step(&mut self, at: usize) {
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
    pub(super) fn get_off(&mut self, at: usize) {
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
    pub(super) fn replace(&mut self, at: usize) {
        self.get_off(at);
        self.numbers += 1;
        let next = Client::new(self.numbers, &self.rules, &mut self.random);
        let gone = std::mem::replace(&mut self.clients[at], next);
        if !self.lies {
            gone.check(false);
        }
    }

    /// New rules for all at once, where what was judged by the old ones has been sent.
    pub(super) fn adopt(&mut self) {
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
