//! Everything at once, for a while: clients that come and go, reloads, a Redis that is killed and comes
//! back, hostile peers. No reply may be lost or misplaced, nothing may run twice, and memory stays flat.
//!
//! Some seconds of it are part of every test run; `make soak` has ten minutes (`RESPGATE_SOAK_SECONDS`),
//! and prints a table.

#![allow(clippy::print_stdout, reason = "its table is what `make soak` is for")]

mod clients;
mod hostile;
mod trouble;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::proxy::USERS;
use crate::support::{
    Certs, Proxy, RedisServer, Version, eventually, free_port, proc_status_bytes,
};

/// Clients of each kind of upstream connection.
const EACH: usize = 8;
const SECONDS: u64 = 8;
/// Rows of the table.
const ROWS: u32 = 10;

/// What all threads of a soak know.
struct Soak<'a> {
    proxy: &'a Proxy,
    /// Of the listener whose clients have connections of their own.
    dedicated: u16,
    stop: AtomicBool,
    /// Odd while the Redis is down; who finds it changed need not wonder why it was cut.
    epoch: AtomicU64,
    counts: Counts,
    /// What no client could explain, in words, and the client's port.
    wrong: Mutex<Vec<(String, Option<u16>)>>,
}

#[derive(Default)]
struct Counts {
    sessions: AtomicUsize,
    replies: AtomicUsize,
    refusals: AtomicUsize,
    cuts: AtomicUsize,
    restarts: AtomicUsize,
    reloads: AtomicUsize,
    broken_reloads: AtomicUsize,
    hostile: AtomicUsize,
}

/// One row of the table.
struct Row {
    seconds: u64,
    memory: u64,
    files: usize,
    counts: [usize; 8],
}

/// A small generator (SplitMix64), so that a run can be repeated by its seed.
struct Dice(u64);

// === impl Soak ===

impl Soak<'_> {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Whether the Redis was down at some moment since `epoch`.
    fn was_disturbed_since(&self, epoch: u64) -> bool {
        epoch % 2 == 1 || self.epoch() != epoch
    }

    fn wrong(&self, what: String, port: Option<u16>) {
        self.wrong.lock().unwrap().push((what, port));
    }

    fn row(&self, start: Instant) -> Row {
        Row {
            seconds: start.elapsed().as_secs(),
            memory: proc_status_bytes(self.proxy.pid(), "VmRSS"),
            files: self.proxy.open_file_count(),
            counts: self.counts.all(),
        }
    }
}

// === impl Counts ===

impl Counts {
    fn all(&self) -> [usize; 8] {
        [
            &self.sessions,
            &self.replies,
            &self.refusals,
            &self.cuts,
            &self.restarts,
            &self.reloads,
            &self.broken_reloads,
            &self.hostile,
        ]
        .map(|count| count.load(Ordering::Relaxed))
    }
}

// === impl Row ===

impl Row {
    const HEAD: &'static str =
        "   s  sessions    replies  refusals   cuts restarts reloads broken hostile   MB files";

    fn print(&self) {
        let [
            sessions,
            replies,
            refusals,
            cuts,
            restarts,
            reloads,
            broken,
            hostile,
        ] = self.counts;
        println!(
            "{:>4} {sessions:>9} {replies:>10} {refusals:>9} {cuts:>6} {restarts:>8} {reloads:>7} {broken:>6} {hostile:>7} {:>4} {:>5}",
            self.seconds,
            self.memory >> 20,
            self.files,
        );
    }
}

// === impl Dice ===

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What the clients found wrong, each with what the audit says of the connection.
fn explained(proxy: &Proxy, wrong: Vec<(String, Option<u16>)>) -> Vec<String> {
    let audit = match wrong.is_empty() {
        true => String::new(),
        false => std::fs::read_to_string(proxy.directory().join("audit.jsonl")).unwrap(),
    };
    wrong
        .into_iter()
        .map(|(what, port)| {
            let peer = port.map(|port| format!("\"127.0.0.1:{port}\""));
            let lines = audit.lines().filter(|line| {
                peer.as_ref().is_some_and(|peer| line.contains(peer))
                    && !line.contains("\"refused\"")
            });
            lines.fold(what, |all, line| format!("{all}\n    {line}"))
        })
        .collect()
}

