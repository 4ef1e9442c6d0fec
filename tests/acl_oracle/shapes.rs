//! Requests whose options decide on keys or access, with their options in any order.

use crate::random::Random;
use crate::requests::{self, Request, VALUES};

/// A request that its command would take, or with a wrong count.
pub fn request(random: &mut Random) -> Request {
    let mut shape = Shape {
        random,
        args: Vec::new(),
        valid: true,
    };
    match shape.random.below(14) {
        0 => shape.set(),
        1 => shape.bitfield(),
        2 | 3 => shape.sort(),
        4 | 5 => shape.georadius(),
        6 | 7 => shape.xread(),
        8 => shape.migrate(),
        9 => shape.mset(),
        10 => shape.copy(),
        11 => shape.eval(),
        _ => shape.numkeys(),
    }
    Request {
        args: shape.args,
        valid: shape.valid,
    }
}

struct Shape<'a> {
    random: &'a mut Random,
    args: Vec<Vec<u8>>,
    valid: bool,
}

// === impl Shape ===

impl Shape<'_> {
    /// Words in any case.
    fn words(&mut self, line: &str) {
        for word in line.split(' ') {
            let word = self.random.cased(word).into_bytes();
            self.args.push(word);
        }
    }

    fn key(&mut self) {
        let key = requests::key(self.random);
        self.args.push(key);
    }

    fn value(&mut self) {
        let value = self.random.pick(VALUES).to_vec();
        self.args.push(value);
    }

    /// Any value, be it a key's name or an option's: in this place it's neither.
    fn any(&mut self) {
        if self.random.chance(50) {
            self.key();
        } else {
            self.value();
        }
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        self.random.pick(from)
    }

    fn set(&mut self) {
        self.words("set");
        self.key();
        self.any();
        for _ in 0..self.random.below(4) {
            let option = self.pick(&[
                "GET", "NX", "XX", "KEEPTTL", "EX 10", "PX 10", "EXAT 9", "PXAT 9", "IFEQ x",
            ]);
            self.words(option);
        }
    }

    fn bitfield(&mut self) {
        self.words("bitfield");
        self.key();
        for _ in 0..self.random.below(4) {
            let operation = self.pick(&[
                "GET u8 0",
                "GET u8 #1",
                "SET u8 0 1",
                "INCRBY u8 0 1",
                "OVERFLOW SAT",
                "OVERFLOW wrap",
            ]);
            self.words(operation);
        }
    }

    fn sort(&mut self) {
        let name = self.pick(&["sort", "sort", "sort_ro"]);
        self.words(name);
        self.key();
        for _ in 0..self.random.below(5) {
            match self.random.below(if name == "sort" { 8 } else { 5 }) {
                0 => self.words("LIMIT 0 10"),
                1 => {
                    let word = self.pick(&["ASC", "DESC", "ALPHA"]);
                    self.words(word);
                }
                2 => {
                    self.words("BY");
                    self.any();
                }
                3 => {
                    self.words("GET");
                    self.any();
                }
                4 => self.words("BY nosort"),
                _ => {
                    self.words("STORE");
                    self.key();
                }
            }
        }
    }

    fn georadius(&mut self) {
        let (name, place, stores) = match self.random.below(5) {
            0 | 1 => ("georadius", "0 0 1 m", true),
            2 | 3 => ("georadiusbymember", "m 1 km", true),
            _ => ("georadius_ro", "0 0 1 ft", false),
        };
        self.words(name);
        self.key();
        self.words(place);
        for _ in 0..self.random.below(5) {
            match self.random.below(if stores { 5 } else { 3 }) {
                0 => self.words("COUNT 3"),
                1 => self.words("COUNT 3 ANY"),
                2 => {
                    let word = self.pick(&["ASC", "DESC", "WITHDIST", "WITHHASH", "WITHCOORD"]);
                    self.words(word);
                }
                _ => {
                    let word = self.pick(&["STORE", "STOREDIST"]);
                    self.words(word);
                    self.key();
                }
            }
        }
    }

    fn xread(&mut self) {
        let group = self.random.chance(60);
        self.words(if group { "xreadgroup" } else { "xread" });
        let mut options = self.random.below(3);
        if group && self.random.chance(50) {
            options += 1;
            self.words("NOACK");
        }
        if group {
            self.words("GROUP");
            self.any();
            self.any();
        }
        for _ in 0..options {
            let option = self.pick(&[
                "COUNT 2",
                "BLOCK 0",
                if group { "NOACK" } else { "COUNT 1" },
            ]);
            self.words(option);
        }
        self.words("STREAMS");
        let keys = 1 + self.random.below(3);
        (0..keys).for_each(|_| self.key());
        (0..keys).for_each(|_| self.value());
    }

    fn migrate(&mut self) {
        self.words("migrate h 1");
        let many = self.random.chance(60);
        if many {
            self.args.push(Vec::new());
        } else {
            self.key();
        }
        self.words("0 10");
        for _ in 0..self.random.below(3) {
            match self.random.below(4) {
                0 => self.words("COPY"),
                1 => self.words("REPLACE"),
                2 => {
                    self.words("AUTH");
                    self.any();
                }
                _ => {
                    self.words("AUTH2");
                    self.any();
                    self.any();
                }
            }
        }
        if many {
            self.words("KEYS");
            (0..=self.random.below(3)).for_each(|_| self.key());
        }
    }

    fn mset(&mut self) {
        let name = self.pick(&["mset", "msetnx", "hset", "mget", "del", "watch", "pfcount"]);
        self.words(name);
        for _ in 0..=self.random.below(6) {
            self.any();
        }
        self.valid = false;
    }

    fn copy(&mut self) {
        self.words("copy");
        self.key();
        self.key();
        for _ in 0..self.random.below(3) {
            let option = self.pick(&["DB 1", "REPLACE", "db 0"]);
            self.words(option);
        }
    }

    fn eval(&mut self) {
        let name = self.pick(&[
            "eval",
            "evalsha",
            "eval_ro",
            "evalsha_ro",
            "fcall",
            "fcall_ro",
        ]);
        self.words(name);
        self.any();
        self.counted_keys(0);
        (0..self.random.below(2)).for_each(|_| self.any());
    }

    fn numkeys(&mut self) {
        let (before, behind) = match self.random.below(9) {
            0 => ("zunion", "WITHSCORES"),
            1 => ("zinter", "AGGREGATE MAX"),
            2 => ("zdiff", ""),
            3 => ("sintercard", "LIMIT 1"),
            4 => ("zintercard", ""),
            5 => ("lmpop", "LEFT"),
            6 => ("zmpop", "MIN COUNT 2"),
            7 => ("blmpop 0", "RIGHT"),
            _ => ("", ""),
        };
        if before.is_empty() {
            let name = self.pick(&["zunionstore", "zinterstore", "zdiffstore"]);
            self.words(name);
            self.key();
        } else {
            self.words(before);
        }
        self.counted_keys(1);
        if !behind.is_empty() {
            self.words(behind);
        }
    }

    /// A count and as many keys, or other than as many.
    fn counted_keys(&mut self, least: usize) {
        let keys = least + self.random.below(3);
        let wrong = self.random.chance(30);
        let count = if wrong {
            self.valid = false;
            let more = (keys + 1 + self.random.below(3)).to_string();
            let odd = format!("+{keys}");
            let zeros = format!("0{keys}");
            let cut = format!("{keys}\0");
            let tail = format!("{keys}x");
            let blank = format!(" {keys}");
            let all = [
                &*more,
                &odd,
                &zeros,
                &cut,
                &tail,
                &blank,
                "-1",
                "0",
                "",
                "x",
                "4294967297",
            ];
            self.random.pick(&all).to_owned()
        } else {
            keys.to_string()
        };
        self.args.push(count.into_bytes());
        (0..keys).for_each(|_| self.key());
    }
}
