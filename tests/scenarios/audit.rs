//! What the audit says, where it goes, and what becomes of commands when it can't be written.

mod daemons;
mod logrotate;
mod sinks;
mod torn;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::acl::{call, ok};
use crate::support::cli::respgate;
use crate::support::{Proxy, RedisServer, Reply, TestClient, Version, command, pipeline};

const ALL: &str = "[audit]\ndecisions = \"all\"\n";

/// The lines of this user's requests, once there are so many.
#[track_caller]
fn requests(proxy: &Proxy, user: &str, count: usize) -> Vec<Value> {
    let is_request = |line: &&Value| {
        line["user"] == user && (line["event"] == "allowed" || line["event"] == "refused")
    };
    let all = || -> Vec<Value> { proxy.audit().iter().filter(is_request).cloned().collect() };
    crate::support::eventually("every request has its line", || all().len() >= count);
    let lines = all();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

#[test]
fn with_decisions_all_each_command_has_one_line_in_order_and_no_value() {
    for version in [Version::V5_0_6, Version::V8_2_3] {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder().upstream(&server).section(ALL).start();
        let mut client = proxy.client("cart");
        let sent: [(&[&str], &str, &str, &[&str]); 12] = [
            (&["SET", "cart:1", "v-secret"], "set", "allow", &["cart:1"]),
            (&["GET", "other"], "get", "deny", &["other"]),
            (
                &["MSET", "cart:2", "v-secret", "cart:3", "v-secret"],
                "mset",
                "allow",
                &["cart:2", "cart:3"],
            ),
            (&["FLUSHALL"], "flushall", "deny", &[]),
            (&["MULTI"], "multi", "allow", &[]),
            (&["INCR", "cart:n"], "incr", "allow", &["cart:n"]),
            (&["GET", "other"], "get", "deny", &["other"]),
            (&["EXEC"], "exec", "allow", &[]),
            (&["SELECT", "3"], "select", "allow", &[]),
            (&["ECHO", "v-secret"], "echo", "allow", &[]),
            (&["CONFIG", "GET", "dir"], "config|get", "deny", &[]),
            (&["PING", "v-secret"], "ping", "allow", &[]),
        ];
        let words: Vec<&[&str]> = sent.iter().map(|(words, ..)| *words).collect();
        client.send(pipeline(&words));
        for _ in &sent {
            client.read_reply();
        }
        let lines = requests(&proxy, "cart", sent.len());
        for (line, (words, name, verdict, keys)) in lines.iter().zip(sent) {
            assert_eq!(line["command"], name, "{words:?}: {line}");
            assert_eq!(line["verdict"], verdict, "{line}");
            let event = match verdict {
                "allow" => "allowed",
                _ => "refused",
            };
            assert_eq!(line["event"], event);
            let shown = line.get("keys").cloned().unwrap_or(json!([]));
            assert_eq!(shown, json!(keys), "{line}");
            assert!(line["rule"].is_string(), "{line}");
            assert_eq!(line["listener"], "main");
            assert_eq!(line["tls"], "TLSv1.3");
            assert_eq!(line["certificate"], "CN=cart");
            assert!(!line["certificate_serial"].as_str().unwrap().is_empty());
            assert!(line["certificate_issuer"].as_str().unwrap().contains("CN="));
            assert!(line["generation"].as_u64().unwrap() > 0);
            assert!(line["session"].as_u64().unwrap() > 0);
            assert!(line.get("proxy").is_none());
        }
        let place = |line: &Value| line["database"].as_u64();
        assert_eq!(place(&lines[0]), Some(0));
        assert_eq!(place(&lines[8]), Some(0), "where SELECT was asked");
        // Alone, and so behind the answer to SELECT.
        assert_eq!(call(&mut client, "GET cart:1"), Reply::Nil);
        assert_eq!(place(&requests(&proxy, "cart", 13)[12]), Some(3));
        let text = crate::support::acl::everything(&proxy);
        assert!(!text.contains("v-secret"), "{text}");
    }
}

#[test]
fn keys_are_hashed_where_the_configuration_says_so() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let section = "[audit]\ndecisions = \"all\"\nkeys = \"sha256\"\n";
    let proxy = Proxy::builder().upstream(&server).section(section).start();
    let mut client = proxy.client("cart");
    client.call(&["SET", "cart:hidden", "a"]);
    client.call(&["GET", "other:hidden"]);
    client.call(&["PUBLISH", "news:hidden", "a"]);
    client.call(&["ACL", "DRYRUN", "cart", "GET", "x:hidden"]);
    let lines = requests(&proxy, "cart", 4);
    let hash = |key: &str| format!("sha256:{:x}", Sha256::digest(key));
    assert_eq!(lines[0]["keys"], json!([hash("cart:hidden")]));
    assert_eq!(lines[1]["keys"], json!([hash("other:hidden")]));
    assert_eq!(lines[1]["refused"], hash("other:hidden"));
    assert_eq!(lines[2]["refused"], hash("news:hidden"));
    let audit = proxy.audit();
    assert!(!format!("{audit:?}").contains("hidden"), "{audit:#?}");
}

