//! One direction of a session: what came in, and what may go out.

use bytes::{Buf, BytesMut};

/// Bytes on their way from one socket to the other.
///
/// What passes unchanged is written straight from the buffer that it was read into; only behind
/// something that was taken out or put in is it copied, once.
///
/// ```text
/// input:   [ cleared | taken out or copied | not scanned yet ]
///          0         cleared               scanned
/// staged:  what goes out behind `cleared`
/// ```
#[derive(Debug, Default)]
pub struct Pipe {
    input: BytesMut,
    cleared: usize,
    scanned: usize,
    staged: BytesMut,
}

// === impl Pipe ===

impl Pipe {
    /// Where a socket's bytes are appended.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// All that takes memory, for who lends it: an empty one may be taken away or exchanged. They
    /// grow with what passes and don't shrink by themselves.
    pub fn buffers(&mut self) -> [&mut BytesMut; 2] {
        [&mut self.input, &mut self.staged]
    }

    /// What nobody has looked at.
    #[inline]
    pub fn unscanned(&self) -> &[u8] {
        &self.input[self.scanned..]
    }

    /// Lets the next `len` bytes pass as they are.
    #[inline]
    pub fn forward(&mut self, len: usize) {
        let end = self.scanned + len;
        if self.staged.is_empty() && self.cleared == self.scanned {
            self.cleared = end;
            self.scanned = end;
        } else {
            self.forward_behind(end);
        }
    }

    /// The same behind something that was taken out or put in.
    #[inline(never)]
    fn forward_behind(&mut self, end: usize) {
        self.staged
            .extend_from_slice(&self.input[self.scanned..end]);
        self.scanned = end;
        self.drop_taken();
    }

    /// Takes the next `len` bytes out.
    pub fn skip(&mut self, len: usize) {
        self.scanned += len;
        self.drop_taken();
    }

    /// Puts something in at this point.
    pub fn inject(&mut self, bytes: &[u8]) {
        self.staged.extend_from_slice(bytes);
    }

    /// Where something of a length not known yet is put in at this point.
    pub fn staging(&mut self) -> &mut BytesMut {
        &mut self.staged
    }

    /// What may be written now.
    pub fn writable(&self) -> &[u8] {
        if self.cleared > 0 {
            &self.input[..self.cleared]
        } else {
            &self.staged
        }
    }

    /// All that may be written now, in order.
    pub fn pieces(&self) -> [&[u8]; 2] {
        [&self.input[..self.cleared], &self.staged]
    }

    /// That all of it was written.
    pub fn wrote_all(&mut self) {
        if self.cleared > 0 {
            self.wrote(self.cleared);
        }
        if !self.staged.is_empty() {
            self.wrote(self.staged.len());
        }
    }

    /// All that is in it.
    #[inline]
    pub fn held(&self) -> usize {
        self.input.len() + self.staged.len()
    }

    /// How much waits to be written.
    pub fn waiting(&self) -> usize {
        self.cleared + self.staged.len()
    }

    /// That `len` bytes of [`Pipe::writable`] were written.
    pub fn wrote(&mut self, len: usize) {
        if self.cleared == 0 {
            self.staged.advance(len);
        } else {
            self.input.advance(len);
            self.cleared -= len;
            self.scanned -= len;
            self.drop_taken();
        }
    }

    /// Lets go of what was taken out or copied, unless something that is still to be written lies
    /// before it. A stream that passes behind one injected reply would pile up here otherwise.
    #[inline]
    fn drop_taken(&mut self) {
        if self.cleared == 0 {
            self.input.advance(self.scanned);
            self.scanned = 0;
        }
    }

    /// Forgets what came in and was not scanned; what may go out still may.
    pub fn discard_input(&mut self) {
        self.input.truncate(self.scanned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(pipe: &mut Pipe, piece: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while pipe.waiting() > 0 {
            let len = pipe.writable().len().min(piece);
            out.extend_from_slice(&pipe.writable()[..len]);
            pipe.wrote(len);
        }
        out
    }

    #[test]
    fn order_is_kept_around_what_is_taken_out_and_put_in() {
        for piece in 1..20 {
            let mut pipe = Pipe::default();
            pipe.input().extend_from_slice(b"aaaabbbbccccdddd");
            pipe.forward(4);
            pipe.skip(4);
            pipe.inject(b"XX");
            pipe.forward(4);
            assert_eq!(pipe.unscanned(), b"dddd");
            pipe.input().extend_from_slice(b"eeee");
            assert_eq!(drain(&mut pipe, piece), b"aaaaXXcccc", "pieces of {piece}");
            assert_eq!(pipe.unscanned(), b"ddddeeee");
            pipe.forward(8);
            assert_eq!(
                pipe.writable(),
                b"ddddeeee",
                "straight from the input again"
            );
            assert_eq!(drain(&mut pipe, piece), b"ddddeeee");
        }
    }

    #[test]
    fn what_is_put_in_first_goes_out_first() {
        let mut pipe = Pipe::default();
        pipe.input().extend_from_slice(b"aaaabbbb");
        pipe.inject(b"X");
        pipe.forward(4);
        assert_eq!(drain(&mut pipe, 3), b"Xaaaa");
        pipe.skip(4);
        assert_eq!(pipe.unscanned(), b"");
        assert_eq!(pipe.waiting(), 0);
    }

    #[test]
    fn what_was_copied_does_not_pile_up() {
        let mut pipe = Pipe::default();
        pipe.inject(b"X");
        for _ in 0..100 {
            pipe.input().extend_from_slice(b"aaaabbbb");
            pipe.forward(8);
            assert!(!drain(&mut pipe, 64).is_empty());
            assert_eq!(pipe.input().len(), 0);
        }
    }
}
