//! What one user, one address and all clients together may cost, and how long a session may live.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::http::Scrape;
use crate::support::proxy::PASSWORD;
use crate::support::{
    Builder, Proxy, RedisServer, Reply, TestClient, Version, command, eventually, free_port, ok,
};

const MB: usize = 1 << 20;

const FULL: &str = "ERR max number of clients reached";

const LIMITED: &str = "[limits.user.cart]\ncommands_per_second = 10\n";

const USERS: &str = "\
user cart on >cart-secret ~cart:* &* +@all -@dangerous
user admin on >admin-secret ~* &* +@all
";

/// A scenario for clients that share connections, and for those that don't.
fn in_both_modes(server: &RedisServer, play: impl Fn(Builder)) {
    for mode in ["shared", "dedicated"] {
        eprintln!("--- {mode}");
        let lines = format!("connections = \"{mode}\"");
        play(Proxy::builder().users(USERS).upstream_with(server, &lines));
        assert_eq!(server.direct().call(&["FLUSHALL"]), ok());
    }
}

fn set(server: &RedisServer, key: &str, length: usize) {
    let value = vec![b'v'; length];
    let reply = server
        .direct()
        .call_bytes(&[b"SET", key.as_bytes(), &value]);
    assert_eq!(reply, ok());
}

fn reload(proxy: &Proxy, from: &str, to: &str) {
    proxy.edit(from, to);
    proxy.reload_until("a new generation is in force");
}

fn is_closed_for<'a>(reason: &'a str) -> impl Fn(&serde_json::Value) -> bool + 'a {
    move |event| event["event"] == "session_closed" && event["reason"] == reason
}

// === rates ===

#[test]
fn a_user_with_a_rate_gets_that_in_order_while_others_go_on() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let proxy = builder.section(LIMITED).start();
        let (mut first, mut second) = (proxy.client("cart"), proxy.client("cart"));
        let mut other = proxy.client("admin");
        let start = Instant::now();
        let requests = command(&["INCR", "cart:n"]).repeat(2_000);
        first.send(&requests);
        second.send(&requests);
        for number in 0..10_000 {
            let text = number.to_string();
            assert_eq!(other.call(&["ECHO", &text]), Reply::bulk(&text));
        }
        let done = server.direct().call(&["GET", "cart:n"]).text();
        let done: f64 = done.parse().unwrap();
        let elapsed = start.elapsed().as_secs_f64();
        eprintln!("{done} of the limited, 10000 of the other in {elapsed:.1} s");
        // A second's worth at once, and one that each of them may overdraw it by.
        assert!(done <= 10.0 * (elapsed + 1.0) + 2.0, "{done} in {elapsed}");
        assert!(done >= 10.0, "{done}");
        reload(
            &proxy,
            "commands_per_second = 10\n",
            "max_connections = 50\n",
        );
        let mut seen: Vec<i64> = Vec::new();
        for client in [&mut first, &mut second] {
            let mut last = 0;
            for _ in 0..2_000 {
                let Reply::Integer(number) = client.read_reply() else {
                    panic!("no number");
                };
                assert!(number > last, "{number} behind {last}");
                last = number;
                seen.push(number);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=4_000).collect::<Vec<_>>());
    });
}

#[test]
fn a_rate_that_a_reload_brings_holds_for_who_is_there() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let proxy = builder.section("[limits]\nmax_args = 1000").start();
        let mut client = proxy.client("cart");
        for _ in 0..100 {
            assert_eq!(client.call(&["PING"]).text(), "PONG");
        }
        reload(
            &proxy,
            "max_args = 1000",
            "max_args = 1000\n[limits.address]\ncommands_per_second = 5",
        );
        let start = Instant::now();
        for _ in 0..12 {
            assert_eq!(client.call(&["PING"]).text(), "PONG");
        }
        // Five at once, and seven that are waited for but the last.
        assert!(
            start.elapsed() > Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
        reload(&proxy, "commands_per_second = 5", "");
        for _ in 0..1_000 {
            assert_eq!(client.call(&["PING"]).text(), "PONG");
        }
    });
}

