//! Words on the wire, as Redis writes and reads them.

use bytes::BytesMut;

/// An error reply of these parts: without the line ends that a client's words may hold.
pub(super) fn error(parts: &[&[u8]], out: &mut BytesMut) {
    let text = parts.concat();
    let end = text.iter().rposition(|byte| !is_line_end(*byte));
    out.extend_from_slice(b"-");
    // Only a refusal has another code than ERR, and is written elsewhere.
    out.extend_from_slice(b"ERR ");
    for &byte in &text[..end.map_or(0, |end| end + 1)] {
        out.extend_from_slice(&[if is_line_end(byte) { b' ' } else { byte }]);
    }
    out.extend_from_slice(b"\r\n");
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// The most of a client's words that an error repeats. Redis repeats some of them whole.
const MAX_ECHO: usize = 1024;

/// A client's word in an error: Redis' C strings end at a NUL.
pub(super) fn name_in_error(word: &[u8]) -> &[u8] {
    let word = word.split(|&byte| byte == 0).next().unwrap_or_default();
    &word[..word.len().min(MAX_ECHO)]
}

/// A number as Redis' `string2ll` takes it: canonical, no sign but a minus.
pub(super) fn integer(word: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(word).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Milliseconds as seconds, in the shortest form: `0.05`, `12`.
pub(super) fn seconds(milliseconds: u64) -> String {
    let (whole, rest) = (milliseconds / 1000, milliseconds % 1000);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{rest:03}")
        .trim_end_matches('0')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_as_short_as_redis_writes_them() {
        let cases = [
            (0, "0"),
            (1, "0.001"),
            (50, "0.05"),
            (302, "0.302"),
            (1000, "1"),
            (60_010, "60.01"),
            (12_345_678, "12345.678"),
        ];
        for (milliseconds, text) in cases {
            assert_eq!(seconds(milliseconds), text);
        }
    }

    #[test]
    fn numbers_are_canonical() {
        assert_eq!(integer(b"0"), Some(0));
        assert_eq!(integer(b"-17"), Some(-17));
        for bad in [
            "",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "x",
            "99999999999999999999",
        ] {
            assert_eq!(integer(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn errors_stay_on_one_line() {
        let mut out = BytesMut::new();
        error(&[b"a\r\nb", name_in_error(b"c\0d"), b"\n"], &mut out);
        assert_eq!(&out[..], b"-ERR a  bc\r\n");
    }
}
