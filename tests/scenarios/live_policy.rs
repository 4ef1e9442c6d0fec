//! The policy changes while sessions live.

use std::time::Duration;

use crate::support::proxy::USERS;
use crate::support::redis::LEGACY_AND_CURRENT;
use crate::support::{Proxy, RedisServer, Reply, Version, command, eventually, ok};

const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";

/// The users without this one.
fn without(name: &str) -> String {
    let other = |line: &&str| !line.starts_with(&format!("user {name} "));
    USERS
        .lines()
        .filter(other)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The users, with these rules at the end of this one.
fn narrowed(name: &str, rules: &str) -> String {
    USERS
        .lines()
        .map(|line| match line.starts_with(&format!("user {name} ")) {
            true => format!("{line} {rules}\n"),
            false => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn a_deleted_users_idle_session_ends_and_others_stay() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let (mut cart, mut admin) = (proxy.client("cart"), proxy.client("admin"));
    assert_eq!(cart.call(&["SET", "cart:1", "a"]), ok());
    assert_eq!(admin.call(&["SET", "any", "a"]), ok());
    proxy.reload(&without("cart"));
    cart.expect_close();
    assert_eq!(admin.call(&["GET", "any"]), Reply::bulk("a"));
    let event = &proxy.audit_when(|event| event["event"] == "session_closed")[0];
    assert_eq!(event["user"], "cart");
    assert_eq!(event["reason"], "user_deleted");
    assert_eq!(event["certificate"], "CN=cart");
    assert!(event["session"].is_u64() && event["peer"].is_string());
    let reload = &proxy.audit_when(|event| event["event"] == "reload")[0];
    assert_eq!(reload["reason"], "reloaded");
    assert!(reload.get("peer").is_none() && reload.get("dropped").is_none());
    let mut again = proxy.client("cart");
    assert!(again.read_reply().error().starts_with("NOPERM respgate"));
    again.expect_close();
    proxy.reload(USERS);
    assert_eq!(
        proxy.client("cart").call(&["GET", "cart:1"]),
        Reply::bulk("a")
    );
}

#[test]
fn a_user_that_is_off_loses_its_sessions() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut idle = proxy.client("cart");
    let mut blocked = proxy.client("cart");
    assert_eq!(idle.call(&["SET", "cart:1", "a"]), ok());
    blocked.send_args(&["BLPOP", "cart:list", "0"]);
    let mut direct = server.direct();
    eventually("BLPOP waits", || {
        direct
            .call(&["CLIENT", "LIST"])
            .text()
            .contains("cmd=blpop")
    });
    proxy.reload(&narrowed("cart", "off"));
    idle.expect_close();
    blocked.expect_close();
    let closed = |event: &serde_json::Value| event["reason"] == "user_off";
    eventually("both are told", || proxy.audit_when(closed).len() == 2);
    eventually("BLPOP waits for nobody", || {
        !direct
            .call(&["CLIENT", "LIST"])
            .text()
            .contains("cmd=blpop")
    });
    assert_eq!(direct.call(&["RPUSH", "cart:list", "a"]), Reply::Integer(1));
    assert_eq!(direct.call(&["LLEN", "cart:list"]), Reply::Integer(1));
}

#[test]
fn a_narrowed_user_is_refused_its_next_command() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut cart = proxy.client("cart");
    assert_eq!(cart.call(&["SET", "cart:1", "a"]), ok());
    proxy.reload(&narrowed("cart", "-set"));
    assert_eq!(
        cart.call(&["SET", "cart:1", "b"]).error(),
        "NOPERM User cart has no permissions to run the 'set' command"
    );
    assert_eq!(cart.call(&["GET", "cart:1"]), Reply::bulk("a"));
    let event = &proxy.audit_of("cart", 1)[0];
    assert_eq!(event["rule"], "-set", "the rules of the moment explain it");
    proxy.reload(USERS);
    assert_eq!(cart.call(&["SET", "cart:1", "b"]), ok());
}

#[test]
fn a_change_between_multi_and_exec_aborts_the_transaction() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let (mut cart, mut admin) = (proxy.client("cart"), proxy.client("admin"));
        for client in [&mut cart, &mut admin] {
            assert_eq!(client.call(&["MULTI"]), ok());
        }
        cart.call(&["SET", "cart:1", "a"]);
        admin.call(&["SET", "any", "a"]);
        proxy.reload(&narrowed("cart", "-set"));
        assert_eq!(cart.call(&["EXEC"]).error(), ABORTED);
        assert_eq!(cart.call(&["GET", "cart:1"]), Reply::Nil, "nothing ran");
        // The admin's line is as before: its transaction runs.
        assert_eq!(admin.call(&["EXEC"]), Reply::Array(vec![ok()]));
        // The session goes on, transactions too.
        for (args, reply) in [
            (&["MULTI"][..], ok()),
            (&["GET", "cart:1"], Reply::Simple("QUEUED".into())),
            (&["EXEC"], Reply::Array(vec![Reply::Nil])),
        ] {
            assert_eq!(cart.call(args), reply);
        }
    }
}

#[test]
fn a_value_on_its_way_when_its_user_is_deleted_is_never_written() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    // So much goes over a connection of the client's own in any case. What stays: the control
    // connection, the one of this test, and where they are shared the one that SET went over.
    let dedicated = Proxy::builder().upstream(&server).dedicated();
    let shared = Proxy::builder().upstream(&server);
    for (builder, left) in [(dedicated, 2), (shared, 3)] {
        a_value_on_its_way(&server, &builder.start(), left);
    }
}

