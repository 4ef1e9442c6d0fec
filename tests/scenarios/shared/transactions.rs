//! No transaction is ever open on a connection that others use too.

use std::time::Duration;

use super::{Witness, ok, rode_of, start};
use crate::support::redis::LEGACY_AND_CURRENT;
use crate::support::{Proxy, RedisServer, Reply, TestClient, Version, command, pipeline};

/// Others get plain replies: none is queued in a transaction.
#[track_caller]
fn others_are_served(others: &mut [TestClient]) {
    for (number, other) in others.iter_mut().enumerate() {
        let text = format!("other {number}");
        assert_eq!(other.call(&["ECHO", &text]), Reply::bulk(&text));
    }
}

fn others(proxy: &Proxy) -> Vec<TestClient> {
    (0..3).map(|_| proxy.client("cart")).collect()
}

#[test]
fn a_whole_transaction_rides() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = start(&server);
        let mut witness = Witness::of(&server);
        let before = witness.opened();
        let mut client = proxy.client("cart");
        for _ in 0..50 {
            client.send(pipeline(&[
                &["DEL", "n"],
                &["MULTI"],
                &["INCR", "n"],
                &["ECHO", "a"],
                &["INCR", "n"],
                &["EXEC"],
                &["GET", "n"],
            ]));
            let queued = "+QUEUED\r\n".repeat(3);
            client.read_reply();
            client.expect(format!(
                "+OK\r\n{queued}*3\r\n:1\r\n$1\r\na\r\n:2\r\n$1\r\n2\r\n"
            ));
        }
        assert_eq!(witness.opened(), before);
        assert_eq!(rode_of(&proxy, client), (350, 0));
    }
}

/// Each of these leaves a transaction open, ends it in its own way, or hides its end: whatever comes of
/// it comes of it on a connection of its own, at each cut of the packets.
#[test]
fn no_transaction_is_left_open_where_others_are() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut others = others(&proxy);
    let cases: &[(&str, &[&[&str]])] = &[
        (
            "EXEC with an argument",
            &[&["MULTI"], &["SET", "k", "v"], &["EXEC", "x"]],
        ),
        (
            "MULTI with an argument",
            &[&["MULTI", "x"], &["SET", "k", "v"], &["EXEC"]],
        ),
        (
            "DISCARD with an argument",
            &[&["MULTI"], &["SET", "k", "v"], &["DISCARD", "x"]],
        ),
        ("DISCARD", &[&["MULTI"], &["SET", "k", "v"], &["DISCARD"]]),
        (
            "EXEC behind EXEC with an argument",
            &[&["MULTI"], &["SET", "k", "v"], &["EXEC", "x"], &["EXEC"]],
        ),
        (
            "SELECT inside",
            &[
                &["MULTI"],
                &["SELECT", "5"],
                &["SET", "k", "5"],
                &["EXEC"],
                &["SELECT", "0"],
            ],
        ),
        (
            "SELECT inside, and no way back",
            &[&["MULTI"], &["SELECT", "5"], &["EXEC"]],
        ),
        (
            "a MULTI inside",
            &[&["MULTI"], &["MULTI"], &["SET", "k", "v"], &["EXEC"]],
        ),
        (
            "a WATCH inside",
            &[&["MULTI"], &["WATCH", "k"], &["SET", "k", "v"], &["EXEC"]],
        ),
        (
            "an UNWATCH inside",
            &[&["MULTI"], &["UNWATCH"], &["SET", "k", "v"], &["EXEC"]],
        ),
        (
            "a blocking command inside",
            &[&["MULTI"], &["BLPOP", "none", "0"], &["EXEC"]],
        ),
        (
            "a command with too few arguments",
            &[&["MULTI"], &["SET", "k"], &["SET", "k", "v"], &["EXEC"]],
        ),
        (
            "a command that doesn't exist",
            &[&["MULTI"], &["NOPE", "k"], &["SET", "k", "v"], &["EXEC"]],
        ),
        ("an empty one", &[&["MULTI"], &["EXEC"]]),
        (
            "two",
            &[
                &["MULTI"],
                &["EXEC"],
                &["MULTI"],
                &["SET", "k", "v"],
                &["EXEC"],
            ],
        ),
        ("no end", &[&["MULTI"], &["SET", "k", "v"]]),
        ("EXEC alone", &[&["EXEC"]]),
        ("DISCARD alone", &[&["DISCARD"]]),
    ];
    for (what, commands) in cases {
        let bytes = pipeline(commands);
        // As one packet, and with the last request in the next one, and with half of it.
        let last = bytes.len() - command(commands.last().unwrap()).len();
        for cut in [bytes.len(), last, last + 5] {
            eprintln!("{what}, cut at {cut} of {}", bytes.len());
            let mut direct = server.direct();
            direct.send(&bytes);
            let mut client = proxy.client("cart");
            client.send(&bytes[..cut]);
            if cut < bytes.len() {
                std::thread::sleep(Duration::from_millis(20));
                others_are_served(&mut others);
                client.send(&bytes[cut..]);
            }
            for _ in *commands {
                client.expect(direct.read_raw());
            }
            others_are_served(&mut others);
            // What the client left open is still its own.
            assert_eq!(client.call(&["EXISTS", "k"]), direct.call(&["EXISTS", "k"]));
            drop(client);
            others_are_served(&mut others);
        }
    }
}

