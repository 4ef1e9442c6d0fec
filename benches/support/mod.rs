//! A timing harness for operations of nanoseconds that are compared to each other.
//!
//! The candidates of a group take turns, a few milliseconds each, over many rounds: whatever slows
//! the machine down meets all of them. Of a candidate's rounds the fastest says most, since noise
//! only ever adds; the median shows how noisy it was. Only ratios carry over to other machines, and
//! nothing is asserted about time.

#![expect(clippy::print_stdout, reason = "the table is what a bench is for")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use redis_protocol::resp2::decode::decode_range;
use respgate::resp::encode_request;

/// Long enough that reading the clock doesn't matter, short enough that many turns are not
/// interrupted.
const TURN: Duration = Duration::from_millis(2);
const ROUNDS: usize = 101;

/// Candidates that are compared; the first one is the peer whose time is 1.
pub(crate) struct Group<'a> {
    title: &'static str,
    candidates: Vec<Candidate<'a>>,
}

struct Candidate<'a> {
    name: &'static str,
    /// Operations in one call, for a time per command of a pipeline.
    operations: u32,
    /// Calls it so many times. The loop is inside, so that the call can be inlined into it.
    repeat: Box<dyn FnMut(u64) + 'a>,
    /// Nanoseconds an operation, one a round.
    times: Vec<f64>,
}

// === impl Group ===

impl<'a> Group<'a> {
    pub(crate) fn new(title: &'static str) -> Self {
        Self {
            title,
            candidates: Vec::new(),
        }
    }

    /// Adds a candidate; one call of `call` does `operations` operations.
    pub(crate) fn add<T>(
        &mut self,
        name: &'static str,
        operations: u32,
        mut call: impl FnMut() -> T + 'a,
    ) {
        let repeat = move |times| {
            for _ in 0..times {
                black_box(call());
            }
        };
        self.candidates.push(Candidate {
            name,
            operations,
            repeat: Box::new(repeat),
            times: Vec::new(),
        });
    }

    /// Measures, and prints one table. Without `--bench`, which `cargo bench` passes, every
    /// candidate is only called once, to see that it works.
    pub(crate) fn run(mut self) {
        if !std::env::args().any(|arg| arg == "--bench") {
            self.candidates
                .iter_mut()
                .for_each(|candidate| (candidate.repeat)(1));
            return;
        }
        let calls: Vec<u64> = self
            .candidates
            .iter_mut()
            .map(Candidate::calls_a_turn)
            .collect();
        for _ in 0..ROUNDS {
            for (candidate, calls) in self.candidates.iter_mut().zip(&calls) {
                let nanos = candidate.time(*calls).as_nanos() as f64;
                let operations = *calls as f64 * f64::from(candidate.operations);
                candidate.times.push(nanos / operations);
            }
        }
        self.print();
    }

    fn print(&mut self) {
        println!("\n{}", self.title);
        println!(
            "{:44}{:>12}{:>9}{:>12}{:>9}",
            "", "min ns/op", "ratio", "median", "ratio"
        );
        let mut peer = None;
        for candidate in &mut self.candidates {
            candidate.times.sort_by(f64::total_cmp);
            let (min, median) = (candidate.times[0], candidate.times[ROUNDS / 2]);
            let (peer_min, peer_median) = *peer.get_or_insert((min, median));
            println!(
                "{:44}{min:12.1}{:9.2}{median:12.1}{:9.2}",
                candidate.name,
                min / peer_min,
                median / peer_median
            );
        }
    }
}

// === impl Candidate ===

impl Candidate<'_> {
    fn time(&mut self, calls: u64) -> Duration {
        let start = Instant::now();
        (self.repeat)(calls);
        start.elapsed()
    }

    /// Doubles until a turn is long enough; that warms it up, too.
    fn calls_a_turn(&mut self) -> u64 {
        let mut calls = 1;
        while self.time(calls) < TURN {
            calls *= 2;
        }
        calls
    }
}

/// A request as clients encode it.
pub(crate) fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_request(args.iter().copied(), &mut out);
    out.to_vec()
}

/// The peer: all frames of `bytes`, found and not copied.
pub(crate) fn decode(bytes: &[u8]) {
    let mut rest = black_box(bytes);
    while let Ok(Some((frame, used))) = decode_range(rest) {
        black_box(frame);
        rest = &rest[used..];
    }
    assert!(rest.is_empty());
}