#[test]
fn bytes_of_both_directions_count() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        set(&server, "cart:big", 2 * MB);
        let proxy = builder
            .section("[limits.user.cart]\nbytes_per_second = \"1MB\"\n")
            .start();
        let (mut client, mut other) = (proxy.client("cart"), proxy.client("admin"));
        let start = Instant::now();
        client.send_args(&["GET", "cart:big"]);
        client.send(command(&["SET", "cart:other", &"x".repeat(MB)]));
        client.send_args(&["PING"]);
        for number in 0..1_000 {
            let text = number.to_string();
            assert_eq!(other.call(&["ECHO", &text]), Reply::bulk(&text));
        }
        assert_eq!(client.read_reply().text().len(), 2 * MB);
        assert_eq!(client.read_reply(), ok());
        assert_eq!(client.read_reply().text(), "PONG");
        assert!(
            start.elapsed() > Duration::from_millis(1_500),
            "{:?}",
            start.elapsed()
        );
    });
}

#[test]
fn a_limited_subscriber_gets_every_message_later() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let proxy = builder
            .section("[limits.user.cart]\nbytes_per_second = \"128KB\"\n")
            .start();
        let (mut subscriber, mut other) = (proxy.client("cart"), proxy.client("admin"));
        assert_eq!(
            subscriber.call(&["SUBSCRIBE", "news"]).array()[2],
            Reply::Integer(1)
        );
        let text = "m".repeat(8 * 1024);
        let start = Instant::now();
        for number in 0..48 {
            let message = format!("{number}:{text}");
            assert_eq!(
                other.call(&["PUBLISH", "news", &message]),
                Reply::Integer(1)
            );
        }
        for number in 0..48 {
            let message = subscriber.read_reply();
            assert!(
                message.array()[2].text().starts_with(&format!("{number}:")),
                "{number}"
            );
        }
        assert!(
            start.elapsed() > Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    });
}

/// Nothing that it has sent is lost, though it closes at once.
#[test]
fn who_has_a_rate_and_closes_its_direction_gets_all_it_asked_for() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let proxy = builder
            .section(LIMITED)
            .listener("idle_timeout = \"200ms\"")
            .start();
        let mut client = proxy.client("cart");
        client.send(command(&["INCR", "cart:n"]).repeat(25));
        client.half_close();
        for number in 1..=25 {
            assert_eq!(client.read_reply(), Reply::Integer(number));
        }
        client.expect_close();
    });
}

// === connections ===

#[test]
fn a_user_has_no_more_connections_than_it_may() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let admin = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
        let proxy = builder
            .section("[limits.user.cart]\nmax_connections = 2\n")
            .section(&format!("[admin]\nbind = \"{admin}\"\n"))
            .start();
        let mut two = [proxy.client("cart"), proxy.client("cart")];
        for client in &mut two {
            assert_eq!(client.call(&["PING"]).text(), "PONG");
        }
        let mut third = proxy.client("cart");
        assert_eq!(third.read_reply().error(), FULL);
        third.expect_close();
        let like = |event: &serde_json::Value| event["reason"] == "user_connections";
        assert_eq!(proxy.audit_when(like)[0]["event"], "connection_refused");
        let refused = [("listener", "main"), ("reason", "user_connections")];
        let scrape = Scrape::of(admin);
        assert_eq!(
            scrape.count("respgate_connections_refused_total", &refused),
            1
        );
        assert_eq!(proxy.client("admin").call(&["PING"]).text(), "PONG");
        let [first, mut second] = two;
        drop(first);
        eventually("there is a place again", || {
            let mut client = proxy.client("cart");
            client.send_args(&["PING"]);
            matches!(client.try_read_reply(), Ok(Reply::Simple(_)))
        });
        reload(&proxy, "max_connections = 2", "max_connections = 1");
        assert_eq!(second.call(&["PING"]).text(), "PONG", "it stays");
        eventually("and there is no place", || {
            let mut client = proxy.client("cart");
            client.send_args(&["PING"]);
            matches!(client.try_read_reply(), Ok(Reply::Error(text)) if text == FULL)
        });
    });
}

