//! Replicas that reach their master through the proxy.

use std::time::{Duration, Instant};

use crate::support::redis::ALL;
use crate::support::{PATIENCE, Proxy, RedisServer, Reply, Version, pipeline};

const USERS: &str = "\
user cart on ~* &* +@all -psync -sync -replconf
user search on %R~cart:* &* +@all
user admin on >repl-secret ~* &* +psync +sync +replconf +ping
";

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE * 3, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A replica of the master's own version, which needs TLS for none of it.
#[test]
fn a_legacy_replica_follows_its_master_through_the_proxy() {
    for version in ALL {
        let master = RedisServer::start(version, &["--repl-diskless-sync-delay", "0"]);
        for number in 0..1000 {
            master
                .direct()
                .call(&["SET", &format!("k{number}"), "before"]);
        }
        let proxy = Proxy::builder()
            .upstream(&master)
            .users(USERS)
            .plaintext()
            .identities(
                "[[identity]]\nmatch = { from = \"127.0.0.1\" }\nuser = \"admin\"\nauth = \"address\"\n",
            )
            .ready_when_listening()
            .start();
        let port = proxy.port().to_string();
        let replica = RedisServer::start(version, &[]);
        replica.direct().call(&["REPLICAOF", "127.0.0.1", &port]);
        wait_until("the replica has its master's data", || {
            replica.direct().call(&["GET", "k999"]) == Reply::bulk("before")
        });
        // The stream goes on, and the replica acknowledges what it gets.
        master.direct().call(&["SET", "k0", "after"]);
        wait_until("the replica follows", || {
            replica.direct().call(&["GET", "k0"]) == Reply::bulk("after")
        });
        let mut writer = master.direct();
        writer.call(&["SET", "k1", "after"]);
        assert_eq!(writer.call(&["WAIT", "1", "5000"]), Reply::Integer(1));
        // After a cut it asks for what it missed only.
        let before = master.info("sync_partial_ok");
        master.direct().call(&["CLIENT", "KILL", "TYPE", "slave"]);
        wait_until("a partial resynchronization", || {
            master.info("sync_partial_ok") != before
        });
        master.direct().call(&["SET", "k2", "after"]);
        wait_until("the replica follows again", || {
            replica.direct().call(&["GET", "k2"]) == Reply::bulk("after")
        });
    }
}

#[test]
fn a_replica_with_its_own_tls_follows_through_mutual_tls() {
    let master = RedisServer::start(Version::V7_0_15, &[]);
    master.direct().call(&["SET", "k", "v"]);
    let proxy = Proxy::builder().upstream(&master).users(USERS).start();
    let file = |name| proxy.certs().file(name).display().to_string();
    let (cert, key, ca) = (file("admin.pem"), file("admin.key"), file("ca.pem"));
    let replica = RedisServer::start(
        Version::V7_0_15,
        &[
            "--tls-replication",
            "yes",
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--masteruser",
            "admin",
            "--masterauth",
            "repl-secret",
        ],
    );
    let port = proxy.port().to_string();
    replica.direct().call(&["REPLICAOF", "127.0.0.1", &port]);
    wait_until("the replica has its master's data", || {
        replica.direct().call(&["GET", "k"]) == Reply::bulk("v")
    });
    master.direct().call(&["SET", "k", "w"]);
    wait_until("the replica follows", || {
        replica.direct().call(&["GET", "k"]) == Reply::bulk("w")
    });
}

#[test]
fn who_may_not_replicate_reads_redis_own_refusal() {
    let master = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::builder().upstream(&master).users(USERS).start();
    let mut client = proxy.client("cart");
    for command in [
        &["PSYNC", "?", "-1"][..],
        &["SYNC"],
        &["REPLCONF", "capa", "eof"],
    ] {
        assert!(
            client.call(command).error().starts_with("NOPERM"),
            "{command:?}"
        );
    }
    // Who reads some keys only would get all of them.
    let mut client = proxy.client("search");
    assert_eq!(
        client.call(&["PSYNC", "?", "-1"]).error(),
        "NOPERM No permissions to access a key"
    );
    assert_eq!(
        client.call(&["REPLCONF", "ACK", "1"]).error(),
        "ERR Unrecognized REPLCONF option: ACK"
    );
    assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
}

#[test]
fn a_replica_can_say_nothing_but_acknowledgements() {
    let master = RedisServer::start(Version::V5_0_6, &[]);
    master.direct().call(&["SET", "k", "v"]);
    let proxy = Proxy::builder().upstream(&master).users(USERS).start();
    for command in [
        &["FLUSHALL"][..],
        &["PING"],
        &["REPLCONF", "listening-port", "1"],
    ] {
        let mut client = proxy.client("admin");
        // Behind a reply that is not written yet, Redis refuses it.
        client.call(&["REPLCONF", "capa", "eof"]);
        client.send(pipeline(&[&["PSYNC", "?", "-1"]]));
        client.read_until("+FULLRESYNC ");
        client.send(pipeline(&[&["REPLCONF", "ACK", "0"], command]));
        client.read_to_close();
        proxy.audit_when(|event| event["reason"] == "replication");
        assert_eq!(master.direct().call(&["GET", "k"]), Reply::bulk("v"));
    }
}

#[test]
fn a_replica_that_may_not_be_one_any_more_is_cut() {
    let master = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::builder().upstream(&master).users(USERS).start();
    let mut client = proxy.client("admin");
    client.send(pipeline(&[&["SYNC"]]));
    client.read_until("REDIS");
    proxy.reload(&USERS.replace("+psync +sync", ""));
    client.read_to_close();
    proxy.audit_when(|event| event["reason"] == "command_lost");
}
