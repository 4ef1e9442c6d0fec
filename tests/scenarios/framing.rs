//! Bytes at the edge of the protocol: what Redis takes, and what a gate must not.

use std::time::Duration;

use crate::support::redis::{ALL, LEGACY_AND_CURRENT};
use crate::support::{Proxy, RedisServer, Reply, TestClient, Version, command};

const NO_FLUSHALL: &str = "-NOPERM User cart has no permissions to run the 'flushall' command\r\n";

fn protocol_error(text: &str) -> String {
    format!("-ERR Protocol error: {text}\r\n")
}

#[test]
fn inline_line_without_carriage_return_eats_nothing() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        client.send("PING\n*1\r\n$4\r\nPING\r\nPING\r\n");
        client.expect("+PONG\r\n+PONG\r\n+PONG\r\n");
    }
}

#[test]
fn inline_commands_are_split_as_redis_splits_them_and_judged() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        server.direct().call(&["SET", "cart:a", "1"]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        for line in [
            "FLUSH\"ALL\"\r\n",
            "\"\\x46LUSHALL\"\r\n",
            "'flushall'\r\n",
            "  FLUSHALL  \n",
            "flushall\t\r\n",
        ] {
            client.send(line);
            client.expect(NO_FLUSHALL);
        }
        // Legacy servers drop the empty argument of an inline command and would read `secret`.
        client.send("GET \"\" secret\r\n");
        client.expect("-ERR wrong number of arguments for 'get' command\r\n");
        client.send("\x0b\x0cGET cart:a\r\n");
        client.expect("$1\r\n1\r\n");
        client.send("SET cart:b \"a\\r\\nFLUSHALL\\r\\n\"\r\nSTRLEN cart:b\r\n");
        client.expect("+OK\r\n:13\r\n");
        assert_eq!(server.direct().call(&["DBSIZE"]), Reply::Integer(2));
    }
}

#[test]
fn unbalanced_quotes_end_the_session_as_in_redis() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    client.send("PING\r\nGET \"cart:a\r\nPING\r\n");
    client.expect(format!(
        "+PONG\r\n{}",
        protocol_error("unbalanced quotes in request")
    ));
    client.expect_close();
}

#[test]
fn non_canonical_lengths_end_the_session() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let count = protocol_error("invalid multibulk length");
    let length = protocol_error("invalid bulk length");
    for (bytes, expected) in [
        ("*+1\r\n$4\r\nPING\r\n", &count),
        ("*01\r\n$4\r\nPING\r\n", &count),
        ("*-0\r\n$4\r\nPING\r\n", &count),
        ("* 1\r\n$4\r\nPING\r\n", &count),
        ("*\r\n$4\r\nPING\r\n", &count),
        ("*18446744073709551617\r\n$4\r\nPING\r\n", &count),
        ("*1\r\n$-1\r\nPING\r\n", &length),
        ("*1\r\n$+4\r\nPING\r\n", &length),
        ("*1\r\n$04\r\nPING\r\n", &length),
        ("*1\r\n$\r\nPING\r\n", &length),
        ("*1\r\n$18446744073709551620\r\nPING\r\n", &length),
        ("*1\r\nPING\r\n", &protocol_error("expected '$', got 'P'")),
        (
            "*1\r\n:4\r\nPING\r\n",
            &protocol_error("expected '$', got ':'"),
        ),
    ] {
        let mut client = proxy.client("cart");
        // In one piece: a peer that closes over unread bytes may take its last words with it.
        let mut request = command(&["SET", "cart:1", "a"]);
        request.extend_from_slice(bytes.as_bytes());
        request.extend(command(&["SET", "cart:1", "b"]));
        client.send(request);
        client.expect("+OK\r\n");
        client.expect(expected);
        client.expect_close();
    }
    assert_eq!(server.direct().call(&["GET", "cart:1"]), Reply::bulk("a"));
}

/// Redis never looks at these bytes; whoever looks at them differently is led astray.
#[test]
fn bytes_in_place_of_line_ends_end_the_session() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    for bytes in [
        "*1\rX$4\r\nPING\r\n",
        "*1\r\n$4\rXPING\r\n",
        "*1\r\n$4\r\nPINGzz",
        "*1\r\n$4\r\nPING\rz",
        "*2\r\n$3\r\nGETzz$6\r\ncart:a\r\n",
        "*1\n$4\r\nPING\r\n",
    ] {
        let mut client = proxy.client("cart");
        client.send_args(&["PING"]);
        client.expect("+PONG\r\n");
        // Some of these may still be waiting for the rest of a line.
        client.send(format!("{bytes}\r\n\r\nPING\r\nPING\r\n"));
        let rest = client.read_to_close();
        let text = String::from_utf8_lossy(&rest);
        assert!(
            text.starts_with("-ERR Protocol error") && !text.contains("PONG"),
            "{bytes:?}: {text:?}"
        );
    }
}

