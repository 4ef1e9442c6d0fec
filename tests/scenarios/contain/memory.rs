//! The budget that all clients have together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{MB, in_both_modes, is_closed_for, set};
use crate::support::{Proxy, RedisServer, Reply, TestClient, Version, command, eventually, ok};

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
