//! ACL LOG beside that of a real Redis 8.

use crate::support::acl::{call, entries, field, ok};
use crate::support::{Proxy, RedisServer, Reply, Version};

/// Without ACL of its own, and with.
const UPSTREAMS: [Version; 2] = [Version::V5_0_6, Version::V8_2_3];

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

#[test]
fn databases_are_logged_as_valkey_does() {
    let users = "user cart on nopass ~* +@all db=0\nuser admin on nopass ~* &* +@all\n";
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder().upstream(&server).users(users).start();
    let (mut cart, mut admin) = (proxy.client("cart"), proxy.client("admin"));
    assert!(call(&mut cart, "SELECT 3").is_error());
    let log = call(&mut admin, "ACL LOG");
    let entry = &entries(&log)[0];
    assert_eq!(field(entry, "reason"), Reply::bulk("database"));
    assert_eq!(field(entry, "object"), Reply::bulk("3"));
    assert!(field(entry, "client-info").text().contains(" db=0 "));
    // One that is closed while the session is in it.
    assert_eq!(call(&mut admin, "ACL SETUSER cart resetdbs db=2"), ok());
    assert!(call(&mut cart, "GET k").is_error());
    let log = call(&mut admin, "ACL LOG 1");
    assert_eq!(field(&entries(&log)[0], "object"), Reply::bulk("0"));
}
