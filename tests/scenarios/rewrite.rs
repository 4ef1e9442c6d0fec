//! Commands that are renamed, hidden or replaced.

use crate::support::redis::{ALL, LEGACY_AND_CURRENT};
use crate::support::{Proxy, RedisServer, Reply, Version};

const RENAME: &str = "[rewrite]\nrename = { FLUSHALL = \"\", CONFIG = \"CONFIG_b840fc02\" }\n";

#[test]
fn hidden_command_answers_as_the_servers_unknown_command() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder().upstream(&server).section(RENAME).start();
        let mut client = proxy.client("admin");
        client.call(&["SET", "k", "v"]);
        for args in [
            &["FLUSHALL"][..],
            &["FlushAll", "ASYNC"],
            &["CONFIG", "GET", "dir"],
            &["config", "set", "dir", "/"],
        ] {
            assert_eq!(
                client.call(args).error(),
                version.unknown_command(args[0], &args[1..]),
                "Redis {}",
                version.as_str()
            );
        }
        assert_eq!(client.call(&["GET", "k"]), Reply::bulk("v"));
    }
}

/// The words of a hidden command are those of one that never was.
#[test]
fn hidden_command_cannot_be_told_from_one_that_never_was() {
    for version in ALL {
        let server = RedisServer::start(version, &["--rename-command", "FLUSHALL", ""]);
        let proxy = Proxy::builder()
            .upstream(&server)
            .section("[rewrite]\nrename = { FLUSHDB = \"\" }\n")
            .start();
        let mut client = proxy.client("admin");
        let long = "x".repeat(200);
        for rest in [
            &[][..],
            &["a"],
            &["a", "b c", "d"],
            &[long.as_str(), "tail"],
        ] {
            let hidden: Vec<&str> = [&["FLUSHDB"], rest].concat();
            let gone: Vec<&str> = [&["FLUSHALL"], rest].concat();
            let own = server
                .direct()
                .call(&gone)
                .error()
                .replace("FLUSHALL", "FLUSHDB");
            assert_eq!(
                client.call(&hidden).error(),
                own,
                "Redis {}",
                version.as_str()
            );
        }
    }
}

#[test]
fn renamed_command_works_by_its_new_name_alone() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder().upstream(&server).section(RENAME).start();
        let mut client = proxy.client("admin");
        let direct = server.direct().call(&["CONFIG", "GET", "maxmemory"]);
        assert_eq!(
            client.call(&["CONFIG_b840fc02", "GET", "maxmemory"]),
            direct
        );
        assert_eq!(
            client.call(&["config_B840FC02", "GET", "maxmemory"]),
            direct
        );
        // The policy judges what Redis will run, the refusal names what the client sent.
        let reply = proxy
            .client("cart")
            .call(&["CONFIG_b840fc02", "GET", "maxmemory"]);
        assert!(
            reply
                .error()
                .starts_with("NOPERM User cart has no permissions to run the 'config_b840fc02"),
            "{reply:?}"
        );
    }
}

#[test]
fn hidden_command_poisons_a_transaction() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder().upstream(&server).section(RENAME).start();
        let mut client = proxy.client("admin");
        client.send("MULTI\r\nSET k v\r\nFLUSHALL\r\nEXEC\r\nGET k\r\n");
        client.expect("+OK\r\n+QUEUED\r\n");
        assert_eq!(
            client.read_reply().error(),
            version.unknown_command("FLUSHALL", &[])
        );
        client.expect("-EXECABORT Transaction discarded because of previous errors.\r\n$-1\r\n");
    }
}

#[test]
fn substitute_runs_in_place_of_the_command() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder()
            .upstream(&server)
            .section("[rewrite]\nsubstitute = { DEL = \"UNLINK\" }\n")
            .start();
        let mut client = proxy.client("cart");
        client.send(
            "MSET cart:1 a cart:2 b\r\nDEL cart:1 cart:2\r\ndel cart:1\r\nPING\r\nDEL other\r\n",
        );
        client.expect("+OK\r\n:2\r\n:0\r\n+PONG\r\n-NOPERM No permissions to access a key\r\n");
        let stats = server.direct().call(&["INFO", "commandstats"]).text();
        assert!(
            stats.contains("cmdstat_unlink:calls=2") && !stats.contains("cmdstat_del:"),
            "{stats}"
        );
    }
}

#[test]
fn substitute_with_arguments_applies_to_the_bare_command() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[rewrite]\nsubstitute = { FLUSHALL = \"FLUSHALL ASYNC\" }\n")
        .start();
    let mut client = proxy.client("admin");
    client.call(&["SET", "k", "v"]);
    assert!(
        client.call(&["FLUSHALL", "ASYNC"]).is_error(),
        "only the bare form is replaced"
    );
    assert_eq!(client.call(&["GET", "k"]), Reply::bulk("v"));
    let mut monitor = server.direct();
    monitor.call(&["MONITOR"]);
    assert_eq!(client.call(&["FLUSHALL"]), Reply::Simple("OK".into()));
    loop {
        let line = monitor.read_reply().text().to_uppercase();
        if line.contains("\"FLUSHALL\"") {
            assert!(line.contains("\"ASYNC\""), "{line}");
            break;
        }
    }
}

#[test]
fn policy_judges_what_redis_will_run() {
    let users =
        "user cart on ~* +@all -unlink\nuser search on ~* +@all -del\nuser admin on ~* +@all\n";
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(users)
        .section("[rewrite]\nsubstitute = { DEL = \"UNLINK\" }\n")
        .start();
    assert_eq!(
        proxy.client("cart").call(&["DEL", "k"]).error(),
        "NOPERM User cart has no permissions to run the 'del' command"
    );
    assert_eq!(
        proxy.client("search").call(&["DEL", "k"]),
        Reply::Integer(0)
    );
}

#[test]
fn substitute_that_the_server_does_not_know_refuses_the_command() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    server.direct().call(&["SET", "k", "v"]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[rewrite]\nsubstitute = { GET = \"GETDEL\" }\n")
        .start();
    let mut client = proxy.client("admin");
    assert!(client.call(&["GET", "k"]).is_error());
    assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
    assert_eq!(server.direct().call(&["GET", "k"]), Reply::bulk("v"));
}
