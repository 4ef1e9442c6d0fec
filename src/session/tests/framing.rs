//! Bytes: in any pieces, too many, too large, none of Redis', and what becomes of what is owed.

use proptest::prelude::*;

use super::*;

#[test]
fn a_client_that_takes_nothing_is_not_read_for_ever() {
    let mut nobody = Harness::new(
        Who::Fixed("cart".into()),
        AuthKind::Password,
        rules(&[], &[]),
    );
    nobody.client(&encode("GET a").repeat(100_000));
    assert!(nobody.down.waiting() < 65 * 1024);
    assert!(!nobody.session.takes_requests(&nobody.down));
    let mut it = Harness::cart();
    it.client(&encode("DISCARD").repeat(3_000_000));
    assert!(
        !it.session.takes_requests(&it.down),
        "slots are counted too"
    );
}

#[test]
fn an_allowed_run_passes_in_the_buffer_that_it_came_in() {
    let mut it = Harness::cart();
    let bytes = [encode("GET cart:1"), encode("GET cart:2")].concat();
    it.up.input().extend_from_slice(&bytes);
    it.run();
    assert_eq!(it.up.writable(), bytes);
}

#[test]
fn claims_before_auth_end_the_connection() {
    for (bytes, text) in [
        ("*11\r\n", "unauthenticated multibulk length"),
        ("*2\r\n$16385\r\n", "unauthenticated bulk length"),
    ] {
        let mut it = Harness::new(Who::Chosen, AuthKind::Password, rules(&[], &[]));
        it.client(bytes.as_bytes());
        assert_eq!(it.upstream(""), format!("-ERR Protocol error: {text}\r\n"));
        assert!(it.session.has_ended());
    }
}

#[test]
fn a_server_that_refuses_the_connection_is_passed_on_as_it_speaks() {
    let mut it = Harness::cart();
    let refusal = "-ERR max number of clients reached\r\n";
    for piece in refusal.as_bytes().chunks(7) {
        it.down.input().extend_from_slice(piece);
        it.session.answer(&mut it.down).unwrap();
    }
    assert_eq!(drain(&mut it.down), refusal);
    it.down.input().extend_from_slice(refusal.as_bytes());
    assert_eq!(it.session.answer(&mut it.down), Err(Desync::Unowed));
}

#[test]
fn a_protocol_error_comes_behind_the_earlier_replies() {
    let mut it = Harness::cart();
    let mut bytes = encode("GET cart:1");
    bytes.extend_from_slice(b"*1\r\n$04\r\nPING\r\n");
    bytes.extend(encode("GET cart:2"));
    assert_eq!(decode(it.client(&bytes).as_bytes()), ["GET cart:1"]);
    let error = "-ERR Protocol error: invalid bulk length\r\n";
    assert_eq!(it.upstream("$-1\r\n"), format!("$-1\r\n{error}"));
    assert!(it.session.has_ended() && it.session.is_settled());
}

#[test]
fn a_request_that_breaks_off_is_owed_nothing_more() {
    let mut it = Harness::admin(rules(&[], &[]));
    let mut bytes = encode("GET a");
    bytes.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n");
    bytes.resize(bytes.len() + 50_000, b'x');
    it.client(&bytes);
    let mut rest = vec![b'x'; 50_000];
    rest.extend_from_slice(b"zz");
    it.client(&rest);
    let got = it.upstream("$-1\r\n");
    assert_eq!(got, "$-1\r\n-ERR Protocol error: expected CRLF\r\n");
    assert!(it.session.has_ended() && it.session.is_settled());
}

#[test]
fn large_values_stream_and_refused_ones_are_dropped() {
    for (key, refused) in [("cart:1", false), ("other", true)] {
        let mut it = Harness::cart();
        let value = vec![b'v'; 1_000_000];
        let mut bytes = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$1000000\r\n", key.len());
        bytes.push_str(std::str::from_utf8(&value).unwrap());
        bytes.push_str("\r\n");
        let (mut sent, mut most) = (0, 0);
        for chunk in bytes.as_bytes().chunks(16 * 1024) {
            it.up.input().extend_from_slice(chunk);
            it.run();
            most = most.max(it.up.unscanned().len() + it.up.waiting());
            sent += drain(&mut it.up).len();
        }
        assert!(most < 40_000, "held {most}");
        assert_eq!(sent, if refused { 0 } else { bytes.len() });
        assert_eq!(it.upstream(""), if refused { NO_KEY } else { "" });
        assert_eq!(it.commands(&["PING"]), ["PING"], "in step again");
    }
}

