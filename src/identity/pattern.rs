//! The patterns of identity rules: literal text with `*` and `**`.
//!
//! Knows text only. Matching is bounded by pattern length times text length, because the text comes
//! from a certificate that somebody else wrote.

use std::fmt;

use thiserror::Error;

use super::Attribute;

/// A compiled pattern.
///
/// `*` stands for any text, the empty one included, without "/" and "."; `**` for any text at all.
/// Everything else stands for itself, case-sensitively; there is no escape.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    source: Box<str>,
    /// What must stand in front of the first wildcard; the whole text where there is none.
    prefix: Box<str>,
    /// From the first wildcard on.
    rest: Box<[Token]>,
}

/// Why a text is no pattern for its attribute.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum PatternError {
    /// It would match an attribute that is there and says nothing.
    #[error("must not be empty")]
    Empty,
    /// A digest is written out: part of one proves nothing.
    #[error("must be the 64 hexadecimal digits of a SHA-256, without wildcards")]
    Digest,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token {
    Byte(u8),
    /// `*`
    Segment,
    /// `**`
    Any,
}

// === impl Pattern ===

impl Pattern {
    /// Compiles `text` as it stands.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }

        let first = text.find('*').unwrap_or(text.len());
        let (prefix, wild) = text.split_at(first);
        let mut rest = Vec::with_capacity(wild.len());
        let mut bytes = wild.bytes().peekable();
        while let Some(byte) = bytes.next() {
            if byte != b'*' {
                rest.push(Token::Byte(byte));
                continue;
            }
            let mut token = Token::Segment;
            // Three stars and more say no more than two.
            while bytes.next_if_eq(&b'*').is_some() {
                token = Token::Any;
            }
            rest.push(token);
        }
        Ok(Self {
            source: text.into(),
            prefix: prefix.into(),
            rest: rest.into(),
        })
    }

    /// Compiles `text` as a pattern for the values of `attribute`: DNS names are lower-cased, as
    /// [`Certificate`](super::Certificate) has them, and so are the digests, which must be whole.
    pub fn for_attribute(attribute: Attribute, text: &str) -> Result<Self, PatternError> {
        match attribute {
            Attribute::Dns => Self::new(&text.to_ascii_lowercase()),
            Attribute::SpkiSha256 | Attribute::IssuerSpkiSha256 => {
                if text.is_empty() {
                    return Err(PatternError::Empty);
                }
                if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(PatternError::Digest);
                }
                Self::new(&text.to_ascii_lowercase())
            }
            _ => Self::new(text),
        }
    }

    /// Whether all of `text` is as the pattern says.
    pub fn matches(&self, text: &str) -> bool {
        let Some(text) = text.as_bytes().strip_prefix(self.prefix.as_bytes()) else {
            return false;
        };
        if self.rest.is_empty() {
            return text.is_empty();
        }

        // All positions of the pattern that the text read so far can have led to, one flag each:
        // no backtracking, so no text can make it slow.
        let mut at = vec![false; self.rest.len() + 1];
        let mut next = at.clone();
        self.reach(&mut at, 0);
        for &byte in text {
            next.fill(false);
            for (position, token) in self.rest.iter().enumerate() {
                if !at[position] {
                    continue;
                }
                match token {
                    Token::Byte(wanted) if *wanted == byte => self.reach(&mut next, position + 1),
                    Token::Segment if byte != b'/' && byte != b'.' => {
                        self.reach(&mut next, position);
                    }
                    Token::Any => self.reach(&mut next, position),
                    Token::Byte(_) | Token::Segment => {}
                }
            }
            std::mem::swap(&mut at, &mut next);
        }
        at[self.rest.len()]
    }

    /// Whether it leaves any text out that a certificate may hold; `*` alone is no restriction that
    /// an author could mean.
    pub(super) fn restricts(&self) -> bool {
        !self.source.bytes().all(|byte| byte == b'*')
    }

    /// Flags `position`, and those behind wildcards that may stand for nothing.
    fn reach(&self, flags: &mut [bool], mut position: usize) {
        loop {
            flags[position] = true;
            match self.rest.get(position) {
                Some(Token::Segment | Token::Any) => position += 1,
                _ => return,
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}
