//! Lines on their way to a file, a pipe or a daemon, by a thread of their own.
//!
//! Whoever has something to tell never waits for a slow disk, or for a pipe that nobody reads: what
//! doesn't fit is counted, and the count is written when there is room. What can't be written is kept
//! and tried again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::sink::{Batch, Sink};

/// Where lines are put. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sender: SyncSender<Message>,
    /// What waits, as [`charge`] counts it.
    waiting: AtomicUsize,
    /// Lines that were lost, and that nobody was told of yet.
    untold: AtomicU64,
    dropped: AtomicU64,
    written: AtomicU64,
    failing: AtomicBool,
    reopen: AtomicBool,
    ending: AtomicBool,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Something else has happened.
    Look,
}

/// The thread. When it is dropped, what waits is written, as far as that goes within [`LAST`].
#[derive(Debug)]
pub(super) struct Writer {
    lines: Lines,
    thread: Option<JoinHandle<()>>,
}

/// What the thread says when something goes wrong, or well again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Troubles {
    /// The line that tells how many were dropped.
    pub(super) dropped: fn(u64) -> Vec<u8>,
    /// Called for the first of a row of failed writes.
    pub(super) failed: fn(&io::Error),
    /// Called when one has worked behind them.
    pub(super) recovered: fn(),
    /// Called when somebody wanted what has a name to be opened anew.
    pub(super) reopened: fn(&io::Result<bool>),
}

/// What has become of the lines so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LineCounts {
    /// Lines that were written.
    pub written: u64,
    /// Lines that were lost: too much waited, or nobody can take what is so long.
    pub dropped: u64,
    /// Whether the last attempt to write has failed. What waits is kept for the next.
    pub failing: bool,
}

/// What may wait: some seconds of a pipe that nobody reads. In bytes, because a line may hold
/// sixteen keys of a client's choice.
const MOST: usize = 4 * 1024 * 1024;

/// Above it, who insists on having a line of everything waits with the next: what is left is for the
/// lines that tell so, and for what was begun before.
const HIGH: usize = MOST / 4 * 3;

/// And in lines.
const QUEUE: usize = 16 * 1024;

/// Places for lines that are put in any case: a few for each of the worker threads at once, of which
/// there are 1024 at most.
const RESERVE: usize = 4 * 1024;

/// Written at once.
const BATCH: usize = 64 * 1024;

/// A reader that takes nothing must not keep the process from ending.
const LAST: Duration = Duration::from_secs(2);

/// Behind a write that failed: at first soon, because daemons are restarted; then seldom, because a
/// disk stays full until somebody comes.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// What a line costs of [`MOST`]: never less than its place in the queue, so that there are never more
/// lines than places.
fn charge(len: usize) -> usize {
    len.max(MOST / QUEUE)
}

/// Starts a thread of this name that writes to `sink`.
///
/// # Errors
/// The system has no thread left.
pub(super) fn start(name: &str, sink: Box<dyn Sink>, troubles: Troubles) -> io::Result<Writer> {
    let (sender, receiver) = sync_channel(QUEUE + RESERVE);
    let lines = Lines(Arc::new(Shared {
        sender,
        waiting: AtomicUsize::new(0),
        untold: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
        written: AtomicU64::new(0),
        failing: AtomicBool::new(false),
        reopen: AtomicBool::new(false),
        ending: AtomicBool::new(false),
    }));
    let mut thread = Thread {
        receiver,
        sink,
        shared: Arc::clone(&lines.0),
        troubles,
    };
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || thread.run())?;
    Ok(Writer {
        lines,
        thread: Some(thread),
    })
}

/// What the thread has.
struct Thread {
    receiver: Receiver<Message>,
    sink: Box<dyn Sink>,
    shared: Arc<Shared>,
    troubles: Troubles,
}

// === impl Thread ===

