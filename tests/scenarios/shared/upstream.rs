//! Upstreams that come and go, ask for a password, lack something, or are the same with other users.

use std::time::Duration;

use super::{USERS, Witness, apart, builder, builder_with, ok, ready_again, rode_of, start};
use crate::metrics::with_metrics;
use crate::support::http::wait_for_owed;
use crate::support::{Proxy, RedisServer, Reply, Version, eventually, free_port};

#[test]
fn when_the_upstream_dies_who_is_owed_something_is_closed_and_the_others_stay() {
    let mut server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, at) = with_metrics(builder(&server).allow_error("upstream"));
    let proxy = builder.start();
    let mut idle: Vec<_> = (0..5).map(|_| proxy.client("cart")).collect();
    for client in &mut idle {
        assert_eq!(client.call(&["SET", "k", "v"]), ok());
    }
    let mut witness = Witness::of(&server);
    let mut blocked = proxy.client("cart");
    blocked.send_args(&["BLPOP", "queue", "0"]);
    witness.wait_for_blocked(1);
    wait_for_owed(at, 1);
    // A write that waits, and who comes behind it on the same connection.
    let pause = ["CLIENT", "PAUSE", "60000", "WRITE"];
    assert_eq!(witness.call(&pause), ok());
    let mut owed = proxy.client("cart");
    owed.send_args(&["SET", "k", "w"]);
    wait_for_owed(at, 2);
    let mut behind = proxy.client("cart");
    behind.send_args(&["ECHO", "x"]);
    wait_for_owed(at, 3);
    server.restart();
    owed.expect_close();
    behind.expect_close();
    blocked.expect_close();
    ready_again(&proxy);
    for client in &mut idle {
        // It is another, and empty.
        assert_eq!(client.call(&["GET", "k"]), Reply::Nil);
    }
    assert_eq!(idle[0].call(&["SET", "k", "v"]), ok());
    assert_eq!(proxy.client("cart").call(&["GET", "k"]), Reply::bulk("v"));
}

#[test]
fn while_the_upstream_is_away_who_asks_is_closed_and_the_others_wait_for_it() {
    let mut server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = builder(&server).allow_error("upstream").start();
    let (mut asks, mut waits) = (proxy.client("cart"), proxy.client("cart"));
    assert_eq!(asks.call(&["PING"]), Reply::Simple("PONG".into()));
    assert_eq!(waits.call(&["PING"]), Reply::Simple("PONG".into()));
    server.kill();
    asks.send_args(&["PING"]);
    asks.expect_close();
    waits.expect_silence(Duration::from_millis(200));
    server.restart();
    ready_again(&proxy);
    assert_eq!(waits.call(&["PING"]), Reply::Simple("PONG".into()));
}

#[test]
fn an_upstream_with_a_password_is_shared_too() {
    for version in [Version::V5_0_6, Version::V7_0_15] {
        let server = RedisServer::start(version, &["--requirepass", "upstream-secret"]);
        let proxy = builder_with(&server, "password_file = \"upstream.password\"")
            .file("upstream.password", "upstream-secret\n")
            .start();
        let mut witness = Witness::of(&server);
        let before = witness.opened();
        let mut clients: Vec<_> = (0..10).map(|_| proxy.client("cart")).collect();
        for client in &mut clients {
            assert!(!client.call(&["INCR", "n"]).is_error());
        }
        assert_eq!(witness.opened(), before);
        clients[0].send_args(&["BLPOP", "queue", "0"]);
        witness.wait_for_blocked(1);
        assert_eq!(witness.opened(), before + 1);
    }
}

#[test]
fn an_upstream_without_echo_is_not_shared_and_that_is_told_once() {
    let server = RedisServer::start(Version::V7_0_15, &["--rename-command", "ECHO", ""]);
    let proxy = start(&server);
    let mut witness = Witness::of(&server);
    // The proxy's own.
    eventually("who asked first is gone", || witness.open() == 1);
    let mut clients: Vec<_> = (0..5).map(|_| proxy.client("cart")).collect();
    for client in &mut clients {
        assert_eq!(client.call(&["SET", "k", "v"]), ok());
        assert_eq!(client.call(&["SELECT", "3"]), ok());
        assert_eq!(client.call(&["GET", "k"]), Reply::Nil);
        assert_eq!(client.call(&["MULTI"]), ok());
        assert_eq!(client.call(&["PING"]), Reply::Simple("QUEUED".into()));
        assert!(!client.call(&["EXEC"]).is_error());
    }
    assert_eq!(witness.open(), 6);
    let told = || {
        let log = proxy.log_text();
        log.matches("clients get a connection each").count()
    };
    eventually("it is told", || told() > 0);
    drop(clients);
    eventually("they are closed", || witness.open() == 1);
    assert_eq!(told(), 1);
}

