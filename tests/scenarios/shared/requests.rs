//! What rides on a shared connection, and what gets one of its own.

use super::{Witness, builder, ok, rode_of, start};
use crate::support::{RedisServer, Reply, Version, command, pipeline};

#[test]
fn fifty_clients_have_one_connection() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut witness = Witness::of(&server);
    let before = witness.opened();
    let mut clients: Vec<_> = (0..50).map(|_| proxy.client("cart")).collect();
    for round in 0..20 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(pipeline(&[
                &["SET", &format!("k:{number}"), &format!("{round}")],
                &["GET", &format!("k:{number}")],
            ]));
        }
        for client in &mut clients {
            client.expect("+OK\r\n");
            assert_eq!(client.read_reply(), Reply::bulk(&round.to_string()));
        }
    }
    assert_eq!(
        witness.opened(),
        before,
        "who was there first has opened it"
    );
    let client = clients.pop().unwrap();
    assert_eq!(rode_of(&proxy, client), (40, 0));
}

/// Rule 2: no byte of a request that isn't whole reaches a shared connection.
#[test]
fn a_half_sent_request_holds_up_nobody() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let (mut half, mut other) = (proxy.client("cart"), proxy.client("cart"));
    let request = command(&["SET", "half", &"h".repeat(30_000)]);
    // At each of these it might be sent on as it is: by its name, its key, its first packets.
    for cut in [1, 10, 25, 100, 17_000, 29_990, request.len() - 1] {
        half.send(&request[..cut]);
        for number in 0..50 {
            let text = format!("{cut}:{number}");
            assert_eq!(other.call(&["ECHO", &text]), Reply::bulk(&text));
        }
        half.send(&request[cut..]);
        half.expect("+OK\r\n");
    }
    // And one that never ends.
    half.send(&request[..20_000]);
    assert_eq!(other.call(&["STRLEN", "half"]), Reply::Integer(30_000));
    half.close_without_notify();
    for _ in 0..10 {
        assert_eq!(other.call(&["STRLEN", "half"]), Reply::Integer(30_000));
    }
    assert_eq!(rode_of(&proxy, other).1, 0);
}

#[test]
fn a_request_of_more_than_64_kilobytes_has_a_connection_of_its_own() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut witness = Witness::of(&server);
    let before = witness.opened();
    let mut client = proxy.client("cart");
    let frame = command(&["SET", "k", ""]).len() + 4;
    // With `$65000` in the place of `$0`.
    let fits = "v".repeat(64 * 1024 - frame);
    assert_eq!(command(&["SET", "k", &fits]).len(), 64 * 1024);
    assert_eq!(client.call(&["SET", "k", &fits]), ok());
    assert_eq!(witness.opened(), before);
    let too_long = fits + "v";
    for _ in 0..5 {
        assert_eq!(client.call(&["SET", "k", &too_long]), ok());
        assert_eq!(
            client.call(&["STRLEN", "k"]),
            Reply::Integer(too_long.len() as i64)
        );
    }
    assert_eq!(witness.opened(), before + 1, "one, for all of them");
    assert_eq!(rode_of(&proxy, client), (6, 5));
}

#[test]
fn values_of_a_megabyte_stream() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut clients: Vec<_> = (0..8).map(|_| proxy.client("cart")).collect();
    let values: Vec<String> = (b'a'..=b'h')
        .map(|byte| (byte as char).to_string().repeat(1 << 20))
        .collect();
    for round in 0..4 {
        for (value, client) in values.iter().zip(&mut clients) {
            let key = &value[..1];
            client.send(pipeline(&[
                &["SET", key, value],
                &["GET", key],
                &["ECHO", "end"],
            ]));
        }
        for (value, client) in values.iter().zip(&mut clients) {
            client.expect("+OK\r\n");
            let reply = client.read_reply();
            assert!(
                reply == Reply::bulk(value),
                "round {round}: another's value"
            );
            client.expect("$3\r\nend\r\n");
        }
    }
}

