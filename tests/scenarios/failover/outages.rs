//! The one address of an upstream dies, hangs, or is slow.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::load::{Load, assert_ran_as_told};
use super::{MODES, served};
use crate::support::redis::LEGACY_AND_CURRENT;
use crate::support::topology::PASSWORD;
use crate::support::{
    Proxy, RedisServer, Reply, TestClient, Version, between, command, eventually, ok, pong,
};

#[test]
fn an_upstream_that_is_killed_and_restarted_under_load_runs_nothing_twice() {
    for version in LEGACY_AND_CURRENT {
        for mode in MODES {
            // It has after a crash whatever it had acknowledged before.
            let extra = ["--appendonly", "yes", "--appendfsync", "always"];
            let mut server = RedisServer::start(version, &extra);
            let lines = format!("connections = \"{mode}\"");
            let proxy = Proxy::builder().upstream_with(&server, &lines).start();
            let load = Load::start(&proxy, 4);
            for _ in 0..3 {
                load.go_on(100);
                server.restart();
            }
            load.go_on(100);
            assert_ran_as_told(&load.end(), &server);
            assert!(served(&proxy, "cart"));
        }
    }
}

#[test]
fn clients_of_a_port_that_never_answers_are_turned_away_without_a_connect_of_each() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hanging.local_addr().unwrap();
    for mode in MODES {
        let lines =
            format!("address = \"{address}\"\nconnect_timeout = \"30s\"\nconnections = \"{mode}\"");
        let proxy = Proxy::builder()
            .upstream_named("main", &lines)
            .ready_when_listening()
            .start();
        let mut clients: Vec<_> = (0..50).map(|_| proxy.client("cart")).collect();
        for client in &mut clients {
            let _ = client.try_send(&command(&["PING"]));
        }
        // Patience is shorter than `connect_timeout`.
        clients.iter_mut().for_each(TestClient::expect_close);
    }
    hanging.set_nonblocking(true).unwrap();
    let connects = std::iter::from_fn(|| hanging.accept().ok()).count();
    assert!(connects < 20, "{connects} connects for 100 clients");
}

#[test]
fn clients_that_come_before_the_upstream_has_said_what_it_is_are_served_when_it_has() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    // As in another part of the world: what is behind its first answer takes its time.
    let held = Arc::new(AtomicBool::new(true));
    let waits = Arc::clone(&held);
    let far = between(server.address(), move |from, to| {
        let mut chunk = [0; 64 * 1024];
        let mut first = true;
        while let Ok(len @ 1..) = from.read(&mut chunk) {
            while !std::mem::take(&mut first) && waits.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            if to.write_all(&chunk[..len]).is_err() {
                break;
            }
        }
    });
    for mode in MODES {
        held.store(true, Ordering::SeqCst);
        let lines = format!("address = \"{far}\"\nconnections = \"{mode}\"");
        let proxy = Proxy::builder()
            .upstream_named("main", &lines)
            .ready_when_listening()
            .start();
        let mut clients: Vec<_> = (0..5).map(|_| proxy.client("cart")).collect();
        for client in &mut clients {
            client.send_args(&["PING"]);
        }
        // Until they stand before it.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(proxy.times_ready(), 0);
        held.store(false, Ordering::SeqCst);
        for client in &mut clients {
            assert_eq!(client.read_reply(), pong());
        }
    }
}

#[test]
fn an_upstream_that_hangs_is_noticed_and_comes_back() {
    for (version, mode) in LEGACY_AND_CURRENT.into_iter().zip(MODES) {
        let server = RedisServer::start(version, &["--requirepass", PASSWORD]);
        let lines = format!(
            "password_file = \"password\"\nconnect_timeout = \"60s\"\nconnections = \"{mode}\""
        );
        let proxy = Proxy::builder()
            .upstream_with(&server, &lines)
            .file("password", PASSWORD)
            .start();
        let mut owed = proxy.client("cart");
        assert_eq!(owed.call(&["INCR", "cart:n"]), Reply::Integer(1));
        let opened = || -> usize { server.info("total_connections_received").parse().unwrap() };
        let before = opened();
        server.freeze();
        owed.send_args(&["INCR", "cart:n"]);
        let mut clients: Vec<_> = (0..20).map(|_| proxy.client("cart")).collect();
        for client in &mut clients {
            client.send_args(&["BLPOP", "cart:none", "0"]);
        }
        let turned_away = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("it is noticed", || {
                proxy.log_text().contains("the upstream is silent")
            });
            // Those that wait for a connection, and those that come now.
            clients.iter_mut().for_each(TestClient::expect_close);
            for _ in 0..20 {
                assert!(!served(&proxy, "cart"));
            }
        }));
        server.thaw();
        turned_away.unwrap();
        // Of 40 clients those of the first second have connected, and respgate itself to see.
        let connects = opened() - before;
        assert!(connects < 32, "{connects} connects to one that hangs");
        // Who was owed something has not lost it.
        assert_eq!(owed.read_reply(), Reply::Integer(2));
        eventually("it is served again", || served(&proxy, "cart"));
        assert_eq!(owed.call(&["INCR", "cart:n"]), Reply::Integer(3));
    }
}

#[test]
fn a_slow_command_is_no_reason_to_turn_anybody_away() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    for mode in MODES {
        let lines = format!("connections = \"{mode}\"");
        let proxy = Proxy::builder().upstream_with(&server, &lines).start();
        let mut slow = server.direct();
        slow.send_args(&["DEBUG", "SLEEP", "3"]);
        std::thread::sleep(Duration::from_millis(1500));
        let mut clients: Vec<_> = (0..5).map(|_| proxy.client("cart")).collect();
        for client in &mut clients {
            client.send_args(&["PING"]);
        }
        for client in &mut clients {
            assert_eq!(client.read_reply(), pong());
        }
        assert_eq!(slow.read_reply(), ok());
        let log = proxy.log_text();
        assert!(!log.contains("gone") && !log.contains("silent"), "{log}");
    }
}
