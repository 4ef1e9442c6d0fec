//! Clients that stall or die hurt nobody else.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Witness, apart, builder, ok, ready_again, start};
use crate::metrics::with_metrics;
use crate::support::http::wait_for_owed;
use crate::support::{
    Proxy, RedisServer, Reply, TestClient, Version, between, command, eventually, pipeline,
};

const MB: usize = 1 << 20;

/// 49 clients at work: how long each of their requests took, sorted.
fn work(clients: &mut [TestClient], rounds: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for (number, client) in clients.iter_mut().enumerate() {
            workers.push(scope.spawn(move || {
                let mut took = Vec::new();
                for round in 0..rounds {
                    let text = format!("{number}:{round}");
                    let start = Instant::now();
                    assert_eq!(client.call(&["ECHO", &text]), Reply::bulk(&text));
                    took.push(start.elapsed());
                }
                took
            }));
        }
        for worker in workers {
            took.extend(worker.join().unwrap());
        }
    });
    took.sort_unstable();
    took
}

fn p99(took: &[Duration]) -> Duration {
    took[took.len() * 99 / 100]
}

/// Has 49 clients work before and while something happens, and prints what it cost.
fn compare(proxy: &Proxy, what: &str, happen: impl FnOnce() -> TestClient) -> TestClient {
    let mut clients: Vec<_> = (0..49).map(|_| proxy.client("cart")).collect();
    let rounds = 60;
    let before = p99(&work(&mut clients, rounds));
    let stalled = happen();
    let took = work(&mut clients, rounds);
    assert_eq!(took.len(), 49 * rounds);
    eprintln!(
        "{what}: p99 of 49 others {:?}, without {before:?}",
        p99(&took)
    );
    stalled
}

fn set_big(server: &RedisServer, length: usize) {
    let mut direct = server.direct();
    direct.send(format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${length}\r\n"));
    let piece = vec![b'v'; MB];
    for _ in 0..length / MB {
        direct.send(&piece);
    }
    direct.send("\r\n");
    direct.expect("+OK\r\n");
}

#[test]
fn who_stalls_in_mid_request_hurts_nobody() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    for length in [100, 60_000, 10 * MB] {
        let what = format!("half of a request of {length} bytes");
        let request = command(&["SET", "half", &"h".repeat(length)]);
        let mut stalled = compare(&proxy, &what, || {
            let mut stalled = proxy.client("cart");
            stalled.send(&request[..request.len() / 2]);
            stalled
        });
        stalled.send(&request[request.len() / 2..]);
        stalled.expect("+OK\r\n");
    }
}

#[test]
fn who_does_not_read_a_large_reply_hurts_nobody() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    set_big(&server, 100 * MB);
    let proxy = start(&server);
    let stalled = compare(&proxy, "a reply of 100 MB that nobody reads", || {
        let mut stalled = proxy.client("cart");
        stalled.send_args(&["GET", "big"]);
        stalled
    });
    drop(stalled);
    assert_eq!(proxy.client("cart").call(&["ECHO", "x"]), Reply::bulk("x"));
    let peak = proxy.peak_memory() as usize / MB;
    eprintln!("peak of memory: {peak} MB");
    assert!(peak < 100, "{peak} MB");
}

#[test]
fn who_dies_in_the_middle_of_a_large_reply_hurts_nobody() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    set_big(&server, 100 * MB);
    let proxy = start(&server);
    let rest = compare(&proxy, "a reply of 100 MB whose client dies", || {
        let mut dying = proxy.client("cart");
        dying.send_args(&["GET", "big"]);
        dying.consume(MB as u64, |_| {});
        dying.close_without_notify();
        proxy.client("cart")
    });
    drop(rest);
    let peak = proxy.peak_memory() as usize / MB;
    assert!(peak < 100, "{peak} MB");
}

