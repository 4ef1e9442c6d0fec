//! The ACL command family, which the proxy answers itself: replies, changes, rights.

use std::collections::BTreeSet;

use crate::support::acl::{call, changes, denied, entries, everything, field, ok, words};
use crate::support::proxy::USERS;
use crate::support::{Proxy, RedisServer, Reply, TestClient, Version, cli, command, eventually};

/// Without ACL of its own, and with.
const UPSTREAMS: [Version; 2] = [Version::V5_0_6, Version::V8_2_3];

const PRIVILEGED: &str =
    "NOPERM respgate: changing a user that holds lethal= or script= rules needs lethal=acl";

#[test]
fn replies_are_those_of_redis_8_byte_for_byte() {
    let users = format!("{USERS}user default on nopass ~* &* +@all\n");
    let real = RedisServer::start(Version::V8_2_3, &[]);
    let mut real = real.direct();
    // So that both have the same users.
    for user in ["cart", "admin", "search"] {
        let head = format!("user {user} ");
        let line = users.lines().find(|line| line.starts_with(&head)).unwrap();
        let rules = line.strip_prefix("user ").unwrap();
        assert_eq!(call(&mut real, &format!("ACL SETUSER {rules}")), ok());
    }
    assert_eq!(call(&mut real, "AUTH admin admin-secret"), ok());
    for version in UPSTREAMS {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder().upstream(&server).users(&users).start();
        let mut client = proxy.client("admin");
        for line in SAME {
            assert_eq!(call(&mut client, line), call(&mut real, line), "{line}");
        }
        // The real one keeps its users from round to round.
        for line in ["ACL DELUSER one two three four", "ACL LOG RESET"] {
            call(&mut real, line);
        }
        // Nobody asked the upstream.
        if version == Version::V8_2_3 {
            let users = server.direct().call(&["ACL", "USERS"]);
            assert_eq!(users, Reply::Array(vec![Reply::bulk("default")]));
            assert_eq!(server.direct().call(&["ACL", "LOG"]), Reply::Array(vec![]));
        }
    }
}

/// What a real server and the proxy answer alike, in this order.
const SAME: &[&str] = &[
    "ACL",
    "acl nosuch",
    "ACL HELP",
    "ACL HELP x",
    "ACL CAT",
    "ACL CAT nosuch",
    "ACL CAT read write",
    "ACL WHOAMI",
    "acl whoami x",
    "ACL USERS",
    "ACL USERS x",
    "ACL LIST",
    "ACL LIST x",
    "ACL GETUSER nosuch",
    "ACL GETUSER default",
    "ACL GETUSER cart",
    "ACL GETUSER search",
    "ACL GETUSER",
    "ACL GETUSER a b",
    "ACL SETUSER",
    "ACL SETUSER one",
    "ACL GETUSER one",
    "ACL SETUSER one on >pw >pw2 ~a %R~b %W~c %RW~d &e &f +get -@all +@read -mget +config|get",
    "ACL GETUSER one",
    "ACL SETUSER one (+set ~x) (+@string -get %R~y &z) nopass",
    "ACL SETUSER one ( +hget ~h )",
    "ACL GETUSER one",
    "ACL SETUSER one clearselectors allkeys allchannels skip-sanitize-payload",
    "ACL GETUSER one",
    "ACL LIST",
    "ACL SETUSER one reset",
    "ACL GETUSER one",
    "ACL SETUSER two on +nosuch",
    "ACL SETUSER two on +@nosuch",
    "ACL SETUSER two on nonsense",
    "ACL SETUSER two on (+get",
    "ACL SETUSER two allkeys ~a",
    "ACL SETUSER two allchannels &a",
    "ACL SETUSER two #abc",
    "ACL SETUSER two <none",
    "ACL SETUSER two +get|a|b",
    "ACL GETUSER two",
    "ACL SETUSER two +select|0 +@all -@dangerous +debug",
    "ACL GETUSER two",
    "ACL SETUSER three on",
    "ACL SETUSER four",
    "ACL DELUSER",
    "ACL DELUSER default",
    "ACL DELUSER three default",
    "ACL DELUSER three three nosuch four",
    "ACL USERS",
    "ACL GENPASS 0",
    "ACL GENPASS -1",
    "ACL GENPASS 4097",
    "ACL GENPASS x",
    "ACL GENPASS 01",
    "ACL GENPASS 1 2",
    "ACL LOG RESET",
    "ACL LOG",
    "ACL LOG 0",
    "ACL LOG -1",
    "ACL LOG x",
    "ACL LOG 1 2",
    "acl log reset",
    "ACL DRYRUN",
    "ACL DRYRUN cart",
    "ACL DRYRUN nosuch get a",
    "ACL DRYRUN cart nosuch",
    "ACL DRYRUN cart config|get a",
    "ACL DRYRUN cart config nosuch",
    "ACL DRYRUN cart get",
    "ACL DRYRUN cart CONFIG GET",
    "ACL DRYRUN cart get cart:1",
    "ACL DRYRUN cart GET other",
    "ACL DRYRUN cart MGET cart:1 other cart:2",
    "ACL DRYRUN cart CONFIG GET a",
    "ACL DRYRUN cart publish news x",
    "ACL DRYRUN search set cart:1 a",
    "ACL DRYRUN search set search:1 a",
    "ACL DRYRUN cart auth x",
];

