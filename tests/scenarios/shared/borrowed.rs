//! Connections of one's own, where clients share the others: what gets one, how many there may be, and
//! when they are given back.

use std::time::Duration;

use super::{Witness, builder_with, ok, rode_of, start};
use crate::support::{RedisServer, Reply, Version, pipeline};

#[test]
fn a_thousand_blocked_clients_have_what_the_cap_allows_and_hold_up_nobody() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = builder_with(&server, "max_connections = 31")
        .listener("max_connections = 1200")
        .listener("max_connections_per_ip = 1200")
        .start();
    let mut witness = Witness::of(&server);
    let mut rider = proxy.client("cart");
    assert_eq!(rider.call(&["PING"]), Reply::Simple("PONG".into()));
    let before = witness.opened();
    let mut blocked = Vec::new();
    let mut refused = Vec::new();
    for number in 0..1000 {
        let mut client = proxy.client("cart");
        let key = format!("queue:{number}");
        client.send_args(&["BLPOP", &key, "0"]);
        if blocked.len() < 30 {
            blocked.push((key, client));
            witness.wait_for_blocked(blocked.len() as u64);
        } else {
            // At once, and the connection lives.
            assert_eq!(
                client.read_reply().error(),
                "ERR respgate: 'blpop' needs a connection of its own, and upstream.max_connections \
                 are open"
            );
            if number % 20 == 0 {
                assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
                refused.push(client);
            }
        }
    }
    assert_eq!(witness.blocked(), 30);
    assert_eq!(witness.opened(), before + 30);
    // Other things that need one are told the same.
    for args in [&["WATCH", "k"][..], &["MULTI"], &["SUBSCRIBE", "c"]] {
        let reply = rider.call(args);
        let expected = format!(
            "ERR respgate: '{}' needs a connection of its own, and upstream.max_connections are open",
            args[0].to_lowercase()
        );
        assert_eq!(reply.error(), expected);
    }
    // What rides goes on riding.
    for number in 0..200 {
        let text = number.to_string();
        assert_eq!(rider.call(&["ECHO", &text]), Reply::bulk(&text));
        let client = &mut refused[number % 20];
        assert_eq!(client.call(&["ECHO", &text]), Reply::bulk(&text));
    }
    // They come back, and the next have them.
    for (number, (key, client)) in blocked.iter_mut().enumerate() {
        assert_eq!(rider.call(&["RPUSH", key, "v"]), Reply::Integer(1));
        let popped = [key.as_str(), "v"].map(Reply::bulk).to_vec();
        assert_eq!(client.read_reply(), Reply::Array(popped));
        witness.wait_for_blocked(29 - number as u64);
    }
    for client in &mut refused[..20] {
        client.send_args(&["BLPOP", "later", "0"]);
    }
    witness.wait_for_blocked(20);
    assert_eq!(
        witness.opened(),
        before + 30,
        "none is opened that is there"
    );
}

#[test]
fn a_watch_keeps_its_connection_until_it_ends() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut witness = Witness::of(&server);
    let (mut client, mut other) = (proxy.client("cart"), proxy.client("cart"));
    let before = witness.opened();
    for round in 0..5 {
        assert_eq!(client.call(&["WATCH", "k"]), ok());
        client.call(&["GET", "k"]);
        // Another watches meanwhile: each its own.
        assert_eq!(other.call(&["WATCH", "other"]), ok());
        assert_eq!(other.call(&["SET", "k", "theirs"]), ok());
        client.send(pipeline(&[&["MULTI"], &["SET", "k", "mine"], &["EXEC"]]));
        client.expect("+OK\r\n+QUEUED\r\n*-1\r\n");
        // Nothing is watched any more.
        client.send(pipeline(&[&["MULTI"], &["SET", "k", "mine"], &["EXEC"]]));
        client.expect("+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
        assert_eq!(other.call(&["UNWATCH"]), ok());
        assert_eq!(witness.opened(), before + 2, "round {round}");
    }
    // UNWATCH gives it back: one is enough for both now.
    assert_eq!(client.call(&["WATCH", "k"]), ok());
    assert_eq!(client.call(&["UNWATCH"]), ok());
    assert_eq!(client.call(&["GET", "k"]), Reply::bulk("mine"));
    assert!(rode_of(&proxy, client).0 > 0);
}

