//! Commands and bytes per second.

use std::time::{Duration, Instant};

use super::{MB, in_both_modes, reload, set};
use crate::support::{RedisServer, Reply, Version, command, ok};

const LIMITED: &str = "[limits.user.cart]\ncommands_per_second = 10\n";

#[test]
fn a_user_with_a_rate_gets_that_in_order_while_others_go_on() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let proxy = builder.section(LIMITED).start();
        let (mut first, mut second) = (proxy.client("cart"), proxy.client("cart"));
        let mut other = proxy.client("admin");
        let start = Instant::now();
        let requests = command(&["INCR", "cart:n"]).repeat(2_000);
        first.send(&requests);
        second.send(&requests);
        for number in 0..10_000 {
            let text = number.to_string();
            assert_eq!(other.call(&["ECHO", &text]), Reply::bulk(&text));
        }
        let done = server.direct().call(&["GET", "cart:n"]).text();
        let done: f64 = done.parse().unwrap();
        let elapsed = start.elapsed().as_secs_f64();
        eprintln!("{done} of the limited, 10000 of the other in {elapsed:.1} s");
        // A second's worth at once, and one that each of them may overdraw it by.
        assert!(done <= 10.0 * (elapsed + 1.0) + 2.0, "{done} in {elapsed}");
        assert!(done >= 10.0, "{done}");
        reload(
            &proxy,
            "commands_per_second = 10\n",
            "max_connections = 50\n",
        );
        let mut seen: Vec<i64> = Vec::new();
        for client in [&mut first, &mut second] {
            let mut last = 0;
            for _ in 0..2_000 {
                let Reply::Integer(number) = client.read_reply() else {
                    panic!("no number");
                };
                assert!(number > last, "{number} behind {last}");
                last = number;
                seen.push(number);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=4_000).collect::<Vec<_>>());
    });
}

#[test]
fn a_rate_that_a_reload_brings_holds_for_who_is_there() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let proxy = builder.section("[limits]\nmax_args = 1000").start();
        let mut client = proxy.client("cart");
        for _ in 0..100 {
            assert_eq!(client.call(&["PING"]).text(), "PONG");
        }
        reload(
            &proxy,
            "max_args = 1000",
            "max_args = 1000\n[limits.address]\ncommands_per_second = 5",
        );
        let start = Instant::now();
        for _ in 0..12 {
            assert_eq!(client.call(&["PING"]).text(), "PONG");
        }
        // Five at once, and seven that are waited for but the last.
        assert!(
            start.elapsed() > Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
        reload(&proxy, "commands_per_second = 5", "");
        for _ in 0..1_000 {
            assert_eq!(client.call(&["PING"]).text(), "PONG");
        }
    });
}

#[test]
fn bytes_of_both_directions_count() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        set(&server, "cart:big", 2 * MB);
        let proxy = builder
            .section("[limits.user.cart]\nbytes_per_second = \"1MB\"\n")
            .start();
        let (mut client, mut other) = (proxy.client("cart"), proxy.client("admin"));
        let start = Instant::now();
        client.send_args(&["GET", "cart:big"]);
        client.send(command(&["SET", "cart:other", &"x".repeat(MB)]));
        client.send_args(&["PING"]);
        for number in 0..1_000 {
            let text = number.to_string();
            assert_eq!(other.call(&["ECHO", &text]), Reply::bulk(&text));
        }
        assert_eq!(client.read_reply().text().len(), 2 * MB);
        assert_eq!(client.read_reply(), ok());
        assert_eq!(client.read_reply().text(), "PONG");
        assert!(
            start.elapsed() > Duration::from_millis(1_500),
            "{:?}",
            start.elapsed()
        );
    });
}

#[test]
fn a_limited_subscriber_gets_every_message_later() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let proxy = builder
            .section("[limits.user.cart]\nbytes_per_second = \"128KB\"\n")
            .start();
        let (mut subscriber, mut other) = (proxy.client("cart"), proxy.client("admin"));
        assert_eq!(
            subscriber.call(&["SUBSCRIBE", "news"]).array()[2],
            Reply::Integer(1)
        );
        let text = "m".repeat(8 * 1024);
        let start = Instant::now();
        for number in 0..48 {
            let message = format!("{number}:{text}");
            assert_eq!(
                other.call(&["PUBLISH", "news", &message]),
                Reply::Integer(1)
            );
        }
        for number in 0..48 {
            let message = subscriber.read_reply();
            assert!(
                message.array()[2].text().starts_with(&format!("{number}:")),
                "{number}"
            );
        }
        assert!(
            start.elapsed() > Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    });
}

/// Nothing that it has sent is lost, though it closes at once.
#[test]
fn who_has_a_rate_and_closes_its_direction_gets_all_it_asked_for() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let proxy = builder
            .section(LIMITED)
            .listener("idle_timeout = \"1s\"")
            .start();
        let mut client = proxy.client("cart");
        client.send(command(&["INCR", "cart:n"]).repeat(25));
        client.half_close();
        for number in 1..=25 {
            assert_eq!(client.read_reply(), Reply::Integer(number));
        }
        client.expect_close();
    });
}
