//! The tools of these tests, tried without the proxy.

use crate::support::redis::ALL;
use crate::support::{RedisServer, Reply, Version, command, eventually};

#[test]
fn every_server_starts_answers_and_starts_again() {
    for version in ALL {
        let mut server = RedisServer::start(version, &[]);
        assert_eq!(server.info("redis_version"), version.as_str());
        server.direct().call(&["SET", "k", "v"]);
        server.restart();
        assert_eq!(server.direct().call(&["GET", "k"]), Reply::Nil);
        let server = RedisServer::start_unix(version, &["--requirepass", "secret"]);
        assert_eq!(
            server.direct().call(&["PING"]),
            Reply::Simple("PONG".into())
        );
        // Redis sees that a client has gone when it comes round to its socket.
        eventually("only who asks is there", || server.connected_clients() == 0);
    }
}

#[test]
fn words_for_unknown_commands_are_the_servers() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        for args in [
            &["NoSuch"][..],
            &["NOSUCH", "a"],
            &["NOSUCH", "a", "b c", ""],
        ] {
            let own = server.direct().call(args);
            assert_eq!(own.error(), version.unknown_command(args[0], &args[1..]));
        }
    }
}

#[test]
fn client_reads_every_kind_of_reply() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let mut client = server.direct();
    client.send("RPUSH l a b\r\nLRANGE l 0 -1\r\nGET none\r\nGET l\r\nMULTI\r\nLLEN l\r\nLRANGE none 0 -1\r\nEXEC\r\n");
    client.expect(":2\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    assert_eq!(client.read_reply(), Reply::Nil);
    assert!(client.read_reply().error().starts_with("WRONGTYPE"));
    client.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    assert_eq!(
        client.read_reply(),
        Reply::Array(vec![Reply::Integer(2), Reply::Array(vec![])])
    );
    client.send(command(&["SET", "big", &"x".repeat(3_000_000)]));
    client.send("GET big\r\nQUIT\r\n");
    client.expect("+OK\r\n$3000000\r\n");
    let mut seen = 0;
    client.consume(3_000_000, |bytes| seen += bytes.len());
    assert_eq!(seen, 3_000_000);
    client.expect("\r\n+OK\r\n");
    client.expect_close();
}

/// What the scenarios about hidden commands compare with.
#[test]
fn servers_can_hide_a_command_themselves() {
    for version in ALL {
        let server = RedisServer::start(version, &["--rename-command", "FLUSHALL", ""]);
        let own = server.direct().call(&["FLUSHALL", "a"]);
        assert_eq!(own.error(), version.unknown_command("FLUSHALL", &["a"]));
    }
}
