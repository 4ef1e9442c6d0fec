//! The ACL command family, which the proxy answers itself.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::proxy::USERS;
use crate::support::{Proxy, RedisServer, Reply, TestClient, Version, cli, command, eventually};

/// Without ACL of its own, and with.
const UPSTREAMS: [Version; 2] = [Version::V5_0_6, Version::V8_2_3];

const PRIVILEGED: &str =
    "NOPERM respgate: changing a user that holds lethal= or script= rules needs lethal=acl";

const NOT_SAVED: &str = "ERR There was an error trying to save the ACLs. Please check the server \
                         logs for more information";

fn ok() -> Reply {
    Reply::Simple("OK".into())
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').filter(|word| !word.is_empty()).collect()
}

#[track_caller]
fn call(client: &mut TestClient, line: &str) -> Reply {
    client.call(&words(line))
}

fn denied(user: &str, command: &str) -> String {
    format!("NOPERM User {user} has no permissions to run the '{command}' command")
}

/// The audit's events about changes, as `(user, reason, detail)`.
fn changes(proxy: &Proxy) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = proxy.audit();
    let events = events
        .iter()
        .filter(|event| event["event"] == "acl_changed");
    events
        .map(|event| {
            assert!(event["peer"].is_string() && event["session"].is_u64());
            (
                text(&event["user"]),
                text(&event["reason"]),
                text(&event["detail"]),
            )
        })
        .collect()
}

/// Everything that the proxy ever wrote.
fn everything(proxy: &Proxy) -> String {
    let audit: Vec<String> = proxy.audit().iter().map(ToString::to_string).collect();
    format!("{}\n{}", proxy.log_text(), audit.join("\n"))
}

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
        // What Redis 8 has no more, and legacy ones have.
        let more: Vec<_> = ours.difference(&theirs).collect();
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
        admin.send(format!("ACL {rules}\r\nSET k v\r\n"));
        let reply = admin.read_reply();
        assert!(reply == ok() || reply == Reply::Integer(1), "{reply:?}");
        admin.expect_close();
        assert_eq!(server.direct().call(&["GET", "k"]), Reply::Nil);
        let event = &proxy.audit_when(|event| event["event"] == "session_closed")[0];
        assert_eq!(event["user"], "admin");
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

/// The entries of an ACL LOG, each as names and values.
fn entries(log: &Reply) -> Vec<Vec<(String, Reply)>> {
    let Reply::Array(entries) = log else {
        panic!("{log:?}");
    };
    let pairs = |entry: &Reply| match entry {
        Reply::Array(fields) => fields
            .chunks(2)
            .map(|pair| (pair[0].text(), pair[1].clone()))
            .collect(),
        other => panic!("{other:?}"),
    };
    entries.iter().map(pairs).collect()
}

fn field(entry: &[(String, Reply)], name: &str) -> Reply {
    entry
        .iter()
        .find(|(known, _)| known == name)
        .unwrap()
        .1
        .clone()
}

/// What two servers must agree on: all but the times and the client.
fn comparable(log: &Reply) -> Vec<Vec<(String, Reply)>> {
    let mut entries = entries(log);
    let first = entries
        .iter()
        .map(|entry| match field(entry, "entry-id") {
            Reply::Integer(id) => id,
            other => panic!("{other:?}"),
        })
        .min();
    for (name, value) in entries.iter_mut().flatten() {
        match (&**name, &*value) {
            ("entry-id", Reply::Integer(id)) => *value = Reply::Integer(id - first.unwrap()),
            ("age-seconds", Reply::Bulk(text)) => {
                let text = String::from_utf8_lossy(text);
                assert!((0.0..60.0).contains(&text.parse::<f64>().unwrap()));
                *value = Reply::Nil;
            }
            ("timestamp-created" | "timestamp-last-updated", Reply::Integer(time)) => {
                let now = std::time::SystemTime::now();
                let now = now
                    .duration_since(std::time::UNIX_EPOCH)
                    .unwrap()
                    .as_millis();
                assert!(now.abs_diff(*time as u128) < 60_000);
                *value = Reply::Nil;
            }
            ("client-info", Reply::Bulk(line)) => {
                // The names in their order; and who it was.
                let line = String::from_utf8_lossy(line);
                let fields = line.split(' ').map(|field| match field.split_once('=') {
                    Some((name @ ("cmd" | "user" | "resp" | "multi" | "flags"), value)) => {
                        format!("{name}={value}")
                    }
                    Some((name, _)) => name.to_owned(),
                    None => panic!("{line}"),
                });
                *value = Reply::bulk(&fields.collect::<Vec<_>>().join(" "));
            }
            _ => {}
        }
    }
    entries
}

