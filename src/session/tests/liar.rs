//! Random clients before a server that means no good.

use std::collections::BTreeMap;

use super::crowd::request;
use super::*;
use crate::fixtures::Random;

/// A server that says anything at all: at worst its connection ends.
fn play_with_a_liar(seed: u64) {
    const LIES: [&str; 24] = [
        "+OK\r\n",
        "+QUEUED\r\n",
        "-ERR no\r\n",
        "-NOAUTH no\r\n",
        "*-1\r\n",
        "_\r\n",
        ":1\r\n",
        "$1\r\na\r\n",
        "$-1\r\n",
        "*1\r\n",
        "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:18446744073709551615\r\n",
        "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:-1\r\n",
        ">3\r\n$12\r\npunsubscribe\r\n_\r\n:0\r\n",
        ">0\r\n",
        "*1\r\n$9\r\nsubscribe\r\n",
        "+1700000000.1 [0\r\n",
        "+FULLRESYNC a 1\r\n",
        "\n",
        "%1\r\n",
        "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n",
        ">3\r\n$12\r\nsunsubscribe\r\n$1\r\na\r\n:0\r\n",
        "|1\r\n+a\r\n+b\r\n",
        "*2\r\n*0\r\n>1\r\n:1\r\n:2\r\n",
        "-EXECABORT no\r\n",
    ];
    let mut random = Random(seed);
    let mut it = super::modes::modern();
    let pairs = [(("10.0.0.5", 6379), ("redis-a.example.com", 6380))];
    if random.below(2) == 0 {
        let addresses = crate::rewrite::Addresses::new(pairs, "127.0.0.1");
        it.session.map_addresses(addresses.into(), true);
    }
    let mut spelled = BTreeMap::new();
    for _ in 0..random.below(80) {
        let line = request(&mut random, &mut spelled);
        it.client(&encode(&line));
        for _ in 0..random.below(4) {
            let lie = random.one(&LIES);
            let lie = &lie[..lie.len() - random.below(20) / 18];
            it.down.input().extend_from_slice(lie.as_bytes());
            if it.session.answer(&mut it.down).is_err() {
                return;
            }
            it.run_lying();
            drain(&mut it.down);
            assert!(it.down.unscanned().len() < 200);
        }
    }
}

impl Harness {
    /// As the relay does after each reply; what it is told wrongly is its end.
    fn run_lying(&mut self) {
        if self.session.has_changed_rules()
            && self.session.adopt(&self.rules, &mut self.up).is_err()
        {
            self.session.end();
        }
        self.attach_if_wanted();
    }
}

#[test]
fn a_server_that_says_anything_harms_nobody() {
    let count = std::env::var("RESPGATE_SEEDS").map_or(300, |text| text.parse().unwrap());
    for seed in 0..count {
        let played = std::panic::catch_unwind(|| play_with_a_liar(seed));
        assert!(played.is_ok(), "seed {seed}");
    }
}
