//! A whole reply as values, one after the other, and values written back.
//!
//! Borrows from the reply and builds no tree: where a value ends, the flat scanner says, and who
//! reads looks only as deep as the shape that he expects.

use bytes::BytesMut;

use crate::resp::{ReplyScanner, encode_bulk, encode_header};

/// Values that stand side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    rest: &'a [u8],
}

/// One value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    /// All its bytes.
    pub(super) raw: &'a [u8],
    pub(super) body: Body<'a>,
}

/// What a value is, as far as addresses go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    /// A bulk string, or a verbatim one of RESP3 without its `txt:`.
    Text(&'a [u8]),
    /// The digits of an integer.
    Number(&'a [u8]),
    /// An array, a map, a push: its header line and what is in it.
    Items(&'a [u8], Values<'a>),
    /// Null in its three forms.
    Null,
    /// An error, a status, a set, what has an attribute, and so on.
    Other,
}

/// Type, sign, 20 digits, CRLF: as long as the header of a length can be.
const MAX_HEADER: usize = 24;

// === impl Values ===

impl<'a> Values<'a> {
    /// The values that `bytes` holds.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether there are no more.
    pub(super) fn is_empty(self) -> bool {
        self.rest.is_empty()
    }

    /// The next value; `None`: there is none, or it isn't here whole.
    pub(super) fn take(&mut self) -> Option<Value<'a>> {
        let step = ReplyScanner::default().advance(self.rest).ok()?;
        step.done?;
        let (raw, rest) = self.rest.split_at_checked(step.consumed)?;
        self.rest = rest;
        Value::of(raw)
    }

    /// The next two: a name and its value.
    pub(super) fn take_pair(&mut self) -> Option<(Value<'a>, Value<'a>)> {
        Some((self.take()?, self.take()?))
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    /// The one value that these bytes are.
    pub(super) fn of(raw: &'a [u8]) -> Option<Self> {
        let body = match raw.first()? {
            b':' => Body::Number(raw.get(1..raw.len().checked_sub(2)?)?),
            b'_' => Body::Null,
            b'$' | b'=' | b'*' | b'%' | b'>' => {
                let window = &raw[..raw.len().min(MAX_HEADER)];
                let end = window.windows(2).position(|two| two == b"\r\n")? + 2;
                let (header, inside) = raw.split_at_checked(end)?;
                match (raw[0], header.get(1)) {
                    (_, Some(b'-')) => Body::Null,
                    (b'$', _) => Body::Text(inside.strip_suffix(b"\r\n")?),
                    // Three letters say what it is: "txt:".
                    (b'=', _) => Body::Text(inside.strip_suffix(b"\r\n")?.get(4..)?),
                    _ => Body::Items(header, Values::of(inside)),
                }
            }
            _ => Body::Other,
        };
        Some(Self { raw, body })
    }

    /// The bytes of a text; `None` for anything else.
    pub(super) fn text(self) -> Option<&'a [u8]> {
        match self.body {
            Body::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The values inside; `None` where none can be.
    pub(super) fn items(self) -> Option<Values<'a>> {
        match self.body {
            Body::Items(_, items) => Some(items),
            _ => None,
        }
    }

    /// A port, which Redis sends as an integer here and as a text there.
    pub(super) fn port(self) -> Option<u16> {
        match self.body {
            Body::Number(digits) | Body::Text(digits) => super::read_port(digits),
            _ => None,
        }
    }

    /// Writes it as it came.
    pub(super) fn copy(self, out: &mut BytesMut) {
        out.extend_from_slice(self.raw);
    }

    /// Writes another text in its place; what was null becomes one.
    pub(super) fn put_text(self, text: &[u8], out: &mut BytesMut) {
        match self.raw.get(..1) {
            Some(b"=") => {
                let kind = self.raw.iter().position(|&byte| byte == b'\n');
                let kind = kind.and_then(|end| self.raw.get(end + 1..end + 5));
                let kind = kind.unwrap_or(b"txt:");
                encode_header(b'=', (kind.len() + text.len()) as u64, out);
                out.extend_from_slice(kind);
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            _ => encode_bulk(text, out),
        }
    }

    /// Writes another port in its place, as the same type.
    pub(super) fn put_port(self, port: u16, out: &mut BytesMut) {
        match self.body {
            Body::Text(_) => encode_bulk(port.to_string().as_bytes(), out),
            _ => encode_header(b':', u64::from(port), out),
        }
    }
}
