//! What is counted is what happened.

mod prometheus;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::http::{Scrape, wait_for_owed};
use crate::support::{
    Builder, Proxy, RedisServer, Reply, Version, between, command, eventually, free_port, pipeline,
};

/// An operator by certificate, and an application whose AUTH says who it is.
const LOGINS: &str = "\
[[identity]]\nmatch = { cn = \"admin\" }\nuser = \"admin\"\nauth = \"certificate\"\n\
[[identity]]\nmatch = { cn = \"cart\" }\nuser = \"$auth\"\nauth = \"password\"\n";

/// And where they are to be had.
pub fn with_metrics(builder: Builder) -> (Builder, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let section = format!("[admin]\nbind = \"{address}\"\n");
    (builder.section(&section), address)
}

/// What each client of the load asks for again and again: the requests, and of each its category and
/// the reason of its refusal.
const LOAD: [(&[&str], &str, Option<&str>); 8] = [
    (&["GET", "cart:1"], "read", None),
    (&["SET", "cart:1", "value"], "write", None),
    (&["PING"], "connection", None),
    (&["MULTI"], "transaction", None),
    (&["INCR", "cart:n"], "write", None),
    (&["EXEC"], "transaction", None),
    (&["FLUSHALL"], "dangerous", Some("command")),
    (&["GET", "other"], "read", Some("key")),
];

/// A metric that sessions of this user cause, by verdict and category.
fn commands(scrape: &Scrape, user: &str, verdict: &str, category: &str) -> u64 {
    let labels = [("user", user), ("verdict", verdict), ("category", category)];
    scrape.count("respgate_commands_total", &labels)
}

#[test]
fn metrics_that_are_scraped_under_load_agree_with_what_was_sent() {
    const ROUNDS: u64 = 150;
    const CLIENTS: u64 = 3;
    for dedicated in [false, true] {
        let server = RedisServer::start(Version::V7_0_15, &[]);
        let builder = Proxy::builder()
            .upstream(&server)
            .section("[runtime]\nworkers = 2\n");
        let (builder, at) = with_metrics(match dedicated {
            true => builder.dedicated(),
            false => builder,
        });
        let proxy = builder
            .users("user cart on ~cart:* +@all -@dangerous\nuser search on ~cart:* +@all -@dangerous\nuser admin on ~* +@all\n")
            .start();
        eventually("who waited for its start is gone", || {
            Scrape::of(at).count("respgate_sessions", &[]) == 0
        });
        let before = Scrape::of(at);
        let running = AtomicBool::new(true);
        let (sent, taken) = std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let mut last = before.clone();
                let mut scrapes = 0;
                while running.load(Ordering::Relaxed) {
                    let now = Scrape::of(at);
                    now.assert_grown_from(&last);
                    last = now;
                    scrapes += 1;
                }
                assert!(scrapes > 1);
            });
            let clients: Vec<_> = (0..2 * CLIENTS)
                .map(|number| {
                    let proxy = &proxy;
                    scope.spawn(move || {
                        let user = ["cart", "search"][number as usize % 2];
                        let mut client = proxy.client(user);
                        let requests: Vec<&[&str]> = LOAD.iter().map(|one| one.0).collect();
                        let (mut sent, mut taken) = (0, 0);
                        for round in 0..ROUNDS {
                            // In one piece, and one behind the other.
                            if round % 2 == 0 {
                                client.send(pipeline(&requests));
                            }
                            for request in &requests {
                                if round % 2 == 1 {
                                    client.send(command(request));
                                }
                                sent += command(request).len();
                                taken += client.read_raw().len();
                            }
                        }
                        (sent as u64, taken as u64)
                    })
                })
                .collect();
            let sums = clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            running.store(false, Ordering::Relaxed);
            watching.join().unwrap();
            sums
        });
        eventually("every session has ended", || {
            Scrape::of(at).count("respgate_sessions", &[]) == 0
        });
        let after = Scrape::of(at);
        after.assert_grown_from(&before);
        let grown = |name: &str, labels: &[(&str, &str)]| {
            after.count(name, labels) - before.count(name, labels)
        };
        for user in ["cart", "search"] {
            for category in ["read", "write", "connection", "transaction", "dangerous"] {
                for (verdict, refused) in [("allow", false), ("deny", true)] {
                    let each = LOAD.iter().filter(|(_, theirs, reason)| {
                        *theirs == category && reason.is_some() == refused
                    });
                    let expected = each.count() as u64 * ROUNDS * CLIENTS;
                    let counted = commands(&after, user, verdict, category);
                    assert_eq!(counted, expected, "{user} {verdict} {category}");
                }
            }
        }
        let all = LOAD.len() as u64 * ROUNDS * 2 * CLIENTS;
        assert_eq!(grown("respgate_commands_total", &[]), all);
        for reason in ["command", "key"] {
            let denials = grown("respgate_denials_total", &[("reason", reason)]);
            assert_eq!(denials, ROUNDS * 2 * CLIENTS, "{reason}");
        }
        assert_eq!(
            grown("respgate_denials_total", &[]),
            2 * ROUNDS * 2 * CLIENTS
        );
        assert_eq!(grown("respgate_downstream_received_bytes_total", &[]), sent);
        assert_eq!(grown("respgate_downstream_sent_bytes_total", &[]), taken);
        assert_eq!(grown("respgate_sessions_opened_total", &[]), 2 * CLIENTS);
        assert_eq!(grown("respgate_sessions_closed_total", &[]), 2 * CLIENTS);
        assert_eq!(after.count("respgate_owed_replies", &[]), 0);
        assert_eq!(after.count("respgate_desync_total", &[]), 0);
    }
}

