//! Shadow mode: a policy that is tried before it bites. What it denies is told and runs all the same;
//! tests/differential compares that with Redis itself.

use serde_json::Value;

use crate::support::acl::{call, denied, ok};
use crate::support::cli::respgate;
use crate::support::proxy::USERS;
use crate::support::redis::LEGACY_AND_CURRENT;
use crate::support::{Builder, Proxy, RedisServer, Reply, Version, eventually, pipeline};

const EVERYBODY: &str = "mode = \"shadow\"";
const IN_FORCE: &str = "a new generation is in force";
const NO_KEY: &str = "NOPERM No permissions to access a key";

/// In front of old and new ones, over shared connections and others.
fn everywhere(policy: &str, test: impl Fn(&RedisServer, &Proxy)) {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        for builder in [Proxy::builder(), Proxy::builder().dedicated()] {
            let proxy = builder.upstream(&server).section(policy).start();
            test(&server, &proxy);
            assert_eq!(server.direct().call(&["FLUSHALL"]), ok());
        }
    }
}

/// The events of this user: event, command and reason.
fn told(proxy: &Proxy, user: &str, count: usize) -> Vec<[String; 3]> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = proxy.audit_of(user, count);
    let parts = |event: &Value| ["event", "command", "reason"].map(|name| text(&event[name]));
    events.iter().map(parts).collect()
}

fn event(event: &str, command: &str, reason: &str) -> [String; 3] {
    [event, command, reason].map(str::to_owned)
}

#[test]
fn what_the_policy_denies_runs_and_is_audited() {
    everywhere(EVERYBODY, |server, proxy| {
        let mut cart = proxy.client("cart");
        let mut direct = server.direct();
        assert_eq!(cart.call(&["SET", "cart:1", "a"]), ok());
        assert_eq!(cart.call(&["SET", "other", "a"]), ok());
        assert_eq!(direct.call(&["GET", "other"]), Reply::bulk("a"));
        assert_eq!(cart.call(&["MGET", "cart:1", "other"]).array().len(), 2);
        assert_eq!(cart.call(&["FLUSHALL"]), ok());
        assert_eq!(direct.call(&["DBSIZE"]), Reply::Integer(0));
        let events = proxy.audit_of("cart", 3);
        for (event, [command, reason]) in
            events
                .iter()
                .zip([["set", "key"], ["mget", "key"], ["flushall", "command"]])
        {
            assert_eq!(event["event"], "would_refuse");
            assert_eq!(event["verdict"], "would_deny");
            assert_eq!(
                (&event["command"], &event["reason"]),
                (&command.into(), &reason.into())
            );
            assert_eq!(event["certificate"], "CN=cart");
        }
        assert_eq!(events[0]["refused"], "other");
        assert_eq!(events[0]["rule"], "no ~pattern matches");
        assert_eq!(events[1]["keys"], serde_json::json!(["cart:1", "other"]));
        assert_eq!(events[2]["rule"], "-@dangerous");
        let log = proxy.log_text();
        assert!(
            log.contains("policy.mode = \"shadow\": nothing is enforced"),
            "{log}"
        );
    });
}

#[test]
fn pipelines_and_transactions_stay_in_step() {
    everywhere(EVERYBODY, |server, proxy| {
        let mut cart = proxy.client("cart");
        cart.send(pipeline(&[
            &["SET", "other", "1"],
            &["SHUTDOWN", "NOSAVE"],
            &["INCR", "other"],
            &["NOSUCH"],
            &["MULTI"],
            &["INCR", "other"],
            &["SELECT", "3"],
            &["DBSIZE"],
            &["EXEC"],
            &["SELECT", "0"],
            &["MULTI"],
            &["INCR", "other"],
            &["DEBUG", "SLEEP", "0"],
            &["EXEC"],
            &["GET", "other"],
        ]));
        let queued = || Reply::Simple("QUEUED".into());
        assert_eq!(cart.read_reply(), ok());
        assert_eq!(cart.read_reply().error(), denied("cart", "shutdown"));
        assert_eq!(cart.read_reply(), Reply::Integer(2));
        assert!(cart.read_reply().error().starts_with("ERR unknown command"));
        for expected in [ok(), queued(), queued(), queued()] {
            assert_eq!(cart.read_reply(), expected);
        }
        let ran = [Reply::Integer(3), ok(), Reply::Integer(0)];
        assert_eq!(cart.read_reply().array(), ran);
        for expected in [ok(), ok(), queued()] {
            assert_eq!(cart.read_reply(), expected);
        }
        assert_eq!(cart.read_reply().error(), denied("cart", "debug"));
        assert!(cart.read_reply().error().starts_with("EXECABORT"));
        assert_eq!(cart.read_reply(), Reply::bulk("3"));
        assert_eq!(server.direct().call(&["GET", "other"]), Reply::bulk("3"));
    });
}

