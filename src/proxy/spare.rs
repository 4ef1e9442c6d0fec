//! The buffers of sessions that have nothing in them: one stack a worker.
//!
//! A session has bytes in hand only while it is polled, most of the time. It borrows its buffers
//! for that, and gives back what is empty at the end. So one that waits for its client or for Redis
//! holds none, and all of a worker's sessions work in the same few, which stay in the core's cache.
//! The allocator is asked only when the stack runs out. (5,000 sessions with mutual TLS after one GET
//! each: 33 KB a session with buffers of their own, 18 KB so.)

use std::cell::RefCell;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a buffer has at least: a TLS record's worth, which is as much as one read can give.
pub(super) const SIZE: usize = 16 * 1024;

/// A buffer that has grown beyond this is not kept. Large values grow it to a few times [`SIZE`].
const MOST: usize = 128 * 1024;

/// How many a worker keeps: a poll needs four, and each of the others comes from a session that had
/// to wait with something in its hands. Some of these come and go all the time under load; what a
/// storm of them leaves behind is freed, and that is more than 1 MB a worker only where they have
/// grown.
const KEPT: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Makes room in a buffer that has none of its own.
pub(super) fn lend(buffer: &mut BytesMut) {
    if buffer.capacity() == 0 {
        *buffer = SPARE
            .with_borrow_mut(Vec::pop)
            .unwrap_or_else(|| BytesMut::with_capacity(SIZE));
    }
}

/// Takes a buffer's memory, if it is empty.
pub(super) fn take_back(buffer: &mut BytesMut) {
    if !buffer.is_empty() {
        trim(buffer);
        return;
    }
    let mut spare = std::mem::take(buffer);
    // What was consumed in front counts as free only once it is reclaimed.
    if spare.try_reclaim(MOST + 1) || !spare.try_reclaim(SIZE) {
        return;
    }
    SPARE.with_borrow_mut(|all| {
        if all.len() < KEPT {
            all.push(spare);
        }
    });
}

/// Gives back the memory that a large request has left in a buffer, behind which a small part of the
/// next one waits: a client could make every session keep it.
fn trim(buffer: &mut BytesMut) {
    if buffer.len() > SIZE || !buffer.try_reclaim(MOST) {
        return;
    }
    let mut small = BytesMut::new();
    lend(&mut small);
    small.extend_from_slice(buffer);
    *buffer = small;
}

/// Reads once, into a buffer that has room for `size` bytes, or a good part of them.
pub(super) fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    size: usize,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<usize>> {
    if buffer.capacity() - buffer.len() < size / 4 {
        buffer.reserve(size);
    }
    pin!(stream.read_buf(buffer)).poll(cx)
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    fn spares() -> usize {
        SPARE.with_borrow(Vec::len)
    }

    #[test]
    fn an_empty_buffer_is_the_next_ones() {
        let mut buffer = BytesMut::new();
        lend(&mut buffer);
        let first = buffer.as_ptr();
        buffer.extend_from_slice(b"request");
        buffer.advance(b"request".len());
        take_back(&mut buffer);
        assert_eq!((buffer.capacity(), spares()), (0, 1));

        let mut next = BytesMut::new();
        lend(&mut next);
        assert_eq!(next.as_ptr(), first);
        assert!(next.capacity() >= SIZE, "all of it");
    }

    #[test]
    fn what_is_in_hand_stays() {
        let mut buffer = BytesMut::from(&b"half a requ"[..]);
        take_back(&mut buffer);
        assert_eq!((&buffer[..], spares()), (&b"half a requ"[..], 0));
        lend(&mut buffer);
        assert_eq!(&buffer[..], b"half a requ");
    }

    #[test]
    fn what_has_grown_is_freed_though_a_little_is_left_in_it() {
        let mut buffer = BytesMut::from(&vec![b'x'; 4 * MOST][..]);
        buffer.extend_from_slice(b"half a requ");
        buffer.advance(4 * MOST);
        take_back(&mut buffer);
        assert_eq!(&buffer[..], b"half a requ");
        assert!(!buffer.try_reclaim(SIZE), "{}", buffer.capacity());
        let mut buffer = BytesMut::from(&vec![b'x'; 4 * MOST][..]);
        take_back(&mut buffer);
        assert_eq!(buffer.len(), 4 * MOST);
    }

    #[test]
    fn what_has_grown_is_freed_and_so_is_what_is_too_small() {
        for size in [1, MOST + 1] {
            let mut buffer = BytesMut::with_capacity(size);
            buffer.resize(size, b'x');
            buffer.advance(size);
            take_back(&mut buffer);
            assert_eq!((buffer.capacity(), spares()), (0, 0), "{size}");
        }
    }

    #[test]
    fn the_stack_is_bounded() {
        let mut buffers: Vec<_> = (0..KEPT + 10).map(|_| BytesMut::new()).collect();
        buffers.iter_mut().for_each(lend);
        buffers.iter_mut().for_each(take_back);
        assert_eq!(spares(), KEPT);
    }
}
