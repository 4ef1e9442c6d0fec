//! What an upstream says of its own state.

use crate::support::redis::ALL;
use crate::support::{
    PATIENCE, Proxy, RedisServer, Reply, Version, command, eventually, free_port, pipeline,
};

#[test]
fn a_replica_tells_clients_itself_that_it_takes_no_writes() {
    for version in ALL {
        let server = RedisServer::start(version, &["--replica-serve-stale-data", "yes"]);
        server.direct().call(&["SET", "k", "v"]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("admin");
        assert_eq!(client.call(&["GET", "k"]), Reply::bulk("v"));
        let nobody = free_port().to_string();
        server.direct().call(&["REPLICAOF", "127.0.0.1", &nobody]);
        client.send(pipeline(&[
            &["SET", "k", "w"],
            &["NOPE"],
            &["GET", "k"],
            &["MULTI"],
            &["SET", "k", "w"],
            &["EXEC"],
        ]));
        assert!(client.read_reply().error().starts_with("READONLY"));
        assert!(client.read_reply().error().starts_with("ERR unknown"));
        client.expect("$1\r\nv\r\n+OK\r\n");
        // Before 6.0 it is refused without spoiling the rest, which is nothing.
        let queued = client.read_reply();
        let exec = client.read_reply();
        assert!(
            exec.is_error() || exec == Reply::Array(Vec::new()),
            "{queued:?} {exec:?}"
        );
        // One whose master is gone, and that shall not tell what it has of it.
        server
            .direct()
            .call(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
        client.send(pipeline(&[&["GET", "k"], &["NOPE"], &["PING"]]));
        assert!(client.read_reply().error().starts_with("MASTERDOWN"));
        assert!(client.read_reply().error().starts_with("ERR unknown"));
        client.read_reply();
        // It is alive all the same: who comes now is served too.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        let mut other = proxy.client("admin");
        assert!(other.call(&["GET", "k"]).error().starts_with("MASTERDOWN"));
        server.direct().call(&["REPLICAOF", "NO", "ONE"]);
        assert_eq!(client.call(&["SET", "k", "w"]), Reply::Simple("OK".into()));
    }
}

#[test]
fn a_server_that_loads_says_so_to_clients_and_is_served() {
    // Each key takes a millisecond: long enough to be seen, whatever the machine.
    for version in [Version::V7_0_15, Version::V8_2_3] {
        let slow = [
            "--key-load-delay",
            "1000",
            "--loading-process-events-interval-bytes",
            "1024",
        ];
        let mut server = RedisServer::start(version, &slow);
        let mut direct = server.direct();
        for number in 0..6000 {
            direct.call(&["SET", &format!("k{number}"), "v"]);
        }
        direct.call(&["SAVE"]);
        let proxy = Proxy::builder()
            .upstream(&server)
            .allow_error("the upstream is gone")
            .allow_error("the upstream is not there")
            .start();
        server.kill();
        server.restart_loading();
        let start = std::time::Instant::now();
        let mut client = loop {
            assert!(
                start.elapsed() < PATIENCE,
                "nobody is served while it loads"
            );
            let mut client = proxy.client("admin");
            client.send(command(&["GET", "k0"]));
            match client.try_read_reply() {
                Ok(Reply::Error(error)) if error.starts_with("LOADING") => break client,
                // It was too early, or too late.
                _ => assert_ne!(server.direct().call(&["GET", "k0"]), Reply::bulk("v")),
            }
        };
        client.send(pipeline(&[&["NOPE"], &["MULTI"], &["FLUSHDB", "x", "y"]]));
        assert!(client.read_reply().error().starts_with("ERR unknown"));
        client.read_reply();
        assert!(client.read_reply().is_error());
        client.call(&["DISCARD"]);
        eventually("it has loaded", || {
            client.call(&["GET", "k0"]) == Reply::bulk("v")
        });
    }
}

#[test]
fn a_password_that_comes_over_night_is_our_affair_and_not_the_clients() {
    // Since 6.0 a connection that was let in stays so.
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .allow_error("the upstream asks for our AUTH")
        .allow_error("the upstream is gone")
        .allow_error("the upstream is not there")
        .start();
    let mut client = proxy.client("admin");
    let mut idle = proxy.client("admin");
    client.call(&["PING"]);
    idle.call(&["PING"]);
    let mut direct = server.direct();
    direct.call(&["CONFIG", "SET", "requirepass", "secret"]);
    client.send(pipeline(&[&["NOPE"], &["GET", "k"], &["GET", "k"]]));
    assert!(client.read_reply().error().starts_with("ERR unknown"));
    client.expect_close();
    eventually("nobody is served any more", || {
        let mut client = proxy.client("admin");
        client.send(command(&["PING"]));
        client.try_read_reply().is_err()
    });
    direct.call(&["AUTH", "secret"]);
    direct.call(&["CONFIG", "SET", "requirepass", ""]);
    eventually("it is served again", || {
        let mut client = proxy.client("admin");
        client.send(command(&["PING"]));
        client.try_read_reply() == Ok(Reply::Simple("PONG".into()))
    });
}
