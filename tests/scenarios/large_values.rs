//! Values far larger than what the proxy may hold.

use crate::support::{Proxy, RedisServer, Reply, Version, eventually};

const MB: u64 = 1 << 20;
const LENGTH: u64 = 512 * MB;

/// A piece whose place in the value can be told from its bytes.
fn piece() -> Vec<u8> {
    (0..MB as usize).map(|at| (at % 251) as u8).collect()
}

#[test]
fn half_a_gigabyte_streams_through_both_ways() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    let piece = piece();
    client.send(format!(
        "*3\r\n$3\r\nSET\r\n$8\r\ncart:big\r\n${LENGTH}\r\n"
    ));
    for _ in 0..LENGTH / MB {
        client.send(&piece);
    }
    client.send("\r\n");
    client.send_args(&["FLUSHALL"]);
    client.expect("+OK\r\n");
    assert!(client.read_reply().is_error());
    assert!(
        proxy.peak_memory() < 64 * MB,
        "SET: {} MB",
        proxy.peak_memory() / MB
    );

    client.send("GET cart:big\r\nPING\r\n");
    client.expect(format!("${LENGTH}\r\n"));
    let mut at = 0;
    client.consume(LENGTH, |bytes| {
        for chunk in bytes.chunks(MB as usize - at % MB as usize) {
            let from = at % MB as usize;
            let length = chunk.len().min(MB as usize - from);
            assert!(
                chunk[..length] == piece[from..from + length],
                "other bytes at {at}"
            );
            let rest = chunk.len() - length;
            assert!(
                chunk[length..] == piece[..rest],
                "other bytes at {}",
                at + length
            );
            at += chunk.len();
        }
    });
    client.expect("\r\n+PONG\r\n");
    assert!(
        proxy.peak_memory() < 64 * MB,
        "GET: {} MB",
        proxy.peak_memory() / MB
    );
}

#[test]
fn refused_half_a_gigabyte_is_drained() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    let piece = piece();
    client.send(format!(
        "*3\r\n$3\r\nSET\r\n$9\r\nother:big\r\n${LENGTH}\r\n"
    ));
    for _ in 0..LENGTH / MB {
        client.send(&piece);
    }
    client.send("\r\n*1\r\n$4\r\nPING\r\n");
    client.expect("-NOPERM No permissions to access a key\r\n+PONG\r\n");
    assert!(
        proxy.peak_memory() < 64 * MB,
        "{} MB",
        proxy.peak_memory() / MB
    );
    assert_eq!(server.direct().call(&["DBSIZE"]), Reply::Integer(0));
}

#[test]
fn client_that_breaks_off_a_value_leaves_nothing_behind() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let before = server.connected_clients();
    let mut client = proxy.client("cart");
    client.send("*3\r\n$3\r\nSET\r\n$8\r\ncart:big\r\n$100000000\r\n");
    client.send(vec![b'x'; 50_000_000]);
    client.close_without_notify();
    eventually("the upstream connection is closed", || {
        server.connected_clients() <= before
    });
    assert_eq!(server.direct().call(&["DBSIZE"]), Reply::Integer(0));
}