/// Rule 8.
#[test]
fn what_client_libraries_say_when_they_connect_opens_no_connection() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let proxy = start(&server);
    let mut witness = Witness::of(&server);
    let mut first = proxy.client("cart");
    // The connections of RESP3 in database 0 and 2 are there.
    first.hello(&["3"]);
    first.send(pipeline(&[&["SELECT", "2"], &["ECHO", "x"]]));
    first.expect("+OK\r\n$1\r\nx\r\n");
    let before = witness.opened();
    let mut ids = Vec::new();
    for number in 0..20 {
        let mut client = proxy.client("cart");
        client.hello(&["3", "SETNAME", &format!("worker-{number}")]);
        client.send(pipeline(&[
            &["CLIENT", "SETINFO", "LIB-NAME", "library"],
            &["CLIENT", "SETINFO", "LIB-VER", "1.2.3"],
            &["CLIENT", "GETNAME"],
            &["SELECT", "2"],
            &["CLIENT", "SETNAME", &format!("renamed-{number}")],
            &["CLIENT", "GETNAME"],
            &["PING"],
        ]));
        client.expect("+OK\r\n+OK\r\n");
        assert_eq!(
            client.read_reply(),
            Reply::bulk(&format!("worker-{number}"))
        );
        client.expect("+OK\r\n+OK\r\n");
        assert_eq!(
            client.read_reply(),
            Reply::bulk(&format!("renamed-{number}"))
        );
        client.expect("+PONG\r\n");
        let Reply::Integer(id) = client.call(&["CLIENT", "ID"]) else {
            panic!("no number");
        };
        ids.push(id);
        assert_eq!(rode_of(&proxy, client).1, 0);
    }
    assert_eq!(witness.opened(), before);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20, "each has its own");
}

#[test]
fn resp2_and_resp3_are_served_at_once_and_hello_changes_between_them() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let (mut old, mut new) = (proxy.client("cart"), proxy.client("cart"));
    assert_eq!(old.call(&["HSET", "h", "f", "v"]), Reply::Integer(1));
    new.hello(&["3"]);
    let (map, flat) = (
        "%1\r\n$1\r\nf\r\n$1\r\nv\r\n",
        "*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
    );
    for _ in 0..20 {
        old.send_args(&["HGETALL", "h"]);
        new.send_args(&["HGETALL", "h"]);
        old.expect(flat);
        new.expect(map);
    }
    // In the middle of a pipeline, and back.
    new.send(pipeline(&[
        &["HGETALL", "h"],
        &["HELLO", "2"],
        &["HGETALL", "h"],
        &["HELLO", "3"],
        &["HGETALL", "h"],
        &["ECHO", "end"],
    ]));
    let got = new.read_until("$3\r\nend\r\n");
    let at = |text: &str, from: usize| got[from..].find(text).map(|at| at + from);
    let first = at(map, 0).unwrap();
    let second = at(flat, first).unwrap();
    assert!(first == 0 && at(map, second).is_some(), "{got}");
    assert_eq!(rode_of(&proxy, new).1, 0);
}

/// It is forwarded before the client has a connection, and others are on that already.
#[test]
fn a_hello_that_is_the_login_is_one_request_like_any_other() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = builder(&server)
        .users("user cart on >cart-secret ~* &* +@all\nuser admin on >admin-secret ~* &* +@all\n")
        .identities(
            "[[identity]]\nmatch = { cn = \"cart\" }\nuser = \"cart\"\nauth = \"password\"\n\
             [[identity]]\nmatch = { cn = \"admin\" }\nuser = \"admin\"\n",
        )
        .start();
    let mut clients: Vec<_> = (0..4).map(|_| proxy.client("cart")).collect();
    assert_eq!(clients[0].call(&["AUTH", "cart", "cart-secret"]), ok());
    for (client, protocol) in clients[1..].iter_mut().zip(["3", "2", "3"]) {
        client.hello(&[protocol, "AUTH", "cart", "cart-secret"]);
    }
    for round in 0..10 {
        for (number, client) in clients.iter_mut().enumerate() {
            let text = format!("{number}:{round}");
            client.send_args(&["ECHO", &text]);
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let text = format!("{number}:{round}");
            assert_eq!(client.read_reply(), Reply::bulk(&text));
        }
    }
    for (client, nothing) in clients
        .iter_mut()
        .zip(["*0\r\n", "%0\r\n", "*0\r\n", "%0\r\n"])
    {
        client.send_args(&["HGETALL", "none"]);
        client.expect(nothing);
        // And it may log in anew.
        assert_eq!(client.call(&["RESET"]), Reply::Simple("RESET".into()));
        client.hello(&["2", "AUTH", "cart", "cart-secret"]);
        client.send_args(&["HGETALL", "none"]);
        client.expect("*0\r\n");
    }
}
