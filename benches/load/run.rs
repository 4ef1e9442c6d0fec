//! Load for a time: closed loop (a connection sends its next batch when the last is answered) or at a
//! fixed rate.
//!
//! At a fixed rate batches are due at equal distances, in turns on all connections, and a latency
//! counts from when its batch was due, not from when it could be sent: a server that stalls is charged
//! for all that waited meanwhile, and for what still waits at the end.

use std::collections::VecDeque;
use std::fs;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use serde_json::json;

use crate::Failure;
use crate::epoll::Epoll;
use crate::histogram::Histogram;
use crate::link::{Link, Space, Target};
use crate::options::Options;
use crate::replies::{Replies, Reply};
use crate::requests::{Command, Requests};

/// One connection and the batch that it waits for.
struct Session {
    link: Link,
    replies: Replies,
    commands: Vec<Command>,
    answered: usize,
    /// When the batch was sent, or was due.
    since: Instant,
    /// Whether the socket is asked when it takes more.
    unsent: bool,
    /// When the batches were due that wait for this connection.
    late: VecDeque<Instant>,
}

struct Run<'a> {
    options: &'a Options,
    sessions: Vec<Session>,
    /// Connections without a batch, the one that is longest without first.
    idle: VecDeque<usize>,
    requests: Requests,
    epoll: Epoll,
    space: Space,
    bytes: Vec<u8>,
    counts: Counts,
}

struct Counts {
    latencies: Histogram,
    operations: u64,
    errors: u64,
    first_error: Option<String>,
}

/// Connects, warms up, prints `START`, measures, prints what was measured.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    // Sleeps end when they should, not up to 50 µs later. Where this isn't allowed, they do.
    let _ = fs::write("/proc/self/timerslack_ns", "1");
    let mut run = Run::new(options)?;
    let measured = Instant::now() + options.warmup;
    run.until(measured)?;
    // What went wrong while warming up went wrong.
    run.counts.latencies = Histogram::new();
    run.counts.operations = 0;
    println!("START");
    let (start, cpu) = (Instant::now(), cpu_nanos());
    let end = start + options.duration;
    run.until(end)?;
    let now = Instant::now();
    if options.rate.is_some() {
        run.charge_outstanding(now);
    }
    let counts = &run.counts;
    let report = json!({
        "operations": counts.operations,
        "seconds": (now - start).as_secs_f64(),
        "p50": counts.latencies.micros(0.5),
        "p99": counts.latencies.micros(0.99),
        "p999": counts.latencies.micros(0.999),
        "cpu": (cpu_nanos() - cpu) / 1e9,
        "errors": counts.errors,
        "first_error": counts.first_error,
    });
    println!("{report}");
    Ok(())
}

// === impl Run ===

impl<'a> Run<'a> {
    fn new(options: &'a Options) -> Result<Self, Failure> {
        let target = Target::new(options)?;
        let epoll = Epoll::new()?;
        let mut sessions = Vec::with_capacity(options.connections);
        for index in 0..options.connections {
            let link = target
                .connect()
                .map_err(|why| format!("connection {index}: {why}"))?;
            link.socket.set_nonblocking(true)?;
            epoll.add(&link.socket, index)?;
            sessions.push(Session {
                link,
                replies: Replies::default(),
                commands: Vec::with_capacity(options.pipeline),
                answered: 0,
                since: Instant::now(),
                unsent: false,
                late: VecDeque::new(),
            });
        }
        let mut run = Self {
            options,
            idle: (0..sessions.len()).collect(),
            sessions,
            requests: Requests::new(options),
            epoll,
            space: Space::new(),
            bytes: Vec::new(),
            counts: Counts {
                latencies: Histogram::new(),
                operations: 0,
                errors: 0,
                first_error: None,
            },
        };
        if options.rate.is_none() {
            for _ in 0..options.window.min(options.connections) {
                run.begin_next(Instant::now())?;
            }
        }
        Ok(run)
    }