#[test]
fn it_may_be_for_some_users_only() {
    everywhere("shadow_users = [\"search\"]", |_, proxy| {
        let (mut cart, mut search) = (proxy.client("cart"), proxy.client("search"));
        assert_eq!(search.call(&["SET", "other", "a"]), ok());
        assert_eq!(cart.call(&["GET", "other"]).error(), NO_KEY);
        assert_eq!(
            told(proxy, "search", 1),
            [event("would_refuse", "set", "key")]
        );
        assert_eq!(told(proxy, "cart", 1), [event("refused", "get", "key")]);
        let refused = &proxy.audit_of("cart", 1)[0];
        assert_ne!(refused["verdict"], "would_deny");
        let log = proxy.log_text();
        assert!(
            log.contains("policy.shadow_users = \"search\": what the policy denies"),
            "{log}"
        );
    });
}

#[test]
fn the_way_to_the_machine_scripts_and_acl_stay_closed() {
    everywhere(EVERYBODY, |server, proxy| {
        let mut search = proxy.client("search");
        for (line, command) in [
            ("SHUTDOWN NOSAVE", "shutdown"),
            ("CONFIG SET dir /tmp", "config|set"),
            ("MODULE LOAD /tmp/x.so", "module|load"),
            ("REPLICAOF 127.0.0.1 1", "replicaof"),
            ("DEBUG SEGFAULT", "debug"),
            ("EVAL return 0", "eval"),
            ("ACL SETUSER search +@all ~*", "acl|setuser"),
            ("ACL WHOAMI", "acl|whoami"),
        ] {
            let text = denied("search", command);
            assert_eq!(call(&mut search, line).error(), text, "{line}");
        }
        let told = told(proxy, "search", 8);
        assert!(
            told.iter().all(|[event, ..]| event == "refused"),
            "{told:?}"
        );
        assert_eq!(server.info("role"), "master");
        // What of CONFIG leads nowhere goes on.
        assert_eq!(call(&mut search, "CONFIG SET maxmemory-samples 5"), ok());
    });
}

#[test]
fn what_is_hidden_stays_hidden_and_who_is_nobody_stays_nobody() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let identities = "[[identity]]\nmatch = { cn = \"cart\" }\nuser = \"cart\"\nauth = \"password\"\n\
                      [[identity]]\nmatch = { cn = \"admin\" }\nuser = \"admin\"\n";
    let proxy = Proxy::builder()
        .upstream(&server)
        .identities(identities)
        .section(&format!(
            "{EVERYBODY}\n[rewrite]\nrename = {{ KEYS = \"\", DBSIZE = \"SIZE_OF_DB\" }}"
        ))
        .start();
    let mut cart = proxy.client("cart");
    assert_eq!(
        call(&mut cart, "GET other").error(),
        "NOAUTH Authentication required."
    );
    assert!(call(&mut cart, "AUTH no").error().starts_with("WRONGPASS"));
    assert_eq!(call(&mut cart, "AUTH cart-secret"), ok());
    for line in ["KEYS *", "DBSIZE"] {
        let text = call(&mut cart, line).error().to_owned();
        assert!(text.starts_with("ERR unknown command"), "{text}");
    }
    assert_eq!(call(&mut cart, "GET other"), Reply::Nil);
    let mut browser = proxy.client("cart");
    assert_eq!(call(&mut browser, "AUTH cart-secret"), ok());
    browser.send("POST / HTTP/1.1\r\nHost: x\r\n\r\n");
    browser.expect_close();
}

/// 4 MB: its verdict is there before its value is, and what would be drained streams.
#[test]
fn a_large_value_for_a_denied_key_arrives_whole() {
    everywhere(EVERYBODY, |server, proxy| {
        let mut cart = proxy.client("cart");
        let value = "v".repeat(4 << 20);
        assert_eq!(cart.call(&["SET", "other", &value]), ok());
        assert_eq!(cart.call(&["STRLEN", "other"]), Reply::Integer(4 << 20));
        assert_eq!(server.direct().call(&["GET", "other"]), Reply::bulk(&value));
        let both = ["set", "strlen"].map(|name| event("would_refuse", name, "key"));
        assert_eq!(told(proxy, "cart", 2), both);
    });
}

