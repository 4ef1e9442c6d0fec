//! HELLO: `HELLO [2|3 [AUTH user password] [SETNAME name]]`. Who the client is, is the proxy's affair;
//! the rest is the upstream's, but for one that has no HELLO.

use bytes::BytesMut;

use crate::resp::{Args, encode_bulk, encode_header, encode_request};

use super::facts::Facts;
use super::known::Protocol;

/// What a HELLO asks for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Hello<'a> {
    /// `None`: the one that is spoken.
    pub(super) protocol: Option<Protocol>,
    pub(super) login: Option<(&'a [u8], &'a [u8])>,
    pub(super) name: Option<&'a [u8]>,
}

/// Why a HELLO is refused before anything of it is done (since 7.2 Redis too does all or nothing).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HelloError {
    /// Not a number.
    Version,
    /// A number of no protocol.
    NoProto,
    /// This argument is no option, or lacks its values.
    Option(usize),
    /// A client name with blanks or control bytes.
    Name,
}

// === impl Hello ===

impl<'a> Hello<'a> {
    pub(super) fn parse(args: &Args<'a>) -> Result<Self, HelloError> {
        let mut hello = Self::default();
        match args.get(1) {
            None => return Ok(hello),
            Some(b"2") => hello.protocol = Some(Protocol::Resp2),
            Some(b"3") => hello.protocol = Some(Protocol::Resp3),
            Some(other) if is_integer(other) => return Err(HelloError::NoProto),
            Some(_) => return Err(HelloError::Version),
        }
        let mut at = 2;
        while let Some(option) = args.get(at) {
            if option.eq_ignore_ascii_case(b"AUTH")
                && let (Some(user), Some(password)) = (args.get(at + 1), args.get(at + 2))
            {
                hello.login = Some((user, password));
                at += 3;
            } else if option.eq_ignore_ascii_case(b"SETNAME")
                && let Some(name) = args.get(at + 1)
            {
                if !name.iter().all(|byte| matches!(byte, b'!'..=b'~')) {
                    return Err(HelloError::Name);
                }
                hello.name = Some(name);
                at += 2;
            } else {
                return Err(HelloError::Option(at));
            }
        }
        Ok(hello)
    }

    /// What the upstream is asked: the same, without the credentials.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let mut words: Vec<&[u8]> = vec![b"HELLO"];
        words.extend(self.protocol.map(|protocol| match protocol {
            Protocol::Resp2 => &b"2"[..],
            Protocol::Resp3 => b"3",
        }));
        if let Some(name) = self.name {
            words.extend([b"SETNAME", name]);
        }
        encode_request(words.into_iter(), out);
    }
}

/// Whether Redis' `string2ll` takes it: no sign but `-`, no leading zero, no `-0`, 64 bits.
fn is_integer(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| {
        text.parse()
            .is_ok_and(|number: i64| number.to_string() == text)
    })
}

/// The answer: RESP2's flat array of seven pairs.
pub(super) fn answer(facts: &Facts, session: u64, out: &mut BytesMut) {
    encode_header(b'*', 14, out);
    encode_bulk(b"server", out);
    encode_bulk(b"redis", out);
    encode_bulk(b"version", out);
    encode_bulk(facts.version.to_string().as_bytes(), out);
    encode_bulk(b"proto", out);
    encode_header(b':', 2, out);
    encode_bulk(b"id", out);
    encode_header(b':', session, out);
    encode_bulk(b"mode", out);
    encode_bulk(facts.mode.as_bytes(), out);
    encode_bulk(b"role", out);
    // INFO says slave to this day, HELLO always said replica.
    let role = if facts.role == "slave" {
        "replica"
    } else {
        &facts.role
    };
    encode_bulk(role.as_bytes(), out);
    encode_bulk(b"modules", out);
    encode_header(b'*', 0, out);
}

/// A server's answer with another number in the place of its `id`.
pub(super) fn renumbered(answer: &[u8], id: u64) -> BytesMut {
    const KEY: &[u8] = b"$2\r\nid\r\n:";
    let mut out = BytesMut::with_capacity(answer.len() + 20);
    let at = answer.windows(KEY.len()).position(|window| window == KEY);
    let Some(at) = at else {
        out.extend_from_slice(answer);
        return out;
    };
    let (before, rest) = answer.split_at(at + KEY.len() - 1);
    let end = rest.iter().position(|&byte| byte == b'\r');
    out.extend_from_slice(before);
    encode_header(b':', id, &mut out);
    out.extend_from_slice(&rest[end.map_or(rest.len(), |end| (end + 2).min(rest.len()))..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gets_another_number() {
        let answer = b"*4\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:17\r\n";
        let told = &b"*4\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:4503599627370497\r\n"[..];
        assert_eq!(renumbered(answer, (1 << 52) + 1), told);
        assert_eq!(renumbered(b"*0\r\n", 1), &b"*0\r\n"[..]);
    }
}
