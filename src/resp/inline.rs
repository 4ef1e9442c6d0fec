//! Inline requests: a line split as Redis splits it (`sds.c`, `sdssplitargs`).
//!
//! Never forwarded as they are: up to 4.0.10 Redis reads a bare LF as the start of the next
//! request's first byte, and up to 5.0.7 it drops empty arguments. Re-encoded, they mean the same
//! to every version.

use super::args::OwnedArgs;
use super::error::ProtocolError;

/// Splits a line, its line end included, into arguments; none for a blank line.
///
/// # Errors
/// [`ProtocolError::UnbalancedQuotes`].
pub fn split_inline(line: &[u8]) -> Result<OwnedArgs, ProtocolError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut arguments = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).copied().is_some_and(is_space) {
            at += 1;
        }
        if at == line.len() {
            return Ok(arguments.into_iter().collect());
        }
        let mut argument = Vec::new();
        at = read_token(line, at, &mut argument)?;
        arguments.push(argument);
    }
}

/// C's `isspace`: `\v` and `\f` separate too, but only in front of a token.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Reads one token from `at`; quotes may open in its middle. Returns where it ends.
fn read_token(line: &[u8], mut at: usize, token: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    while let Some(&byte) = line.get(at) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => break,
            b'"' => return read_double_quoted(line, at + 1, token),
            b'\'' => return read_single_quoted(line, at + 1, token),
            _ => token.push(byte),
        }
        at += 1;
    }
    Ok(at)
}

fn read_double_quoted(
    line: &[u8],
    mut at: usize,
    token: &mut Vec<u8>,
) -> Result<usize, ProtocolError> {
    loop {
        match line.get(at..).unwrap_or_default() {
            [b'\\', b'x', high, low, ..] if hex(*high).is_some() && hex(*low).is_some() => {
                let (high, low) = (hex(*high).unwrap_or(0), hex(*low).unwrap_or(0));
                token.push(high * 16 + low);
                at += 4;
            }
            [b'\\', escaped, ..] => {
                token.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                at += 2;
            }
            [b'"', ..] => return end_quotes(line, at + 1),
            [other, ..] => {
                token.push(*other);
                at += 1;
            }
            [] => return Err(ProtocolError::UnbalancedQuotes),
        }
    }
}

fn read_single_quoted(
    line: &[u8],
    mut at: usize,
    token: &mut Vec<u8>,
) -> Result<usize, ProtocolError> {
    loop {
        match line.get(at..).unwrap_or_default() {
            [b'\\', b'\'', ..] => {
                token.push(b'\'');
                at += 2;
            }
            [b'\'', ..] => return end_quotes(line, at + 1),
            [other, ..] => {
                token.push(*other);
                at += 1;
            }
            [] => return Err(ProtocolError::UnbalancedQuotes),
        }
    }
}

/// A closing quote must be followed by a space or nothing at all.
fn end_quotes(line: &[u8], at: usize) -> Result<usize, ProtocolError> {
    match line.get(at) {
        Some(&byte) if !is_space(byte) => Err(ProtocolError::UnbalancedQuotes),
        _ => Ok(at),
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}
