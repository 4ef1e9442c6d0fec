//! One upstream at several addresses, upstreams that die and hang, and what clients see of that.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::cli::respgate;
use crate::support::proxy::Builder;
use crate::support::redis::LEGACY_AND_CURRENT;
use crate::support::topology::{PASSWORD, Sentinels};
use crate::support::{
    Proxy, RedisServer, Reply, TestClient, Version, command, eventually, free_port, ok, pipeline,
    pong,
};

/// Each client has a connection of its own, or shares some.
const MODES: [&str; 2] = ["dedicated", "shared"];

/// Whether `name` is served by now.
fn served(proxy: &Proxy, name: &str) -> bool {
    proxy.try_client(Some(name)).is_ok_and(|mut client| {
        client.try_send(&command(&["PING"])).is_ok() && client.try_read_reply() == Ok(pong())
    })
}

/// Whether a write through the proxy arrives at this server.
fn leads_to(proxy: &Proxy, server: &RedisServer) -> bool {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let value = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    let write = command(&["SET", "cart:where", &value]);
    let Ok(mut client) = proxy.try_client(Some("cart")) else {
        return false;
    };
    client.try_send(&write).is_ok()
        && client.try_read_reply() == Ok(ok())
        && server.direct().call(&["GET", "cart:where"]) == Reply::bulk(&value)
}

fn follow(replica: &RedisServer, master: &RedisServer) {
    let port = master.address().port().to_string();
    // REPLICAOF came with 5.0.
    assert_eq!(
        replica.direct().call(&["SLAVEOF", "127.0.0.1", &port]),
        ok()
    );
}

fn promote(replica: &RedisServer) {
    assert_eq!(replica.direct().call(&["SLAVEOF", "NO", "ONE"]), ok());
}

/// Waits until the replica has all that the master has, and goes on with what it is sent.
fn await_link(replica: &RedisServer, master: &RedisServer) {
    eventually("the replica is online", || {
        let info = master.direct().call(&["INFO", "replication"]).text();
        info.contains("state=online") && replica.info("master_link_status") == "up"
    });
}

/// A master and its replica.
fn pair(version: Version) -> (RedisServer, RedisServer) {
    pair_with(version, &[])
}

fn pair_with(version: Version, extra: &[&str]) -> (RedisServer, RedisServer) {
    let extra = [&["--repl-diskless-sync-delay", "0"], extra].concat();
    let master = RedisServer::start(version, &extra);
    let replica = RedisServer::start(version, &extra);
    follow(&replica, &master);
    await_link(&replica, &master);
    (master, replica)
}

/// A proxy before these addresses.
fn before(addresses: &[String], mode: &str) -> Builder {
    let addresses: Vec<_> = addresses.iter().map(|one| format!("{one:?}")).collect();
    let lines = format!(
        "address = [{}]\nconnections = \"{mode}\"",
        addresses.join(", ")
    );
    Proxy::builder().upstream_named("main", &lines)
}

fn signal(server: &RedisServer, pid: &str, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([name, pid])
        .status();
    assert!(sent.unwrap().success(), "{}", server.upstream_address());
}

// --- counting what ran ---

/// Clients that count: every attempt has a key of its own, and is made once.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Fates>>,
}

/// What became of each attempt, by its key.
type Fates = BTreeMap<String, Fate>;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// It was answered: it has run, once.
    Acknowledged,
    /// The Redis said no: it has not run.
    Refused,
    /// The connection closed before.
    Unknown,
}

/// Requests of one pipeline.
const PIPELINE: usize = 5;

impl Load {
    /// `count` clients, which connect anew whenever they are closed.
    fn start(proxy: &Proxy, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let threads = (0..count).map(|number| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            let config = proxy.certs().client_config(Some("cart"));
            let address = proxy.address();
            std::thread::spawn(move || {
                let connect = || TestClient::tls(address, config.clone());
                count_up(number, connect, &stop, &acknowledged)
            })
        });
        Self {
            threads: threads.collect(),
            stop,
            acknowledged,
        }
    }

    /// Waits until so many more attempts are acknowledged.
    #[track_caller]
    fn go_on(&self, count: usize) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        eventually("writes are acknowledged", || {
            self.acknowledged.load(Ordering::Relaxed) >= before + count
        });
    }

    /// What became of the attempts of all.
    fn end(self) -> Fates {
        self.stop.store(true, Ordering::Relaxed);
        let fates = self
            .threads
            .into_iter()
            .map(|thread| thread.join().unwrap());
        fates.flatten().collect()
    }
}

