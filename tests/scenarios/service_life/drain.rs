//! The end: what is owed is finished, up to a deadline.

use std::net::SocketAddr;
use std::time::Instant;

use rustix::process::Signal;

use super::Manager;
use crate::metrics::with_metrics;
use crate::support::http::wait_for_owed;
use crate::support::{
    PATIENCE, Proxy, RedisServer, Reply, TestClient, Version, command, eventually,
};

/// Commands that wait for a Redis that is frozen; who sent them. `at`: where the proxy tells of itself.
#[track_caller]
fn owed(proxy: &Proxy, server: &RedisServer, at: SocketAddr) -> Vec<TestClient> {
    let mut clients: Vec<TestClient> = (0..8).map(|_| proxy.client("cart")).collect();
    for client in &mut clients {
        client.call(&["SET", "cart:n", "0"]);
    }
    server.freeze();
    for client in &mut clients {
        client.send(command(&["INCR", "cart:n"]).repeat(100));
    }
    // They are on their way to the Redis, and it answers none.
    wait_for_owed(at, 800);
    clients
}

#[test]
fn a_drain_finishes_what_is_owed_and_a_reload_in_it_does_no_harm() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let manager = Manager::new();
    let (builder, at) = with_metrics(Proxy::builder().upstream(&server));
    let mut proxy = manager.of(builder).start();
    let mut idle = proxy.client("cart");
    idle.call(&["PING"]);
    let clients = owed(&proxy, &server, at);
    manager.all_told();
    proxy.terminate();
    assert!(manager.told().starts_with("STOPPING=1\n"));
    idle.expect_close();
    assert!(
        TestClient::tcp(proxy.address()).is_err(),
        "it still accepts"
    );
    proxy.reload_until("reload: nothing has changed");
    assert!(!proxy.has_exited());
    server.thaw();
    let mut numbers = Vec::new();
    for mut client in clients {
        for _ in 0..100 {
            let reply = client.read_reply();
            let Reply::Integer(number) = reply else {
                panic!("{reply:?}")
            };
            numbers.push(number);
        }
        client.expect_close();
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=800).collect::<Vec<_>>());
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(proxy.log_text().contains("cut=0"), "{}", proxy.log_text());
    assert!(!manager.all_told().contains("RELOADING"));
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let builder = Proxy::builder()
        .upstream(&server)
        .section("[runtime]\ndrain_timeout = \"500ms\"");
    let (builder, at) = with_metrics(builder);
    let mut proxy = builder.start();
    let clients = owed(&proxy, &server, at);
    proxy.terminate();
    assert_eq!(proxy.wait().code(), Some(0));
    let log = proxy.log_text();
    assert!(
        log.contains("deadline=500ms") && log.contains("cut=8"),
        "{log}"
    );
    drop(clients);
}

#[test]
fn a_second_signal_ends_a_drain() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let builder = Proxy::builder()
        .upstream(&server)
        .section("[runtime]\ndrain_timeout = \"10m\"");
    let (builder, at) = with_metrics(builder);
    let mut proxy = builder.start();
    let clients = owed(&proxy, &server, at);
    proxy.terminate();
    eventually("the drain", || proxy.log_text().contains("draining"));
    proxy.signal(Signal::TERM);
    let start = Instant::now();
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert!(proxy.log_text().contains("second signal"));
    drop(clients);
}
