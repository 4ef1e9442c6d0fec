//! Scripts that a policy names: they run though nobody loaded them, and no others do.

use sha1::{Digest, Sha1};

use crate::support::proxy::Builder;
use crate::support::redis::{ALL, LEGACY_AND_CURRENT};
use crate::support::{Proxy, RedisServer, Reply, Version, cli, eventually};

/// `cart` may run two scripts, one of them known by its hash alone (`return 'h'`).
const USERS: &str = "\
user cart on nopass ~cart:* +@all script=get.lua script=sha1:HASH
user search on nopass ~* +@all script=any
user admin on nopass ~* &* +@all
";

/// As an editor saves it.
const GET: &str = "-- What is in the cart.\nreturn redis.call('get', KEYS[1])\n";

const NOT_NAMED: &str = "with a script that its policy does not name";

fn sha(script: &str) -> String {
    let hash = Sha1::digest(script.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn proxy(server: &RedisServer) -> Builder {
    let users = USERS.replace("HASH", &sha("return 'h'"));
    server.direct().call(&["SET", "cart:1", "apples"]);
    server.direct().call(&["SET", "other", "secret"]);
    Proxy::builder()
        .upstream(server)
        .users(&users)
        .file("get.lua", GET)
}

fn apples() -> Reply {
    Reply::bulk("apples")
}

#[test]
fn a_named_script_runs_and_others_do_not() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = proxy(&server).start();
        let mut client = proxy.client("cart");
        let trimmed = GET.trim_end();
        for script in [GET, trimmed] {
            assert_eq!(client.call(&["EVAL", script, "1", "cart:1"]), apples());
            assert_eq!(
                client.call(&["SCRIPT", "LOAD", script]),
                Reply::bulk(&sha(script))
            );
        }
        let other = "return redis.call('get', 'other')";
        // Somebody else has loaded it.
        server.direct().call(&["SCRIPT", "LOAD", other]);
        let hash = sha(other);
        for (args, name) in [
            (["EVAL", other, "0"], "eval"),
            (["EVALSHA", &hash, "0"], "evalsha"),
            (["SCRIPT", "LOAD", other], "script|load"),
        ] {
            let refusal = format!(
                "NOPERM User cart has no permissions to run the '{name}' command {NOT_NAMED}"
            );
            assert_eq!(client.call(&args).error(), refusal);
        }
        let events = proxy.audit_of("cart", 3);
        assert!(events.iter().all(|event| event["reason"] == "script"));
        assert_eq!(events[0]["rule"], "no script= rule for it");
        // Its keys are judged all the same.
        let reply = client.call(&["EVAL", GET, "1", "other"]);
        assert_eq!(reply.error(), "NOPERM No permissions to access a key");
        let reply = client.call(&["EVALSHA", &sha(GET), "1", "other"]);
        assert_eq!(reply.error(), "NOPERM No permissions to access a key");
        // Who may run anything may.
        let secret = Reply::bulk("secret");
        assert_eq!(proxy.client("search").call(&["EVAL", other, "0"]), secret);
        assert_eq!(proxy.client("admin").call(&["EVAL", other, "0"]), secret);
    }
}

#[test]
fn functions_are_refused() {
    for version in [Version::V7_0_15, Version::V8_2_3] {
        let server = RedisServer::start(version, &[]);
        let library = "#!lua name=l\nredis.register_function('f', function() return 1 end)";
        server.direct().call(&["FUNCTION", "LOAD", library]);
        let proxy = proxy(&server).start();
        let mut client = proxy.client("cart");
        for args in [
            &["FCALL", "f", "0"][..],
            &["FCALL_RO", "f", "0"],
            &["FUNCTION", "LOAD", "REPLACE", library],
            &["FUNCTION", "RESTORE", "x"],
        ] {
            assert!(client.call(args).error().ends_with(NOT_NAMED), "{args:?}");
        }
        assert_eq!(
            proxy.client("admin").call(&["FCALL", "f", "0"]),
            Reply::Integer(1)
        );
    }
}

#[test]
fn a_named_script_is_there_though_nobody_loaded_it() {
    for version in ALL {
        let mut server = RedisServer::start(version, &[]);
        for builder in [proxy(&server), proxy(&server).dedicated()] {
            a_named_script_is_there(&mut server, &builder.start());
        }
    }
}

fn a_named_script_is_there(server: &mut RedisServer, proxy: &Proxy) {
    let call = ["EVALSHA", &sha(GET), "1", "cart:1"];
    let mut client = proxy.client("cart");
    assert_eq!(client.call(&call), apples());
    assert_eq!(
        client.call(&["evalsha", &sha(GET).to_uppercase(), "1", "cart:1"]),
        apples()
    );
    let mut client = proxy.client("cart");
    client.send(format!("EVALSHA {} 1 cart:1\r\n", sha(GET.trim_end())));
    assert_eq!(client.read_reply(), apples());
    // A hash alone is no script that could be loaded.
    let reply = client.call(&["EVALSHA", &sha("return 'h'"), "0"]);
    assert!(reply.error().starts_with("NOSCRIPT"));
    assert_eq!(client.call(&["EVAL", "return 'h'", "0"]), Reply::bulk("h"));

    server.restart();
    drop(client);
    server.direct().call(&["SET", "cart:1", "apples"]);
    eventually("a client is let in again", || {
        let mut client = proxy.client("admin");
        client.try_send(b"PING\r\n").is_ok() && client.try_read_reply().is_ok()
    });
    let mut client = proxy.client("cart");
    assert_eq!(client.call(&call), apples(), "at once");
}

