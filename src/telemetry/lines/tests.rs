//! A writer before pipes that fill, close and come back.

use std::io::{PipeReader, PipeWriter};
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use super::super::sink::Stream;
use super::*;

const TROUBLES: Troubles = Troubles {
    dropped: |count| format!("{count} dropped\n").into_bytes(),
    failed: |_| {},
    recovered: || {},
    reopened: |_| {},
};

fn pipe() -> (PipeReader, PipeWriter) {
    io::pipe().unwrap()
}

fn writer(pipe: &PipeWriter) -> Writer {
    start("test", Box::new(Stream::inherited(pipe).unwrap()), TROUBLES).unwrap()
}

/// Of all that was put: what came through, and what it says was dropped.
fn tally(text: &str, len: usize) -> (usize, usize) {
    let whole = text.lines().filter(|line| line.len() == len).count();
    let dropped = text
        .lines()
        .filter_map(|line| line.strip_suffix(" dropped")?.parse::<usize>().ok())
        .sum();
    (whole, dropped)
}

#[test]
fn what_does_not_fit_is_counted_and_nobody_waits() {
    let (mut reader, pipe) = pipe();
    let writer = writer(&pipe);
    drop(pipe);
    let lines = writer.lines().clone();
    let line = [&[b'x'; 1023][..], b"\n"].concat();
    for _ in 0..10_000 {
        lines.put(line.clone());
    }
    assert!(!lines.has_room());
    let reading = std::thread::spawn(move || io::read_to_string(&mut reader).unwrap());
    drop(writer);
    let counts = lines.counts();
    drop(lines);
    let (whole, dropped) = tally(&reading.join().unwrap(), 1023);
    assert_eq!(whole + dropped, 10_000);
    assert!((4000..6000).contains(&whole), "{whole}");
    assert_eq!(
        (counts.written, counts.dropped),
        (whole as u64, dropped as u64)
    );
}

#[test]
fn short_lines_never_fill_the_queue_before_the_bytes() {
    let (mut reader, pipe) = pipe();
    let writer = writer(&pipe);
    drop(pipe);
    let lines = writer.lines().clone();
    // Shorter than what a line is counted as, and too long for the pipe to hold so many.
    let line = |len: usize| [&b"x".repeat(len)[..], b"\n"].concat();
    for _ in 0..QUEUE * 2 {
        lines.put(line(100));
    }
    // They find a place though there is none for others.
    for _ in 0..RESERVE / 2 {
        lines.insist(line(101));
    }
    let reading = std::thread::spawn(move || io::read_to_string(&mut reader).unwrap());
    drop(writer);
    drop(lines);
    let text = reading.join().unwrap();
    let (whole, dropped) = tally(&text, 100);
    assert_eq!(whole + dropped, QUEUE * 2);
    assert!(dropped > 0);
    assert_eq!(tally(&text, 101).0, RESERVE / 2);
}

#[test]
fn a_reader_that_takes_nothing_does_not_keep_the_process() {
    let (_reader, pipe) = pipe();
    let writer = writer(&pipe);
    writer.lines().put(vec![b'x'; 1 << 20]);
    let start = Instant::now();
    drop(writer);
    assert!(start.elapsed() < LAST * 2);
}

/// Fails as long as it is told to, and once in the middle of a line.
struct Broken(Arc<BrokenState>);

#[derive(Default)]
struct BrokenState {
    is_broken: AtomicBool,
    reopened: AtomicU32,
    taken: Mutex<Vec<u64>>,
}

impl Sink for Broken {
    fn write(&mut self, batch: &mut Batch) -> io::Result<u64> {
        if self.0.is_broken.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.taken.lock().unwrap().push(batch.left() as u64);
        Ok(0)
    }

    fn reopen(&mut self) -> io::Result<bool> {
        self.0.reopened.fetch_add(1, Ordering::SeqCst);
        Ok(true)
    }
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_can_not_be_written_is_kept_and_tried_again() {
    static TOLD: AtomicU32 = AtomicU32::new(0);
    let state = Arc::new(BrokenState::default());
    state.is_broken.store(true, Ordering::SeqCst);
    let troubles = Troubles {
        failed: |_| {
            TOLD.fetch_add(1, Ordering::SeqCst);
        },
        recovered: || {
            TOLD.fetch_add(100, Ordering::SeqCst);
        },
        ..TROUBLES
    };
    let writer = start("test", Box::new(Broken(Arc::clone(&state))), troubles).unwrap();
    assert!(writer.lines().has_room());
    writer.lines().put(b"one\n".to_vec());
    eventually("it is tried again", || {
        state.reopened.load(Ordering::SeqCst) > 2
    });
    assert!(!writer.lines().has_room());
    assert!(writer.lines().counts().failing);
    assert_eq!(TOLD.load(Ordering::SeqCst), 1, "once");
    writer.lines().put(b"two\n".to_vec());
    state.is_broken.store(false, Ordering::SeqCst);
    // Who wants it opened anew doesn't wait for the next attempt.
    writer.reopen();
    eventually("it is written", || writer.lines().counts().written == 2);
    assert_eq!(*state.taken.lock().unwrap(), [1, 1]);
    assert!(writer.lines().has_room());
    assert_eq!(TOLD.load(Ordering::SeqCst), 101);
    let counts = LineCounts {
        written: 2,
        dropped: 0,
        failing: false,
    };
    assert_eq!(writer.lines().counts(), counts);
}

#[test]
fn what_is_left_at_the_end_of_a_broken_one_is_counted() {
    let state = Arc::new(BrokenState::default());
    state.is_broken.store(true, Ordering::SeqCst);
    let writer = start("test", Box::new(Broken(state)), TROUBLES).unwrap();
    let lines = writer.lines().clone();
    lines.put(b"one\n".to_vec());
    eventually("it fails", || !lines.has_room());
    lines.put(b"two\n".to_vec());
    drop(writer);
    assert_eq!(lines.counts().written, 0);
    assert_eq!(lines.counts().dropped, 2);
}
