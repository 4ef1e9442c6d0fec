//! Where the master is.

use std::time::Duration;

use super::{await_link, before, follow, leads_to, pair, pair_with, promote, served};
use crate::support::cli::respgate;
use crate::support::redis::LEGACY_AND_CURRENT;
use crate::support::topology::{PASSWORD, Sentinels};
use crate::support::{Proxy, RedisServer, Reply, Version, eventually, free_port};

#[test]
fn the_master_is_found_wherever_it_stands_in_the_list() {
    for version in LEGACY_AND_CURRENT {
        let (master, replica) = pair(version);
        let [master_at, replica_at] = [&master, &replica].map(RedisServer::upstream_address);
        let nobody_at = format!("127.0.0.1:{}", free_port());
        for (mode, list) in [
            ("shared", vec![&master_at, &replica_at]),
            ("dedicated", vec![&replica_at, &master_at]),
            ("shared", vec![&nobody_at, &replica_at, &master_at]),
        ] {
            let list: Vec<String> = list.into_iter().cloned().collect();
            let proxy = before(&list, mode).start();
            assert!(leads_to(&proxy, &master), "{list:?}");
            let ready = format!("address={master_at}");
            assert!(proxy.log_text().contains(&ready), "{}", proxy.log_text());
        }
    }
}

#[test]
fn a_role_that_cannot_be_asked_for_is_read_in_info() {
    // As before 2.8.12.
    let (old, new) = pair_with(Version::V5_0_6, &["--rename-command", "ROLE", ""]);
    let list = [&new, &old].map(RedisServer::upstream_address);
    let proxy = before(&list, "shared").start();
    assert!(leads_to(&proxy, &old));
    promote(&new);
    follow(&old, &new);
    eventually("the new master is used", || leads_to(&proxy, &new));
}

#[test]
fn one_address_is_used_whatever_its_role() {
    let (_master, replica) = pair(Version::V7_0_15);
    let proxy = Proxy::start(&replica);
    let mut client = proxy.client("cart");
    let refused = client.call(&["SET", "cart:1", "a"]);
    assert!(refused.error().starts_with("READONLY"), "{refused:?}");
    assert_eq!(client.call(&["GET", "cart:1"]), Reply::Nil);
}

#[test]
fn without_a_master_nobody_is_served_and_the_log_says_so_once() {
    let (master, replica) = pair(Version::V5_0_6);
    let other = RedisServer::start(Version::V5_0_6, &[]);
    follow(&other, &master);
    await_link(&other, &master);
    let list = [&replica, &other].map(RedisServer::upstream_address);
    let proxy = before(&list, "shared").ready_when_listening().start();
    let told = format!("no master among {} (slave), {} (slave)", list[0], list[1]);
    eventually("the log says why", || proxy.log_text().contains(&told));
    for _ in 0..10 {
        assert!(!served(&proxy, "cart"));
    }
    let warnings = proxy.log_text().matches(&told).count();
    assert_eq!(warnings, 1, "{}", proxy.log_text());
    promote(&other);
    eventually("the new master is used", || leads_to(&proxy, &other));
}

#[test]
fn of_two_masters_the_first_of_the_file_is_used_and_the_log_warns() {
    let [first, second] = [(); 2].map(|()| RedisServer::start(Version::V7_0_15, &[]));
    let list = [&first, &second].map(RedisServer::upstream_address);
    // The first has a second to say what it is: a busy machine may take longer.
    let mut proxy = before(&list, "shared").start();
    for _ in 0..3 {
        if leads_to(&proxy, &first) {
            break;
        }
        proxy = before(&list, "shared").start();
    }
    assert!(leads_to(&proxy, &first));
    eventually("the log warns", || {
        let log = proxy.log_text();
        log.contains("two masters") && log.contains(&format!("others=\"{}\"", list[1]))
    });
    // The one in use stays, also when it had been the second.
    drop(proxy);
    follow(&first, &second);
    await_link(&first, &second);
    let proxy = before(&list, "shared").start();
    assert!(leads_to(&proxy, &second));
    promote(&first);
    for _ in 0..20 {
        assert!(leads_to(&proxy, &second));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn of_several_sentinels_any_that_answers_is_used() {
    let all = Sentinels::start(Version::V5_0_6);
    let nobody = free_port();
    let port = all.sentinels[1].port;
    let lines = format!(
        "address = [\"127.0.0.1:{nobody}\", \"127.0.0.1:{port}\"]\npassword_file = \"password\""
    );
    let proxy = Proxy::builder()
        .upstream_named("main", &lines)
        .file("password", PASSWORD)
        .listener("kind = \"sentinel\"")
        .start();
    let masters = proxy.client("admin").call(&["SENTINEL", "MASTERS"]);
    assert_eq!(masters.array().len(), 1, "{masters:?}");
}

#[test]
fn check_reports_every_address() {
    let (master, replica) = pair(Version::V7_0_15);
    let [master_at, replica_at] = [&master, &replica].map(RedisServer::upstream_address);
    let dir = tempfile::tempdir().unwrap();
    let check = |list: &[String]| {
        let path = before(list, "shared").write(dir.path(), 6380);
        let outcome = respgate(&["check", "--config", path.to_str().unwrap(), "--upstream"]);
        (outcome.code, outcome.text())
    };
    let (code, text) = check(&[replica_at.clone(), master_at.clone()]);
    assert_eq!(code, Some(0), "{text}");
    for (address, role) in [(&master_at, "master"), (&replica_at, "slave")] {
        let line = format!("upstream.main ({address}): Redis 7.0.15 (standalone, {role})");
        assert!(text.contains(&line), "{text}");
    }
    let nobody_at = format!("127.0.0.1:{}", free_port());
    let (code, text) = check(&[replica_at.clone(), nobody_at.clone()]);
    assert_ne!(code, Some(0), "{text}");
    assert!(
        text.contains(&format!("upstream.main ({nobody_at}): can't reach")),
        "{text}"
    );
    assert!(
        text.contains("upstream.main: none of its addresses is a master"),
        "{text}"
    );
    promote(&replica);
    let (code, text) = check(&[replica_at.clone(), master_at.clone()]);
    assert_ne!(code, Some(0), "{text}");
    let line = format!("the first is used at start: {replica_at}, {master_at}");
    assert!(text.contains(&line), "{text}");
}