#[test]
fn in_a_transaction_it_is_there_too() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = proxy(&server).start();
        let queued = Reply::Simple("QUEUED".into());
        let hash = sha(GET);
        let call = ["EVALSHA", &hash, "1", "cart:1"];
        // Step by step.
        let mut client = proxy.client("cart");
        client.call(&["MULTI"]);
        assert_eq!(client.call(&call), queued);
        assert_eq!(client.call(&["EXEC"]), Reply::Array(vec![apples()]));
        // In one write, after everybody's scripts were flushed.
        server.direct().call(&["SCRIPT", "FLUSH"]);
        let line = call.join(" ");
        client.send(format!("MULTI\r\n{line}\r\nPING\r\n{line}\r\nEXEC\r\n"));
        client.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
        let pong = Reply::Simple("PONG".into());
        assert_eq!(
            client.read_reply(),
            Reply::Array(vec![apples(), pong, apples()])
        );
        // A foreign one spoils it.
        client.call(&["MULTI"]);
        assert!(
            client
                .call(&["EVAL", "return 1", "0"])
                .error()
                .ends_with(NOT_NAMED)
        );
        assert!(client.call(&["EXEC"]).error().starts_with("EXECABORT"));
    }
}

#[test]
fn a_flush_by_somebody_else_costs_one_noscript() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        // Before Redis 6 scripts share no connection: each call loads its script on one of its own.
        // (Where all scenarios run dedicated, this one does, too.)
        let dedicated =
            std::env::var("RESPGATE_TEST_CONNECTIONS").is_ok_and(|value| value == "dedicated");
        let shared_costs = version != Version::V5_0_6 || dedicated;
        for (builder, costs) in [
            (proxy(&server), shared_costs),
            (proxy(&server).dedicated(), true),
        ] {
            a_flush_costs_one_noscript(&server, &builder.start(), costs);
        }
    }
}

fn a_flush_costs_one_noscript(server: &RedisServer, proxy: &Proxy, costs: bool) {
    let hash = sha(GET);
    let call = ["EVALSHA", &hash, "1", "cart:1"];
    let mut client = proxy.client("cart");
    // The second time it is on the connection that it stays on.
    for _ in 0..2 {
        assert_eq!(client.call(&call), apples());
    }
    server.direct().call(&["SCRIPT", "FLUSH"]);
    if costs {
        assert!(client.call(&call).error().starts_with("NOSCRIPT"));
    }
    assert_eq!(client.call(&call), apples());
    // Its own flush costs none.
    assert_eq!(
        client.call(&["SCRIPT", "FLUSH"]),
        Reply::Simple("OK".into())
    );
    assert_eq!(client.call(&call), apples());
}

#[test]
fn redis_pys_registered_scripts_always_run() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = proxy(&server).start();
        let upstream = server.upstream_address();
        let outcome = cli::python(&proxy, "redis_py_scripts.py", &[&upstream]).expect_code(0);
        assert!(outcome.stdout.ends_with("passed\n"), "{outcome:#?}");
    }
}

#[test]
fn a_script_that_changes_is_a_policy_that_changes() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = proxy(&server).start();
    let mut client = proxy.client("cart");
    let other = "return 'new'";
    assert_eq!(
        client.call(&["EVALSHA", &sha(GET), "1", "cart:1"]),
        apples()
    );
    assert!(
        client
            .call(&["EVALSHA", &sha(other), "0"])
            .error()
            .ends_with(NOT_NAMED)
    );
    proxy.reload_until("reload: nothing has changed");
    proxy.write_file("get.lua", &format!("{other}\n"));
    proxy.reload_until("a new generation is in force");
    assert_eq!(
        client.call(&["EVALSHA", &sha(other), "0"]),
        Reply::bulk("new")
    );
    let reply = client.call(&["EVALSHA", &sha(GET), "1", "cart:1"]);
    assert!(reply.error().ends_with(NOT_NAMED));
}

#[test]
fn check_names_a_script_that_cannot_be_read() {
    for (content, why) in [
        (None, "No such file"),
        (Some(String::new()), "empty"),
        (Some("-".repeat((1 << 20) + 1)), "larger than 1 MB"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let builder = Proxy::builder()
            .upstream_named("main", "address = \"127.0.0.1:1\"")
            .users("user admin on nopass ~* +@all\nuser cart on nopass ~* +@all script=get.lua\n");
        let config = builder.write(dir.path(), 1);
        if let Some(content) = content {
            std::fs::write(dir.path().join("get.lua"), content).unwrap();
        }
        let outcome = cli::respgate(&["check", "--config", config.to_str().unwrap()]);
        assert_ne!(outcome.code, Some(0));
        let text = outcome.text();
        let line = text
            .lines()
            .find(|line| line.contains(why))
            .unwrap_or_default();
        assert!(line.contains("users.acl:2: 'script=get.lua'"), "{text}");
    }
}