#[test]
fn what_comes_before_and_behind_a_login_counts_for_its_own_user() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, at) = with_metrics(
        Proxy::builder()
            .upstream(&server)
            .identities(LOGINS)
            .users("user admin on ~* +@all\nuser one on >1 ~* +@all\nuser two on >2 ~* +@read\n"),
    );
    let proxy = builder.start();
    let mut client = proxy.client("cart");
    // All in one batch.
    client.send(pipeline(&[
        &["GET", "k"],
        &["AUTH", "one", "1"],
        &["GET", "k"],
        &["GET", "k"],
        &["AUTH", "two", "wrong"],
        &["SET", "k", "v"],
        &["AUTH", "two", "2"],
        &["GET", "k"],
        &["SET", "k", "v"],
    ]));
    for _ in 0..9 {
        client.read_reply();
    }
    let expected = [
        ("_none", "deny", "read", 1),
        ("one", "allow", "connection", 1),
        ("one", "allow", "read", 2),
        ("one", "allow", "write", 1),
        ("one", "deny", "connection", 1),
        ("two", "allow", "connection", 1),
        ("two", "allow", "read", 1),
        ("two", "deny", "write", 1),
    ];
    let scrape = Scrape::of(at);
    for (user, verdict, category, count) in expected {
        let counted = commands(&scrape, user, verdict, category);
        assert_eq!(counted, count, "{user} {verdict} {category}");
    }
    let all = ["_none", "one", "two"]
        .map(|user| scrape.count("respgate_commands_total", &[("user", user)]));
    assert_eq!(all.iter().sum::<u64>(), 9);
    let denials = |reason| scrape.count("respgate_denials_total", &[("reason", reason)]);
    assert_eq!(denials("not_authenticated"), 1);
    assert_eq!(denials("auth"), 1);
    assert_eq!(denials("command"), 1);
}

#[test]
fn as_many_users_as_there_may_be_have_no_more_labels_than_a_scraper_bears() {
    const USERS: usize = 1500;
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, at) = with_metrics(
        Proxy::builder()
            .upstream(&server)
            .identities(LOGINS)
            .users("user admin on ~* lethal=acl +@all\n"),
    );
    let proxy = builder.start();
    let mut admin = proxy.client("admin");
    let mut client = proxy.client("cart");
    for number in 0..USERS {
        let name = format!("user-{number}");
        let made = admin.call(&["ACL", "SETUSER", &name, "on", ">p", "~*", "+@read"]);
        assert_eq!(made, Reply::Simple("OK".into()));
        client.send(pipeline(&[&["AUTH", &name, "p"], &["GET", "k"]]));
        assert_eq!(client.read_reply(), Reply::Simple("OK".into()));
        assert_eq!(client.read_reply(), Reply::Nil);
    }
    let scrape = Scrape::of(at);
    let labels = scrape.values("respgate_commands_total", "user");
    assert!(labels.len() <= 1001, "{}", labels.len());
    assert!(labels.contains("user-0") && labels.contains("_other"));
    let reads = [("verdict", "allow"), ("category", "read")];
    let name = "respgate_commands_total";
    assert_eq!(scrape.count(name, &reads), USERS as u64);
    let others = [reads[0], reads[1], ("user", "_other")];
    assert_eq!(
        scrape.count(name, &others) as usize + labels.len() - 1,
        // Two have a label and no read: the administrator, and who has not logged in.
        USERS
            + labels
                .iter()
                .filter(|label| !label.starts_with("user-") && *label != "_other")
                .count()
    );
    // Who is deleted is not forgotten.
    drop(client);
    let names: Vec<String> = (0..USERS).map(|number| format!("user-{number}")).collect();
    for names in names.chunks(100) {
        let mut words = vec!["ACL", "DELUSER"];
        words.extend(names.iter().map(String::as_str));
        assert_eq!(admin.call(&words), Reply::Integer(names.len() as i64));
    }
    let later = Scrape::of(at);
    later.assert_grown_from(&scrape);
    assert_eq!(later.count(name, &reads), USERS as u64);
}