#[test]
fn auth_as_a_user_without_a_free_place_fails_and_changes_nothing() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(USERS)
        .identities(PASSWORD)
        .section("[limits.user.\"*\"]\nmax_connections = 1\n")
        .start();
    let (mut first, mut second) = (proxy.client("cart"), proxy.client("cart"));
    assert_eq!(first.call(&["AUTH", "cart-secret"]), ok());
    assert_eq!(
        first.call(&["AUTH", "cart-secret"]),
        ok(),
        "the place is its own"
    );
    assert_eq!(second.call(&["AUTH", "cart-secret"]).error(), FULL);
    assert_eq!(
        second
            .call(&["HELLO", "2", "AUTH", "cart", "cart-secret"])
            .error(),
        FULL
    );
    assert_eq!(
        second.call(&["GET", "cart:1"]).error(),
        "NOAUTH Authentication required."
    );
    let refused = proxy.audit_when(|event| event["reason"] == "user_connections");
    assert_eq!(refused[0]["event"], "refused");
    // Another user has a place of its own.
    assert_eq!(proxy.client("admin").call(&["AUTH", "admin-secret"]), ok());
    assert_eq!(first.call(&["RESET"]), Reply::Simple("RESET".into()));
    eventually("the place is free", || {
        second.call(&["AUTH", "cart-secret"]) == ok()
    });
    assert_eq!(first.call(&["AUTH", "cart-secret"]).error(), FULL);
    drop(second);
    eventually("the place is free", || {
        first.call(&["AUTH", "cart-secret"]) == ok()
    });
}

#[test]
fn an_address_has_no_more_connections_than_it_may_on_all_listeners_together() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let port = free_port();
    let proxy = Proxy::builder()
        .upstream(&server)
        .another_listener("second", port, "")
        .section("[limits.address]\nmax_connections = 3\n")
        .start();
    let config = || proxy.certs().client_config(Some("cart"));
    let second = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let come = |address| -> Option<TestClient> {
        let mut client = TestClient::tls(address, config()).ok()?;
        client.try_send(&command(&["PING"])).ok()?;
        client.try_read_reply().ok().map(|_| client)
    };
    let mut here = Vec::new();
    eventually("the first client of all is gone", || {
        here.extend(come(if here.len() == 1 {
            second
        } else {
            proxy.address()
        }));
        here.len() == 3
    });
    assert!(come(second).is_none() && come(proxy.address()).is_none());
    let like = |event: &serde_json::Value| event["reason"] == "address_connections";
    eventually("the audit has both", || proxy.audit_when(like).len() >= 2);
    let other = TestClient::tls_from(Some("127.0.0.2"), proxy.address(), config());
    assert_eq!(other.unwrap().call(&["PING"]).text(), "PONG");
    here.pop();
    eventually("there is a place again", || come(second).is_some());
}

// === memory ===

/// Everybody who has asked for this value reads it whole, or finds the connection closed.
fn read_all(clients: Vec<TestClient>, length: usize) -> (usize, usize) {
    let (mut whole, mut cut) = (0, 0);
    for mut client in clients {
        let read = client.try_read_reply();
        match read {
            Ok(Reply::Bulk(value)) => {
                assert_eq!(value.len(), length);
                whole += 1;
            }
            Err(_) => cut += 1,
            other => panic!("neither all of it nor nothing: {other:?}"),
        }
    }
    (whole, cut)
}

#[test]
fn replies_that_nobody_reads_stay_within_the_budget_and_others_are_served() {
    const LENGTH: usize = 30 * MB;
    let server = RedisServer::start(Version::V7_0_15, &[]);
    for mode in ["shared", "dedicated"] {
        set(&server, "cart:big", LENGTH);
        let (memory, readers) = match mode {
            "shared" => ("memory = \"64MB\"", 12),
            // Each holds some 300 KB.
            _ => ("memory = \"8MB\"\nmax_reply_buffer = \"1MB\"", 60),
        };
        let proxy = Proxy::builder()
            .upstream_with(&server, &format!("connections = \"{mode}\""))
            .section(&format!("[limits]\n{memory}\n[runtime]\nworkers = 1\n"))
            .start();
        let before = proxy.peak_memory() as usize;
        let mut slow: Vec<_> = (0..readers).map(|_| proxy.client("cart")).collect();
        for client in &mut slow {
            client.send_args(&["GET", "cart:big"]);
        }
        let mut other = proxy.client("admin");
        for number in 0..300 {
            let text = number.to_string();
            assert_eq!(other.call(&["ECHO", &text]), Reply::bulk(&text));
            thread::sleep(Duration::from_millis(5));
        }
        // More than a budget's worth is asked for by who needs it all at once.
        let mut request = vec!["MSET".to_owned()];
        for number in 0..8 {
            request.extend([format!("cart:{number}"), "x".repeat(100_000)]);
        }
        let mut large = proxy.client("cart");
        large.send(command(&request));
        assert_eq!(large.read_reply(), ok());
        let grown = (proxy.peak_memory() as usize - before) / MB;
        let (whole, cut) = read_all(slow, LENGTH);
        eprintln!("{mode}: {grown} MB more; {whole} read all of it, {cut} were cut");
        assert!(grown < 128, "{mode}: {grown} MB");
        if mode == "dedicated" {
            assert!(grown < 48, "{grown} MB");
        }
        assert!(whole > 0, "{cut} were cut");
        let mut fresh = proxy.client("cart");
        assert_eq!(fresh.call(&["GET", "cart:big"]).text().len(), LENGTH);
        assert_eq!(fresh.call(&["GET", "cart:1"]).text().len(), 100_000);
    }
}