fn a_value_on_its_way(server: &RedisServer, proxy: &Proxy, left: usize) {
    let mut cart = proxy.client("cart");
    assert_eq!(cart.call(&["SET", "cart:0", "a"]), ok());
    let request = command(&["SET", "cart:1", &"x".repeat(1_000_000)]);
    let (head, rest) = request.split_at(500_000);
    cart.send(head);
    let mut direct = server.direct();
    eventually("Redis has its beginning", || {
        let list = direct.call(&["CLIENT", "LIST"]).text();
        list.split_whitespace()
            .filter_map(|field| field.strip_prefix("qbuf="))
            .any(|size| size.parse::<usize>().unwrap() > 100_000)
    });
    proxy.reload(&without("cart"));
    let _ = cart.try_send(rest);
    eventually("its upstream connection is closed", || {
        server.connected_clients() <= left
    });
    assert_eq!(direct.call(&["EXISTS", "cart:1"]), Reply::Integer(0));
}

#[test]
fn a_broken_file_keeps_the_old_policy_and_every_problem_is_logged() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .allow_error("reload")
        .start();
    let mut cart = proxy.client("cart");
    assert_eq!(cart.call(&["MULTI"]), ok());
    cart.call(&["SET", "cart:1", "a"]);
    proxy.write_users("user admin on +@nosuch\nuser admin on\n");
    proxy.reload_until("reload failed: the old generation stays in force");
    let log = proxy.log_text();
    for problem in ["users.acl:1: '+@nosuch'", "users.acl:2: 'admin': Duplicate"] {
        let line = log.lines().find(|line| line.contains(problem));
        assert!(line.is_some_and(|line| line.contains("ERROR")), "{log}");
    }
    let event = &proxy.audit_when(|event| event["event"] == "reload_failed")[0];
    assert!(event["detail"].as_str().unwrap().contains("+@nosuch"));
    assert_eq!(cart.call(&["EXEC"]), Reply::Array(vec![ok()]));
    assert_eq!(
        proxy.client("admin").call(&["PING"]),
        Reply::Simple("PONG".into())
    );
}

#[test]
fn a_user_whom_an_identity_rule_names_cannot_be_left_out() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let identities = "[[identity]]\nmatch = { cn = \"cart\" }\nuser = \"cart\"\n\
                      auth = \"certificate\"\n\
                      [[identity]]\nmatch = { cn = \"admin\" }\nuser = \"$cn\"\n\
                      auth = \"certificate\"\n";
    let proxy = Proxy::builder()
        .upstream(&server)
        .identities(identities)
        .allow_error("reload")
        .start();
    let mut cart = proxy.client("cart");
    proxy.write_users(&without("cart"));
    proxy.reload_until("reload failed: the old generation stays in force");
    assert!(
        proxy
            .log_text()
            .contains("identity[0].user = \"cart\": no ACL file defines this user")
    );
    assert_eq!(cart.call(&["GET", "cart:1"]), Reply::Nil);
}

#[test]
fn an_unchanged_file_changes_nothing() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut cart = proxy.client("cart");
    assert_eq!(cart.call(&["MULTI"]), ok());
    cart.call(&["SET", "cart:1", "a"]);
    proxy.write_users(USERS);
    proxy.reload_until("reload: nothing has changed");
    assert_eq!(cart.call(&["EXEC"]), Reply::Array(vec![ok()]));
    assert!(proxy.audit().is_empty());
}

#[test]
fn reloads_under_load_lose_no_reply() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut cart = proxy.client("cart");
    let pipeline = command(&["INCR", "cart:count"]).repeat(200);
    for round in 0..20 {
        cart.send(&pipeline);
        let comment = format!("# {round}\n");
        proxy.reload(&format!("{comment}{}", narrowed("cart", "-get")));
        for reply in 1..=200 {
            assert_eq!(cart.read_reply(), Reply::Integer(round * 200 + reply));
        }
    }
    cart.expect_silence(Duration::from_millis(50));
}

#[test]
fn every_session_on_every_worker_hears_of_a_change() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[runtime]\nworkers = 3")
        .start();
    let mut gone: Vec<_> = (0..60).map(|_| proxy.client("cart")).collect();
    let mut stays: Vec<_> = (0..20).map(|_| proxy.client("search")).collect();
    for client in gone.iter_mut().chain(&mut stays) {
        assert_eq!(client.call(&["GET", "cart:1"]), Reply::Nil);
    }
    proxy.reload(&without("cart"));
    for client in &mut gone {
        client.expect_close();
    }
    for client in &mut stays {
        assert_eq!(client.call(&["GET", "cart:1"]), Reply::Nil);
    }
    // Those that were woken for nothing hear of the next one too.
    proxy.reload(&narrowed("search", "off"));
    for client in &mut stays {
        client.expect_close();
    }
}

#[test]
fn who_does_not_read_when_its_user_is_deleted_gets_what_was_on_its_way_and_no_more() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let value = "x".repeat(50_000_000);
    server.direct().call(&["SET", "cart:big", &value]);
    let mut cart = proxy.client("cart");
    assert_eq!(
        cart.call(&["STRLEN", "cart:big"]),
        Reply::Integer(50_000_000)
    );
    cart.send_args(&["GET", "cart:big"]);
    // It is on its way, and from now on nobody takes it.
    cart.expect("$50000000\r\nxxx");
    proxy.reload(&without("cart"));
    let got = cart.read_to_close();
    assert!(got.len() < value.len(), "the rest stays where it is");
}
