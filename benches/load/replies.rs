//! Replies to GET and SET, as far as they must be understood to be checked. Values are skipped, not kept.

/// A line is a status, an error or a length.
const LONGEST_LINE: usize = 512;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    Status(&'a [u8]),
    Nil,
    Value(usize),
    /// An error reply, or what is none of these.
    Other(&'a [u8]),
}

/// Reads replies from any pieces of them.
#[derive(Default)]
pub(crate) struct Replies {
    line: Vec<u8>,
    /// Bytes of a value, and the line end behind it, that are still to come.
    left: usize,
    length: usize,
}

// === impl Replies ===

impl Replies {
    /// Calls `take` with each reply that is whole now. False where these aren't replies at all.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(Reply<'_>)) -> bool {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                bytes = &bytes[skipped..];
                self.left -= skipped;
                if self.left == 0 {
                    take(Reply::Value(self.length));
                }
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.line.extend_from_slice(bytes);
                return self.line.len() <= LONGEST_LINE;
            };
            let (piece, rest) = bytes.split_at(end + 1);
            bytes = rest;
            // Nearly always the line lies whole in what came.
            let parsed = if self.line.is_empty() {
                line(piece)
            } else {
                self.line.extend_from_slice(piece);
                line(&self.line)
            };
            match parsed {
                Some(Reply::Value(length)) => {
                    self.length = length;
                    self.left = length + 2;
                }
                Some(reply) => take(reply),
                None => return false,
            }
            self.line.clear();
        }
        true
    }
}

fn line(line: &[u8]) -> Option<Reply<'_>> {
    let line = line.strip_suffix(b"\r\n")?;
    match line.split_first()? {
        (b'+', status) => Some(Reply::Status(status)),
        (b'$', b"-1") | (b'_', b"") => Some(Reply::Nil),
        (b'$', digits) => Some(Reply::Value(
            std::str::from_utf8(digits).ok()?.parse().ok()?,
        )),
        (b'-', _) => Some(Reply::Other(line)),
        _ => None,
    }
}