#[test]
fn handshakes_refusals_and_ends_are_counted_by_their_reason() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, at) = with_metrics(Proxy::builder().upstream(&server));
    let proxy = builder.start();
    let count = |name: &str, labels: &[(&str, &str)]| Scrape::of(at).count(name, labels);
    let ok = [
        ("listener", "main"),
        ("result", "ok"),
        ("tls_version", "1.3"),
    ];
    let before = count("respgate_handshakes_total", &ok);
    let mut client = proxy.client("cart");
    assert_eq!(client.call(&["QUIT"]), Reply::Simple("OK".into()));
    assert_eq!(count("respgate_handshakes_total", &ok), before + 1);
    eventually("it has ended", || {
        count("respgate_sessions_closed_total", &[("reason", "done")]) >= 1
    });

    if let Ok(mut nobody) = proxy.try_client(None) {
        assert!(nobody.try_read_reply().is_err());
    }
    let reason = [
        ("result", "no_client_certificate"),
        ("tls_version", "unknown"),
    ];
    let refused = |reason| count("respgate_connections_refused_total", &[("reason", reason)]);
    // They are counted when the alert has left.
    eventually("a handshake has failed, and why", || {
        count("respgate_handshakes_total", &reason) == 1 && refused("no_client_certificate") == 1
    });

    let mut plain = TcpStream::connect(proxy.address()).unwrap();
    plain.write_all(&command(&["PING"])).unwrap();
    eventually("that was no TLS", || refused("not_tls") == 1);

    drop(TcpStream::connect(proxy.address()).unwrap());
    eventually("one has gone", || {
        count("respgate_handshakes_total", &[("result", "closed")]) >= 1
    });
    assert_eq!(refused("closed"), 0, "nobody has refused it");

    proxy.reload("user admin on ~* +@all\nuser search on ~* +@all\nuser cart off\n");
    let mut off = proxy.client("cart");
    assert!(off.read_reply().error().starts_with("NOPERM"));
    assert_eq!(refused("user"), 1);
}

#[test]
fn the_upstream_is_timed_and_its_connections_are_counted() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    // Each worker has a shared connection of its own.
    let builder = Proxy::builder()
        .upstream_with(&server, "connections = \"shared\"")
        .section("[runtime]\nworkers = 1\n");
    let (builder, at) = with_metrics(builder);
    let proxy = builder.start();
    let upstream = ("upstream", "main");
    let connections =
        |used| Scrape::of(at).count("respgate_upstream_connections", &[upstream, ("use", used)]);
    let mut client = proxy.client("admin");
    let samples = || Scrape::of(at).count("respgate_upstream_latency_seconds_count", &[upstream]);
    let (before, start) = (samples(), SystemTime::now());
    for _ in 0..800 {
        client.call(&["PING"]);
    }
    // One with each sixteenth batch, of which the last may be on its way; and the control connection
    // has its own, one a second.
    let grown = samples() - before;
    let pings = start.elapsed().unwrap().as_secs() + 2;
    assert!((49..=51 + pings).contains(&grown), "{grown}");
    assert_eq!(connections("shared"), 1);

    let mut blocked = proxy.client("admin");
    blocked.send_args(&["BLPOP", "list", "0"]);
    eventually("it has one of its own", || connections("own") == 1);
    wait_for_owed(at, 1);
    client.call(&["RPUSH", "list", "x"]);
    blocked.read_reply();
    eventually("it is given back", || {
        (connections("own"), connections("idle")) == (0, 1)
    });
    eventually("it is closed", || connections("idle") == 0);

    let info = [
        upstream,
        ("version", "7.0.15"),
        ("role", "master"),
        ("mode", "standalone"),
    ];
    assert_eq!(Scrape::of(at).count("respgate_upstream_info", &info), 1);
}