#[test]
fn errors_hold_no_line_ends_of_the_client() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let proxy = Proxy::start(&server);
    let (mut client, mut real) = (proxy.client("admin"), server.direct());
    let long = "x".repeat(200);
    let requests: [&[&[u8]]; 9] = [
        &[b"ACL", b"CAT", b"a\r\nb\0c"],
        &[b"ACL", b"CAT", long.as_bytes()],
        &[b"ACL", b"SETUSER", b"a b", b"on"],
        &[b"ACL", b"SETUSER", b"a\0b", b"on"],
        &[b"ACL", b"SETUSER", b"u", b"no\r\nrule\n"],
        &[b"ACL", b"SETUSER", b"u", b"no\0rule"],
        &[b"ACL", b"DRYRUN", b"no\nuser\0x", b"get"],
        &[b"ACL", b"DRYRUN", b"default", b"no\r\ncommand"],
        &[b"ACL", b"\r\n\r\n"],
    ];
    for request in requests {
        let (ours, theirs) = (client.call_bytes(request), real.call_bytes(request));
        // Redis' own users: the proxy has no `default`.
        if request[1] == b"DRYRUN" && request[2] == b"default" {
            continue;
        }
        assert_eq!(ours, theirs, "{request:?}");
    }
}

#[test]
fn categories_have_the_commands_of_redis_8() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let proxy = Proxy::start(&server);
    let (mut client, mut real) = (proxy.client("admin"), server.direct());
    let names = |client: &mut TestClient, args: &[&str]| match client.call(args) {
        Reply::Array(items) => items.iter().map(Reply::text).collect::<BTreeSet<String>>(),
        other => panic!("{other:?}"),
    };
    for category in names(&mut real, &["ACL", "CAT"]) {
        let theirs = names(&mut real, &["ACL", "CAT", &category]);
        let ours = names(&mut client, &["ACL", "CAT", &category]);
        let missing: Vec<_> = theirs.difference(&ours).collect();
        assert!(missing.is_empty(), "@{category} lacks {missing:?}");
        // What Redis 8 has no more, and legacy ones have. SENTINEL only Sentinels have.
        let more: Vec<_> = ours
            .difference(&theirs)
            .filter(|name| !name.starts_with("sentinel"))
            .collect();
        assert!(more.len() <= 5, "@{category} has {more:?} besides");
    }
}

#[test]
fn genpass_gives_fresh_digits() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("admin");
    let mut seen = BTreeSet::new();
    for (bits, digits) in [("256", 64), ("255", 64), ("5", 2), ("4096", 1024), ("1", 1)] {
        let text = client.call(&["ACL", "GENPASS", bits]).text();
        assert_eq!(text.len(), digits);
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        assert!(text.bytes().all(hex), "{text}");
    }
    for _ in 0..20 {
        let text = client.call(&["ACL", "GENPASS"]).text();
        assert_eq!(text.len(), 64);
        assert!(seen.insert(text));
    }
}