#[test]
fn it_is_switched_on_and_off_under_living_sessions() {
    everywhere("", |_, proxy| {
        let (mut cart, mut listener, mut open) = (
            proxy.client("cart"),
            proxy.client("cart"),
            proxy.client("cart"),
        );
        let get = |client: &mut crate::support::TestClient| call(client, "GET other");
        assert_eq!(get(&mut cart).error(), NO_KEY);
        assert!(call(&mut listener, "SUBSCRIBE news").is_error());
        proxy.edit("[policy]\n", "[policy]\nmode = \"shadow\"\n");
        proxy.reload_until(IN_FORCE);
        assert_eq!(get(&mut cart), Reply::Nil);
        assert_eq!(call(&mut listener, "SUBSCRIBE news").array().len(), 3);
        assert_eq!(call(&mut open, "MULTI"), ok());
        assert_eq!(
            call(&mut open, "SET other a"),
            Reply::Simple("QUEUED".into())
        );
        // For one user or for all: for this one it goes on.
        proxy.edit("mode = \"shadow\"\n", "shadow_users = [\"cart\"]\n");
        proxy.reload_until(IN_FORCE);
        assert_eq!(get(&mut cart), Reply::Nil);
        proxy.edit("shadow_users = [\"cart\"]\n", "");
        proxy.reload_until(IN_FORCE);
        assert_eq!(get(&mut cart).error(), NO_KEY);
        // Nobody keeps what only shadow mode gave.
        listener.expect_close();
        let aborted = call(&mut open, "EXEC");
        assert!(aborted.error().starts_with("EXECABORT"), "{aborted:?}");
        let closed = proxy.audit_when(|event| event["event"] == "session_closed");
        assert_eq!(closed[0]["reason"], "channel_lost");
    });
}

/// A monitor and a replica, who may be neither by the policy.
#[test]
fn who_takes_a_connection_over_is_carried_until_it_ends() {
    // Before 5.0.10 MONITOR is a lethal one.
    let server = RedisServer::start(Version::V7_0_15, &[]);
    for builder in [Proxy::builder(), Proxy::builder().dedicated()] {
        let proxy = builder.upstream(&server).section(EVERYBODY).start();
        let (mut monitor, mut replica) = (proxy.client("search"), proxy.client("search"));
        assert_eq!(call(&mut monitor, "MONITOR"), ok());
        replica.send_args(&["PSYNC", "?", "-1"]);
        replica.read_until("+FULLRESYNC ");
        replica.read_until("redis-ver");
        assert_eq!(call(&mut proxy.client("cart"), "SET other a"), ok());
        monitor.read_until("\"SET\" \"other\" \"a\"");
        let both = ["monitor", "psync"].map(|name| event("would_refuse", name, "command"));
        assert_eq!(told(&proxy, "search", 2), both);
        proxy.edit("mode = \"shadow\"\n", "");
        proxy.reload_until(IN_FORCE);
        monitor.read_to_close();
        replica.read_to_close();
        eventually("both are told", || {
            let lost = |event: &Value| event["reason"] == "command_lost";
            proxy.audit_when(lost).len() == 2
        });
    }
}

#[test]
fn users_that_are_changed_at_run_time_stay_in_it() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section(EVERYBODY)
        .start();
    let (mut cart, mut admin) = (proxy.client("cart"), proxy.client("admin"));
    assert_eq!(call(&mut cart, "SET other a"), ok());
    assert_eq!(call(&mut admin, "ACL SETUSER cart -get"), ok());
    assert_eq!(call(&mut cart, "GET other"), Reply::bulk("a"));
    // What is tried is the policy; who asks it is answered by it, and nothing was refused.
    let asked = call(&mut admin, "ACL DRYRUN cart GET cart:1");
    assert!(
        asked
            .text()
            .contains("no permissions to run the 'get' command"),
        "{asked:?}"
    );
    assert_eq!(call(&mut admin, "ACL LOG"), Reply::Array(Vec::new()));
    let reasons = [("set", "key"), ("get", "command")];
    let both = reasons.map(|(name, reason)| event("would_refuse", name, reason));
    assert_eq!(told(&proxy, "cart", 2), both);
    assert_eq!(call(&mut admin, "ACL SETUSER cart off"), ok());
    cart.expect_close();
}

