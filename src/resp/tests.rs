//! The scanners beside `redis-protocol`, and beside themselves under every split.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;

type Argv = Vec<Vec<u8>>;

/// What a stream of requests turned into: the argument vectors, and the error that ended it.
fn scan_all(chunks: &[&[u8]]) -> (Vec<Argv>, Option<ProtocolError>) {
    let mut scanner = RequestScanner::new(Limits::default());
    let mut buffer = Vec::new();
    let mut seen = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            let scan = match scanner.scan(&buffer) {
                Ok(scan) => scan,
                Err(error) => return (seen, Some(error)),
            };
            match scan {
                Scan::Incomplete => break,
                Scan::Empty => {}
                Scan::Request => {
                    seen.push(scanner.args(&buffer).iter().map(<[u8]>::to_vec).collect());
                }
                Scan::Inline => match split_inline(&buffer[..scanner.consumed()]) {
                    Ok(args) if args.as_args().is_empty() => {}
                    Ok(args) => seen.push(args.as_args().iter().map(<[u8]>::to_vec).collect()),
                    Err(error) => return (seen, Some(error)),
                },
            }
            buffer.drain(..scanner.consumed());
            scanner.reset();
        }
    }
    (seen, None)
}

fn encode(argv: &[Vec<u8>]) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_request(argv.iter().map(Vec::as_slice), &mut out);
    out.to_vec()
}

/// The whole, every two-part split, and byte by byte must agree.
fn scan_every_split(bytes: &[u8]) -> (Vec<Argv>, Option<ProtocolError>) {
    let whole = scan_all(&[bytes]);
    for at in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(at);
        assert_eq!(
            scan_all(&[head, tail]),
            whole,
            "split at {at} of {:?}",
            Bytes::copy_from_slice(bytes)
        );
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(scan_all(&single), whole, "byte by byte");
    whole
}

fn argv(words: &[&str]) -> Argv {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn strict_where_redis_is_lenient() {
    use ProtocolError::*;
    let cases: &[(&[u8], ProtocolError)] = &[
        (b"*+1\r\n$4\r\nPING\r\n", MultibulkLength),
        (b"*01\r\n$4\r\nPING\r\n", MultibulkLength),
        (b"* 1\r\n$4\r\nPING\r\n", MultibulkLength),
        (b"*-0\r\n", MultibulkLength),
        (b"*-01\r\n", MultibulkLength),
        (b"*\r\n", MultibulkLength),
        (b"*18446744073709551617\r\n", MultibulkLength),
        (b"*1048577\r\n", MultibulkLength),
        (b"*1\rX$4\r\nPING\r\n", ExpectedCrlf),
        (b"*1\r\n$4\rXPING\r\n", ExpectedCrlf),
        (b"*1\r\n$4\r\nPINGzz", ExpectedCrlf),
        (b"*1\r\n$4\r\nPING\rz", ExpectedCrlf),
        (b"*1\r\n$-1\r\n", BulkLength),
        (b"*1\r\n$04\r\nPING\r\n", BulkLength),
        (b"*1\r\n$+4\r\nPING\r\n", BulkLength),
        (b"*1\r\n$536870913\r\n", BulkLength),
        (b"*1\r\n$4294967300\r\nPING\r\n", BulkLength),
        (b"*1\r\nPING\r\n", ExpectedBulk(b'P')),
        (b"*1\r\n\r\n", ExpectedBulk(b'\r')),
        (b"*11111111111111111111111111111111", MultibulkHeader),
        (b"*1\r\n$1\x00111111111111111111111111111111111", BulkHeader),
        (b"GET\0 a\r\n", InlineNul),
        (b"\0\r\nQUIT\n", ProxyHeader),
        (b"SET a \"b\r\n", UnbalancedQuotes),
        (b"\"a\"b c\r\n", UnbalancedQuotes),
        (b"\x16\x03\x01\x02\x00", TlsHandshake),
    ];
    for (bytes, error) in cases {
        let (seen, found) = scan_every_split(bytes);
        assert_eq!(found, Some(*error), "{:?}", Bytes::copy_from_slice(bytes));
        assert!(seen.is_empty());
    }
}

#[test]
fn skips_what_redis_skips_without_a_reply() {
    let (seen, error) =
        scan_every_split(b"*0\r\n\r\n*-1\r\n   \r\n*-77\r\n\n*1\r\n$4\r\nPING\r\n\r\n");
    assert_eq!(error, None);
    assert_eq!(seen, [argv(&["PING"])]);
}

#[test]
fn inline_is_split_as_redis_splits_it() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"PING\n", &["PING"]),
        (b"GET \"\" secret\r\n", &["GET", "", "secret"]),
        (b"FLUSH\"ALL\"\r\n", &["FLUSHALL"]),
        (b"\"\\x46LUSHALL\"\r\n", &["FLUSHALL"]),
        (b"'flushall'\r\n", &["flushall"]),
        (b"\x0b\x0cGET a\r\n", &["GET", "a"]),
        (b"GET a\x0bb\r\n", &["GET", "a\x0bb"]),
        (
            b"SET a \"\\n\\r\\t\\b\\a\\q\\xzz\"\r\n",
            &["SET", "a", "\n\r\t\x08\x07qxzz"],
        ),
        (b"SET a 'it\\'s \\n'\r\n", &["SET", "a", "it's \\n"]),
        (b"a\t b \r\n", &["a", "b"]),
    ];
    for (line, words) in cases {
        let (seen, error) = scan_every_split(line);
        assert_eq!(error, None);
        assert_eq!(seen, [argv(words)], "{:?}", Bytes::copy_from_slice(line));
    }
}