#[test]
fn requests_that_are_held_back_stay_within_the_budget_and_do_not_block_each_other_for_ever() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let proxy = builder
            .section("[limits]\nmemory = \"8MB\"\nmax_reply_buffer = \"1MB\"\n")
            .section("[runtime]\nworkers = 1\n")
            .start();
        let before = proxy.peak_memory() as usize;
        // Their keys are known at the end only.
        let mut request = vec!["MSET".to_owned()];
        for number in 0..9 {
            request.extend([format!("cart:{number}"), "x".repeat(100_000)]);
        }
        let request = command(&request);
        let clients: Vec<_> = (0..40).map(|_| proxy.client("cart")).collect();
        let mut other = proxy.client("admin");
        let is_cut = AtomicBool::new(false);
        let (done, cut) = thread::scope(|scope| {
            let mut threads = Vec::new();
            for mut client in clients {
                let (request, is_cut) = (&request, &is_cut);
                threads.push(scope.spawn(move || {
                    let (most, last) = request.split_at(request.len() - 1);
                    // Who is read no further can't even send it.
                    let sent = client.try_send(most).is_ok();
                    while !is_cut.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(10));
                    }
                    let last = sent && client.try_send(last).is_ok();
                    last && client.try_read_reply() == Ok(ok())
                }));
            }
            for number in 0..300 {
                let text = number.to_string();
                assert_eq!(other.call(&["ECHO", &text]), Reply::bulk(&text));
                thread::sleep(Duration::from_millis(5));
            }
            proxy.audit_when(is_closed_for("memory"));
            is_cut.store(true, Ordering::Relaxed);
            let done = threads
                .into_iter()
                .filter_map(|thread| thread.join().unwrap().then_some(()));
            let done = done.count();
            (done, 40 - done)
        });
        let grown = (proxy.peak_memory() as usize - before) / MB;
        eprintln!("{grown} MB more; {done} were served, {cut} were cut");
        assert!(grown < 40, "{grown} MB");
        assert!(done > 0 && cut > 0, "{done} and {cut}");
        eventually("the audit has all that were cut", || {
            let events = proxy.audit_when(is_closed_for("memory"));
            events.len() == cut && events.iter().all(|event| event["user"] == "cart")
        });
        let mut fresh = proxy.client("cart");
        fresh.send(&request);
        assert_eq!(fresh.read_reply(), ok());
    });
}

#[test]
fn how_often_a_password_may_be_wrong_is_a_setting_that_can_be_reloaded() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(USERS)
        .identities(PASSWORD)
        .section("[limits.auth]\nattempts = 2\ninterval = \"1h\"\n")
        .start();
    let mut client = proxy.client("cart");
    let wrong = |client: &mut TestClient| client.call(&["AUTH", "wrong"]).error().to_owned();
    for _ in 0..2 {
        assert!(wrong(&mut client).starts_with("WRONGPASS"));
    }
    let throttled = "ERR respgate: too many failed logins";
    assert!(wrong(&mut client).starts_with(throttled));
    assert!(
        client
            .call(&["AUTH", "cart-secret"])
            .error()
            .starts_with(throttled)
    );
    let mut elsewhere = {
        let config = proxy.certs().client_config(Some("cart"));
        TestClient::tls_from(Some("127.0.0.2"), proxy.address(), config).unwrap()
    };
    assert_eq!(elsewhere.call(&["AUTH", "cart-secret"]), ok());
    reload(&proxy, "attempts = 2", "attempts = 5");
    for _ in 0..3 {
        assert!(wrong(&mut client).starts_with("WRONGPASS"));
    }
    assert!(wrong(&mut client).starts_with(throttled));
}

#[test]
fn a_limit_for_a_user_that_no_file_has_is_warned_of() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[limits.user.carr]\nmax_connections = 2\n")
        .start();
    let log = proxy.log_text();
    assert!(
        log.contains("limits.user.carr: no ACL file defines this user"),
        "{log}"
    );
}

