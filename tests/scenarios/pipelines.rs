//! Long pipelines, and what they may cost.

use crate::support::redis::LEGACY_AND_CURRENT;
use crate::support::{Proxy, RedisServer, Reply, Version, command, proc_status_bytes};

const MB: u64 = 1 << 20;

#[test]
fn a_hundred_thousand_requests_are_written_before_the_first_reply_is_read() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        let mut requests = Vec::new();
        for number in 0..100_000_u32 {
            match number % 10 {
                0 => requests.extend(command(&["SET", "cart:n", &number.to_string()])),
                5 => requests.extend(command(&["FLUSHALL"])),
                7 => requests.extend(command(&["GET", "other"])),
                _ => requests.extend(command(&["GET", "cart:n"])),
            }
        }
        client.send(&requests);
        for number in 0..100_000_u32 {
            let reply = client.read_reply();
            match number % 10 {
                0 => assert_eq!(reply, Reply::Simple("OK".into()), "at {number}"),
                5 | 7 => assert!(
                    reply.error().starts_with("NOPERM"),
                    "at {number}: {reply:?}"
                ),
                _ => assert_eq!(
                    reply,
                    Reply::bulk(&(number - number % 10).to_string()),
                    "at {number}"
                ),
            }
        }
    }
}

#[test]
fn replies_that_nobody_reads_wait_in_redis_and_not_in_the_proxy() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let value = "x".repeat(20_000);
    server.direct().call(&["SET", "cart:1", &value]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    client.send(command(&["GET", "cart:1"]).repeat(10_000));
    // 200 MB of replies are owed.
    assert!(
        proxy.peak_memory() < 64 * MB,
        "{} MB",
        proxy.peak_memory() / MB
    );
    for _ in 0..10_000 {
        assert_eq!(client.read_reply(), Reply::bulk(&value));
    }
    assert!(
        proxy.peak_memory() < 64 * MB,
        "{} MB",
        proxy.peak_memory() / MB
    );
}

#[test]
fn refused_pipeline_longer_than_memory_costs_none() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    for _ in 0..20 {
        client.send(command(&["FLUSHALL"]).repeat(10_000));
        for _ in 0..10_000 {
            assert!(client.read_reply().is_error());
        }
    }
    assert!(
        proxy.peak_memory() < 64 * MB,
        "{} MB",
        proxy.peak_memory() / MB
    );
}

#[test]
fn memory_under_load_comes_to_rest() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut marks = vec![];
    // How much is on its way at once, and so how high it goes, is chance; a leak goes on for ever.
    for round in 1..=40 {
        let mut clients: Vec<_> = (0..50).map(|_| proxy.client("cart")).collect();
        let mut requests = command(&["SET", "cart:1", &"v".repeat(1000)]);
        requests.extend(command(&["GET", "cart:1"]));
        requests.extend(command(&["FLUSHALL"]));
        for client in &mut clients {
            client.send(requests.repeat(200));
        }
        for client in &mut clients {
            for _ in 0..600 {
                client.read_reply();
            }
        }
        drop(clients);
        if round % 8 != 2 {
            continue;
        }
        let now = proc_status_bytes(proxy.pid(), "VmRSS:");
        // One page more or less is no leak, hence the half megabyte.
        let rests = |before: &u64| now as f64 <= *before as f64 * 1.05 + 524_288.0;
        if marks.last().is_some_and(rests) {
            return;
        }
        marks.push(now);
    }
    panic!("it grows on, every eight rounds: {marks:?} bytes");
}
