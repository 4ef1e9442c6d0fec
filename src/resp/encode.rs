//! Requests and replies as bytes.

use bytes::BytesMut;

/// Appends `<kind><number>\r\n`.
pub fn encode_header(kind: u8, number: u64, out: &mut BytesMut) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&[kind]);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Appends a bulk string.
pub fn encode_bulk(value: &[u8], out: &mut BytesMut) {
    encode_header(b'$', value.len() as u64, out);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a request in canonical form.
pub fn encode_request<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>, out: &mut BytesMut) {
    encode_header(b'*', args.len() as u64, out);
    for arg in args {
        encode_bulk(arg, out);
    }
}