#[test]
fn a_change_holds_at_once_for_sessions_on_both_workers() {
    for version in UPSTREAMS {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder()
            .upstream(&server)
            .section("[runtime]\nworkers = 2")
            .start();
        let mut admin = proxy.client("admin");
        let mut carts: Vec<TestClient> = (0..4).map(|_| proxy.client("cart")).collect();
        for cart in &mut carts {
            assert_eq!(call(cart, "SET cart:1 a"), ok());
        }
        assert_eq!(call(&mut admin, "ACL SETUSER cart -get"), ok());
        for cart in &mut carts {
            assert_eq!(call(cart, "GET cart:1").error(), denied("cart", "get"));
            assert_eq!(call(cart, "SET cart:1 b"), ok());
        }
        assert_eq!(call(&mut admin, "ACL SETUSER cart +get >other"), ok());
        for cart in &mut carts {
            assert_eq!(call(cart, "GET cart:1"), Reply::bulk("b"));
            assert_eq!(call(cart, "AUTH other"), ok());
        }
        // In one write: the change first, then what it forbids.
        let pipeline = ["ACL SETUSER admin -get", "GET k", "SET k v"].map(|line| words(line));
        admin.send(pipeline.map(|line| command(&line)).concat());
        assert_eq!(admin.read_reply(), ok());
        assert_eq!(admin.read_reply().error(), denied("admin", "get"));
        assert_eq!(admin.read_reply(), ok());
        admin.send("ACL SETUSER admin +get\r\nGET k\r\n");
        assert_eq!(admin.read_reply(), ok());
        assert_eq!(admin.read_reply(), Reply::bulk("v"));
        // And with nothing behind it but the end of the client.
        admin.send("ACL SETUSER admin -get\r\nGET k\r\n");
        admin.half_close();
        assert_eq!(admin.read_reply(), ok());
        assert_eq!(admin.read_reply().error(), denied("admin", "get"));
        admin.expect_close();
    }
}

#[test]
fn off_and_deluser_end_live_sessions() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[runtime]\nworkers = 2")
        .start();
    let mut admin = proxy.client("admin");
    let mut carts = [proxy.client("cart"), proxy.client("cart")];
    let mut search = proxy.client("search");
    for cart in &mut carts {
        assert_eq!(call(cart, "GET cart:1"), Reply::Nil);
    }
    assert_eq!(call(&mut search, "GET search:1"), Reply::Nil);
    assert_eq!(call(&mut admin, "ACL SETUSER cart off"), ok());
    for cart in &mut carts {
        cart.expect_close();
    }
    assert_eq!(call(&mut search, "GET search:1"), Reply::Nil);
    assert_eq!(call(&mut admin, "ACL DELUSER search"), Reply::Integer(1));
    search.expect_close();
    assert_eq!(call(&mut admin, "ACL SETUSER cart on"), ok());
    assert_eq!(call(&mut proxy.client("cart"), "GET cart:1"), Reply::Nil);
    for (user, reason) in [("cart", "user_off"), ("search", "user_deleted")] {
        let closed =
            proxy.audit_when(|event| event["event"] == "session_closed" && event["user"] == user);
        assert_eq!(closed[0]["reason"], reason);
    }
}

#[test]
fn who_deletes_himself_reads_the_reply_and_goes() {
    for rules in ["DELUSER admin nosuch", "SETUSER admin off"] {
        let server = RedisServer::start(Version::V5_0_6, &[]);
        let proxy = Proxy::builder()
            .upstream(&server)
            .users(&format!("{USERS}user other on ~* +@all\n"))
            .start();
        let mut admin = proxy.client("admin");
        let before = "SET before b\r\nGET before\r\n";
        admin.send(format!("{before}ACL {rules}\r\nSET k v\r\n"));
        admin.expect("+OK\r\n$1\r\nb\r\n");
        let reply = admin.read_reply();
        assert!(reply == ok() || reply == Reply::Integer(1), "{reply:?}");
        admin.expect_close();
        assert_eq!(server.direct().call(&["GET", "k"]), Reply::Nil);
        let events = proxy.audit_when(|event| event["event"] == "session_closed");
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["user"], "admin");
    }
}

