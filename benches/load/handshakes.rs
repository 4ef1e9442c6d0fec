//! Connections that come and go: handshake, one GET, end. The GET shows that the server took our
//! certificate, and brings the tickets of TLS 1.3.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Failure;
use crate::histogram::Histogram;
use crate::idle::ask;
use crate::link::{Space, Target};
use crate::options::Options;
use crate::requests::{Command, Requests};

/// With a rate, handshakes that may be under way together: 200 a second of 80 ms each.
const THREADS: usize = 16;

struct Counts {
    latencies: Histogram,
    done: usize,
    resumed: usize,
    errors: usize,
    first_error: Option<String>,
}

/// One after another, or at a rate; prints `START` when the first begins.
pub(crate) fn handshakes(options: &Options) -> Result<(), Failure> {
    let target = Target::new(options)?;
    let mut bytes = Vec::new();
    Requests::new(options).push(Command::Get, 0, &mut bytes);
    // Sessions to resume need a first one.
    ask_once(&target, &mut Space::new(), &bytes, options)?;
    let counts = Mutex::new(Counts {
        latencies: Histogram::new(),
        done: 0,
        resumed: 0,
        errors: 0,
        first_error: None,
    });
    let next = AtomicUsize::new(0);
    println!("START");
    let start = Instant::now();
    let work = || {
        let mut space = Space::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= options.count {
                return;
            }
            let due = options
                .rate
                .map(|rate| start + Duration::from_secs_f64(index as f64 / rate));
            if let Some(due) = due {
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let since = due.unwrap_or_else(Instant::now);
            let done = ask_once(&target, &mut space, &bytes, options);
            let Ok(mut counts) = counts.lock() else {
                return;
            };
            match done {
                Ok(resumed) => {
                    counts.done += 1;
                    counts.resumed += usize::from(resumed);
                    counts.latencies.record(since.elapsed(), 1);
                }
                Err(why) => {
                    counts.errors += 1;
                    counts.first_error.get_or_insert_with(|| why.to_string());
                }
            }
        }
    };
    thread::scope(|scope| {
        let threads = if options.rate.is_some() { THREADS } else { 1 };
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let counts = counts.into_inner().map_err(|why| why.to_string())?;
    let report = json!({
        "operations": counts.done,
        "seconds": seconds,
        "resumed": counts.resumed,
        "p50": counts.latencies.micros(0.5),
        "p99": counts.latencies.micros(0.99),
        "errors": counts.errors,
        "first_error": counts.first_error,
    });
    println!("{report}");
    Ok(())
}

/// Returns whether the session was resumed.
fn ask_once(
    target: &Target,
    space: &mut Space,
    bytes: &[u8],
    options: &Options,
) -> Result<bool, Failure> {
    let mut link = target.connect()?;
    ask(&mut link, space, bytes, &[Command::Get], options.size)?;
    let resumed = link.resumed();
    link.close()?;
    Ok(resumed)
}