/// Others wait behind its reply: it is cut, they are served.
#[test]
fn who_does_not_read_while_others_wait_behind_him_is_cut() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    set_big(&server, 100 * MB);
    let (builder, at) = with_metrics(builder(&server));
    let proxy = builder.start();
    let mut others: Vec<_> = (0..10).map(|_| proxy.client("cart")).collect();
    for other in &mut others {
        assert_eq!(other.call(&["ECHO", "x"]), Reply::bulk("x"));
    }
    let mut stalled = proxy.client("cart");
    // Time for the others to come behind it.
    let mut direct = server.direct();
    assert_eq!(direct.call(&["CLIENT", "PAUSE", "60000", "WRITE"]), ok());
    stalled.send(pipeline(&[&["SET", "k", "v"], &["GET", "big"]]));
    wait_for_owed(at, 2);
    for (number, other) in others.iter_mut().enumerate() {
        other.send_args(&["ECHO", &number.to_string()]);
    }
    wait_for_owed(at, 12);
    assert_eq!(direct.call(&["CLIENT", "UNPAUSE"]), ok());
    for (number, other) in others.iter_mut().enumerate() {
        assert_eq!(other.read_reply(), Reply::bulk(&number.to_string()));
    }
    let read = stalled.read_to_close();
    assert!(read.len() < 100 * MB, "{}", read.len());
    eventually("the log says so", || {
        proxy.log_text().contains("end=\"stalled\"")
    });
    let peak = proxy.peak_memory() as usize / MB;
    assert!(peak < 100, "{peak} MB");
}

#[test]
fn half_a_gigabyte_streams_through_both_ways_while_others_are_served() {
    const LENGTH: usize = 512 * MB;
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = builder(&server).start();
    let mut client = proxy.client("cart");
    let piece: Vec<u8> = (0..MB).map(|at| (at % 251) as u8).collect();
    let (written, read) = (AtomicBool::new(false), AtomicBool::new(false));
    let work_until = |done: &AtomicBool| {
        let mut other = proxy.client("cart");
        let mut served = 0;
        while !done.load(Ordering::Relaxed) {
            let text = served.to_string();
            assert_eq!(other.call(&["ECHO", &text]), Reply::bulk(&text));
            served += 1;
        }
        served
    };
    let served = thread::scope(|scope| {
        let other = scope.spawn(|| work_until(&written));
        client.send(format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${LENGTH}\r\n"));
        for _ in 0..LENGTH / MB {
            client.send(&piece);
        }
        client.send("\r\n");
        assert_eq!(client.read_reply(), ok());
        written.store(true, Ordering::Relaxed);
        let mut served = other.join().unwrap();
        client.send("*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n*1\r\n$4\r\nPING\r\n");
        client.expect(format!("${LENGTH}\r\n"));
        // Who waits behind it would have it cut, where this reads too slowly. Until the connection is
        // known to be held up nobody does, and who comes then gets another.
        thread::sleep(Duration::from_secs(2));
        let other = scope.spawn(|| work_until(&read));
        let mut at = 0;
        client.consume(LENGTH as u64, |bytes| {
            for byte in bytes.iter().step_by(977) {
                assert_eq!(*byte, ((at % MB) % 251) as u8, "other bytes at {at}");
                at += 977;
            }
            at -= bytes.len().div_ceil(977) * 977 - bytes.len();
        });
        client.expect("\r\n+PONG\r\n");
        read.store(true, Ordering::Relaxed);
        served += other.join().unwrap();
        served
    });
    let peak = proxy.peak_memory() as usize / MB;
    eprintln!("{served} requests of another meanwhile; peak of memory: {peak} MB");
    assert!(served > 10, "{served}");
    assert!(peak < 128, "{peak} MB");
}

/// As much less as `limits.max_reply_buffer` is.
#[test]
fn what_is_held_for_a_slow_reader_is_what_max_reply_buffer_says() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    set_big(&server, 100 * MB);
    let proxy = builder(&server)
        .section("[limits]\nmax_reply_buffer = \"1MB\"")
        .start();
    let before = proxy.peak_memory() as usize;
    let mut stalled: Vec<_> = (0..8).map(|_| proxy.client("cart")).collect();
    for client in &mut stalled {
        client.send_args(&["GET", "big"]);
    }
    let mut other = proxy.client("cart");
    for _ in 0..200 {
        assert_eq!(other.call(&["ECHO", "x"]), Reply::bulk("x"));
        thread::sleep(Duration::from_millis(5));
    }
    let grown = (proxy.peak_memory() as usize - before) / MB;
    eprintln!("8 that do not read: {grown} MB more");
    assert!(grown < 32, "{grown} MB");
}