#[test]
fn what_a_connection_came_to_agrees_with_what_was_sent() {
    for dedicated in [false, true] {
        let server = RedisServer::start(Version::V8_2_3, &[]);
        let mut builder = Proxy::builder()
            .upstream(&server)
            .section("[audit]\nconnections = true\n");
        if dedicated {
            builder = builder.dedicated();
        }
        let proxy = builder.start();
        let mut client = proxy.client("cart");
        let request = pipeline(&[
            &["SET", "cart:1", "0123456789"],
            &["FLUSHALL"],
            &["GET", "cart:1"],
            &["GET", "other"],
            &["QUIT"],
        ]);
        client.send(&request);
        let replies = client.read_to_close();
        let of = |name: &'static str| {
            let is_it = move |line: &Value| line["event"] == name && line["user"] == "cart";
            let mut lines = proxy.audit_when(is_it);
            assert_eq!(lines.len(), 1, "{lines:#?}");
            lines.remove(0)
        };
        let (closed, opened) = (of("connection_closed"), of("connection_opened"));
        assert_eq!(closed["session"], opened["session"]);
        assert_eq!(closed["bytes_in"], request.len());
        assert_eq!(closed["bytes_out"], replies.len());
        assert_eq!(closed["requests"], 5);
        assert_eq!(closed["requests_refused"], 2);
        assert_eq!(closed["reason"], "done");
        assert_eq!(closed["tls"], "TLSv1.3");
        assert!(closed["duration_ms"].as_u64().unwrap() < 60_000);
        for line in [&opened, &closed] {
            assert_eq!(line["certificate"], "CN=cart");
            assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
            assert!(line.get("verdict").is_none());
        }
        assert!(opened.get("requests").is_none());
        // Refusals are told by themselves, as ever.
        assert_eq!(requests(&proxy, "cart", 2)[0]["command"], "flushall");
        // Who breaks off is told apart.
        let client = proxy.client("search");
        client.close_without_notify();
        let broken =
            |line: &Value| line["event"] == "connection_closed" && line["user"] == "search";
        assert_eq!(proxy.audit_when(broken)[0]["requests"], 0);
    }
}