#[test]
fn a_transaction_in_packets_of_its_own_is_one() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut witness = Witness::of(&server);
    let before = witness.opened();
    let mut client = proxy.client("cart");
    let mut others = others(&proxy);
    for round in 1..=10 {
        assert_eq!(client.call(&["MULTI"]), ok());
        others_are_served(&mut others);
        assert_eq!(client.call(&["INCR", "n"]), Reply::Simple("QUEUED".into()));
        others_are_served(&mut others);
        assert_eq!(
            client.call(&["EXEC"]),
            Reply::Array(vec![Reply::Integer(round)])
        );
        others_are_served(&mut others);
        // It is given back behind EXEC, and the next one has it.
        assert_eq!(client.call(&["GET", "n"]), Reply::bulk(&round.to_string()));
    }
    assert_eq!(witness.opened(), before + 1);
    assert_eq!(rode_of(&proxy, client), (10, 30));
}

#[test]
fn a_refused_command_spoils_its_own_transaction_alone() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = start(&server);
        let mut others = others(&proxy);
        let mut client = proxy.client("search");
        let commands = [
            &["MULTI"][..],
            &["SET", "search:1", "a"],
            &["SET", "other:1", "a"],
            &["EXEC"],
        ];
        for round in 0..20 {
            client.send(pipeline(&commands));
            for other in &mut others {
                other.send_args(&["INCR", "others"]);
            }
            assert_eq!(client.read_reply(), ok());
            assert_eq!(client.read_reply(), Reply::Simple("QUEUED".into()));
            assert!(client.read_reply().error().starts_with("NOPERM"));
            assert!(client.read_reply().error().starts_with("EXECABORT"));
            for (number, other) in others.iter_mut().enumerate() {
                assert_eq!(
                    other.read_reply(),
                    Reply::Integer(round * 3 + number as i64 + 1)
                );
            }
        }
        assert_eq!(others[0].call(&["EXISTS", "search:1"]), Reply::Integer(0));
    }
}

#[test]
fn a_transaction_with_more_than_64_kilobytes_has_a_connection_of_its_own() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut others = others(&proxy);
    let mut client = proxy.client("cart");
    let value = "v".repeat(40_000);
    client.send(pipeline(&[
        &["MULTI"],
        &["SET", "a", &value],
        &["SET", "b", &value],
        &["EXEC"],
    ]));
    others_are_served(&mut others);
    client.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n");
    assert_eq!(rode_of(&proxy, client), (0, 4));
}

#[test]
fn a_transaction_of_many_packets_is_not_sent_before_its_end() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut others = others(&proxy);
    let commands: Vec<Vec<&str>> = (0..1000).map(|_| vec!["INCR", "n"]).collect();
    let mut bytes = command(&["MULTI"]);
    for args in &commands {
        bytes.extend(command(args));
    }
    bytes.extend(command(&["EXEC"]));
    let mut client = proxy.client("cart");
    for part in bytes.chunks(3001) {
        client.send(part);
        others_are_served(&mut others);
    }
    client.expect("+OK\r\n");
    client.expect("+QUEUED\r\n".repeat(1000));
    let all: Vec<Reply> = (1..=1000).map(Reply::Integer).collect();
    assert_eq!(client.read_reply(), Reply::Array(all));
    others_are_served(&mut others);
}
