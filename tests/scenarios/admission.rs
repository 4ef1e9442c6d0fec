//! How many may be on their way in at once, and what a flood of them does to who is in.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use crate::support::{Builder, Proxy, RedisServer, Reply, TestClient, Version, eventually, pong};

fn server() -> RedisServer {
    RedisServer::start(Version::V5_0_6, &[])
}

fn proxy(server: &RedisServer, lines: &str) -> Builder {
    Proxy::builder().upstream(server).listener(lines)
}

/// Connects and says nothing. It may be turned away before it has noticed that it is connected.
fn silent(proxy: &Proxy, source: &str) -> io::Result<TcpStream> {
    TestClient::connect_from(Some(source), proxy.address())
}

/// Connects, begins a handshake, and goes no further.
fn begun(proxy: &Proxy, source: &str) -> io::Result<TcpStream> {
    let mut stream = silent(proxy, source)?;
    let config = proxy.certs().client_config(Some("cart"));
    let (_, hello) = TestClient::client_hello(config).unwrap();
    stream.write_all(&hello)?;
    Ok(stream)
}

fn answers(proxy: &Proxy, source: &str) -> bool {
    let config = proxy.certs().client_config(Some("cart"));
    TestClient::tls_from(Some(source), proxy.address(), config).is_ok_and(|mut client| {
        client.try_send(b"*1\r\n$4\r\nPING\r\n").is_ok()
            && client.try_read_reply().is_ok_and(|reply| reply == pong())
    })
}

fn refused(reason: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == "connection_refused" && event["reason"] == reason
}

/// The connection must end without a byte.
#[track_caller]
fn expect_end(stream: io::Result<TcpStream>) {
    let mut rest = Vec::new();
    match stream.and_then(|mut stream| stream.read_to_end(&mut rest)) {
        Ok(_) => assert!(rest.is_empty(), "{}", rest.escape_ascii()),
        Err(error) => assert!(error.kind() == io::ErrorKind::ConnectionReset, "{error}"),
    }
}

#[test]
fn one_address_has_only_so_many_on_their_way_in() {
    let server = server();
    let proxy = proxy(
        &server,
        "max_handshakes_per_ip = 5\nhandshake_timeout = \"60s\"",
    )
    .start();
    let mut held: Vec<_> = (0..3)
        .map(|_| silent(&proxy, "127.0.0.3").unwrap())
        .collect();
    held.extend((0..2).map(|_| begun(&proxy, "127.0.0.3").unwrap()));
    expect_end(silent(&proxy, "127.0.0.3"));
    let events = proxy.audit_when(refused("handshakes_per_ip"));
    assert!(
        events[0]["peer"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.3:"),
        "{events:#?}"
    );
    assert!(answers(&proxy, "127.0.0.4"));
    drop(held.pop());
    eventually("there is room for one", || answers(&proxy, "127.0.0.3"));
}

#[test]
fn who_is_in_counts_no_more() {
    let server = server();
    let proxy = proxy(&server, "max_handshakes = 1\nmax_handshakes_per_ip = 1").start();
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = proxy.client("cart");
        // Its answer shows that it is in.
        assert_eq!(client.call(&["PING"]), pong());
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.call(&["PING"]), pong());
    }
}

#[test]
fn all_addresses_together_have_only_so_many_on_their_way_in() {
    let server = server();
    let proxy = proxy(&server, "max_handshakes = 6\nhandshake_timeout = \"6s\"").start();
    let mut live = proxy.client("cart");
    assert_eq!(live.call(&["PING"]), pong());
    let held: Vec<_> = (1..=6)
        .map(|number| silent(&proxy, &format!("127.0.1.{number}")).unwrap())
        .collect();
    expect_end(silent(&proxy, "127.0.0.5"));
    proxy.audit_when(refused("handshakes"));
    assert_eq!(live.call(&["PING"]), pong());
    // At their deadline they give up their places.
    eventually("new clients are let in", || answers(&proxy, "127.0.0.5"));
    assert_eq!(live.call(&["PING"]), pong());
    drop(held);
}

#[test]
fn a_reload_changes_how_many_handshakes_there_may_be() {
    let server = server();
    let limits = "max_handshakes_per_ip = 1\nhandshake_timeout = \"60s\"";
    let proxy = proxy(&server, limits).start();
    let _held = silent(&proxy, "127.0.0.3").unwrap();
    assert!(!answers(&proxy, "127.0.0.3"));
    proxy.edit("max_handshakes_per_ip = 1", "max_handshakes_per_ip = 2");
    proxy.reload_until("a new generation is in force");
    assert!(answers(&proxy, "127.0.0.3"));
    proxy.edit(
        "max_handshakes_per_ip = 2",
        "max_handshakes_per_ip = 2\nmax_handshakes = 1",
    );
    proxy.reload_until("a new generation is in force");
    assert!(!answers(&proxy, "127.0.0.4"));
}

#[test]
fn a_flood_of_handshakes_leaves_who_is_in_served_and_then_lets_others_in() {
    let server = server();
    let proxy = proxy(
        &server,
        "max_connections = 1500\nmax_handshakes = 600\nhandshake_timeout = \"10s\"",
    )
    .start();
    let mut live = proxy.client("cart");
    assert_eq!(live.call(&["PING"]), pong());
    let flooding = Arc::new(AtomicBool::new(true));
    let served = {
        let flooding = Arc::clone(&flooding);
        thread::spawn(move || {
            let mut served = 0;
            while flooding.load(Ordering::Relaxed) {
                assert_eq!(
                    live.call(&["SET", "cart:1", "a"]),
                    Reply::Simple("OK".into())
                );
                served += 1;
            }
            (live, served)
        })
    };
    // Half of them make the proxy work, half of them make it wait; twelve addresses of 100 at most, of
    // which six are enough for all places.
    let mut flood = Vec::new();
    for number in 0..1200 {
        let source = format!("127.0.2.{}", number % 12);
        flood.push(match number % 2 {
            0 => begun(&proxy, &source),
            _ => silent(&proxy, &source),
        });
    }
    proxy.audit_when(refused("handshakes"));
    flooding.store(false, Ordering::Relaxed);
    let (mut live, served) = served.join().unwrap();
    assert!(served > 0, "nothing was served meanwhile");
    eventually("new clients are let in", || answers(&proxy, "127.0.0.1"));
    assert_eq!(live.call(&["PING"]), pong());
    // The audit has each of them, the log has a few: some at once, and one a second.
    let turned_away = proxy
        .audit()
        .into_iter()
        .filter(refused("handshakes"))
        .count();
    let lines = proxy.log_text().matches("connection refused").count();
    assert!(turned_away >= 100, "{turned_away}");
    assert!(lines < 100 && lines < turned_away, "{lines} lines");
}