    fn until(&mut self, end: Instant) -> Result<(), Failure> {
        let mut events = Vec::new();
        let start = Instant::now();
        let step = self
            .options
            .rate
            .map(|rate| self.options.pipeline as f64 / rate);
        let mut due = 0_u32;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let mut wake = end;
            if let Some(step) = step {
                loop {
                    let at = start + Duration::from_secs_f64(step * f64::from(due));
                    if at > now {
                        wake = wake.min(at);
                        break;
                    }
                    self.begin_due(due as usize % self.sessions.len(), at)?;
                    due += 1;
                }
            }
            self.epoll
                .wait(wake.saturating_duration_since(now), &mut events)?;
            for &(index, flags) in &events {
                if flags.contains(EventFlags::OUT) {
                    self.flush(index)?;
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.receive(index)?;
                }
            }
        }
    }

    /// A batch is due on this connection: now, or when it is free.
    fn begin_due(&mut self, index: usize, at: Instant) -> Result<(), Failure> {
        let session = &mut self.sessions[index];
        if session.answered < session.commands.len() {
            session.late.push_back(at);
            return Ok(());
        }
        self.begin(index, at)
    }

    fn begin_next(&mut self, since: Instant) -> Result<(), Failure> {
        match self.idle.pop_front() {
            Some(index) => self.begin(index, since),
            None => Ok(()),
        }
    }

    fn begin(&mut self, index: usize, since: Instant) -> Result<(), Failure> {
        let session = &mut self.sessions[index];
        let length = self.options.pipeline;
        self.requests
            .batch(length, &mut self.bytes, &mut session.commands);
        session.answered = 0;
        session.since = since;
        let done = session.link.send(&self.bytes).map_err(broken(index))?;
        self.watch(index, !done)
    }

    fn flush(&mut self, index: usize) -> Result<(), Failure> {
        let done = self.sessions[index].link.flush().map_err(broken(index))?;
        self.watch(index, !done)
    }

    fn watch(&mut self, index: usize, unsent: bool) -> Result<(), Failure> {
        let session = &mut self.sessions[index];
        if session.unsent != unsent {
            session.unsent = unsent;
            self.epoll.modify(&session.link.socket, index, unsent)?;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> Result<(), Failure> {
        let Session {
            link,
            replies,
            commands,
            answered,
            since,
            late,
            ..
        } = &mut self.sessions[index];
        let (before, counts) = (*answered, &mut self.counts);
        let mut sound = true;
        link.receive(&mut self.space, |bytes| {
            sound &= replies.feed(bytes, |reply| {
                match commands.get(*answered) {
                    Some(command) if command.is_answered_by(&reply, self.options.size) => {}
                    command => counts.wrong(&reply, command.copied()),
                }
                *answered += 1;
            });
        })
        .map_err(broken(index))?;
        if !sound || *answered > commands.len() {
            return Err(format!("connection {index}: these are no replies").into());
        }
        let now = Instant::now();
        let fresh = (*answered - before) as u64;
        counts.operations += fresh;
        counts.latencies.record(now.duration_since(*since), fresh);
        if fresh == 0 || *answered < commands.len() {
            return Ok(());
        }
        if self.options.rate.is_none() {
            self.idle.push_back(index);
            return self.begin_next(now);
        }
        match late.pop_front() {
            Some(at) => self.begin(index, at),
            None => Ok(()),
        }
    }

    /// What is still waited for has waited at least until now.
    fn charge_outstanding(&mut self, now: Instant) {
        for session in &self.sessions {
            let open = session.commands.len() - session.answered;
            let latencies = &mut self.counts.latencies;
            latencies.record(now.saturating_duration_since(session.since), open as u64);
            for at in &session.late {
                let batch = self.options.pipeline as u64;
                latencies.record(now.saturating_duration_since(*at), batch);
            }
        }
    }
}

// === impl Counts ===

impl Counts {
    fn wrong(&mut self, reply: &Reply<'_>, command: Option<Command>) {
        self.errors += 1;
        if self.first_error.is_none() {
            let text = match reply {
                Reply::Other(line) | Reply::Status(line) => {
                    String::from_utf8_lossy(line).trim_end().to_owned()
                }
                Reply::Nil => "nil".to_owned(),
                Reply::Value(length) => format!("a value of {length} bytes"),
            };
            self.first_error = Some(format!("{command:?} is answered by {text}"));
        }
    }
}

fn broken(index: usize) -> impl Fn(std::io::Error) -> Failure {
    move |why| format!("connection {index}: {why}").into()
}

/// Nanoseconds that this thread, our only one, has computed; 0 where the kernel doesn't tell.
fn cpu_nanos() -> f64 {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|nanos| nanos.parse().ok()).unwrap_or(0.0)
}