/// A large request leaves no large buffer behind it where the next one has only begun.
#[test]
fn what_is_left_behind_large_requests_is_little() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[limits]\nmemory = \"32MB\"\nmax_inspect_buffer = \"4MB\"\n")
        .start();
    let before = proxy.peak_memory() as usize;
    let value = "x".repeat(1_500_000);
    let mut clients = Vec::new();
    for _ in 0..60 {
        let mut client = proxy.client("cart");
        client.send(command(&["MSET", "cart:1", &value, "cart:2", &value]));
        client.send("*2\r\n$3\r\nGET\r\n$6\r\ncar");
        assert_eq!(client.read_reply(), ok());
        clients.push(client);
    }
    let grown = (proxy.peak_memory() as usize - before) / MB;
    assert!(grown < 64, "{grown} MB");
    for client in &mut clients {
        client.send("t:3\r\n");
        assert_eq!(client.read_reply(), Reply::Nil);
    }
}

// === lifetime ===

#[test]
fn a_session_ends_behind_its_lifetime_and_no_reply_is_lost() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let proxy = builder.listener("max_lifetime = \"1s\"").start();
        let mut idle = proxy.client("cart");
        let mut busy = proxy.client("cart");
        let mut piping = proxy.client("cart");
        let mut subscriber = proxy.client("cart");
        let mut transaction = proxy.client("cart");
        assert_eq!(
            subscriber.call(&["SUBSCRIBE", "news"]).array()[2],
            Reply::Integer(1)
        );
        assert_eq!(transaction.call(&["MULTI"]), ok());
        let mut count = 0;
        loop {
            if busy.try_send(&command(&["INCR", "cart:n"])).is_err() {
                break;
            }
            match busy.try_read_reply() {
                Ok(Reply::Integer(number)) => count = number,
                Ok(other) => panic!("{other:?}"),
                Err(_) => break,
            }
        }
        assert!(count > 0);
        assert_eq!(
            server.direct().call(&["GET", "cart:n"]).text(),
            count.to_string()
        );
        let incr = command(&["INCR", "cart:p"]).repeat(50);
        let mut answered = 0;
        while piping.try_send(&incr).is_ok() {
            for _ in 0..50 {
                match piping.try_read_reply() {
                    Ok(Reply::Integer(number)) => answered = number,
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => break,
                }
            }
        }
        let stored = server.direct().call(&["GET", "cart:p"]);
        match answered {
            // It was closed before it began.
            0 => assert_eq!(stored, Reply::Nil),
            _ => assert_eq!(stored.text(), answered.to_string()),
        }
        idle.expect_close();
        subscriber.expect_close();
        thread::sleep(Duration::from_millis(500));
        assert_eq!(
            transaction.call(&["INCR", "cart:t"]),
            Reply::Simple("QUEUED".into())
        );
        assert_eq!(transaction.call(&["EXEC"]).array(), [Reply::Integer(1)]);
        transaction.expect_close();
        eventually("the audit has them all", || {
            let all = proxy.audit();
            all.iter()
                .filter(|event| is_closed_for("lifetime")(event))
                .count()
                >= 5
        });
    });
}

/// Its beginning is with Redis: it is run once and answered, and then the session ends.
#[test]
fn a_lifetime_that_ends_in_a_large_request_waits_for_its_end() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let proxy = builder.listener("max_lifetime = \"1s\"").start();
        let (mut client, mut idle) = (proxy.client("cart"), proxy.client("cart"));
        let request = command(&["SET", "cart:1", &"x".repeat(MB)]);
        let (first, rest) = request.split_at(MB / 2);
        client.send(first);
        idle.expect_close();
        thread::sleep(Duration::from_millis(500));
        client.send(rest);
        assert_eq!(client.read_reply(), ok());
        client.expect_close();
        assert_eq!(
            server.direct().call(&["STRLEN", "cart:1"]),
            Reply::Integer(MB as i64)
        );
    });
}

#[test]
fn a_lifetime_can_be_given_by_a_reload() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .listener("max_lifetime = \"1h\"")
        .start();
    let mut client = proxy.client("cart");
    assert_eq!(client.call(&["PING"]).text(), "PONG");
    reload(&proxy, "max_lifetime = \"1h\"", "max_lifetime = \"300ms\"");
    client.expect_close();
}