#[test]
fn the_log_is_that_of_redis_8() {
    let users = "user admin on >admin-secret ~* &* +@all\n\
                 user cart on >cart-secret ~cart:* &news +@all -flushall -config|set\n";
    let real = RedisServer::start(Version::V8_2_3, &[]);
    let mut setup = real.direct();
    for line in users.lines() {
        let rules = line.strip_prefix("user ").unwrap();
        assert_eq!(call(&mut setup, &format!("ACL SETUSER {rules}")), ok());
    }
    for version in UPSTREAMS {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder().upstream(&server).users(users).start();
        call(&mut setup, "ACL LOG RESET");
        let mut theirs = real.direct();
        assert_eq!(call(&mut theirs, "AUTH cart cart-secret"), ok());
        let mut ours = proxy.client("cart");
        for line in [
            "FLUSHALL",
            "GET other",
            "GET other",
            "MGET cart:1 x y",
            "flushall",
            "CONFIG SET maxmemory 0",
            "PUBLISH gossip x",
            "MULTI",
            "GET other",
            "GET other",
            "FLUSHALL",
            "DISCARD",
            "Auth search wrong",
            "AUTH search wrong",
            "AUTH search wrong",
            "HELLO 2 AUTH nobody wrong",
        ] {
            assert_eq!(
                call(&mut ours, line).is_error(),
                call(&mut theirs, line).is_error(),
                "{line}"
            );
        }
        let mut admin = proxy.client("admin");
        for count in ["", " 3", " 100", " 0"] {
            let line = format!("ACL LOG{count}");
            let (mine, other) = (call(&mut admin, &line), call(&mut setup, &line));
            assert_eq!(comparable(&mine), comparable(&other), "{line}");
        }
        let log = call(&mut admin, "ACL LOG");
        let info = field(&entries(&log)[0], "client-info").text();
        let local = format!("laddr={}", proxy.address());
        assert!(
            info.contains(&local) && info.contains("addr=127.0.0.1:"),
            "{info}"
        );
        assert_eq!(call(&mut admin, "ACL LOG RESET"), ok());
        assert_eq!(call(&mut admin, "ACL LOG"), Reply::Array(vec![]));
        // Nothing is logged but what the policy says and what logins say.
        for line in ["NOSUCH", "GET", "AUTH", "CONFIG NOSUCH"] {
            call(&mut ours, line);
        }
        assert_eq!(call(&mut admin, "ACL LOG"), Reply::Array(vec![]));
    }
}

/// The folder of the proxy's files, and the ACL file in it.
fn acl_file(proxy: &Proxy) -> std::path::PathBuf {
    proxy.directory().join("users.acl")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn save_writes_what_changed_and_nothing_else() {
    let users = format!("# ours\n{USERS}\n# the end\nuser gone on\nrole reader +@read\n");
    for version in UPSTREAMS {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder().upstream(&server).users(&users).start();
        let mut admin = proxy.client("admin");
        let file = acl_file(&proxy);
        assert_eq!(call(&mut admin, "ACL SAVE"), ok());
        assert_eq!(read(&file), users, "nothing has changed");
        for line in [
            "ACL SETUSER search -set >new-secret",
            "ACL SETUSER bob on >bob-secret role=reader ~bob:* (+set ~w:*) db=0",
            "ACL SETUSER passing on",
        ] {
            assert_eq!(call(&mut admin, line), ok(), "{line}");
        }
        assert_eq!(
            call(&mut admin, "ACL DELUSER gone passing"),
            Reply::Integer(2)
        );
        assert_eq!(read(&file), users, "not before it is asked");
        let before = call(&mut admin, "ACL LIST");
        assert_eq!(call(&mut admin, "ACL SAVE"), ok());
        let saved = read(&file);
        let expected: String = users
            .lines()
            .filter(|line| !line.starts_with("user gone"))
            .map(|line| match line.starts_with("user search ") {
                true => format!("{}\n", described(&before, "search")),
                false => format!("{line}\n"),
            })
            .chain([format!("{}\n", described(&before, "bob"))])
            .collect();
        assert_eq!(saved, expected);
        assert_eq!(std::fs::read_dir(proxy.directory()).unwrap().count(), 2);
        // What it has written is what is in force: a reload has nothing to do, a LOAD no loss.
        proxy.reload_until("the ACL files are unchanged");
        assert_eq!(call(&mut admin, "ACL LOAD"), ok());
        assert_eq!(call(&mut admin, "ACL LIST"), before);
        assert_eq!(call(&mut admin, "ACL SETUSER bob off"), ok());
        assert_eq!(call(&mut admin, "ACL SAVE"), ok(), "once more");
        assert!(read(&file).contains("user bob off "));
        let done: Vec<String> = changes(&proxy)
            .into_iter()
            .map(|(user, reason, detail)| format!("{user}: {reason}: {detail}"))
            .collect();
        assert_eq!(
            done,
            [
                "admin: saved: SAVE",
                "admin: changed: SETUSER search -set >…",
                "admin: changed: SETUSER bob on >… role=reader ~bob:* (+set ~w:*) db=0",
                "admin: changed: SETUSER passing on",
                "admin: changed: DELUSER gone passing",
                "admin: saved: SAVE",
                "admin: loaded: LOAD",
                "admin: changed: SETUSER bob off",
                "admin: saved: SAVE",
            ]
        );
        let all = everything(&proxy);
        for secret in ["new-secret", "bob-secret"] {
            assert!(!all.contains(secret), "{secret}");
        }
        // Every hash that is in force.
        let Reply::Array(list) = &before else {
            panic!("{before:?}");
        };
        let lines: Vec<String> = list.iter().map(Reply::text).collect();
        let hashes = lines.iter().flat_map(|line| line.split(' '));
        for hash in hashes.filter_map(|word| word.strip_prefix('#')) {
            assert!(!all.contains(hash), "{hash}");
        }
    }
}

/// The line of ACL LIST.
#[track_caller]
fn described(list: &Reply, name: &str) -> String {
    let Reply::Array(lines) = list else {
        panic!("{list:?}");
    };
    let mut lines = lines.iter().map(Reply::text);
    let head = format!("user {name} ");
    lines.find(|line| line.starts_with(&head)).unwrap()
}

#[test]
fn a_save_that_fails_changes_nothing_and_says_why_in_the_log() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .allow_error("the users are not saved")
        .start();
    let mut admin = proxy.client("admin");
    let file = acl_file(&proxy);
    assert_eq!(call(&mut admin, "ACL SETUSER bob on"), ok());
    let fails = |admin: &mut TestClient, reason: &str| {
        assert_eq!(call(admin, "ACL SAVE").error(), NOT_SAVED);
        eventually(reason, || proxy.log_text().contains(reason));
    };
    // Root may write anywhere; not to where something else is, though.
    let temporary = proxy
        .directory()
        .join(format!(".users.acl.respgate-{}", proxy.pid()));
    std::fs::create_dir(&temporary).unwrap();
    fails(&mut admin, "File exists");
    assert_eq!(read(&file), USERS);
    std::fs::remove_dir(&temporary).unwrap();
    // Somebody else has written it meanwhile.
    let theirs = format!("{USERS}# mine\n");
    std::fs::write(&file, &theirs).unwrap();
    fails(&mut admin, "ACL LOAD or SIGHUP first");
    assert_eq!(read(&file), theirs);
    std::fs::write(&file, USERS).unwrap();
    // A rule that no line can hold.
    assert_eq!(
        admin.call(&["ACL", "SETUSER", "bob", "+get|two words"]),
        ok()
    );
    fails(&mut admin, "could not be loaded");
    assert_eq!(read(&file), USERS);
    assert_eq!(call(&mut admin, "ACL SETUSER bob reset on"), ok());
    std::fs::remove_file(&file).unwrap();
    fails(&mut admin, "No such file");
    std::fs::create_dir(&file).unwrap();
    fails(&mut admin, "no file in it");
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, USERS).unwrap();
    assert_eq!(call(&mut admin, "ACL SAVE"), ok());
    assert!(read(&file).ends_with("user bob on sanitize-payload resetchannels -@all\n"));
}

