//! What Redis serves while it is busy goes on a connection where nothing stands before it.

use std::time::Duration;

use super::{Witness, ok, start};
use crate::support::{RedisServer, Reply, TestClient, Version, eventually};

const ENDLESS: &str = "while true do end";

/// A Redis that says soon that it is busy.
fn server() -> RedisServer {
    RedisServer::start(Version::V7_0_15, &["--lua-time-limit", "20"])
}

#[track_caller]
fn wait_until_busy(server: &RedisServer) {
    let mut direct = server.direct();
    eventually(
        "a script runs",
        || matches!(direct.call(&["GET", "k"]), Reply::Error(text) if text.starts_with("BUSY")),
    );
}

fn pong(client: &mut TestClient) {
    assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
}

#[test]
fn script_kill_reaches_redis_past_an_endless_script() {
    let server = server();
    let proxy = start(&server);
    let (mut endless, mut waiting, mut killer) = (
        proxy.client("cart"),
        proxy.client("cart"),
        proxy.client("admin"),
    );
    let mut behind = proxy.client("cart");
    let mut other_database = proxy.client("admin");
    assert_eq!(other_database.call(&["SELECT", "3"]), ok());
    let mut resp3 = proxy.client("admin");
    resp3.hello(&["3"]);
    let mut witness = Witness::of(&server);
    let before = witness.opened();
    for killer in [&mut killer, &mut other_database, &mut resp3] {
        endless.send_args(&["EVAL", ENDLESS, "0"]);
        wait_until_busy(&server);
        // Scripts have shared connections of their own, so who runs none hears how it is.
        assert!(waiting.call(&["ECHO", "x"]).error().starts_with("BUSY"));
        behind.send_args(&["EVAL", "return 'behind'", "0"]);
        // One who comes now.
        let mut late = proxy.client("admin");
        assert_eq!(killer.call(&["SCRIPT", "KILL"]), ok());
        assert!(endless.read_reply().is_error());
        assert_eq!(behind.read_reply(), Reply::bulk("behind"));
        assert_eq!(waiting.call(&["ECHO", "x"]), Reply::bulk("x"));
        assert!(
            late.call(&["SCRIPT", "KILL"])
                .error()
                .starts_with("NOTBUSY")
        );
        pong(killer);
        pong(&mut late);
    }
    // `server.direct()` of each round, and an errand's connection is closed behind it. And the one for
    // scripts.
    assert!(
        witness.opened() - before <= 3 * (1 + 2) + 1,
        "{}",
        witness.opened() - before
    );
}

#[test]
fn function_kill_reaches_redis_past_an_endless_function() {
    let server = server();
    let proxy = start(&server);
    let (mut endless, mut killer) = (proxy.client("cart"), proxy.client("admin"));
    let library = format!("#!lua name=l\nredis.register_function('f', function() {ENDLESS} end)");
    assert_eq!(
        endless.call(&["FUNCTION", "LOAD", &library]),
        Reply::bulk("l")
    );
    endless.send_args(&["FCALL", "f", "0"]);
    wait_until_busy(&server);
    assert_eq!(killer.call(&["FUNCTION", "KILL"]), ok());
    assert!(endless.read_reply().is_error());
    pong(&mut killer);
    pong(&mut endless);
}

#[test]
fn client_unpause_is_served_while_clients_are_paused() {
    let server = server();
    let proxy = start(&server);
    let (mut paused, mut operator) = (proxy.client("cart"), proxy.client("admin"));
    pong(&mut paused);
    assert_eq!(operator.call(&["CLIENT", "PAUSE", "100000", "WRITE"]), ok());
    paused.send_args(&["SET", "k", "v"]);
    paused.expect_silence(Duration::from_millis(100));
    // In `ALL` mode Redis itself holds it back.
    assert_eq!(operator.call(&["CLIENT", "UNPAUSE"]), ok());
    assert_eq!(paused.read_reply(), ok());
}

#[test]
fn client_unblock_and_kill_are_served_and_hit_who_was_meant() {
    let server = server();
    let proxy = start(&server);
    let mut witness = Witness::of(&server);
    let (mut blocked, mut operator) = (proxy.client("cart"), proxy.client("admin"));
    let id = |witness: &mut Witness| {
        let list = witness.clients();
        let line = list
            .lines()
            .find(|line| line.contains("cmd=blpop"))
            .unwrap();
        line.split(' ')
            .next()
            .unwrap()
            .trim_start_matches("id=")
            .to_owned()
    };
    blocked.send_args(&["BLPOP", "queue", "0"]);
    witness.wait_for_blocked(1);
    let number = id(&mut witness);
    assert_eq!(
        operator.call(&["CLIENT", "UNBLOCK", &number]),
        Reply::Integer(1)
    );
    assert_eq!(blocked.read_reply(), Reply::Nil);
    pong(&mut blocked);
    blocked.send_args(&["BLPOP", "queue", "0"]);
    witness.wait_for_blocked(1);
    let number = id(&mut witness);
    assert_eq!(
        operator.call(&["CLIENT", "KILL", "ID", &number]),
        Reply::Integer(1)
    );
    blocked.expect_close();
    pong(&mut operator);
}

/// Nobody is told the connection of others as his own.
#[test]
fn client_info_is_about_a_connection_of_the_client_s_own() {
    let server = server();
    let proxy = start(&server);
    let mut client = proxy.client("cart");
    assert_eq!(client.call(&["CLIENT", "SETNAME", "mine"]), ok());
    let info = client.call(&["CLIENT", "INFO"]).text();
    assert!(
        info.contains(" name=mine ") && info.contains(" cmd=client|info "),
        "{info}"
    );
    pong(&mut client);
}

/// As where the client has a connection of its own already.
#[test]
fn who_needs_a_connection_in_a_database_while_redis_is_busy_is_told_so() {
    let server = server();
    let proxy = start(&server);
    let (mut endless, mut asks, mut other) = (
        proxy.client("cart"),
        proxy.client("cart"),
        proxy.client("admin"),
    );
    assert_eq!(asks.call(&["SELECT", "3"]), ok());
    assert_eq!(other.call(&["SELECT", "3"]), ok());
    pong(&mut other);
    endless.send_args(&["EVAL", ENDLESS, "0"]);
    wait_until_busy(&server);
    for command in [
        &["BLPOP", "none", "1"][..],
        &["WATCH", "k"],
        &["SELECT", "4"],
    ] {
        let told = asks.call(command);
        assert!(told.error().starts_with("BUSY "), "{command:?}: {told:?}");
    }
    asks.send("WATCH k\r\n");
    assert!(asks.read_reply().error().starts_with("BUSY "));
    assert_eq!(other.call(&["SCRIPT", "KILL"]), ok());
    assert!(endless.read_reply().is_error());
    assert_eq!(asks.call(&["SET", "k", "three"]), ok());
    assert_eq!(asks.call(&["WATCH", "k"]), ok());
    assert_eq!(asks.call(&["GET", "k"]), Reply::bulk("three"));
    assert_eq!(other.call(&["GET", "k"]), Reply::bulk("three"));
}