impl Thread {
    fn run(&mut self) {
        let mut ends = false;
        while !ends {
            let mut batch = Batch::default();
            let (mut charged, mut count) = (0, 0);
            // The senders live as long as this thread: an error can't come, and would end it.
            let mut next = self.receiver.recv();
            loop {
                match next {
                    Ok(Message::Line(line)) => {
                        charged += charge(line.len());
                        count += 1;
                        batch.push(&line);
                    }
                    Ok(Message::Look) => {}
                    Err(_) => return,
                }
                if batch.len() >= BATCH {
                    break;
                }
                match self.receiver.try_recv() {
                    Ok(message) => next = Ok(message),
                    Err(_) => {
                        ends = self.shared.ending.load(Ordering::Acquire);
                        break;
                    }
                }
            }
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                (self.troubles.reopened)(&self.sink.reopen());
            }
            let untold = self.shared.untold.swap(0, Ordering::Relaxed);
            if untold > 0 {
                batch.push(&(self.troubles.dropped)(untold));
            }
            if !batch.is_empty() {
                self.deliver(&mut batch, count);
            }
            self.shared.waiting.fetch_sub(charged, Ordering::Relaxed);
        }
    }

    /// Writes until it is written, or the end has come. `count`: the lines, without what is said of
    /// lines.
    fn deliver(&mut self, batch: &mut Batch, count: u64) {
        let shared = Arc::clone(&self.shared);
        let mut wait = FIRST_RETRY;
        let mut lost = 0;
        let mut failing = false;
        loop {
            let error = match self.sink.write(batch) {
                Ok(too_long) => {
                    lost += too_long;
                    if failing {
                        shared.failing.store(false, Ordering::Relaxed);
                        (self.troubles.recovered)();
                    }
                    break;
                }
                Err(error) => error,
            };
            if !failing {
                failing = true;
                shared.failing.store(true, Ordering::Relaxed);
                (self.troubles.failed)(&error);
            }
            if shared.ending.load(Ordering::Acquire) {
                lost += batch.left() as u64;
                break;
            }
            std::thread::park_timeout(wait);
            wait = (wait * 2).min(LAST_RETRY);
            shared.reopen.store(false, Ordering::Relaxed);
            // Whether it can be opened anew or not, it is tried: what was open may work again.
            if let Ok(true) = self.sink.reopen() {
                batch.rewind();
            }
        }
        let lost = lost.min(count);
        shared.written.fetch_add(count - lost, Ordering::Relaxed);
        if lost > 0 {
            shared.drop_lines(lost);
            shared.look();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn drop_lines(&self, count: u64) {
        self.untold.fetch_add(count, Ordering::Relaxed);
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Wakes the thread. Where the queue is full it is awake, or will be.
    fn look(&self) {
        let _ = self.sender.try_send(Message::Look);
    }

    fn send(&self, line: Vec<u8>, charged: usize) {
        if self.sender.try_send(Message::Line(line)).is_err() {
            self.waiting.fetch_sub(charged, Ordering::Relaxed);
            self.drop_lines(1);
        }
    }
}

// === impl Lines ===

impl Lines {
    /// One line with its end, or a count more of what was dropped. Never waits.
    pub(super) fn put(&self, line: Vec<u8>) {
        let charged = charge(line.len());
        let shared = &*self.0;
        if shared.waiting.fetch_add(charged, Ordering::Relaxed) + charged > MOST {
            shared.waiting.fetch_sub(charged, Ordering::Relaxed);
            shared.drop_lines(1);
            return;
        }
        shared.send(line, charged);
    }

    /// The same for what must not be lost because others have told too much. There are few of those.
    pub(super) fn insist(&self, line: Vec<u8>) {
        let charged = charge(line.len());
        self.0.waiting.fetch_add(charged, Ordering::Relaxed);
        self.0.send(line, charged);
    }

    /// Whether another line will be written, as far as one can tell: there is room, and the last
    /// attempt hasn't failed.
    pub(super) fn has_room(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) < HIGH && !self.0.failing.load(Ordering::Relaxed)
    }

    pub(super) fn counts(&self) -> LineCounts {
        LineCounts {
            written: self.0.written.load(Ordering::Relaxed),
            dropped: self.0.dropped.load(Ordering::Relaxed),
            failing: self.0.failing.load(Ordering::Relaxed),
        }
    }
}

// === impl Writer ===

impl Writer {
    /// Where to put lines.
    pub(super) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Behind what is being written, what has a name is opened anew.
    pub(super) fn reopen(&self) {
        self.lines.0.reopen.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        self.lines.0.look();
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.lines.0.ending.store(true, Ordering::Release);
        self.wake();
        let Some(thread) = self.thread.take() else {
            return;
        };
        let deadline = Instant::now() + LAST;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished() {
            // A panic in it was reported by its thread.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