#[test]
fn empty_requests_are_skipped_without_a_reply() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        client.send("*0\r\n*-1\r\n\r\n   \r\n\n*-5\r\n*1\r\n$4\r\nPING\r\n\r\n\r\nPING\r\n");
        client.expect("+PONG\r\n+PONG\r\n");
        client
            .send("*1\r\n$5\r\nMULTI\r\n*0\r\n\r\n*1\r\n$4\r\nPING\r\n*0\r\n*1\r\n$4\r\nEXEC\r\n");
        client.expect("+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n");
        client.expect_silence(Duration::from_millis(50));
    }
}

#[test]
fn value_that_looks_like_a_command_stays_a_value() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        server.direct().call(&["SET", "victim", "x"]);
        let proxy = Proxy::start(&server);
        let value = "\r\nFLUSHALL\r\n*1\r\n$8\r\nFLUSHALL\r\n";
        let mut client = proxy.client("admin");
        client.send(command(&["SET", "k", value]));
        client.expect("+OK\r\n");
        assert_eq!(client.call(&["GET", "k"]), Reply::bulk(value));
        let length = value.len();
        // (Two less is right again: the value's own last line end then closes it.)
        for wrong in [length - 3, length - 1, length + 1, length + 2] {
            let mut client = proxy.client("admin");
            client.send(format!(
                "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${wrong}\r\n{value}\r\n*1\r\n$4\r\nPING\r\n"
            ));
            let text = String::from_utf8_lossy(&client.read_to_close()).into_owned();
            assert!(
                text.starts_with("-ERR Protocol error") && !text.contains("PONG"),
                "{wrong}: {text:?}"
            );
        }
        assert_eq!(server.direct().call(&["GET", "victim"]), Reply::bulk("x"));
    }
}

/// One of everything: plain, refused, inline, empty, in a transaction, with binary arguments.
fn mixture() -> (Vec<u8>, Vec<u8>) {
    let mut requests = Vec::new();
    let mut replies = Vec::new();
    let mut add = |request: &[u8], reply: &[u8]| {
        requests.extend_from_slice(request);
        replies.extend_from_slice(reply);
    };
    add(&command(&["SET", "cart:1", "\r\nFLUSHALL\r\n"]), b"+OK\r\n");
    add(&command(&["FLUSHALL"]), NO_FLUSHALL.as_bytes());
    add(&command(&["GET", "cart:1"]), b"$12\r\n\r\nFLUSHALL\r\n\r\n");
    add(b"\r\n*0\r\n", b"");
    add(b"ECHO \"a b\"\r\n", b"$3\r\na b\r\n");
    add(
        &command(&["GET", "other"]),
        b"-NOPERM No permissions to access a key\r\n",
    );
    add(&command(&["MULTI"]), b"+OK\r\n");
    add(&command(&["ECHO", ""]), b"+QUEUED\r\n");
    add(&command(&["EXEC"]), b"*1\r\n$0\r\n\r\n");
    add(&command(&["MULTI"]), b"+OK\r\n");
    add(&command(&["FLUSHALL"]), NO_FLUSHALL.as_bytes());
    add(
        &command(&["EXEC"]),
        b"-EXECABORT Transaction discarded because of previous errors.\r\n",
    );
    add(&command(&["PING"]), b"+PONG\r\n");
    (requests, replies)
}

#[test]
fn requests_arrive_a_byte_at_a_time() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    let (requests, replies) = mixture();
    for byte in &requests {
        client.send([*byte]);
    }
    client.expect(&replies);
}

#[test]
fn requests_may_be_split_at_every_point() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    let (requests, replies) = mixture();
    for at in 1..requests.len() {
        client.send(&requests[..at]);
        std::thread::sleep(Duration::from_micros(500));
        client.send(&requests[at..]);
        client.expect(&replies);
    }
}

#[test]
fn requests_may_be_chunked_at_random() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let (requests, replies) = mixture();
    let (requests, replies) = (requests.repeat(300), replies.repeat(300));
    for seed in 1..=4_u64 {
        let mut client: TestClient = proxy.client("cart");
        let mut state = seed;
        let mut sent = 0;
        while sent < requests.len() {
            // A linear congruential generator: the same chunks in every run.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let length = 1 + (state >> 33) as usize % (1 << (state >> 60));
            let end = (sent + length).min(requests.len());
            client.send(&requests[sent..end]);
            sent = end;
        }
        client.expect(&replies);
    }
}

#[test]
fn line_that_never_ends_is_cut() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    let _ = client.try_send("x".repeat(65_600).as_bytes());
    client.expect(protocol_error("too big inline request"));
    client.expect_close();
    let mut client = proxy.client("cart");
    let _ = client.try_send(format!("*{}", "1".repeat(65_600)).as_bytes());
    let text = String::from_utf8_lossy(&client.read_to_close()).into_owned();
    assert!(text.starts_with("-ERR Protocol error"), "{text:?}");
}

#[test]
fn browser_cannot_speak_to_redis_through_the_proxy() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    for request in [
        "POST / HTTP/1.1\r\n\r\nSET cart:1 x\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nSET cart:1 x\r\n",
    ] {
        let mut client = proxy.client("cart");
        client.send(request);
        let text = String::from_utf8_lossy(&client.read_to_close()).into_owned();
        assert!(!text.contains("+OK"), "{text:?}");
    }
    assert_eq!(server.direct().call(&["DBSIZE"]), Reply::Integer(0));
}
