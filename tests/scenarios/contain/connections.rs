//! How many connections a user and an address may have, and how many passwords may be wrong.

use super::{USERS, in_both_modes, reload};
use crate::support::http::Scrape;
use crate::support::proxy::PASSWORD;
use crate::support::{
    Proxy, RedisServer, Reply, TestClient, Version, command, eventually, free_port, ok,
};

const FULL: &str = "ERR max number of clients reached";

#[test]
fn a_user_has_no_more_connections_than_it_may() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let admin = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
        let proxy = builder
            .section("[limits.user.cart]\nmax_connections = 2\n")
            .section(&format!("[admin]\nbind = \"{admin}\"\n"))
            .start();
        let mut two = [proxy.client("cart"), proxy.client("cart")];
        for client in &mut two {
            assert_eq!(client.call(&["PING"]).text(), "PONG");
        }
        let mut third = proxy.client("cart");
        assert_eq!(third.read_reply().error(), FULL);
        third.expect_close();
        let like = |event: &serde_json::Value| event["reason"] == "user_connections";
        assert_eq!(proxy.audit_when(like)[0]["event"], "connection_refused");
        let refused = [("listener", "main"), ("reason", "user_connections")];
        let scrape = Scrape::of(admin);
        assert_eq!(
            scrape.count("respgate_connections_refused_total", &refused),
            1
        );
        assert_eq!(proxy.client("admin").call(&["PING"]).text(), "PONG");
        let [first, mut second] = two;
        drop(first);
        eventually("there is a place again", || {
            let mut client = proxy.client("cart");
            client.send_args(&["PING"]);
            matches!(client.try_read_reply(), Ok(Reply::Simple(_)))
        });
        reload(&proxy, "max_connections = 2", "max_connections = 1");
        assert_eq!(second.call(&["PING"]).text(), "PONG", "it stays");
        eventually("and there is no place", || {
            let mut client = proxy.client("cart");
            client.send_args(&["PING"]);
            matches!(client.try_read_reply(), Ok(Reply::Error(text)) if text == FULL)
        });
    });
}

#[test]
fn auth_as_a_user_without_a_free_place_fails_and_changes_nothing() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(USERS)
        .identities(PASSWORD)
        .section("[limits.user.\"*\"]\nmax_connections = 1\n")
        .start();
    let (mut first, mut second) = (proxy.client("cart"), proxy.client("cart"));
    assert_eq!(first.call(&["AUTH", "cart-secret"]), ok());
    assert_eq!(
        first.call(&["AUTH", "cart-secret"]),
        ok(),
        "the place is its own"
    );
    assert_eq!(second.call(&["AUTH", "cart-secret"]).error(), FULL);
    assert_eq!(
        second
            .call(&["HELLO", "2", "AUTH", "cart", "cart-secret"])
            .error(),
        FULL
    );
    assert_eq!(
        second.call(&["GET", "cart:1"]).error(),
        "NOAUTH Authentication required."
    );
    let refused = proxy.audit_when(|event| event["reason"] == "user_connections");
    assert_eq!(refused[0]["event"], "refused");
    // Another user has a place of its own.
    assert_eq!(proxy.client("admin").call(&["AUTH", "admin-secret"]), ok());
    assert_eq!(first.call(&["RESET"]), Reply::Simple("RESET".into()));
    eventually("the place is free", || {
        second.call(&["AUTH", "cart-secret"]) == ok()
    });
    assert_eq!(first.call(&["AUTH", "cart-secret"]).error(), FULL);
    drop(second);
    eventually("the place is free", || {
        first.call(&["AUTH", "cart-secret"]) == ok()
    });
}

#[test]
fn an_address_has_no_more_connections_than_it_may_on_all_listeners_together() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let port = free_port();
    let proxy = Proxy::builder()
        .upstream(&server)
        .another_listener("second", port, "")
        .section("[limits.address]\nmax_connections = 3\n")
        .start();
    let config = || proxy.certs().client_config(Some("cart"));
    let second = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let come = |address| -> Option<TestClient> {
        let mut client = TestClient::tls(address, config()).ok()?;
        client.try_send(&command(&["PING"])).ok()?;
        client.try_read_reply().ok().map(|_| client)
    };
    let mut here = Vec::new();
    eventually("the first client of all is gone", || {
        here.extend(come(if here.len() == 1 {
            second
        } else {
            proxy.address()
        }));
        here.len() == 3
    });
    assert!(come(second).is_none() && come(proxy.address()).is_none());
    let like = |event: &serde_json::Value| event["reason"] == "address_connections";
    eventually("the audit has both", || proxy.audit_when(like).len() >= 2);
    let other = TestClient::tls_from(Some("127.0.0.2"), proxy.address(), config());
    assert_eq!(other.unwrap().call(&["PING"]).text(), "PONG");
    here.pop();
    eventually("there is a place again", || come(second).is_some());
}

#[test]
fn how_often_a_password_may_be_wrong_is_a_setting_that_can_be_reloaded() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(USERS)
        .identities(PASSWORD)
        .section("[limits.auth]\nattempts = 2\ninterval = \"1h\"\n")
        .start();
    let mut client = proxy.client("cart");
    let wrong = |client: &mut TestClient| client.call(&["AUTH", "wrong"]).error().to_owned();
    for _ in 0..2 {
        assert!(wrong(&mut client).starts_with("WRONGPASS"));
    }
    let throttled = "ERR respgate: too many failed logins";
    assert!(wrong(&mut client).starts_with(throttled));
    assert!(
        client
            .call(&["AUTH", "cart-secret"])
            .error()
            .starts_with(throttled)
    );
    let mut elsewhere = {
        let config = proxy.certs().client_config(Some("cart"));
        TestClient::tls_from(Some("127.0.0.2"), proxy.address(), config).unwrap()
    };
    assert_eq!(elsewhere.call(&["AUTH", "cart-secret"]), ok());
    reload(&proxy, "attempts = 2", "attempts = 5");
    for _ in 0..3 {
        assert!(wrong(&mut client).starts_with("WRONGPASS"));
    }
    assert!(wrong(&mut client).starts_with(throttled));
}

#[test]
fn a_limit_for_a_user_that_no_file_has_is_warned_of() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[limits.user.carr]\nmax_connections = 2\n")
        .start();
    let log = proxy.log_text();
    assert!(
        log.contains("limits.user.carr: no ACL file defines this user"),
        "{log}"
    );
}