#[test]
fn connections_are_told_where_everything_is_and_not_where_nobody_asked() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let told = |section: &str| {
        let proxy = Proxy::builder().upstream(&server).section(section).start();
        let mut client = proxy.client("cart");
        client.call(&["FLUSHALL"]);
        client.call(&["QUIT"]);
        client.read_to_close();
        // What comes behind it shows that nothing was left out before it.
        proxy.client("search").call(&["GET", "other"]);
        proxy.audit_when(|line| line["user"] == "search" && line["event"] == "refused");
        let events = proxy.audit();
        let of_cart = events.iter().filter(|line| line["user"] == "cart");
        of_cart
            .map(|line| line["event"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(told(""), ["refused"]);
    assert_eq!(
        told(ALL),
        [
            "connection_opened",
            "refused",
            "allowed",
            "connection_closed"
        ]
    );
    let all_but = "[audit]\ndecisions = \"all\"\nconnections = false\n";
    assert_eq!(told(all_but), ["refused", "allowed"]);
}

/// Logs in with passwords of every kind, in every way.
const USERS: &str = "\
user cart on >pw-cart ~cart:* +@all -@dangerous
user admin on >pw-admin ~* &* +@all lethal=config lethal=acl
";

#[test]
fn no_password_stands_in_any_line() {
    for (version, decisions) in [
        (Version::V5_0_6, "all"),
        (Version::V8_2_3, "all"),
        (Version::V8_2_3, "deny"),
    ] {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder()
            .upstream(&server)
            .users(USERS)
            .section(&format!(
                "[audit]\ndecisions = \"{decisions}\"\nconnections = true\n[log]\nlevel = \"debug\"\n"
            ))
            .start();
        for user in ["cart", "admin"] {
            let mut client = proxy.client(user);
            for line in [
                "AUTH pw-wrong-1",
                "AUTH cart pw-wrong-2",
                "AUTH pw-swapped-3 cart",
                "AUTH pw-cart",
                "AUTH default pw-4",
                "HELLO 2 AUTH cart pw-wrong-5",
                "HELLO 2 AUTH pw-swapped-6 cart",
                "HELLO 3 AUTH pw-7",
                "AUTH pw-8 pw-9 pw-10",
                "ACL SETUSER bob on >pw-11 ~bob:* +get",
                "ACL SETUSER bob >pw-12 nonsense",
                "ACL SETUSER bob #pw-13",
                "ACL SETUSER bob <pw-14",
                "ACL DRYRUN cart AUTH cart pw-15",
                "CONFIG SET maxmemory 0 masterauth pw-17",
                "MIGRATE 127.0.0.1 1 cart:1 0 1 AUTH pw-18",
                "MIGRATE 127.0.0.1 1 cart:1 0 1 AUTH2 pw-19 pw-20",
                "SET cart:1 pw-21",
                "EVAL return('pw-22') 0",
                "pw-23 cart",
                // Before Redis 6 what comes behind it is NOAUTH.
                "CONFIG SET requirepass pw-16",
            ] {
                call(&mut client, line);
            }
            let _ = client.try_send(b"AUTH pw-24\r\nECHO pw-25\r\n*1\r\n$pw-26\r\n");
            client.read_to_close();
        }
        // What comes behind them shows that all of theirs is here.
        let _ = proxy.try_client(Some("search"));
        proxy.audit_when(|line| line["event"] == "connection_refused");
        let audit = crate::support::acl::everything(&proxy);
        let found: BTreeSet<&str> = audit
            .split("pw-")
            .skip(1)
            .map(|behind| behind.get(..6).unwrap_or(behind))
            .collect();
        // One that somebody has typed where a command's name stands looks like a name. (Not before
        // AUTH.)
        let found: Vec<_> = found
            .into_iter()
            .filter(|one| !one.starts_with("23"))
            .collect();
        assert!(found.is_empty(), "{found:?} in\n{audit}");
        // They went through all that, and left traces of another kind.
        for trace in ["SETUSER bob on >… ~bob:* +get", "\"reason\":\"auth\""] {
            assert!(audit.contains(trace), "{trace} is not in\n{audit}");
        }
    }
}

#[test]
fn a_failed_auth_names_whom_it_tried_and_a_good_one_who_it_is() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let identities = "[[identity]]\nmatch = { cn = [\"cart\", \"admin\"] }\nuser = \"$auth\"\n\
                      auth = \"password\"\n";
    let proxy = Proxy::builder()
        .upstream(&server)
        .identities(identities)
        .section(ALL)
        .start();
    let mut client = proxy.client("cart");
    assert!(call(&mut client, "AUTH admin wrong").is_error());
    assert!(call(&mut client, "AUTH nobody wrong").is_error());
    assert!(call(&mut client, "HELLO 3 AUTH search wrong").is_error());
    assert_eq!(call(&mut client, "AUTH admin admin-secret"), ok());
    assert!(call(&mut client, "AUTH cart wrong").is_error());
    let good = proxy.audit_when(|line| line["event"] == "allowed" && line["command"] == "auth");
    assert_eq!(good.len(), 1);
    assert_eq!(good[0]["user"], "admin");
    assert!(good[0].get("rule").is_none(), "AUTH is everybody's");
    let is_failed = |line: &Value| line["reason"] == "auth";
    crate::support::eventually("four failures", || {
        proxy.audit().iter().filter(|line| is_failed(line)).count() == 4
    });
    let failed = proxy.audit_when(is_failed);
    let tried: Vec<_> = failed.iter().map(|line| line["tried"].clone()).collect();
    assert_eq!(tried, ["admin", "(no such user)", "search", "cart"]);
    assert!(failed[0].get("user").is_none());
    assert_eq!(failed[3]["user"], "admin", "who it was before");
    assert!(failed.iter().all(|line| line["verdict"] == "deny"));
}

#[test]
fn changes_of_users_say_who_made_them_and_in_which_generation_others_are_judged() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let proxy = Proxy::start(&server);
    let (mut cart, mut admin) = (proxy.client("cart"), proxy.client("admin"));
    cart.call(&["FLUSHALL"]);
    assert_eq!(call(&mut admin, "ACL SETUSER bob on +get"), ok());
    cart.call(&["FLUSHALL"]);
    let refused = requests(&proxy, "cart", 2);
    let generation = |line: &Value| line["generation"].as_u64().unwrap();
    assert!(generation(&refused[0]) < generation(&refused[1]));
    let change = &proxy.audit_when(|line| line["event"] == "acl_changed")[0];
    assert_eq!(change["by"], "admin");
    assert_eq!(generation(change), generation(&refused[1]));
    // Who doesn't get as far as to be a session is judged by a generation, too.
    let stranger = proxy.certs().client_config(Some("nobody"));
    let _ = TestClient::tls(proxy.address(), stranger).map(|mut client| {
        let _ = client.try_send(&command(&["PING"]));
        client.read_to_close();
    });
    let refused = &proxy.audit_when(|line| line["event"] == "connection_refused")[0];
    assert_eq!(refused["verdict"], "deny");
    assert_eq!(generation(refused), generation(change));
}

