//! A client that knows what each of its replies must be, and keeps a ledger of what it has counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::support::{Reply, TestClient, command};

use super::{Dice, Soak};

/// What one client may believe of its counter.
pub(super) struct Ledger {
    number: usize,
    /// The last value that it was told.
    last: i64,
    /// INCRs that were sent, and whose replies never came: each may have run, or may run yet.
    open: i64,
    /// Connections so far. What an earlier one has sent may run yet, beside what this one sends.
    visits: usize,
}

/// What a reply must be.
enum Expected {
    Exactly(Reply),
    Counted,
    Error(&'static str),
    Executed(Vec<u8>),
}

struct Batch {
    bytes: Vec<u8>,
    expected: Vec<Expected>,
}

/// Comes and goes until the soak is over.
pub(super) fn run(soak: &Soak<'_>, number: usize, mut dice: Dice) -> Ledger {
    let mut ledger = Ledger {
        number,
        last: 0,
        open: 0,
        visits: 0,
    };
    let config = soak.proxy.certs().client_config(Some("cart"));
    let mut address = soak.proxy.address();
    if number % 2 == 1 {
        address.set_port(soak.dedicated);
    }
    while soak.goes_on() {
        let epoch = soak.epoch();
        let mut port = 0;
        let client = TestClient::connect_from(None, address).and_then(|stream| {
            port = stream.local_addr()?.port();
            TestClient::tls_over(stream, b"", Arc::clone(&config))
        });
        let outcome = client
            .map_err(|error| error.to_string())
            .and_then(|client| visit(soak, client, &mut ledger, &mut dice));
        soak.counts.sessions.fetch_add(1, Ordering::Relaxed);
        if let Err(why) = outcome {
            soak.counts.cuts.fetch_add(1, Ordering::Relaxed);
            if !soak.was_disturbed_since(epoch) {
                soak.wrong(
                    format!("client {number} from port {port}: {why}"),
                    Some(port),
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    ledger
}

/// One connection from its begin to its end.
fn visit(
    soak: &Soak<'_>,
    mut client: TestClient,
    ledger: &mut Ledger,
    dice: &mut Dice,
) -> Result<(), String> {
    ledger.visits += 1;
    for _ in 0..=dice.below(30) {
        if !soak.goes_on() {
            break;
        }
        let batch = Batch::roll(ledger, dice);
        let mut counting = batch.count();
        let sent = client.try_send(&batch.bytes);
        if sent.is_ok() && dice.one_in(100) {
            // Goes away in the middle.
            ledger.open += counting;
            client.close_without_notify();
            return Ok(());
        }
        let mut outcome = sent.map_err(|error| error.to_string());
        for expected in &batch.expected {
            if outcome.is_err() {
                break;
            }
            outcome = client.try_read_reply().and_then(|reply| {
                counting -= expected.count();
                soak.counts.replies.fetch_add(1, Ordering::Relaxed);
                if matches!(expected, Expected::Error(_)) {
                    soak.counts.refusals.fetch_add(1, Ordering::Relaxed);
                }
                expected.check(&reply, ledger)
            });
        }
        ledger.open += counting;
        outcome?;
    }
    Ok(())
}

// === impl Batch ===

impl Batch {
    fn roll(ledger: &Ledger, dice: &mut Dice) -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            expected: Vec::new(),
        };
        let Ledger { number, visits, .. } = ledger;
        let counter = format!("cart:count:{number}");
        let value = format!("cart:value:{number}:{}", visits % 16);
        let ok = || Expected::Exactly(Reply::Simple("OK".into()));
        let queued = || Expected::Exactly(Reply::Simple("QUEUED".into()));
        for _ in 0..=dice.below(20) {
            let word = format!("{number}-{:x}", dice.next());
            match dice.below(24) {
                0..=7 => batch.ask(&["ECHO", &word], Expected::Exactly(Reply::bulk(&word))),
                8..=13 => batch.ask(&["INCR", &counter], Expected::Counted),
                14..=16 => {
                    batch.ask(&["SET", &value, &word], ok());
                    batch.ask(&["GET", &value], Expected::Exactly(Reply::bulk(&word)));
                }
                17 => batch.ask(&["GET", "other"], Expected::Error("NOPERM")),
                18 => batch.ask(&["NO.SUCH", &word], Expected::Error("ERR unknown command")),
                19 => {
                    batch.ask(&["MULTI"], ok());
                    batch.ask(&["INCR", &counter], queued());
                    batch.ask(&["ECHO", &word], queued());
                    batch.ask(&["EXEC"], Expected::Executed(word.into_bytes()));
                }
                20 => {
                    batch.ask(&["MULTI"], ok());
                    batch.ask(&["SET", "other", &word], Expected::Error("NOPERM"));
                    batch.ask(&["EXEC"], Expected::Error("EXECABORT"));
                }
                21 => {
                    let none = Expected::Exactly(Reply::Nil);
                    batch.ask(&["BLPOP", "cart:nothing", "0.01"], none);
                }
                22 => {
                    batch.ask(&["SELECT", "3"], ok());
                    batch.ask(&["SELECT", "0"], ok());
                }
                _ => {
                    let long = word.repeat(1 + dice.below(10_000) as usize);
                    batch.ask(&["SET", &value, &long], ok());
                    batch.ask(&["GET", &value], Expected::Exactly(Reply::bulk(&long)));
                }
            }
        }
        batch
    }

    fn ask(&mut self, words: &[&str], expected: Expected) {
        self.bytes.extend(command(words));
        self.expected.push(expected);
    }

    fn count(&self) -> i64 {
        self.expected.iter().map(Expected::count).sum()
    }
}

// === impl Expected ===

impl Expected {
    /// How many INCRs it is the answer of.
    fn count(&self) -> i64 {
        i64::from(matches!(self, Self::Counted | Self::Executed(_)))
    }

    fn check(&self, reply: &Reply, ledger: &mut Ledger) -> Result<(), String> {
        let right = match (self, reply) {
            (Self::Exactly(expected), reply) => expected == reply,
            (Self::Counted, Reply::Integer(value)) => ledger.told(*value),
            (Self::Error(begin), Reply::Error(text)) => text.starts_with(begin),
            (Self::Executed(word), Reply::Array(items)) => match &items[..] {
                [Reply::Integer(value), Reply::Bulk(bytes)] => ledger.told(*value) && bytes == word,
                _ => false,
            },
            _ => false,
        };
        if right {
            return Ok(());
        }
        let mut told = format!("{reply:?}");
        told.truncate(200);
        Err(format!(
            "a wrong reply for {}: {told} (last {}, open {})",
            self.name(),
            ledger.last,
            ledger.open
        ))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Exactly(_) => "a known value",
            Self::Counted => "INCR",
            Self::Error(begin) => begin,
            Self::Executed(_) => "EXEC",
        }
    }
}

// === impl Ledger ===

impl Ledger {
    /// Takes note of the counter's value. What it has jumped over must be INCRs whose replies were lost.
    fn told(&mut self, value: i64) -> bool {
        let jumped = value - self.last - 1;
        let explained = (0..=self.open).contains(&jumped);
        self.last = value;
        self.open -= jumped.clamp(0, self.open);
        explained
    }

    /// Compares it with what the Redis has at the end.
    pub(super) fn check(&self, soak: &Soak<'_>) {
        let mut admin = soak.proxy.client("admin");
        let key = format!("cart:count:{}", self.number);
        let value = match admin.call(&["GET", &key]) {
            Reply::Bulk(digits) => String::from_utf8(digits).unwrap().parse().unwrap(),
            _ => 0_i64,
        };
        if !(self.last..=self.last + self.open).contains(&value) {
            let what = format!(
                "client {}: its counter is {value}; it was told {}, and {} are open",
                self.number, self.last, self.open
            );
            soak.wrong(what, None);
        }
    }
}