#[test]
fn a_verdict_that_needs_the_end_holds_back_only_so_much() {
    let who = Who::Fixed("writer".into());
    let mut it = Harness::new(who, AuthKind::Certificate, rules(&[], &[]));
    let mut bytes = b"*4\r\n$3\r\nSET\r\n$3\r\na:1\r\n$1000000\r\n".to_vec();
    bytes.extend(vec![b'v'; 1_000_000]);
    bytes.extend_from_slice(b"\r\n$3\r\nGET\r\n");
    let mut sent = String::new();
    for chunk in bytes.chunks(8 * 1024) {
        sent += &it.client(chunk);
        assert!(it.up.unscanned().len() <= 128 * 1024);
    }
    assert_eq!(sent, "");
    let got = it.upstream("");
    assert!(
        got.starts_with("-ERR respgate: the request is too large"),
        "{got}"
    );
    assert_eq!(it.commands(&["SET a:1 v"]), ["SET a:1 v"]);
}

#[test]
fn a_million_arguments_stream_for_who_holds_all_keys() {
    let mut it = Harness::admin(rules(&[], &[]));
    let mut bytes = b"*1000001\r\n$5\r\nRPUSH\r\n".to_vec();
    for _ in 0..1_000_000 {
        bytes.extend_from_slice(b"$1\r\nx\r\n");
    }
    let mut sent = 0;
    for chunk in bytes.chunks(16 * 1024) {
        it.up.input().extend_from_slice(chunk);
        it.run();
        sent += drain(&mut it.up).len();
    }
    assert_eq!(sent, bytes.len());
}

#[test]
fn http_is_hung_up_on() {
    let mut it = Harness::cart();
    it.client(b"POST / HTTP/1.1\r\nHost: redis\r\n\r\nFLUSHALL\r\n");
    assert_eq!(it.upstream(""), "");
    assert!(it.session.has_ended() && it.session.is_settled());
}

#[test]
fn a_proxy_header_is_hung_up_on() {
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03\x0a\x01\x02\x04\0\x01\0\x02FLUSHALL\r\n";
    let text = b"PROXY TCP4 10.1.2.3 10.1.2.4 1 2\r\nFLUSHALL\r\n";
    for bytes in [&binary[..], &text[..], b"PROXY UNKNOWN\r\nPING\r\n"] {
        let mut it = Harness::cart();
        it.client(bytes);
        assert_eq!(it.upstream(""), "");
        assert!(it.session.has_ended() && it.session.is_settled());
    }
}

#[test]
fn replies_that_nobody_is_owed_are_an_alarm() {
    let mut it = Harness::cart();
    it.down.input().extend_from_slice(b"+OK\r\n");
    assert_eq!(it.session.answer(&mut it.down), Err(Desync::Unowed));
    let mut it = Harness::cart();
    it.commands(&["MULTI", "FLUSHALL"]);
    it.down.input().extend_from_slice(b"+OK\r\n+QUEUED\r\n");
    assert_eq!(it.session.answer(&mut it.down), Err(Desync::Poison));
    let mut it = Harness::cart();
    it.commands(&["PING"]);
    it.down.input().extend_from_slice(b">1\r\n+x\r\n");
    assert_eq!(it.session.answer(&mut it.down), Err(Desync::Push));
}

proptest! {
    /// However both streams are cut, the same goes out on both sides.
    #[test]
    fn chunking_changes_nothing(
        picks in proptest::collection::vec(0_usize..8, 1..20),
        request_cuts in proptest::collection::vec(1_usize..40, 1..20),
        reply_cuts in proptest::collection::vec(1_usize..20, 1..20),
    ) {
        let menu = ["GET cart:1", "FLUSHALL", "SET cart:1 xx", "GET other", "MULTI", "EXEC", "NOSUCH", "AUTH cart-pw"];
        let mut whole = Harness::cart();
        let lines: Vec<&str> = picks.iter().map(|&pick| menu[pick]).collect();
        let requests: Vec<u8> = lines.iter().flat_map(|line| encode(line)).collect();
        let sent = whole.client(&requests);
        let replies: String = decode(sent.as_bytes()).iter().map(|line| match line.split(' ').next() {
            Some("ECHO") => "-ERR wrong number of arguments for 'echo' command\r\n",
            Some("MULTI") => "+OK\r\n",
            Some("EXEC") => "*1\r\n$2\r\nhi\r\n",
            Some("GET") => "$5\r\nhe\r\no\r\n",
            _ => "+OK\r\n",
        }).collect();
        let got = whole.upstream(&replies);

        let mut cut = Harness::cart();
        let (mut sent_in_pieces, mut at) = (String::new(), 0);
        for size in request_cuts.iter().cycle() {
            if at >= requests.len() { break; }
            let end = (at + size).min(requests.len());
            sent_in_pieces += &cut.client(&requests[at..end]);
            at = end;
        }
        prop_assert_eq!(&sent_in_pieces, &sent);
        let (mut got_in_pieces, mut at) = (String::new(), 0);
        got_in_pieces += &cut.upstream("");
        for size in reply_cuts.iter().cycle() {
            if at >= replies.len() { break; }
            let end = (at + size).min(replies.len());
            got_in_pieces += &cut.upstream(&replies[at..end]);
            at = end;
        }
        prop_assert_eq!(got_in_pieces, got);
    }
}
