//! What one peer may cost, and for how long.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::support::proxy::PASSWORD;
use crate::support::{
    PATIENCE, Proxy, RedisServer, Reply, TestClient, Version, command, eventually,
};

const MB: u64 = 1 << 20;

#[test]
fn slow_handshake_is_dropped() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .listener("handshake_timeout = \"3s\"")
        .start();
    // One says nothing, one begins and falls silent, one sends a byte at a time.
    let silent = TestClient::connect_from(None, proxy.address()).unwrap();
    let mut begun = TestClient::connect_from(None, proxy.address()).unwrap();
    begun
        .write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
        .unwrap();
    let mut trickle = TestClient::connect_from(None, proxy.address()).unwrap();
    // Twenty seconds' worth.
    let mut bytes = [0x16, 0x03, 0x01, 0x02, 0x00]
        .into_iter()
        .chain(std::iter::repeat_n(1, 195));
    let is_cut = bytes.any(|byte| {
        std::thread::sleep(Duration::from_millis(100));
        trickle.write_all(&[byte]).is_err()
    });
    assert!(is_cut, "a trickle moves the deadline");
    for mut stream in [silent, begun, trickle] {
        // A reset is an end too.
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
    }
    // On a busy machine it may have too little time itself.
    eventually("others are served", || {
        proxy.try_client(Some("cart")).is_ok_and(|mut client| {
            client.try_send(&command(&["PING"])).is_ok()
                && client.try_read_reply() == Ok(Reply::Simple("PONG".into()))
        })
    });
}

#[test]
fn handshakes_that_hang_do_not_hinder_others() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    // Of the same address.
    let proxy = Proxy::builder()
        .upstream(&server)
        .listener("max_handshakes_per_ip = 300")
        .listener("handshake_timeout = \"60s\"")
        .start();
    let hanging: Vec<_> = (0..200)
        .map(|_| TestClient::connect_from(None, proxy.address()).unwrap())
        .collect();
    // Who waits for them loses patience before they are dropped.
    let start = Instant::now();
    assert_eq!(
        proxy.client("cart").call(&["PING"]),
        Reply::Simple("PONG".into())
    );
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    drop(hanging);
}

#[test]
fn who_has_not_logged_in_may_not_send_much() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .identities(PASSWORD)
        .start();
    for (bytes, text) in [
        ("*11\r\n$4\r\nPING\r\n", "unauthenticated multibulk length"),
        ("*2147483647\r\n", "unauthenticated multibulk length"),
        ("*1\r\n$16385\r\n", "unauthenticated bulk length"),
        ("*1\r\n$536870912\r\n", "unauthenticated bulk length"),
    ] {
        let mut client = proxy.client("cart");
        client.send(bytes);
        // Redis has its own words for what is too long for anybody.
        let reply = client.read_reply();
        assert!(
            reply.error() == format!("ERR Protocol error: {text}") || bytes.contains("2147483647"),
            "{bytes:?}: {reply:?}"
        );
        client.expect_close();
    }
    let mut client = proxy.client("cart");
    client.send(command(&["AUTH", &"x".repeat(16_000)]));
    assert!(client.read_reply().is_error());
    assert_eq!(
        client.call(&["AUTH", "cart-secret"]),
        Reply::Simple("OK".into())
    );
    assert_eq!(
        client.call(&["SET", "cart:1", &"x".repeat(20_000)]),
        Reply::Simple("OK".into())
    );
}

#[test]
fn lengths_over_the_limit_end_the_session() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    for (bytes, text) in [
        ("*1048577\r\n", "invalid multibulk length"),
        ("*2147483647\r\n", "invalid multibulk length"),
        ("*2\r\n$3\r\nGET\r\n$536870913\r\n", "invalid bulk length"),
        (
            "*2\r\n$3\r\nGET\r\n$9223372036854775807\r\n",
            "invalid bulk length",
        ),
    ] {
        let mut client = proxy.client("cart");
        client.send(bytes);
        client.expect(format!("-ERR Protocol error: {text}\r\n"));
        client.expect_close();
    }
}

#[test]
fn limits_of_the_configuration_hold() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[limits]\nmax_bulk = \"1MB\"\nmax_args = 100\n")
        .start();
    let mut client = proxy.client("cart");
    assert_eq!(
        client.call(&["SET", "cart:1", &"x".repeat(1 << 20)]),
        Reply::Simple("OK".into())
    );
    client.send("*3\r\n$3\r\nSET\r\n$6\r\ncart:1\r\n$1048577\r\n");
    client.expect("-ERR Protocol error: invalid bulk length\r\n");
    client.expect_close();
    let mut client = proxy.client("cart");
    client.send("*101\r\n");
    client.expect("-ERR Protocol error: invalid multibulk length\r\n");
    client.expect_close();
}

