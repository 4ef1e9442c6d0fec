//! A socket that is read in large pieces, whoever asks for small ones.
//!
//! rustls asks for 4 KB at a time, so a record of 16 KB would be five system calls. Copying it once
//! more costs less than two of them. The memory is lent by the worker, and given back when all of it
//! is read, so a client that waits holds none.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::spare;

/// A stream, and what was read of it beyond what was asked for.
#[derive(Debug)]
pub(super) struct ReadAhead<T> {
    stream: T,
    buffer: BytesMut,
}

/// Read at once: a TLS record and the beginning of the next, so that a large value is one call a record.
const READ: usize = 2 * spare::SIZE;

// === impl ReadAhead ===

impl<T> ReadAhead<T> {
    pub(super) fn new(stream: T) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// The stream itself.
    pub(super) fn get_ref(&self) -> &T {
        &self.stream
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ReadAhead<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.buffer.is_empty() {
            spare::lend(&mut this.buffer);
            this.buffer.reserve(READ);
            let read = pin!(this.stream.read_buf(&mut this.buffer)).poll(cx);
            if this.buffer.is_empty() {
                spare::take_back(&mut this.buffer);
            }
            ready!(read)?;
        }
        let len = this.buffer.len().min(buf.remaining());
        buf.put_slice(&this.buffer[..len]);
        this.buffer.advance(len);
        spare::take_back(&mut this.buffer);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ReadAhead<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_reads_take_what_one_large_read_has_brought() {
        let mut stream = ReadAhead::new(&b"one two"[..]);
        let mut word = [0; 3];
        stream.read_exact(&mut word).await.unwrap();
        assert_eq!((&word, &stream.buffer[..]), (b"one", &b" two"[..]));
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b" two");
        assert_eq!(stream.buffer.capacity(), 0, "given back");
    }
}