#[test]
fn whatever_happens_no_reply_is_lost_or_misplaced_and_memory_is_flat() {
    let seconds = number("RESPGATE_SOAK_SECONDS").unwrap_or(SECONDS);
    let seed = number("RESPGATE_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{seconds} seconds, RESPGATE_TEST_SEED={seed}");
    // What was acknowledged is written before the reply is sent: a kill loses nothing. But where a sync is
    // under way (`everysec`), Redis puts off the write for up to two seconds, and replies.
    let file = ["--appendonly", "yes", "--appendfsync", "no"];
    let mut server = RedisServer::start(Version::V7_0_15, &file);
    let dedicated = free_port();
    let own = format!(
        "address = \"{}\"\nconnections = \"dedicated\"",
        server.address()
    );
    let proxy = Proxy::builder()
        .upstream(&server)
        .upstream_named("own", &own)
        .listener("upstream = \"main\"\nhandshake_timeout = \"10s\"")
        .another_listener(
            "own",
            dedicated,
            "upstream = \"own\"\nhandshake_timeout = \"10s\"",
        )
        .own_certificates()
        .tls("crl = [\"list.crl\"]")
        .file("list.crl", &Certs::shared().revocation_list(&["nobody"]))
        .section("[audit]\npath = \"audit.jsonl\"\nconnections = true\n")
        .section("[limits]\nmax_reply_buffer = \"1MB\"\nwrite_timeout = \"10s\"\n")
        .allow_error("reload")
        .allow_error("upstream")
        .start();
    eventually("both upstreams are ready", || proxy.times_ready() == 2);
    let soak = Soak {
        proxy: &proxy,
        dedicated,
        stop: AtomicBool::new(false),
        epoch: AtomicU64::new(0),
        counts: Counts::default(),
        wrong: Mutex::default(),
    };
    let start = Instant::now();
    let files = proxy.open_file_count();
    let rows = thread::scope(|scope| {
        let soak = &soak;
        let ledgers: Vec<_> = (0..2 * EACH)
            .map(|number| {
                let dice = Dice(seed.wrapping_mul(31).wrapping_add(number as u64));
                scope.spawn(move || clients::run(soak, number, dice))
            })
            .collect();
        scope.spawn(|| hostile::run(soak, Dice(seed ^ 1)));
        scope.spawn(|| trouble::reload(soak, Dice(seed ^ 2), USERS));
        let server = &mut server;
        let restarts = scope.spawn(move || {
            trouble::restart(soak, server, Dice(seed ^ 3), seconds);
        });
        println!("{}", Row::HEAD);
        let mut rows = Vec::new();
        for step in 1..=ROWS {
            let until = start + Duration::from_secs(seconds) * step / ROWS;
            thread::sleep(until.saturating_duration_since(Instant::now()));
            let row = soak.row(start);
            row.print();
            rows.push(row);
        }
        soak.stop.store(true, Ordering::Relaxed);
        restarts.join().unwrap();
        for ledger in ledgers {
            ledger.join().unwrap().check(soak);
        }
        rows
    });
    let wrong = explained(&proxy, soak.wrong.into_inner().unwrap());
    println!(
        "lost, misplaced, run twice, or cut without a reason: {}",
        wrong.len()
    );
    assert!(
        wrong.is_empty(),
        "{} things are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    eventually("every client's file is closed", || {
        proxy.open_file_count() <= files + 16
    });
    // The first third is for growing up to what the load needs.
    let most = |rows: &[Row]| rows.iter().map(|row| row.memory).max().unwrap_or(0);
    let (before, after) = rows[rows.len() / 3..].split_at(rows.len() / 3);
    if seconds >= 120 {
        let (before, after) = (most(before), most(after));
        assert!(
            after <= before * 5 / 4 + (8 << 20),
            "memory grew from {before} to {after} bytes"
        );
    }
}
