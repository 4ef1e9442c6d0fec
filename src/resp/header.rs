//! The header line of requests: a type byte, a canonical decimal, CRLF.

use super::limits::MAX_HEADER;

/// What stands after the type byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Header {
    /// A canonical number ≥ 0, and how many bytes it took with its CRLF.
    Number(u64, usize),
    /// A canonical number < 0, and how many bytes it took with its CRLF.
    Negative(usize),
    /// The line isn't here to its end.
    Incomplete,
    /// No CR within [`MAX_HEADER`] bytes.
    TooLong,
    /// Not a canonical decimal: `+1`, `01`, ` 1`, `-0`, nothing, or more than fits.
    Malformed,
    /// CR without LF.
    BareCr,
}

/// Reads the line that `bytes` starts with.
///
/// Canonical is what Redis' `string2ll` takes: no sign but `-`, no leading zero, no blank. The
/// verdict on a line is the same however it is cut up: nothing is said before its end is here.
#[inline(always)]
pub(super) fn read_header(bytes: &[u8]) -> Header {
    // Nearly all lines of nearly all requests have one digit or two. Without a loop, a call and a
    // value handed over in memory, reading them costs half as much.
    match *bytes {
        [one @ b'0'..=b'9', b'\r', b'\n', ..] => Header::Number(u64::from(one - b'0'), 3),
        [ten @ b'1'..=b'9', one @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Header::Number(u64::from(ten - b'0') * 10 + u64::from(one - b'0'), 4)
        }
        _ => read_long_header(bytes),
    }
}

/// The same for a line of any length.
fn read_long_header(bytes: &[u8]) -> Header {
    let mut value = 0_u64;
    let mut at = 0;
    // 18 digits can't overflow; more are above every limit and take the slow way to their error.
    while at < 18 {
        let Some(&byte) = bytes.get(at) else {
            return Header::Incomplete;
        };
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value * 10 + u64::from(digit);
        at += 1;
    }
    let leading_zero = at > 1 && bytes[0] == b'0';
    if at > 0 && !leading_zero && bytes.get(at) == Some(&b'\r') {
        return match bytes.get(at + 1) {
            Some(b'\n') => Header::Number(value, at + 2),
            Some(_) => Header::BareCr,
            None => Header::Incomplete,
        };
    }
    read_odd_header(bytes)
}

/// Everything that isn't a plain number: which kind of wrong it is.
#[cold]
fn read_odd_header(bytes: &[u8]) -> Header {
    let window = &bytes[..bytes.len().min(MAX_HEADER)];
    let Some(end) = window.iter().position(|&byte| byte == b'\r') else {
        return if window.len() < MAX_HEADER {
            Header::Incomplete
        } else {
            Header::TooLong
        };
    };
    match bytes.get(end + 1) {
        None => return Header::Incomplete,
        Some(b'\n') => {}
        Some(_) => return Header::BareCr,
    }
    match &window[..end] {
        [b'-', b'1'..=b'9', rest @ ..]
            if rest.iter().all(u8::is_ascii_digit) && rest.len() < 18 =>
        {
            Header::Negative(end + 2)
        }
        _ => Header::Malformed,
    }
}