#[test]
fn a_bare_line_feed_never_eats_the_next_request() {
    let (seen, error) = scan_every_split(b"PING\n*1\r\n$4\r\nPING\r\n");
    assert_eq!((seen, error), (vec![argv(&["PING"]); 2], None));
}

#[test]
fn an_inline_request_ends_within_64_kb() {
    let mut line = vec![b'a'; 64 * 1024];
    assert_eq!(scan_all(&[&line]).1, Some(ProtocolError::InlineTooBig));
    let end = line.len() - 1;
    line[end] = b'\n';
    assert_eq!(scan_all(&[&line]).0.len(), 1);
}

#[test]
fn claims_before_auth_are_small() {
    for (bytes, error) in [
        (&b"*11\r\n"[..], ProtocolError::UnauthenticatedMultibulk),
        (b"*2147483647\r\n", ProtocolError::UnauthenticatedMultibulk),
        (b"*2\r\n$16385\r\n", ProtocolError::UnauthenticatedBulk),
    ] {
        let mut scanner = RequestScanner::new(Limits::UNAUTHENTICATED);
        assert_eq!(scanner.scan(bytes), Err(error));
    }
}

#[test]
fn a_tail_takes_over_at_any_byte() {
    let request = b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$11\r\nhello world\r\n$0\r\n\r\n".as_slice();
    let mut bytes = request.to_vec();
    bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
    for cut in 4..request.len() {
        let mut scanner = RequestScanner::new(Limits::default());
        if scanner.scan(&bytes[..cut]) != Ok(Scan::Incomplete) || scanner.declared() == 0 {
            continue;
        }
        let mut at = scanner.consumed();
        let mut tail = scanner.take_tail();
        let mut end = cut;
        loop {
            let step = tail.advance(&bytes[at..end]).unwrap();
            at += step.consumed;
            if step.done {
                break;
            }
            end += 1;
        }
        assert_eq!(at, request.len(), "cut at {cut}");
    }
}

#[test]
fn a_tail_refuses_what_the_scanner_refuses() {
    for rest in [
        &b"hello worldzz"[..],
        b"hello world\r\nX",
        b"hello world\r\n$-1\r\n",
        b"hello world\r\n$01\r\n",
    ] {
        let mut bytes = b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$11\r\n".to_vec();
        let mut scanner = RequestScanner::new(Limits::default());
        assert_eq!(scanner.scan(&bytes), Ok(Scan::Incomplete));
        let at = scanner.consumed();
        bytes.extend_from_slice(rest);
        assert!(scanner.take_tail().advance(&bytes[at..]).is_err());
    }
}

fn replies_end_at(bytes: &[u8], chunk: usize) -> (Vec<(usize, ReplyKind)>, Option<ReplyError>) {
    let mut scanner = ReplyScanner::default();
    let (mut at, mut ends) = (0, Vec::new());
    let mut end = 0;
    while end < bytes.len() {
        end = (end + chunk).min(bytes.len());
        loop {
            match scanner.advance(&bytes[at..end]) {
                Ok(step) => {
                    at += step.consumed;
                    match step.done {
                        Some(kind) => ends.push((at, kind)),
                        None => break,
                    }
                }
                Err(error) => return (ends, Some(error)),
            }
        }
    }
    (ends, None)
}