#[test]
fn nobody_gives_himself_lethal_rules() {
    let users = format!("{USERS}user root on ~* &* +@all lethal=acl\nuser ops on +@all lethal=*\n");
    let identities = "[[identity]]\nmatch = { cn = [\"cart\", \"admin\", \"search\"] }\nuser = \
                      \"$cn\"\nauth = \"certificate\"\n[[identity]]\nmatch = { cn = \"nobody\" }\n\
                      user = \"root\"\nauth = \"certificate\"\n";
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(&users)
        .identities(identities)
        .start();
    let mut admin = proxy.client("admin");
    for line in [
        "ACL SETUSER admin lethal=*",
        "ACL SETUSER new script=any",
        "ACL SETUSER ops >my-own-password",
        "ACL DELUSER ops",
    ] {
        assert_eq!(call(&mut admin, line).error(), PRIVILEGED, "{line}");
    }
    let refusals = proxy.audit_when(|event| event["reason"] == "lethal");
    eventually("all are audited", || {
        let events = proxy.audit();
        events
            .iter()
            .filter(|event| event["reason"] == "lethal")
            .count()
            == 4
    });
    assert_eq!(refusals[0]["command"], "acl|setuser");
    assert_eq!(refusals[0]["refused"], "admin");
    assert!(changes(&proxy).is_empty());
    assert!(call(&mut admin, "DEBUG SLEEP 0").is_error());
    let log = call(&mut admin, "ACL LOG 1");
    assert_eq!(field(&entries(&log)[0], "object"), Reply::bulk("debug"));
    let mut root = proxy.client("nobody");
    assert_eq!(call(&mut root, "ACL SETUSER admin lethal=debug"), ok());
    assert_eq!(call(&mut admin, "DEBUG SLEEP 0"), ok());
    assert_eq!(call(&mut root, "ACL DELUSER ops"), Reply::Integer(1));
    assert!(!everything(&proxy).contains("my-own-password"));
}

#[test]
fn a_transaction_holds_no_acl_command() {
    for version in UPSTREAMS {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut admin = proxy.client("admin");
        admin.send("MULTI\r\nACL SETUSER cart off\r\nSET k v\r\nEXEC\r\nACL WHOAMI\r\n");
        assert_eq!(admin.read_reply(), ok());
        assert!(admin.read_reply().error().contains("inside MULTI"));
        assert_eq!(admin.read_reply(), Reply::Simple("QUEUED".into()));
        assert!(admin.read_reply().error().starts_with("EXECABORT"));
        assert_eq!(admin.read_reply(), Reply::bulk("admin"));
        assert_eq!(call(&mut proxy.client("cart"), "GET cart:1"), Reply::Nil);
    }
}

#[test]
fn a_request_that_is_too_long_is_refused_and_the_session_lives() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut admin = proxy.client("admin");
    let long = format!("~{}", "x".repeat(2 << 20));
    let reply = admin.call(&["ACL", "SETUSER", "bob", &long]);
    assert!(reply.error().contains("too large"), "{reply:?}");
    let long = format!("~{}", "x".repeat(100 << 10));
    assert_eq!(admin.call(&["ACL", "SETUSER", "bob", &long]), ok());
    assert!(everything(&proxy).len() < 50_000);
}

#[test]
fn a_renamed_acl_answers_to_its_new_name_alone() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[rewrite]\nrename = { ACL = \"USERS\" }")
        .start();
    let mut admin = proxy.client("admin");
    assert!(
        call(&mut admin, "ACL WHOAMI")
            .error()
            .contains("unknown command")
    );
    assert_eq!(call(&mut admin, "USERS whoami"), Reply::bulk("admin"));
    assert_eq!(
        call(&mut admin, "USERS WHOAMI x").error(),
        "ERR wrong number of arguments for 'users|whoami' command"
    );
    assert!(call(&mut admin, "ACL GETUSER cart").is_error());
}

#[test]
fn redis_py_manages_users() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let outcome = cli::python(&proxy, "redis_py_acl.py", &[]).expect_code(0);
    assert!(outcome.stdout.ends_with("passed\n"), "{outcome:#?}");
}
