//! Random clients that share connections, before a model of a Redis: each reads its own replies in
//! order, nothing runs that the rules forbid, and nothing stays of one where others come.
//!
//! What the proxy does with its connections is done here without a socket, one step after another.

mod clients;
mod relay;
mod server;

use std::collections::{BTreeMap, VecDeque};

use super::redis::Connection;
use super::speaker::bulk;
use super::*;
use crate::fixtures::Random;
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