fn count_up(
    number: usize,
    connect: impl Fn() -> std::io::Result<TestClient>,
    stop: &AtomicBool,
    acknowledged: &AtomicUsize,
) -> Fates {
    let mut fates = Fates::new();
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = connect() else {
            continue;
        };
        'connected: while !stop.load(Ordering::Relaxed) {
            let keys: Vec<_> = (next..next + PIPELINE)
                .map(|attempt| format!("cart:{number}:{attempt}"))
                .collect();
            next += PIPELINE;
            let requests: Vec<_> = keys.iter().map(|key| ["INCR", key]).collect();
            let requests: Vec<&[&str]> = requests.iter().map(|request| &request[..]).collect();
            fates.extend(keys.iter().map(|key| (key.clone(), Fate::Unknown)));
            if client.try_send(&pipeline(&requests)).is_err() {
                break;
            }
            for key in &keys {
                let fate = match client.try_read_reply() {
                    Ok(Reply::Integer(1)) => Fate::Acknowledged,
                    Ok(Reply::Error(error))
                        if ["READONLY", "NOREPLICAS", "LOADING", "MASTERDOWN"]
                            .iter()
                            .any(|code| error.starts_with(code)) =>
                    {
                        Fate::Refused
                    }
                    // It ran twice, or another's reply came.
                    Ok(reply) => panic!("{key}: {reply:?}"),
                    // Every slot is answered or the connection closed: nobody waits.
                    Err(why) => {
                        assert!(!why.contains("temporarily unavailable"), "{key}: {why}");
                        break 'connected;
                    }
                };
                acknowledged.fetch_add(usize::from(fate == Fate::Acknowledged), Ordering::Relaxed);
                fates.insert(key.clone(), fate);
            }
        }
    }
    fates
}

/// Acknowledged: exactly once. Refused: never. Otherwise: at most once.
#[track_caller]
fn assert_ran_as_told(fates: &Fates, server: &RedisServer) {
    let mut direct = server.direct();
    for (key, fate) in fates {
        let count = direct.call(&["GET", key]);
        let right = match fate {
            Fate::Acknowledged => count == Reply::bulk("1"),
            Fate::Refused => count == Reply::Nil,
            Fate::Unknown => count == Reply::bulk("1") || count == Reply::Nil,
        };
        assert!(right, "{key} is {fate:?}, and stands at {count:?}");
    }
}

// --- where the master is ---

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
    let warnings = proxy
        .log_text()
        .matches("the upstream is not there")
        .count();
    assert_eq!(warnings, 1, "{}", proxy.log_text());
    promote(&other);
    eventually("the new master is used", || leads_to(&proxy, &other));
}

#[test]
fn of_two_masters_the_first_of_the_file_is_used_and_the_log_warns() {
    let [first, second] = [(); 2].map(|()| RedisServer::start(Version::V7_0_15, &[]));
    let list = [&first, &second].map(RedisServer::upstream_address);
    let proxy = before(&list, "shared").start();
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

// --- failover ---

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
            let log = proxy.log_text();
            assert!(log.contains("a session doubts the upstream"), "{log}");
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
        let pid = old.info("process_id");
        signal(&old, &pid, "-STOP");
        owed.send_args(&["INCR", "cart:n"]);
        promote(&new);
        let moved = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the new master is used", || leads_to(&proxy, &new));
        }));
        // What the old one owes never comes: nobody waits for it, and nobody else is asked for it.
        let ends = [owed.try_read_reply(), blocked.try_read_reply()];
        signal(&old, &pid, "-CONT");
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

// --- one address ---