#[test]
fn a_server_that_loads_says_so_to_clients_that_share() {
    let slow = [
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let mut server = RedisServer::start(Version::V7_0_15, &slow);
    let mut direct = server.direct();
    // Each takes a millisecond to load.
    for number in 0..6000 {
        direct.call(&["SET", &format!("k:{number}"), "v"]);
    }
    assert_eq!(direct.call(&["SAVE"]), ok());
    drop(direct);
    let proxy = builder(&server).allow_error("upstream").start();
    let mut idle = proxy.client("cart");
    assert_eq!(idle.call(&["GET", "k:1"]), Reply::bulk("v"));
    let mut in_three = proxy.client("cart");
    assert_eq!(in_three.call(&["SELECT", "3"]), ok());
    server.restart_loading();
    ready_again(&proxy);
    assert!(idle.call(&["GET", "k:1"]).error().starts_with("LOADING"));
    assert!(
        in_three
            .call(&["GET", "k:1"])
            .error()
            .starts_with("LOADING")
    );
    assert!(
        idle.call(&["BLPOP", "queue", "0"])
            .error()
            .starts_with("LOADING")
    );
    // Often enough for canaries.
    for _ in 0..200 {
        let reply = idle.call(&["GET", "k:1"]);
        assert!(
            reply == Reply::bulk("v") || reply.error().starts_with("LOADING"),
            "{reply:?}"
        );
    }
    eventually("it has loaded", || {
        idle.call(&["GET", "k:1"]) == Reply::bulk("v")
    });
    assert_eq!(in_three.call(&["GET", "k:1"]), Reply::Nil);
}

#[test]
fn users_of_different_upstreams_never_share() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let mut direct = server.direct();
    for (name, keys) in [("one", "~one:*"), ("two", "~two:*")] {
        let password = format!(">{name}-secret");
        let rules = ["ACL", "SETUSER", name, "on", &password, keys, "&*", "+@all"];
        assert_eq!(direct.call(&rules), ok());
    }
    let other_port = free_port();
    let lines = |name: &str| {
        format!(
            "address = \"{}\"\nusername = \"{name}\"\npassword_file = \"{name}.password\"\n\
             connections = \"shared\"",
            server.address()
        )
    };
    let proxy = apart(
        Proxy::builder()
            .upstream_named("one", &lines("one"))
            .upstream_named("two", &lines("two"))
            .listener("upstream = \"one\"")
            .another_listener("other", other_port, "upstream = \"two\"")
            .file("one.password", "one-secret")
            .file("two.password", "two-secret"),
    )
    .users(USERS)
    .start();
    let config = proxy.certs().client_config(Some("cart"));
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], other_port));
    let second = || crate::support::TestClient::tls(address, config.clone()).unwrap();
    let mut ones: Vec<_> = (0..5).map(|_| proxy.client("cart")).collect();
    let mut twos: Vec<_> = (0..5).map(|_| second()).collect();
    for round in 0..20 {
        for (clients, name, other) in [(&mut ones, "one", "two"), (&mut twos, "two", "one")] {
            for client in clients {
                let value = format!("{name}:{round}");
                assert_eq!(client.call(&["SET", &format!("{name}:k"), &value]), ok());
                // It is the Redis that says so.
                let reply = client.call(&["GET", &format!("{other}:k")]);
                assert!(reply.error().starts_with("NOPERM"), "{reply:?}");
            }
        }
    }
    // Their borrowed connections too.
    for (clients, name) in [(&mut ones, "one"), (&mut twos, "two")] {
        for client in clients {
            assert_eq!(client.call(&["WATCH", &format!("{name}:k")]), ok());
            assert_eq!(client.call(&["UNWATCH"]), ok());
        }
    }
    let list = direct.call(&["CLIENT", "LIST"]).text();
    for name in ["one", "two"] {
        let count = list.matches(&format!(" user={name} ")).count();
        // The proxy's own, the shared one, the borrowed one.
        assert_eq!(count, 3, "{name}: {list}");
    }
}

/// The user names its scripts: they are loaded for it, by whichever Redis is there.
#[test]
fn a_named_script_is_there_when_another_redis_has_come() {
    const SCRIPT: &str = "return redis.call('GET', KEYS[1])";
    let mut server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = builder(&server)
        .users(&USERS.replace(
            "user cart on ~* &* +@all lethal=* script=any",
            "user cart on ~* +@all script=get.lua",
        ))
        .file("get.lua", SCRIPT)
        .allow_error("upstream")
        .start();
    let hash = server.direct().call(&["SCRIPT", "LOAD", SCRIPT]).text();
    assert_eq!(server.direct().call(&["SCRIPT", "FLUSH"]), ok());
    let mut client = proxy.client("cart");
    let call = ["EVALSHA", &hash, "1", "k"];
    for _ in 0..3 {
        assert_eq!(client.call(&call), Reply::Nil);
    }
    server.restart();
    eventually("the end of the first is seen", || {
        proxy
            .log_text()
            .contains("the upstream has closed a shared connection")
    });
    ready_again(&proxy);
    assert_eq!(client.call(&call), Reply::Nil);
    assert_eq!(rode_of(&proxy, client).1, 0);
}

/// Its word to who comes is no answer to ECHO.
#[test]
fn a_full_upstream_is_shared_again_once_there_is_room() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = builder(&server).allow_error("upstream").start();
    let mut witness = Witness::of(&server);
    let most = |witness: &mut Witness, count: &str| {
        assert_eq!(witness.call(&["CONFIG", "SET", "maxclients", count]), ok());
    };
    let mut first = proxy.client("cart");
    assert_eq!(first.call(&["SET", "k", "v"]), ok());
    most(&mut witness, "1");
    let mut turned_away = proxy.client("cart");
    let script = ["EVAL", "return 1", "0"];
    turned_away.send_args(&script);
    turned_away.expect_close();
    most(&mut witness, "100");
    let open = witness.open();
    let mut clients: Vec<_> = (0..5).map(|_| proxy.client("cart")).collect();
    for client in &mut clients {
        assert_eq!(client.call(&script), Reply::Integer(1));
        assert_eq!(client.call(&["SET", "k", "v"]), ok());
    }
    assert_eq!(witness.open(), open + 1, "one for scripts");
    assert!(!proxy.log_text().contains("a connection each"));
}
