//! Lines on their way to a file or a pipe, by a thread of their own.
//!
//! Whoever has something to tell never waits for a slow disk, or for a pipe that nobody reads: what
//! doesn't fit is counted, and the count is written when there is room.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where lines are put. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sender: SyncSender<Message>,
    /// Bytes that wait.
    waiting: AtomicUsize,
    dropped: AtomicU64,
    /// The same since ever.
    lost: AtomicU64,
    /// Lines that were taken, to be written.
    taken: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    End,
}

/// The thread. When it is dropped, what waits is written, as far as that goes within [`LAST`].
#[derive(Debug)]
pub(super) struct Writer {
    lines: Lines,
    thread: Option<JoinHandle<()>>,
}

/// What the thread says when something goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Troubles {
    /// The line that tells how many were dropped.
    pub(super) dropped: fn(u64) -> String,
    /// Called for the first of a row of failed writes.
    pub(super) failed: fn(&io::Error),
}

/// What may wait: some seconds of a pipe that nobody reads. In bytes, because a line may hold
/// sixteen keys of a client's choice.
const MOST: usize = 4 * 1024 * 1024;

/// And in lines.
const QUEUE: usize = 16 * 1024;

/// Written at once.
const BATCH: usize = 64 * 1024;

/// A reader that takes nothing must not keep the process from ending.
const LAST: Duration = Duration::from_secs(2);

/// Starts a thread of this name that writes to `sink`.
///
/// # Errors
/// The system has no thread left.
pub(super) fn start(
    name: &str,
    sink: Box<dyn Write + Send>,
    troubles: Troubles,
) -> io::Result<Writer> {
    let (sender, receiver) = sync_channel(QUEUE);
    let lines = Lines(Arc::new(Shared {
        sender,
        waiting: AtomicUsize::new(0),
        dropped: AtomicU64::new(0),
        lost: AtomicU64::new(0),
        taken: AtomicU64::new(0),
    }));
    let shared = Arc::clone(&lines.0);
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || write_all(&receiver, sink, &shared, troubles))?;
    Ok(Writer {
        lines,
        thread: Some(thread),
    })
}

fn write_all(
    receiver: &Receiver<Message>,
    mut sink: Box<dyn Write + Send>,
    shared: &Shared,
    troubles: Troubles,
) {
    let mut failing = false;
    let mut ends = false;
    while !ends {
        let mut batch = Vec::new();
        let mut next = receiver.recv().ok();
        loop {
            match next {
                Some(Message::Line(line)) => batch.extend_from_slice(&line),
                // The senders live as long as this thread: an error can't come, and would end it.
                Some(Message::End) | None => {
                    ends = true;
                    break;
                }
            }
            if batch.len() >= BATCH {
                break;
            }
            match receiver.try_recv() {
                Ok(message) => next = Some(message),
                Err(_) => break,
            }
        }
        let taken = batch.len();
        let dropped = shared.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            batch.extend_from_slice((troubles.dropped)(dropped).as_bytes());
        }
        match sink.write_all(&batch).and_then(|()| sink.flush()) {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                (troubles.failed)(&error);
            }
            Err(_) => {}
        }
        shared.waiting.fetch_sub(taken, Ordering::Relaxed);
    }
}

// === impl Lines ===

impl Lines {
    /// One line with its end, or a count more of what was dropped. Never waits.
    pub(super) fn put(&self, line: Vec<u8>) {
        let len = line.len();
        let shared = &*self.0;
        if shared.waiting.fetch_add(len, Ordering::Relaxed) + len > MOST
            || shared.sender.try_send(Message::Line(line)).is_err()
        {
            shared.waiting.fetch_sub(len, Ordering::Relaxed);
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            shared.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            shared.taken.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines were taken since ever, and how many dropped.
    pub(super) fn counts(&self) -> (u64, u64) {
        let shared = &*self.0;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&shared.taken), count(&shared.lost))
    }
}

// === impl Writer ===

impl Writer {
    /// Where to put lines.
    pub(super) fn lines(&self) -> &Lines {
        &self.lines
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        let deadline = Instant::now() + LAST;
        let full = || {
            let sent = self.lines.0.sender.try_send(Message::End);
            matches!(sent, Err(TrySendError::Full(_)))
        };
        while full() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
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
mod tests {
    use super::*;

    const TROUBLES: Troubles = Troubles {
        dropped: |count| format!("{count} dropped\n"),
        failed: |_| {},
    };

    #[test]
    fn what_does_not_fit_is_counted_and_nobody_waits() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let writer = start("test", Box::new(pipe), TROUBLES).unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..10_000 {
            writer.lines().put(line.clone());
        }
        let lines = writer.lines().clone();
        let reading = std::thread::spawn(move || io::read_to_string(&mut reader).unwrap());
        drop(writer);
        let text = reading.join().unwrap();
        let whole = text.lines().filter(|line| line.len() == 1023).count();
        let dropped: usize = text
            .lines()
            .filter_map(|line| line.strip_suffix(" dropped")?.parse::<usize>().ok())
            .sum();
        assert_eq!(whole + dropped, 10_000);
        assert!((4000..6000).contains(&whole), "{whole}");
        assert_eq!(lines.counts(), (whole as u64, dropped as u64));
    }

    #[test]
    fn a_reader_that_takes_nothing_does_not_keep_the_process() {
        let (_reader, pipe) = io::pipe().unwrap();
        let writer = start("test", Box::new(pipe), TROUBLES).unwrap();
        writer.lines().put(vec![b'x'; 1 << 20]);
        let start = Instant::now();
        drop(writer);
        assert!(start.elapsed() < LAST * 2);
    }
}