/// Half of a reply is with it: what comes next would be taken for the other half.
#[test]
fn who_was_cut_goes_on_with_no_other_connection() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    set_big(&server, 100 * MB);
    let (builder, at) = with_metrics(builder(&server).allow_error("upstream"));
    let proxy = builder.start();
    let (mut stalled, mut other) = (proxy.client("cart"), proxy.client("cart"));
    assert_eq!(other.call(&["ECHO", "x"]), Reply::bulk("x"));
    assert_eq!(stalled.call(&["ECHO", "x"]), Reply::bulk("x"));
    let mut direct = server.direct();
    assert_eq!(direct.call(&["CLIENT", "PAUSE", "60000", "WRITE"]), ok());
    stalled.send(pipeline(&[&["SET", "k", "v"], &["GET", "big"]]));
    wait_for_owed(at, 2);
    other.send_args(&["ECHO", "behind"]);
    wait_for_owed(at, 3);
    assert_eq!(direct.call(&["CLIENT", "UNPAUSE"]), ok());
    assert_eq!(other.read_reply(), Reply::bulk("behind"));
    // It is cut, and doesn't know. The connection that it was on ends.
    let killed = direct.call(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert!(matches!(killed, Reply::Integer(1..)), "{killed:?}");
    thread::sleep(Duration::from_millis(200));
    stalled.send_args(&["ECHO", "a reply of another connection"]);
    thread::sleep(Duration::from_millis(200));
    let read = stalled.read_to_close();
    assert!(read.len() < 100 * MB, "{}", read.len());
    let text = b"a reply of another connection";
    assert!(!read.windows(text.len()).any(|part| part == text));
    assert_eq!(other.call(&["ECHO", "x"]), Reply::bulk("x"));
}

/// What a server had sent before it died may be under way for long where nobody reads it: the system
/// holds it, and its end behind it.
#[test]
fn a_server_that_dies_behind_a_slow_reader_takes_nobody_along_who_comes_later() {
    let mut server = RedisServer::start(Version::V7_0_15, &[]);
    set_big(&server, 64 * MB);
    let held_up = between(server.address(), |from, to| {
        let mut chunk = [0; 64 * 1024];
        let mut passed = 0;
        while let Ok(len @ 1..) = from.read(&mut chunk) {
            passed += len;
            if to.write_all(&chunk[..len]).is_err() {
                return;
            }
        }
        if passed > MB {
            thread::sleep(Duration::from_secs(4));
        }
    });
    let lines = format!("address = \"{held_up}\"\nconnections = \"shared\"");
    let proxy = apart(Proxy::builder().upstream_named("main", &lines))
        .section("[limits]\nmax_reply_buffer = \"1MB\"")
        .start();
    let mut witness = Witness::of(&server);
    let echo = |text: &str| proxy.client("cart").call(&["ECHO", text]) == Reply::bulk(text);
    assert!(echo("before"));
    let opened = witness.opened();
    let mut slow = proxy.client("cart");
    slow.send_args(&["GET", "big"]);
    // Who is owed something behind it would have it cut.
    thread::sleep(Duration::from_secs(2));
    assert!(echo("beside"));
    assert!(witness.opened() > opened, "it hinders nobody");
    server.restart();
    ready_again(&proxy);
    // As much as there is: more may still be on its way, as far as anybody can tell.
    slow.set_patience(Duration::from_millis(300));
    let _ = slow.try_read_reply();
    for _ in 0..10 {
        assert!(echo("later"));
    }
}
