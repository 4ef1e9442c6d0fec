//! What a server sends, cut into frames: the replies and pushes of RESP2 and RESP3.
//!
//! Nothing is lost: two frames are equal where their bytes are.

use std::fmt;

/// One reply, push or element.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Frame {
    /// The first line, without its CRLF: type and value or length.
    pub head: Vec<u8>,
    pub body: Body,
}

/// What follows a frame's first line.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Body {
    /// The line was all.
    Line,
    Blob(Vec<u8>),
    /// The elements; of an attribute, also the frame that it is about.
    Items(Vec<Frame>),
}

/// Cuts a stream as it comes.
#[derive(Default)]
pub struct Cutter {
    pub bytes: Vec<u8>,
    pub frames: Vec<Frame>,
    /// How much of the bytes is in the frames.
    taken: usize,
    /// What comes from here on is no RESP.
    garbled: bool,
}

/// The bytes are no RESP.
struct Garbled;

// === impl Frame ===

impl Frame {
    pub fn kind(&self) -> u8 {
        self.head.first().copied().unwrap_or(0)
    }

    pub fn items(&self) -> &[Frame] {
        match &self.body {
            Body::Items(items) => items,
            _ => &[],
        }
    }

    /// The bytes of a string of any kind.
    pub fn text(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Blob(bytes) => Some(bytes),
            Body::Line if matches!(self.kind(), b'+' | b'-') => Some(&self.head[1..]),
            _ => None,
        }
    }

    pub fn integer(&self) -> Option<i64> {
        let number = || std::str::from_utf8(&self.head[1..]).ok()?.parse().ok();
        (self.kind() == b':').then(number).flatten()
    }

    pub fn is_error(&self) -> bool {
        self.kind() == b'-'
    }

    /// The keys of an invalidation: RESP3's push, or the message that a client of RESP2 gets in its
    /// place. After FLUSHALL there are none in it.
    pub fn invalidated(&self) -> Option<&[Frame]> {
        let items = self.items();
        let name = |at: usize| items.get(at).and_then(Frame::text);
        let channel = b"__redis__:invalidate";
        match self.kind() {
            b'>' if name(0) == Some(b"invalidate") => Some(items[1].items()),
            b'>' | b'*' if name(0) == Some(b"message") && name(1) == Some(channel) => {
                Some(items[2].items())
            }
            _ => None,
        }
    }

    /// The next frame at `at` and where it ends; `None`: not all of it is here.
    fn cut(bytes: &[u8], at: usize) -> Result<Option<(Frame, usize)>, Garbled> {
        let Some(line) = bytes[at..].windows(2).position(|pair| pair == b"\r\n") else {
            return Ok(None);
        };
        let head = bytes[at..at + line].to_vec();
        let mut end = at + line + 2;
        let kind = head.first().copied().ok_or(Garbled)?;
        let length = || -> Result<i64, Garbled> {
            let text = std::str::from_utf8(&head[1..]).map_err(|_| Garbled)?;
            text.parse().map_err(|_| Garbled)
        };
        let body = match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Body::Line,
            b'$' | b'=' | b'!' => match usize::try_from(length()?) {
                Err(_) => Body::Line,
                Ok(length) => {
                    let Some(blob) = bytes.get(end..end + length + 2) else {
                        return Ok(None);
                    };
                    let blob = blob.strip_suffix(b"\r\n").ok_or(Garbled)?.to_vec();
                    end += length + 2;
                    Body::Blob(blob)
                }
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => match usize::try_from(length()?) {
                Err(_) => Body::Line,
                Ok(length) => {
                    let count = match kind {
                        b'%' => 2 * length,
                        // Its pairs, and the frame that they are about.
                        b'|' => 2 * length + 1,
                        _ => length,
                    };
                    let mut items = Vec::new();
                    for _ in 0..count {
                        let Some((item, next)) = Self::cut(bytes, end)? else {
                            return Ok(None);
                        };
                        items.push(item);
                        end = next;
                    }
                    Body::Items(items)
                }
            },
            _ => return Err(Garbled),
        };
        Ok(Some((Frame { head, body }, end)))
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 300;
        let head = &self.head[..self.head.len().min(SHOWN)];
        write!(f, "{}", head.escape_ascii())?;
        match &self.body {
            Body::Line => Ok(()),
            Body::Blob(bytes) => {
                let shown = &bytes[..bytes.len().min(SHOWN)];
                write!(f, " \"{}\"", shown.escape_ascii())?;
                if shown.len() < bytes.len() {
                    f.write_str("…")?;
                }
                Ok(())
            }
            Body::Items(items) => {
                f.write_str(" [")?;
                for (index, item) in items.iter().enumerate().take(SHOWN) {
                    let separator = if index > 0 { ", " } else { "" };
                    write!(f, "{separator}{item}")?;
                }
                f.write_str("]")
            }
        }
    }
}

// === impl Cutter ===

impl Cutter {
    /// More of the stream has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        while !self.garbled {
            match Frame::cut(&self.bytes, self.taken) {
                Ok(Some((frame, end))) => {
                    self.frames.push(frame);
                    self.taken = end;
                }
                Ok(None) => break,
                Err(Garbled) => self.garbled = true,
            }
        }
    }

    /// What is in no frame: the beginning of one, or no RESP at all.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }
}