#[test]
fn an_upstream_that_is_killed_and_restarted_under_load_runs_nothing_twice() {
    for version in LEGACY_AND_CURRENT {
        for mode in MODES {
            // It has after a crash whatever it had acknowledged before.
            let extra = ["--appendonly", "yes", "--appendfsync", "always"];
            let mut server = RedisServer::start(version, &extra);
            let lines = format!("connections = \"{mode}\"");
            let proxy = Proxy::builder().upstream_with(&server, &lines).start();
            let load = Load::start(&proxy, 4);
            for _ in 0..3 {
                load.go_on(100);
                server.restart();
            }
            load.go_on(100);
            assert_ran_as_told(&load.end(), &server);
            assert!(served(&proxy, "cart"));
        }
    }
}

#[test]
fn clients_of_a_port_that_never_answers_are_turned_away_without_a_connect_of_each() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hanging.local_addr().unwrap();
    for mode in MODES {
        let lines =
            format!("address = \"{address}\"\nconnect_timeout = \"30s\"\nconnections = \"{mode}\"");
        let proxy = Proxy::builder()
            .upstream_named("main", &lines)
            .ready_when_listening()
            .start();
        let mut clients: Vec<_> = (0..50).map(|_| proxy.client("cart")).collect();
        for client in &mut clients {
            let _ = client.try_send(&command(&["PING"]));
        }
        // Patience is shorter than `connect_timeout`.
        clients.iter_mut().for_each(TestClient::expect_close);
    }
    hanging.set_nonblocking(true).unwrap();
    let connects = std::iter::from_fn(|| hanging.accept().ok()).count();
    assert!(connects < 20, "{connects} connects for 100 clients");
}

#[test]
fn an_upstream_that_hangs_is_noticed_and_comes_back() {
    for (version, mode) in LEGACY_AND_CURRENT.into_iter().zip(MODES) {
        let server = RedisServer::start(version, &["--requirepass", PASSWORD]);
        let lines = format!(
            "password_file = \"password\"\nconnect_timeout = \"60s\"\nconnections = \"{mode}\""
        );
        let proxy = Proxy::builder()
            .upstream_with(&server, &lines)
            .file("password", PASSWORD)
            .start();
        let mut owed = proxy.client("cart");
        assert_eq!(owed.call(&["INCR", "cart:n"]), Reply::Integer(1));
        let pid = server.info("process_id");
        let opened = || -> usize { server.info("total_connections_received").parse().unwrap() };
        let before = opened();
        signal(&server, &pid, "-STOP");
        owed.send_args(&["INCR", "cart:n"]);
        let mut clients: Vec<_> = (0..20).map(|_| proxy.client("cart")).collect();
        for client in &mut clients {
            client.send_args(&["BLPOP", "cart:none", "0"]);
        }
        let turned_away = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("it is noticed", || {
                proxy.log_text().contains("the upstream is silent")
            });
            // Those that wait for a connection, and those that come now.
            clients.iter_mut().for_each(TestClient::expect_close);
            for _ in 0..20 {
                assert!(!served(&proxy, "cart"));
            }
        }));
        signal(&server, &pid, "-CONT");
        turned_away.unwrap();
        // Of 40 clients those of the first second have connected, and respgate itself to see.
        let connects = opened() - before;
        assert!(connects < 32, "{connects} connects to one that hangs");
        // Who was owed something has not lost it.
        assert_eq!(owed.read_reply(), Reply::Integer(2));
        eventually("it is served again", || served(&proxy, "cart"));
        assert_eq!(owed.call(&["INCR", "cart:n"]), Reply::Integer(3));
    }
}

#[test]
fn a_slow_command_is_no_reason_to_turn_anybody_away() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    for mode in MODES {
        let lines = format!("connections = \"{mode}\"");
        let proxy = Proxy::builder().upstream_with(&server, &lines).start();
        let mut slow = server.direct();
        slow.send_args(&["DEBUG", "SLEEP", "4"]);
        std::thread::sleep(Duration::from_millis(1500));
        let mut clients: Vec<_> = (0..5).map(|_| proxy.client("cart")).collect();
        for client in &mut clients {
            client.send_args(&["PING"]);
        }
        for client in &mut clients {
            assert_eq!(client.read_reply(), pong());
        }
        assert_eq!(slow.read_reply(), ok());
        let log = proxy.log_text();
        assert!(!log.contains("gone") && !log.contains("silent"), "{log}");
    }
}