/// A watched key of one client must not spoil the transaction of the next who has its connection.
#[test]
fn who_leaves_with_a_watch_takes_the_connection_along() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut witness = Witness::of(&server);
    for what in [
        &[&["WATCH", "k"][..]][..],
        &[&["MULTI"], &["SET", "k", "v"]],
        &[&["SUBSCRIBE", "c"]],
        &[&["CLIENT", "NO-EVICT", "ON"]],
        &[&["BLPOP", "none", "0"]],
    ] {
        let open = witness.open();
        let mut client = proxy.client("cart");
        client.send(pipeline(what));
        crate::support::eventually("it has its own", || witness.open() == open + 1);
        drop(client);
        crate::support::eventually("it is closed", || witness.open() == open);
    }
}

#[test]
fn a_borrowed_connection_is_called_as_its_client() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut witness = Witness::of(&server);
    let (mut first, mut second, mut third) = (
        proxy.client("cart"),
        proxy.client("cart"),
        proxy.client("cart"),
    );
    assert_eq!(first.call(&["CLIENT", "SETNAME", "first"]), ok());
    assert_eq!(second.call(&["CLIENT", "SETNAME", "second"]), ok());
    for (client, name) in [
        (&mut first, "first"),
        (&mut second, "second"),
        (&mut third, ""),
    ] {
        client.send_args(&["BLPOP", "queue", "0"]);
        witness.wait_for_blocked(1);
        let list = witness.clients();
        let line = list
            .lines()
            .find(|line| line.contains("cmd=blpop"))
            .unwrap();
        assert!(line.contains(&format!(" name={name} ")), "{line}");
        witness.call(&["RPUSH", "queue", "v"]);
        client.read_reply();
        // The next has the same connection, and its own name on it.
        witness.wait_for_blocked(0);
        assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
    }
}

#[test]
fn who_changes_its_name_on_a_borrowed_connection_is_called_so_at_once_and_nobody_after_it() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut client = proxy.client("cart");
    for (request, name) in [
        (&["CLIENT", "SETNAME", "second"][..], "second"),
        (&["HELLO", "3", "SETNAME", "third"], "third"),
    ] {
        assert_eq!(client.call(&["CLIENT", "SETNAME", "first"]), ok());
        client.send(pipeline(&[
            &["WATCH", "k"],
            request,
            &["CLIENT", "INFO"],
            &["UNWATCH"],
        ]));
        assert_eq!(client.read_reply(), ok());
        client.read_raw();
        let info = client.read_raw();
        let info = String::from_utf8_lossy(&info);
        assert!(info.contains(&format!(" name={name} ")), "{info}");
        assert_eq!(client.read_reply(), ok());
    }
    let info = proxy.client("cart").call(&["CLIENT", "INFO"]).text();
    assert!(info.contains(" name= "), "{info}");
}

#[test]
fn subscribers_and_trackers_have_their_own_and_get_no_replies_of_others() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let (mut subscriber, mut tracker, mut rider) = (
        proxy.client("cart"),
        proxy.client("cart"),
        proxy.client("cart"),
    );
    subscriber.send_args(&["SUBSCRIBE", "c"]);
    subscriber.expect("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    tracker.hello(&["3"]);
    assert_eq!(tracker.call(&["CLIENT", "TRACKING", "ON"]), ok());
    tracker.send_args(&["GET", "k"]);
    tracker.expect("_\r\n");
    for _ in 0..20 {
        assert_eq!(rider.call(&["ECHO", "x"]), Reply::bulk("x"));
    }
    assert_eq!(rider.call(&["SET", "k", "v"]), ok());
    tracker.expect(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
    assert_eq!(rider.call(&["PUBLISH", "c", "m"]), Reply::Integer(1));
    subscriber.expect("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n");
    rider.expect_silence(Duration::from_millis(50));
    // Once nothing is listened to, it rides again.
    subscriber.send_args(&["UNSUBSCRIBE"]);
    subscriber.expect("*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n");
    assert_eq!(subscriber.call(&["ECHO", "x"]), Reply::bulk("x"));
}

#[test]
fn wait_is_refused_where_connections_are_shared_and_says_why() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut client = proxy.client("cart");
    let reply = client.call(&["WAIT", "0", "0"]);
    assert!(
        reply
            .error()
            .contains("upstream.connections = \"dedicated\""),
        "{reply:?}"
    );
    assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
}