#[test]
fn a_reload_changes_what_the_audit_says_and_its_line_says_who_wanted_it() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(USERS)
        .section("[audit]\nkeys = \"plain\"\n[runtime]\nwatch_files = \"0s\"\n")
        .start();
    let mut cart = proxy.client("cart");
    cart.call(&["GET", "cart:1"]);
    proxy.edit(
        "keys = \"plain\"",
        "keys = \"sha256\"\ndecisions = \"all\"\nconnections = false",
    );
    proxy.reload_until("a new generation is in force");
    cart.call(&["GET", "cart:2"]);
    let lines = requests(&proxy, "cart", 1);
    let hash = format!("sha256:{:x}", Sha256::digest("cart:2"));
    assert_eq!(lines[0]["keys"], json!([hash]));
    let reloads = || proxy.audit_when(|line| line["event"] == "reload");
    assert_eq!(reloads()[0]["by"], "SIGHUP");
    assert_eq!(reloads()[0]["generation"], lines[0]["generation"]);
    assert_eq!(call(&mut proxy.client("admin"), "ACL LOAD"), ok());
    crate::support::eventually("a second reload", || reloads().len() == 2);
    assert_eq!(reloads()[1]["by"], "admin");
    crate::support::eventually("the log has both", || {
        let log = proxy.log_text();
        log.matches("a new generation is in force").count() == 2
    });
    // Where it goes is another matter.
    proxy.edit("[audit]", "[audit]\npath = \"elsewhere.log\"");
    proxy.reload_until("a new generation is in force");
    let log = proxy.log_text();
    assert!(log.contains("audit.path has changed: that needs a restart"));
    proxy.edit("decisions = \"all\"", "decisions = \"none\"");
    proxy.reload_until("a new generation is in force");
    cart.call(&["FLUSHALL"]);
    proxy.edit("decisions = \"none\"", "decisions = \"deny\"");
    proxy.reload_until("a new generation is in force");
    cart.call(&["FLUSHDB"]);
    let refused = proxy.audit_when(|line| line["event"] == "refused");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["command"], "flushdb");
}

#[test]
fn check_names_everything_that_is_wrong_with_the_audit() {
    let check = |section: &str| {
        let dir = tempfile::tempdir().unwrap();
        let builder = Proxy::builder().upstream_named("main", "address = \"127.0.0.1:6379\"");
        let path = builder.section(section).write(dir.path(), 6380);
        respgate(&["check", "--config", path.to_str().unwrap()])
            .expect_code(78)
            .stderr
    };
    let told = check(
        "[audit]\npath = \"\"\ndecisions = \"some\"\nkeys = \"md5\"\nconnections = 1\n\
         when_full = \"wait\"\nfile = \"x\"\n",
    );
    for key in [
        "path",
        "decisions",
        "keys",
        "connections",
        "when_full",
        "file",
    ] {
        assert!(told.contains(&format!("audit.{key}")), "no {key}:\n{told}");
    }
    let told = check("[audit]\npath = \"/nonexistent/audit.log\"\n");
    assert!(
        told.contains("audit.path = \"/nonexistent/audit.log\": no file can be made in its folder")
    );
}