#[test]
fn huge_claims_cost_no_memory() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut clients: Vec<_> = (0..50).map(|_| proxy.client("cart")).collect();
    for client in &mut clients {
        client.send("*1048576\r\n$4\r\nMGET\r\n$536870912\r\nx");
    }
    let mut writers: Vec<_> = (0..50).map(|_| proxy.client("cart")).collect();
    for client in &mut writers {
        client.send("*3\r\n$3\r\nSET\r\n$6\r\ncart:1\r\n$536870912\r\nx");
    }
    assert_eq!(
        proxy.client("cart").call(&["PING"]),
        Reply::Simple("PONG".into())
    );
    assert!(
        proxy.peak_memory() < 64 * MB,
        "{} MB",
        proxy.peak_memory() / MB
    );
}

#[test]
fn header_that_trickles_hinders_nobody() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut clients: Vec<_> = (0..200).map(|_| proxy.client("cart")).collect();
    for byte in b"*3\r\n$3\r\nSET\r\n" {
        for client in &mut clients {
            client.send([*byte]);
        }
    }
    assert_eq!(
        proxy.client("cart").call(&["PING"]),
        Reply::Simple("PONG".into())
    );
    for client in &mut clients {
        client.send("$6\r\ncart:1\r\n$1\r\na\r\n");
    }
    for client in &mut clients {
        client.expect("+OK\r\n");
    }
    assert!(
        proxy.peak_memory() < 64 * MB,
        "{} MB",
        proxy.peak_memory() / MB
    );
}

#[test]
fn command_that_cannot_be_judged_in_time_is_refused_and_drained() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users("user cart on %W~cart:* +@all\nuser admin on ~* +@all\n")
        .section("[limits]\nmax_inspect_buffer = \"1MB\"\n")
        .start();
    let mut client = proxy.client("cart");
    // It may still end in GET, which this user may not do.
    assert_eq!(
        client.call(&["SET", "cart:1", &"x".repeat(100_000), "NX"]),
        Reply::Simple("OK".into())
    );
    assert!(
        client
            .call(&["SET", "cart:2", &"x".repeat(4 << 20), "NX"])
            .is_error()
    );
    assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
    assert_eq!(
        server.direct().call(&["EXISTS", "cart:1", "cart:2"]),
        Reply::Integer(1)
    );
    // A command whose later arguments cannot matter streams.
    assert_eq!(
        client.call(&["APPEND", "cart:3", &"x".repeat(4 << 20)]),
        Reply::Integer(4 << 20)
    );
}

#[test]
fn client_that_takes_nothing_is_cut() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    server
        .direct()
        .call(&["SET", "cart:1", &"x".repeat(1 << 20)]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[limits]\nwrite_timeout = \"1s\"\n")
        .start();
    let before = server.connected_clients();
    let mut client = proxy.client("cart");
    client.send(command(&["GET", "cart:1"]).repeat(200));
    eventually("the client that does not read is cut", || {
        server.connected_clients() <= before
    });
    eventually("the log tells why", || {
        proxy
            .log_text()
            .contains("cut: the client took nothing for write_timeout")
    });
    drop(client);
    assert_eq!(
        proxy.client("cart").call(&["PING"]),
        Reply::Simple("PONG".into())
    );
}

#[test]
fn half_closed_client_gets_all_that_is_owed() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    let mut requests = command(&["INCR", "cart:n"]).repeat(10_000);
    requests.extend(command(&["FLUSHALL"]));
    client.send(requests);
    client.half_close();
    for number in 1..=10_000 {
        assert_eq!(client.read_reply(), Reply::Integer(number));
    }
    assert!(client.read_reply().is_error());
    client.expect_close();
}

#[test]
fn half_close_in_the_middle_of_a_request_runs_no_half() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    client.send("SET cart:1 a\r\n*3\r\n$3\r\nSET\r\n$6\r\ncart:1\r\n$1\r\nb");
    client.half_close();
    client.expect("+OK\r\n");
    client.expect_close();
    assert_eq!(server.direct().call(&["GET", "cart:1"]), Reply::bulk("a"));
}

#[test]
fn cut_without_close_notify_runs_no_half() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let before = server.connected_clients();
    let request = command(&["SET", "cart:1", "b"]);
    for cut in 1..request.len() {
        let mut client = proxy.client("cart");
        client.send(&request[..cut]);
        client.close_without_notify();
    }
    // An inline command without its end is one too.
    let mut client = proxy.client("cart");
    client.send("SET cart:1 b");
    client.close_without_notify();
    eventually("the upstream connections are closed", || {
        server.connected_clients() <= before
    });
    assert_eq!(
        server.direct().call(&["EXISTS", "cart:1"]),
        Reply::Integer(0)
    );
}

#[test]
fn idle_session_is_closed_where_the_listener_says_so() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .listener("idle_timeout = \"3s\"")
        .start();
    let mut blocked = proxy.client("cart");
    assert_eq!(blocked.call(&["PING"]), Reply::Simple("PONG".into()));
    blocked.send_args(&["BLPOP", "cart:q", "8"]);
    let mut idle = proxy.client("cart");
    assert_eq!(idle.call(&["PING"]), Reply::Simple("PONG".into()));
    idle.expect_close();
    // Who waits for a reply is not idle.
    assert_eq!(blocked.read_reply(), Reply::Nil);
}
