//! Publish and subscribe through the proxy, in both protocols.

use std::time::Duration;

use crate::support::redis::ALL;
use crate::support::{PATIENCE, Proxy, RedisServer, Reply, Version, pipeline};

const CART: &str = "\
user cart on ~cart:* +@all -@dangerous resetchannels &cart:*
user admin on ~* &* +@all
user search on
";

fn confirmation(first: char, word: &str, name: &str, count: u32) -> String {
    let (word_len, name_len) = (word.len(), name.len());
    format!("{first}3\r\n${word_len}\r\n{word}\r\n${name_len}\r\n{name}\r\n:{count}\r\n")
}

fn message(first: char, channel: &str, text: &str) -> String {
    let (channel_len, text_len) = (channel.len(), text.len());
    format!("{first}3\r\n$7\r\nmessage\r\n${channel_len}\r\n{channel}\r\n${text_len}\r\n{text}\r\n")
}

#[test]
fn a_subscriber_gets_what_it_may_hear_and_its_refusals_in_order() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder().upstream(&server).users(CART).start();
        let mut client = proxy.client("cart");
        client.send(pipeline(&[
            &["SUBSCRIBE", "cart:a", "cart:b"],
            &["SUBSCRIBE", "cart:c", "other"],
            &["PING", "x"],
            &["FLUSHALL"],
            &["PSUBSCRIBE", "cart:*"],
            &["PSUBSCRIBE", "cart:a*"],
            &["UNSUBSCRIBE", "cart:b"],
        ]));
        client.expect(confirmation('*', "subscribe", "cart:a", 1));
        client.expect(confirmation('*', "subscribe", "cart:b", 2));
        client.expect("-NOPERM No permissions to access a channel\r\n");
        client.expect("*2\r\n$4\r\npong\r\n$1\r\nx\r\n");
        assert!(client.read_reply().error().starts_with("NOPERM User cart"));
        client.expect(confirmation('*', "psubscribe", "cart:*", 3));
        client.expect("-NOPERM No permissions to access a channel\r\n");
        client.expect(confirmation('*', "unsubscribe", "cart:b", 2));
        let mut publisher = proxy.client("admin");
        for channel in ["cart:a", "other"] {
            publisher.call(&["PUBLISH", channel, "subscribe"]);
        }
        client.expect(message('*', "cart:a", "subscribe"));
        client
            .expect("*4\r\n$8\r\npmessage\r\n$6\r\ncart:*\r\n$6\r\ncart:a\r\n$9\r\nsubscribe\r\n");
        // Redis' own words to what is no part of it.
        assert!(client.call(&["GET", "cart:k"]).error().contains("context"));
        assert!(client.call(&["ACL", "WHOAMI"]).is_error());
        client.send(pipeline(&[
            &["UNSUBSCRIBE"],
            &["PUNSUBSCRIBE"],
            &["GET", "cart:k"],
        ]));
        client.expect(confirmation('*', "unsubscribe", "cart:a", 1));
        client.expect(confirmation('*', "punsubscribe", "cart:*", 0));
        client.expect("$-1\r\n");
        client.send(pipeline(&[&["UNSUBSCRIBE"], &["PING"]]));
        client.expect("*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n+PONG\r\n");
    }
}

#[test]
fn own_answers_to_a_subscriber_are_in_the_words_of_its_server() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("admin");
        client.call(&["SUBSCRIBE", "a"]);
        let theirs = client.call(&["CONFIG", "GET", "port"]);
        let ours = client.call(&["CLIENT", "REPLY", "ON"]);
        let container = version as u8 <= Version::V6_2_14 as u8;
        let (named, own) = match container {
            true => ("config", "client"),
            false => ("config|get", "client|reply"),
        };
        assert_eq!(ours.error(), theirs.error().replace(named, own));
    }
}

#[test]
fn in_resp3_messages_come_between_replies() {
    for version in [Version::V6_2_14, Version::V7_0_15, Version::V8_2_3] {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("admin");
        let hello = client.hello(&["3"]);
        assert!(hello.starts_with("%7\r\n"), "{hello}");
        client.send(pipeline(&[&["SUBSCRIBE", "a", "b"], &["SET", "k", "v"]]));
        client.expect(confirmation('>', "subscribe", "a", 1));
        client.expect(confirmation('>', "subscribe", "b", 2) + "+OK\r\n");
        let mut publisher = proxy.client("admin");
        publisher.call(&["PUBLISH", "a", "one"]);
        client.send(pipeline(&[
            &["GET", "k"],
            &["DEBUG", "NOPE"],
            &["UNSUBSCRIBE"],
        ]));
        client.expect(message('>', "a", "one") + "$1\r\nv\r\n");
        assert!(client.read_reply().error().starts_with("NOPERM"));
        let first = client.read_until(":1\r\n");
        assert!(first.starts_with(">3\r\n$11\r\nunsubscribe\r\n"), "{first}");
        client.read_until(":0\r\n");
        let hello = client.hello(&["2"]);
        assert!(hello.starts_with("*14\r\n"), "{hello}");
        client.send(pipeline(&[&["GET", "nothing"]]));
        client.expect("$-1\r\n");
    }
}