/// In one pipeline with a SELECT that is not answered yet, a command waits for its verdict.
#[test]
fn databases_are_tried_too() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let users = format!("{USERS}user placed on >placed-secret +@all ~* db=0,1\n");
    let identities = "[[identity]]\nmatch = { cn = [\"cart\", \"admin\"] }\nuser = \"placed\"\n";
    let builder = || {
        Proxy::builder()
            .upstream(&server)
            .users(&users)
            .identities(identities)
    };
    for builder in [builder(), builder().dedicated()] {
        let proxy = builder.section(EVERYBODY).start();
        let mut client = proxy.client("cart");
        client.send(pipeline(&[
            &["SELECT", "1"],
            &["SET", "k", "1"],
            &["SELECT", "3"],
            &["SET", "k", "3"],
            &["MOVE", "k", "4"],
            &["SELECT", "0"],
            &["DBSIZE"],
        ]));
        for expected in [
            ok(),
            ok(),
            ok(),
            ok(),
            Reply::Integer(1),
            ok(),
            Reply::Integer(0),
        ] {
            assert_eq!(client.read_reply(), expected);
        }
        let events = proxy.audit_of("placed", 3);
        let told = |event: &Value| (event["command"].clone(), event["databases"].clone());
        let told: Vec<_> = events.iter().map(told).collect();
        assert_eq!(told[0].0, "select");
        assert_eq!(
            told[1..],
            ["set", "move"].map(|name| (name.into(), serde_json::json!([3])))
        );
        assert_eq!(server.direct().call(&["FLUSHALL"]), ok());
    }
}

#[test]
fn check_and_explain_say_that_a_policy_is_only_tried() {
    let dir = tempfile::tempdir().unwrap();
    let write = |policy: &str| {
        let builder = Proxy::builder().upstream_named("main", "address = \"127.0.0.1:6379\"");
        let path = Builder::section(builder, policy).write(dir.path(), 6380);
        path.to_str().unwrap().to_owned()
    };
    let path = write("shadow_users = [\"cart\", \"nosuch\", \"\"]");
    let outcome = respgate(&["check", "--config", &path]).expect_code(78);
    assert!(
        outcome
            .stderr
            .contains("policy.shadow_users[2]: must not be empty"),
        "{outcome:#?}"
    );
    let path = write("shadow_users = [\"cart\", \"nosuch\"]");
    let outcome = respgate(&["check", "--config", &path]).expect_code(78);
    let text = "policy.shadow_users[1] = \"nosuch\": no ACL file defines this user";
    assert!(outcome.stderr.contains(text), "{outcome:#?}");
    let path = write("shadow_users = [\"cart\"]");
    let outcome = respgate(&["check", "--config", &path]).expect_code(0);
    assert!(outcome.stderr.contains("warning: "), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("policy.shadow_users = \"cart\""),
        "{outcome:#?}"
    );
    // A pipeline that asks what a policy says must not be told otherwise by where it is tried.
    for (user, command, code, shadow) in [
        ("cart", "GET", 1, true),
        ("cart", "SHUTDOWN", 1, false),
        ("cart", "PING", 0, false),
        ("search", "SUBSCRIBE", 1, false),
    ] {
        let args = [
            "explain", "--config", &path, "--user", user, "--", command, "other",
        ];
        let outcome = respgate(&args).expect_code(code);
        let first = if code == 0 { "allow\n" } else { "deny\n" };
        assert!(outcome.stdout.starts_with(first), "{outcome:#?}");
        assert_eq!(outcome.stdout.contains("shadow:  "), shadow, "{outcome:#?}");
    }
}

/// A thousand requests that are denied, and each is told of: where the audit has room for them.
#[test]
fn each_request_of_a_long_pipeline_is_told_once() {
    everywhere(EVERYBODY, |_, proxy| {
        let mut cart = proxy.client("cart");
        let requests: Vec<[&str; 2]> = vec![["INCR", "other"]; 1000];
        let requests: Vec<&[&str]> = requests.iter().map(|words| &words[..]).collect();
        cart.send(pipeline(&requests));
        for number in 1..=1000 {
            assert_eq!(cart.read_reply(), Reply::Integer(number));
        }
        eventually("all are told", || proxy.audit().len() >= 1000);
        assert_eq!(told(proxy, "cart", 1000).len(), 1000);
    });
}