#[test]
fn load_drops_what_was_not_saved_and_names_it() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .allow_error("reload")
        .start();
    let mut admin = proxy.client("admin");
    let mut cart = proxy.client("cart");
    assert_eq!(call(&mut cart, "SET cart:1 a"), ok());
    assert_eq!(call(&mut admin, "ACL SETUSER cart -get"), ok());
    assert_eq!(call(&mut admin, "ACL SETUSER bob on"), ok());
    assert!(call(&mut cart, "GET cart:1").is_error());
    // What it loads holds for the next command of its pipeline too.
    admin.send("ACL LOAD\r\nACL USERS\r\n");
    assert_eq!(admin.read_reply(), ok());
    let users = ["admin", "cart", "search"].map(Reply::bulk);
    assert_eq!(admin.read_reply(), Reply::Array(users.to_vec()));
    assert_eq!(call(&mut cart, "GET cart:1"), Reply::bulk("a"));
    let event = &proxy.audit_when(|event| event["reason"] == "loaded")[0];
    assert_eq!(event["dropped"], serde_json::json!(["bob", "cart"]));
    assert_eq!(event["user"], "admin");
    eventually("it is in the log", || {
        proxy.log_text().matches("is lost").count() == 2
    });
    // A bad file changes nothing, and what stands there stays there.
    proxy.write_users(&format!(
        "{USERS}user bob on +nosuch >bad-secret\nuser ann on bare-secret\n"
    ));
    assert_eq!(call(&mut admin, "ACL SETUSER kept on"), ok());
    let error = call(&mut admin, "ACL LOAD").error().to_owned();
    let file = acl_file(&proxy);
    assert!(
        error.starts_with(&format!(
            "ERR {}:4: '+nosuch': Unknown command or category name in ACL. {}:5: ",
            file.display(),
            file.display()
        )),
        "{error}"
    );
    assert!(
        error.ends_with(
            ". WARNING: ACL errors detected, no change to the previously active ACL rules was \
             performed"
        ),
        "{error}"
    );
    let all = format!("{error}\n{}", everything(&proxy));
    assert!(!all.contains("bad-secret") && !all.contains("bare-secret"));
    assert!(!matches!(call(&mut admin, "ACL GETUSER kept"), Reply::Nil));
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
fn redis_py_manages_users() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let outcome = cli::python(&proxy, "redis_py_acl.py", &[]).expect_code(0);
    assert!(outcome.stdout.ends_with("passed\n"), "{outcome:#?}");
}