#[test]
fn what_a_transaction_publishes_to_itself_breaks_no_frame() {
    for version in [Version::V6_2_14, Version::V7_0_15, Version::V8_2_3] {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("admin");
        client.send(pipeline(&[
            &["HELLO", "3"],
            &["SUBSCRIBE", "a"],
            &["MULTI"],
            &["PUBLISH", "a", "m"],
            &["SET", "k", "v"],
            &["EXEC"],
            &["GET", "k"],
            &["ACL", "WHOAMI"],
        ]));
        let got = client.read_until("$5\r\nadmin\r\n");
        // Where the message stands, differs; that it is there, and that all replies are, doesn't.
        assert!(got.contains(&message('>', "a", "m")), "{got:?}");
        assert!(got.ends_with("$1\r\nv\r\n$5\r\nadmin\r\n"), "{got:?}");
    }
}

#[test]
fn sharded_channels_are_channels() {
    for version in [Version::V7_0_15, Version::V8_2_3] {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder().upstream(&server).users(CART).start();
        let mut client = proxy.client("cart");
        client.send(pipeline(&[
            &["SSUBSCRIBE", "cart:s"],
            &["SSUBSCRIBE", "other"],
            &["SUNSUBSCRIBE"],
            &["SSUBSCRIBE", "cart:s"],
        ]));
        client.expect(confirmation('*', "ssubscribe", "cart:s", 1));
        client.expect("-NOPERM No permissions to access a channel\r\n");
        client.expect(confirmation('*', "sunsubscribe", "cart:s", 0));
        client.expect(confirmation('*', "ssubscribe", "cart:s", 1));
        assert_eq!(
            proxy.client("cart").call(&["SPUBLISH", "cart:s", "m"]),
            Reply::Integer(1)
        );
        client.expect("*3\r\n$8\r\nsmessage\r\n$6\r\ncart:s\r\n$1\r\nm\r\n");
    }
}

#[test]
fn subscriptions_have_no_place_in_a_transaction() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("admin");
    client.send(pipeline(&[
        &["MULTI"],
        &["SUBSCRIBE", "a", "b"],
        &["SET", "k", "v"],
        &["EXEC"],
        &["GET", "k"],
    ]));
    client.expect("+OK\r\n-ERR respgate: 'subscribe' is not allowed inside MULTI\r\n+QUEUED\r\n");
    client.expect("-EXECABORT Transaction discarded because of previous errors.\r\n$-1\r\n");
}

#[test]
fn who_loses_a_channel_is_cut_and_who_keeps_it_is_not() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::builder().upstream(&server).users(CART).start();
    let mut loser = proxy.client("cart");
    let mut keeper = proxy.client("cart");
    let mut idle = proxy.client("cart");
    loser.call(&["SUBSCRIBE", "cart:a"]);
    keeper.call(&["SUBSCRIBE", "cart:b"]);
    idle.call(&["PING"]);
    proxy.reload(&CART.replace("&cart:*", "&cart:b"));
    loser.expect_close();
    proxy.audit_when(|event| {
        event["event"] == "session_closed" && event["reason"] == "channel_lost"
    });
    assert_eq!(
        proxy.client("admin").call(&["PUBLISH", "cart:b", "m"]),
        Reply::Integer(1)
    );
    keeper.expect(message('*', "cart:b", "m"));
    assert_eq!(idle.call(&["PING"]), Reply::Simple("PONG".into()));
}

#[test]
fn a_subscriber_is_not_idle_and_its_leaving_is_seen_at_once() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .listener("idle_timeout = \"1s\"")
        .start();
    let mut client = proxy.client("admin");
    client.call(&["SUBSCRIBE", "a"]);
    client.expect_silence(Duration::from_millis(2500));
    // By the Redis itself: a client of the proxy might be idle for too long.
    assert_eq!(
        server.direct().call(&["PUBLISH", "a", "m"]),
        Reply::Integer(1)
    );
    client.expect(message('*', "a", "m"));
    drop(client);
    let start = std::time::Instant::now();
    while server.direct().call(&["PUBLISH", "a", "m"]) != Reply::Integer(0) {
        assert!(start.elapsed() < PATIENCE, "Redis still has the subscriber");
    }
}
