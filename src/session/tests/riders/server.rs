//! What the server does on clients' own connections and on shared ones, where it may lie, and what
//! is noticed of that.

use super::*;

// === impl World ===

impl World {
    /// The server takes a request of a client's own connection, if there is one.
    pub(super) fn serve_own(&mut self, at: usize) -> bool {
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
    pub(super) fn serve_line(&mut self, index: usize) -> bool {
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
    pub(super) fn drive(&mut self, index: usize) -> bool {
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
}
