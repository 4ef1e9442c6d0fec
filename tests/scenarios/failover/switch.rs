//! Another address is the master now.

use super::load::{Fate, Load, assert_ran_as_told};
use super::{MODES, await_link, before, follow, leads_to, pair, promote, served};
use crate::support::redis::LEGACY_AND_CURRENT;
use crate::support::{RedisServer, Reply, Version, eventually, ok, pong};

#[test]
fn clients_follow_a_failover_and_nothing_acknowledged_is_lost_or_runs_twice() {
    for version in LEGACY_AND_CURRENT {
        for mode in MODES {
            let (old, new) = pair(version);
            let list = [&old, &new].map(RedisServer::upstream_address);
            let proxy = before(&list, mode).start();
            let load = Load::start(&proxy, 4);
            load.go_on(200);
            // What the old master has acknowledged the new one must have: as whoever fails over with
            // care would do it, no more writes first.
            let stop_writes = ["CONFIG", "SET", "min-slaves-to-write", "9"];
            assert_eq!(old.direct().call(&stop_writes), ok());
            eventually("the replica has everything", || {
                new.info("slave_repl_offset") == old.info("master_repl_offset")
            });
            promote(&new);
            follow(&old, &new);
            load.go_on(200);
            let fates = load.end();
            assert_ran_as_told(&fates, &new);
            assert!(fates.values().any(|fate| *fate == Fate::Refused));
            // Nobody is left at the old one but who asks for its role.
            eventually("connections to the old master are closed", || {
                old.connected_clients() <= 1
            });
        }
    }
}

#[test]
fn a_master_that_dies_under_load_is_left_for_its_replica_and_nothing_runs_twice() {
    for version in LEGACY_AND_CURRENT {
        for mode in MODES {
            let (mut old, new) = pair(version);
            let list = [&old, &new].map(RedisServer::upstream_address);
            let proxy = before(&list, mode).start();
            let load = Load::start(&proxy, 4);
            load.go_on(200);
            old.kill();
            promote(&new);
            load.go_on(200);
            // It comes back as it was: empty, and a master.
            old.restart();
            load.go_on(200);
            let mut direct = new.direct();
            for (key, fate) in load.end() {
                // Of what was acknowledged last the replica may not have heard.
                let count = direct.call(&["GET", &key]);
                assert!(
                    count == Reply::bulk("1") || count == Reply::Nil,
                    "{key}: {count:?}"
                );
                assert!(fate != Fate::Refused || count == Reply::Nil, "{key}");
            }
            assert_eq!(old.direct().call(&["DBSIZE"]), Reply::Integer(0));
        }
    }
}

#[test]
fn readonly_makes_the_proxy_look_for_the_master_and_a_client_that_shares_stays() {
    for version in LEGACY_AND_CURRENT {
        let (old, new) = pair(version);
        let list = [&old, &new].map(RedisServer::upstream_address);
        let proxy = before(&list, "shared")
            .section("[log]\nlevel = \"debug\"\n")
            .start();
        let mut client = proxy.client("cart");
        assert_eq!(client.call(&["SET", "cart:1", "a"]), ok());
        promote(&new);
        follow(&old, &new);
        let mut refused = 0;
        eventually("the same client writes to the new master", || {
            match client.call(&["SET", "cart:1", "b"]) {
                // It gets to read what the replica has said.
                Reply::Error(error) => {
                    assert!(error.starts_with("READONLY"), "{error}");
                    refused += 1;
                    false
                }
                reply => reply == ok(),
            }
        });
        assert_eq!(new.direct().call(&["GET", "cart:1"]), Reply::bulk("b"));
        if refused > 0 {
            eventually("it has looked again", || {
                let log = proxy.log_text();
                // Unless it was about to look anyway.
                log.contains("a session doubts the upstream")
                    || log.contains("the master is none any more")
            });
        }
        // Scripts can say READONLY, too: nothing comes of it.
        let mut admin = proxy.client("admin");
        assert_eq!(admin.call(&["PING"]), pong());
        assert!(leads_to(&proxy, &new));
    }
}

