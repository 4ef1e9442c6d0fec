//! The requests: SET and GET of `key:000000000000` and on, as redis-benchmark names them.

use std::io::Write;

use crate::options::Options;
use crate::replies::Reply;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Get,
    Set,
}

/// Makes batches of requests.
pub(crate) struct Requests {
    value: Vec<u8>,
    gets: u32,
    sets: u32,
    keys: u32,
    random: u64,
}

// === impl Command ===

impl Command {
    /// Whether this answers it.
    pub(crate) fn is_answered_by(self, reply: &Reply<'_>, size: usize) -> bool {
        match (self, reply) {
            (Self::Set, Reply::Status(status)) => *status == b"OK",
            (Self::Get, Reply::Value(length)) => *length == size,
            (Self::Get, Reply::Nil) => true,
            _ => false,
        }
    }
}

// === impl Requests ===

impl Requests {
    pub(crate) fn new(options: &Options) -> Self {
        let mut requests = Self {
            value: Vec::new(),
            gets: options.gets,
            sets: options.sets,
            keys: options.keys,
            random: 0x9e37_79b9_7f4a_7c15,
        };
        // No run of equal bytes, which somebody might compress or a file system leave out.
        for _ in 0..options.size {
            let letter = b'a' + (requests.next() % 26) as u8;
            requests.value.push(letter);
        }
        requests
    }

    /// A batch of the mix; `commands` gets what they are.
    pub(crate) fn batch(&mut self, length: usize, out: &mut Vec<u8>, commands: &mut Vec<Command>) {
        out.clear();
        commands.clear();
        for _ in 0..length {
            let random = self.next();
            let key = (random >> 32) as u32 % self.keys;
            let command = if (random as u32) % (self.gets + self.sets) < self.gets {
                Command::Get
            } else {
                Command::Set
            };
            self.push(command, key, out);
            commands.push(command);
        }
    }

    pub(crate) fn push(&self, command: Command, key: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(match command {
            Command::Get => b"*2\r\n$3\r\nGET\r\n$16\r\nkey:",
            Command::Set => b"*3\r\n$3\r\nSET\r\n$16\r\nkey:",
        });
        let mut digits = *b"000000000000";
        let mut rest = key;
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&digits);
        out.extend_from_slice(b"\r\n");
        if command == Command::Set {
            // Into a Vec: it can't fail.
            let _ = write!(out, "${}\r\n", self.value.len());
            out.extend_from_slice(&self.value);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// xorshift64*: any will do that is cheap and the same in every run.
    fn next(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