#[test]
fn certificates_and_the_process_are_told_as_they_are() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, at) = with_metrics(Proxy::builder().upstream(&server));
    let proxy = builder.start();
    let scrape = Scrape::of(at);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for certificate in ["server", "client_ca"] {
        let labels = [("listener", "main"), ("certificate", certificate)];
        let name = "respgate_certificate_expiry_timestamp_seconds";
        let (_, ends) = scrape.with(name, &labels).next().expect(certificate);
        assert!(ends > now.as_secs_f64(), "{certificate}");
        assert!(ends < now.as_secs_f64() + 40.0 * 365.0 * 86_400.0);
    }
    let value = |name: &str| scrape.sum(name, &[]);
    let started = value("process_start_time_seconds");
    assert!((now.as_secs_f64() - started).abs() < 60.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    let open = value("process_open_fds") as usize;
    assert!(open.abs_diff(proxy.open_file_count()) < 10, "{open}");
    assert!(value("process_max_fds") >= value("process_open_fds"));
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(scrape.count("respgate_build_info", &version), 1);
    // Nothing has been lost, and that is told.
    for name in [
        "respgate_audit_dropped_lines_total",
        "respgate_log_dropped_lines_total",
    ] {
        assert_eq!(scrape.with(name, &[]).count(), 1, "{name}");
        assert_eq!(value(name), 0.0);
    }
    let written = || Scrape::of(at).count("respgate_audit_lines_total", &[]);
    let before = written();
    proxy.client("cart").call(&["FLUSHALL"]);
    eventually("its refusal is in the audit", || written() == before + 1);
}

/// Says one thing more behind a reply that asks for `one more`.
fn lie(from: &mut TcpStream, to: &mut TcpStream) {
    let mut chunk = [0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut chunk) {
        let mut said = chunk[..len].to_vec();
        if said.windows(8).any(|bytes| bytes == b"one more") {
            said.extend_from_slice(b"+stray\r\n");
        }
        if to.write_all(&said).is_err() {
            break;
        }
    }
}

#[test]
fn replies_out_of_step_raise_the_alarm() {
    for dedicated in [false, true] {
        let server = RedisServer::start(Version::V7_0_15, &[]);
        let lines = format!("address = \"{}\"", between(server.address(), lie));
        let builder = Proxy::builder().upstream_named("main", &lines);
        let builder = builder.allow_error("replies out of step");
        let (builder, at) = with_metrics(match dedicated {
            true => builder.dedicated(),
            false => builder,
        });
        let proxy = builder.start();
        let alarms = || Scrape::of(at).count("respgate_desync_total", &[("upstream", "main")]);
        assert_eq!(alarms(), 0);
        let mut client = proxy.client("cart");
        client.send_args(&["ECHO", "one more"]);
        // Its own reply or the end, and nothing else.
        if let Ok(reply) = client.try_read_reply() {
            assert_eq!(reply, Reply::bulk("one more"));
        }
        eventually("the alarm", || alarms() == 1);
        // Where the connection is its own, its session ends so.
        eventually("its end is counted", || {
            let ends = [("reason", "desync")];
            let ends = Scrape::of(at).count("respgate_sessions_closed_total", &ends);
            ends == u64::from(dedicated)
        });
    }
}

/// Every name of a metric in a text, without the suffixes of its samples.
fn names_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_name(c));
    let ours = words.filter(|word| word.starts_with("respgate_") || word.starts_with("process_"));
    ours.map(|word| {
        let suffixes = ["_total", "_bucket", "_count", "_sum"];
        let stripped = suffixes.iter().find_map(|suffix| word.strip_suffix(suffix));
        stripped.unwrap_or(word).to_owned()
    })
    .collect()
}

#[test]
fn the_dashboard_and_the_readme_name_what_is_served() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, at) = with_metrics(Proxy::builder().upstream(&server));
    let _proxy = builder.start();
    let served: BTreeSet<String> = Scrape::of(at).types.keys().cloned().collect();

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("config/deploy/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    assert!(dashboard["uid"].is_string() && dashboard["title"].is_string());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let has = |name: &str, kind: &str| {
        let fits = |one: &&Value| one["name"] == name && one["type"] == kind;
        variables.iter().any(|one| fits(&one))
    };
    assert!(has("datasource", "datasource"));
    let mut ids = BTreeSet::new();
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["id"]);
        for side in ["x", "y", "w", "h"] {
            assert!(panel["gridPos"][side].is_u64(), "{panel}");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty() && panel["title"].is_string());
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            let names = names_in(expression);
            assert!(!names.is_empty(), "{expression}");
            shown.extend(names);
        }
    }
    let unknown: Vec<_> = shown.difference(&served).collect();
    assert!(unknown.is_empty(), "not served: {unknown:?}");
    let missing: Vec<_> = served.difference(&shown).collect();
    assert!(missing.is_empty(), "not on the dashboard: {missing:?}");

    let page = std::fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let mut told = names_in(&page);
    // It speaks of some by what they have in common.
    told.retain(|name| served.contains(name));
    let missing: Vec<_> = served.difference(&told).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
}