#[test]
fn who_has_a_connection_of_its_own_to_the_old_master_is_closed_after_its_replies() {
    for version in LEGACY_AND_CURRENT {
        let (old, new) = pair(version);
        let list = [&old, &new].map(RedisServer::upstream_address);
        for mode in MODES {
            let (old, new) = match mode {
                "dedicated" => (&old, &new),
                _ => (&new, &old),
            };
            let proxy = before(&list, mode).start();
            let mut subscriber = proxy.client("admin");
            subscriber.send_args(&["SUBSCRIBE", "news"]);
            assert_eq!(subscriber.read_reply().array().len(), 3);
            let mut writer = proxy.client("cart");
            assert_eq!(writer.call(&["SET", "cart:1", "a"]), ok());
            let mut watcher = proxy.client("cart");
            assert_eq!(watcher.call(&["WATCH", "cart:1"]), ok());
            assert_eq!(watcher.call(&["MULTI"]), ok());
            assert_eq!(
                watcher.call(&["SET", "cart:1", "b"]),
                Reply::Simple("QUEUED".into())
            );
            eventually("the replica has it", || {
                new.direct().call(&["GET", "cart:1"]) == Reply::bulk("a")
            });
            promote(new);
            follow(old, new);
            // No error is made up for them.
            subscriber.expect_close();
            watcher.expect_close();
            if mode == "dedicated" {
                writer.expect_close();
            } else {
                eventually("who shares goes on", || {
                    writer.call(&["SET", "cart:1", "c"]) == ok()
                });
            }
            eventually("clients come to the new one", || leads_to(&proxy, new));
            assert_eq!(
                new.direct().call(&["GET", "cart:1"]),
                Reply::bulk(if mode == "dedicated" { "a" } else { "c" })
            );
            await_link(old, new);
        }
    }
}

#[test]
fn a_master_that_hangs_is_left_for_the_one_that_is_promoted() {
    for mode in MODES {
        let (old, new) = pair(Version::V7_0_15);
        let list = [&old, &new].map(RedisServer::upstream_address);
        let proxy = before(&list, mode).start();
        let [mut owed, mut blocked] = [(); 2].map(|()| proxy.client("cart"));
        assert_eq!(owed.call(&["PING"]), pong());
        blocked.send_args(&["BLPOP", "cart:none", "0"]);
        eventually("it waits there", || old.info("blocked_clients") == "1");
        old.freeze();
        owed.send_args(&["INCR", "cart:n"]);
        promote(&new);
        let moved = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the new master is used", || leads_to(&proxy, &new));
        }));
        // What the old one owes never comes: nobody waits for it, and nobody else is asked for it.
        let ends = [owed.try_read_reply(), blocked.try_read_reply()];
        old.thaw();
        moved.unwrap();
        let closed = || Err("the peer closed".to_owned());
        assert_eq!(ends, [closed(), closed()]);
        assert_eq!(new.direct().call(&["EXISTS", "cart:n"]), Reply::Integer(0));
    }
}

#[test]
fn both_addresses_are_down_and_then_one_comes_up() {
    for version in LEGACY_AND_CURRENT {
        for mode in MODES {
            let (mut old, mut other) = pair(version);
            let list = [&old, &other].map(RedisServer::upstream_address);
            let proxy = before(&list, mode).start();
            assert!(leads_to(&proxy, &old));
            other.kill();
            old.kill();
            eventually("nobody is served", || !served(&proxy, "cart"));
            // It comes back as a master.
            other.restart();
            eventually("the other one is used", || leads_to(&proxy, &other));
            // And stays in use when the first is back as one, too.
            old.restart();
            assert!(leads_to(&proxy, &other));
        }
    }
}