#[test]
fn replies_end_where_they_end() {
    use ReplyKind::{Answer, Push};
    let cases: &[(&[u8], ReplyKind)] = &[
        (b"+OK\r\n", Answer),
        (b"-ERR no\r\n", Answer),
        (b":-12\r\n", Answer),
        (b"$-1\r\n", Answer),
        (b"*-1\r\n", Answer),
        (b"$0\r\n\r\n", Answer),
        (b"$5\r\n\r\n+OK\r\n", Answer),
        (b"*0\r\n", Answer),
        (b"*2\r\n*1\r\n:1\r\n$1\r\na\r\n", Answer),
        (b"_\r\n", Answer),
        (b"#t\r\n", Answer),
        (b",1.5\r\n", Answer),
        (b"(3492890328409238509324850943850943825024385\r\n", Answer),
        (b"!5\r\nERR x\r\n", Answer),
        (b"=8\r\ntxt:some\r\n", Answer),
        (b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", Answer),
        (b"~2\r\n:1\r\n:2\r\n", Answer),
        (b"|1\r\n+ttl\r\n:3\r\n$1\r\nv\r\n", Answer),
        (b"*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n", Answer),
        (b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n", Push),
    ];
    let mut stream = Vec::new();
    let mut expected = Vec::new();
    for (reply, kind) in cases {
        stream.extend_from_slice(reply);
        expected.push((stream.len(), *kind));
    }
    for chunk in 1..=stream.len() {
        assert_eq!(
            replies_end_at(&stream, chunk),
            (expected.clone(), None),
            "chunks of {chunk}"
        );
    }
}

#[test]
fn nested_replies_cost_no_stack() {
    let deep = b"*1\r\n".repeat(1_000_000);
    let mut scanner = ReplyScanner::default();
    let step = scanner.advance(&deep).unwrap();
    assert_eq!((step.consumed, step.done), (deep.len(), None));
    let bytes = Bytes::from([deep.as_slice(), b":1\r\n"].concat());
    assert!(matches!(decode_reply(&bytes), Err(DecodeError::TooDeep)));
}

#[test]
fn what_is_not_resp_is_an_error() {
    for bytes in [
        &b"hello\r\n"[..],
        b"$x\r\n",
        b"$01x\r\n",
        b"$3\r\nabcd\r\n",
        b"*-2\r\n",
        b"+a\rb\r\n",
        b"$?\r\n",
        b"*18446744073709551616\r\n",
        b"%18446744073709551615\r\n",
    ] {
        for chunk in 1..=bytes.len() {
            assert!(
                replies_end_at(bytes, chunk).1.is_some(),
                "{:?}",
                Bytes::copy_from_slice(bytes)
            );
        }
    }
}

fn arguments() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let argument = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "[\\r\\n*$0-9A-Z ]{0,20}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(argument, 1..6)
}

fn reply() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        "[ -~]{0,20}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
        "[A-Z]{3,8} [ -~]{0,20}".prop_map(|text| format!("-{text}\r\n").into_bytes()),
        any::<i64>().prop_map(|value| format!(":{value}\r\n").into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|value| {
            let mut out = BytesMut::new();
            encode_bulk(&value, &mut out);
            out.to_vec()
        }),
        Just(b"$-1\r\n".to_vec()),
        Just(b"*-1\r\n".to_vec()),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        proptest::collection::vec(inner, 0..5).prop_map(|items| {
            let mut out = format!("*{}\r\n", items.len()).into_bytes();
            items.iter().for_each(|item| out.extend_from_slice(item));
            out
        })
    })
}

proptest! {
    /// `redis-protocol` reads the same arguments from every request that the scanner takes, and
    /// the scanner takes every canonical one, wherever the stream is cut.
    #[test]
    fn requests_agree_with_redis_protocol(pipeline in proptest::collection::vec(arguments(), 1..5)) {
        let bytes: Vec<u8> = pipeline.iter().flat_map(|argv| encode(argv)).collect();
        let (seen, error) = scan_every_split(&bytes);
        prop_assert_eq!(error, None);
        prop_assert_eq!(&seen, &pipeline);
        let mut rest = Bytes::from(bytes);
        for argv in &seen {
            let (reply, used) = decode_reply(&rest).unwrap().unwrap();
            let items: Vec<Vec<u8>> = reply.as_array().unwrap().iter()
                .map(|item| item.as_bytes().unwrap().to_vec()).collect();
            prop_assert_eq!(&items, argv);
            rest = rest.slice(used..);
        }
    }

    /// Whatever the scanner takes as a multibulk request equals its re-encoding: forwarding the
    /// original bytes can't smuggle anything.
    #[test]
    fn accepted_bytes_equal_their_encoding(mut bytes in arguments().prop_map(|argv| encode(&argv)), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let index = at.index(bytes.len());
        bytes[index] = byte;
        let mut scanner = RequestScanner::new(Limits::default());
        if scanner.scan(&bytes) == Ok(Scan::Request) {
            let argv: Argv = scanner.args(&bytes).iter().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(&encode(&argv), &bytes[..scanner.consumed()]);
        }
    }

    /// Neither scanner panics or disagrees with itself on arbitrary bytes.
    #[test]
    fn any_bytes_are_judged_alike_under_every_split(bytes in "[\\r\\n*$\\-+0-9GETPa\"'\\\\x \\x00]{0,60}") {
        scan_every_split(bytes.as_bytes());
        let whole = replies_end_at(bytes.as_bytes(), bytes.len().max(1));
        for chunk in 1..=bytes.len() {
            prop_assert_eq!(&replies_end_at(bytes.as_bytes(), chunk), &whole);
        }
    }

    #[test]
    fn replies_agree_with_redis_protocol(replies in proptest::collection::vec(reply(), 1..5)) {
        let bytes: Vec<u8> = replies.concat();
        let mut end = 0;
        let expected: Vec<_> = replies.iter().map(|reply| { end += reply.len(); (end, ReplyKind::Answer) }).collect();
        for chunk in 1..=bytes.len().min(64) {
            prop_assert_eq!(replies_end_at(&bytes, chunk), (expected.clone(), None));
        }
        let mut rest = Bytes::from(bytes);
        for reply in &replies {
            let (_, used) = decode_reply(&rest).unwrap().unwrap();
            prop_assert_eq!(used, reply.len());
            rest = rest.slice(used..);
        }
    }
}
