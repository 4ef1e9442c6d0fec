//! The source that a header names is whoever is judged and counted.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use super::{ALLOW, answers, behind, connect, proxy, refusals, refused, server, v1, v2};
use crate::support::{Reply, TestClient, command, eventually, ok, pong};

#[test]
fn the_source_that_a_header_names_is_the_clients() {
    let server = server();
    let proxy = proxy(&server).listener(ALLOW).start();
    let whoami = |client: &mut TestClient| client.call(&["ACL", "WHOAMI"]).text();
    for (source, user, peer) in [
        ("10.1.2.3", "search", "10.1.2.3:4711"),
        ("10.2.2.3", "cart", "10.2.2.3:4711"),
        ("2001:db8::7", "search", "[2001:db8::7]:4711"),
        ("::ffff:10.1.2.4", "search", "10.1.2.4:4711"),
    ] {
        for header in [v1(source), v2(source)] {
            let mut client = behind(&proxy, &header).unwrap();
            assert_eq!(whoami(&mut client), user, "{source}");
            // And byte by byte, with TLS only when all of it is there.
            let mut stream = connect(&proxy);
            for byte in &header {
                stream.write_all(&[*byte]).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
            let config = proxy.certs().client_config(Some("cart"));
            let mut slow = TestClient::tls_over(stream, b"", config).unwrap();
            assert_eq!(whoami(&mut slow), user, "{source}");
            // Large enough to be read in many pieces: not a byte of TLS is lost.
            let value = "x".repeat(1 << 20);
            let key = format!("{user}:1");
            assert_eq!(client.call(&["SET", &key, &value]), ok());
            assert_eq!(slow.call(&["GET", &key]), Reply::bulk(&value));
            assert!(slow.call(&["FLUSHALL"]).is_error());
        }
        let like = |event: &Value| event["peer"] == peer && event["event"] == "refused";
        let refusals = || -> Vec<Value> { proxy.audit().into_iter().filter(like).collect() };
        eventually("both are told of", || refusals().len() == 2);
        let events = refusals();
        for event in &events {
            let balancer = event["proxy"].as_str().unwrap();
            assert!(balancer.starts_with("127.0.0.2:"), "{event:#?}");
        }
    }
    // Who comes directly has no balancer.
    assert!(proxy.client("cart").call(&["FLUSHALL"]).is_error());
    let direct = |event: &Value| {
        event["peer"]
            .as_str()
            .is_some_and(|peer| peer.starts_with("127.0.0.1:"))
    };
    assert!(proxy.audit_when(direct)[0]["proxy"].is_null());
}

#[test]
fn the_source_that_a_header_names_is_judged_by_allow_and_deny() {
    let server = server();
    let proxy = proxy(&server).listener(ALLOW).start();
    assert!(answers(&proxy, &v1("10.5.0.1")));
    let others = [
        "10.6.0.1",
        "11.0.0.1",
        "127.0.0.2",
        "::ffff:10.6.0.2",
        "2001:db9::1",
    ];
    for source in others {
        assert!(!answers(&proxy, &v1(source)), "{source}");
        assert!(!answers(&proxy, &v2(source)), "{source}");
    }
    let events = refusals(&proxy, "source", 2 * others.len());
    let denied = |event: &&Value| event["peer"] == "10.6.0.1:4711";
    let denied = events.iter().find(denied).unwrap();
    assert!(denied["proxy"].as_str().unwrap().starts_with("127.0.0.2:"));
    assert!(answers(&proxy, &v2("10.5.0.1")));
}

#[test]
fn connections_are_counted_by_the_source_that_a_header_names() {
    let server = server();
    let proxy = proxy(&server)
        .listener(ALLOW)
        .listener("max_connections_per_ip = 2")
        .start();
    let mut clients = Vec::new();
    for source in ["10.1.0.1", "10.1.0.2", "10.1.0.3"] {
        for header in [v1(source), v2(source)] {
            let mut client = behind(&proxy, &header).unwrap();
            assert_eq!(client.call(&["PING"]), pong());
            clients.push(client);
        }
    }
    assert!(!answers(&proxy, &v1("10.1.0.1")));
    assert!(!answers(&proxy, &v2("::ffff:10.1.0.2")));
    refusals(&proxy, "connections_per_ip", 2);
    clients.clear();
    eventually("there is room again", || answers(&proxy, &v2("10.1.0.1")));
}

#[test]
fn handshakes_are_counted_by_the_source_that_a_header_names() {
    let server = server();
    let proxy = proxy(&server)
        .listener(ALLOW)
        .listener("max_handshakes_per_ip = 2\nhandshake_timeout = \"60s\"")
        .start();
    // More of the balancer's own than one address may have: they have named nobody yet.
    let _unnamed: Vec<_> = (0..5).map(|_| connect(&proxy)).collect();
    let held: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = connect(&proxy);
            stream.write_all(&v2("10.1.0.1")).unwrap();
            stream
        })
        .collect();
    eventually("both hold their places", || {
        !answers(&proxy, &v1("10.1.0.1"))
    });
    proxy.audit_when(refused("handshakes_per_ip"));
    assert!(answers(&proxy, &v1("10.1.0.2")));
    drop(held);
    eventually("there is room again", || answers(&proxy, &v1("10.1.0.1")));
}

#[test]
fn wrong_passwords_are_counted_by_the_source_that_a_header_names() {
    let server = server();
    let proxy = proxy(&server)
        .listener(ALLOW)
        .users("user cart on >cart-secret ~* +@all\nuser search on >search-secret ~* +@all\nuser admin on ~* &* +@all\n")
        .identities(
            "[[identity]]\nmatch = { cn = \"cart\" }\nuser = \"$auth\"\nauth = \"password\"\n\n\
             [[identity]]\nmatch = { cn = \"admin\" }\nuser = \"admin\"\nauth = \"certificate\"\n",
        )
        .start();
    let mut guesser = behind(&proxy, &v2("10.1.0.1")).unwrap();
    let wrong = command(&["AUTH", "cart", "wrong"]).repeat(100);
    let right = ["AUTH", "search", "search-secret"];
    guesser.send([wrong, command(&right)].concat());
    let last = (0..101).map(|_| guesser.read_reply()).last().unwrap();
    assert!(last.error().contains("too many failed logins"), "{last:?}");
    // Another one behind the same balancer has guessed nothing.
    let mut other = behind(&proxy, &v1("10.1.0.2")).unwrap();
    assert_eq!(other.call(&right), ok());
}
