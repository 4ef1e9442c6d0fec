//! Replies reach those whom they are for, or nobody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use respgate::resp::ReplyScanner;

use super::{apart, ok, start};
use crate::metrics::with_metrics;
use crate::support::http::wait_for_owed;
use crate::support::{
    Builder, Proxy, RedisServer, Reply, TestClient, Version, between, eventually, pipeline,
};

/// Rule 7: a dead session's slots stay.
#[test]
fn a_late_reply_of_a_client_that_is_gone_reaches_nobody() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut others: Vec<_> = (0..10).map(|_| proxy.client("cart")).collect();
    let mut direct = server.direct();
    for round in 0..5 {
        let mut dying = proxy.client("cart");
        // A write that waits, and all behind it.
        assert_eq!(direct.call(&["CLIENT", "PAUSE", "60000", "WRITE"]), ok());
        dying.send(pipeline(&[
            &["SET", "k", "late"],
            &["ECHO", "late too"],
            &["MULTI"],
            &["ECHO", "late three"],
            &["EXEC"],
        ]));
        thread::sleep(Duration::from_millis(50));
        for (number, other) in others.iter_mut().enumerate() {
            other.send_args(&["ECHO", &format!("{round}:{number}")]);
        }
        match round % 2 {
            0 => drop(dying),
            _ => dying.close_without_notify(),
        }
        // Its place is another's at once.
        let mut heir = proxy.client("cart");
        heir.send_args(&["ECHO", "heir"]);
        thread::sleep(Duration::from_millis(50));
        assert_eq!(direct.call(&["CLIENT", "UNPAUSE"]), ok());
        for (number, other) in others.iter_mut().enumerate() {
            assert_eq!(
                other.read_reply(),
                Reply::bulk(&format!("{round}:{number}"))
            );
        }
        assert_eq!(heir.read_reply(), Reply::bulk("heir"));
        heir.expect_silence(Duration::from_millis(20));
    }
    for other in &mut others {
        assert_eq!(other.call(&["PING"]), Reply::Simple("PONG".into()));
    }
}

/// Swallows the reply `drop`, and says one more before `insert`.
fn lie(from: &mut TcpStream, to: &mut TcpStream) {
    let mut scanner = ReplyScanner::default();
    let mut buffer = Vec::new();
    let mut seen = 0;
    let mut chunk = [0; 16 * 1024];
    while let Ok(len) = from.read(&mut chunk)
        && len > 0
    {
        buffer.extend_from_slice(&chunk[..len]);
        let mut out = Vec::new();
        while let Ok(step) = scanner.advance(&buffer[seen..]) {
            seen += step.consumed;
            if step.done.is_none() {
                break;
            }
            let reply: Vec<u8> = buffer.drain(..seen).collect();
            seen = 0;
            match &reply[..] {
                b"$4\r\ndrop\r\n" => {}
                b"$6\r\ninsert\r\n" => out.extend_from_slice(b"+stray\r\n$6\r\ninsert\r\n"),
                _ => out.extend_from_slice(&reply),
            }
        }
        if to.write_all(&out).is_err() {
            break;
        }
    }
}

fn behind_a_liar(server: &RedisServer) -> Builder {
    let lines = format!(
        "address = \"{}\"\nconnections = \"shared\"",
        between(server.address(), lie)
    );
    apart(Proxy::builder().upstream_named("main", &lines))
        .allow_error("replies out of step on a shared connection")
}

/// What a client read.
#[derive(Debug, Eq, PartialEq)]
enum Got {
    Its,
    Anothers,
    Closed,
}

fn hear(client: &mut TestClient, text: &str) -> Got {
    match client.try_read_reply() {
        Ok(reply) if reply == Reply::bulk(text) => Got::Its,
        Ok(_) => Got::Anothers,
        Err(why) => {
            assert_eq!(why, "the peer closed");
            Got::Closed
        }
    }
}

#[test]
fn a_reply_that_is_missing_is_noticed_by_the_next_canary() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = behind_a_liar(&server).start();
    let mut idle = proxy.client("admin");
    assert_eq!(idle.call(&["ECHO", "x"]), Reply::bulk("x"));
    let mut clients: Vec<_> = (0..200).map(|_| proxy.client("cart")).collect();
    let mut robbed = proxy.client("cart");
    robbed.send_args(&["ECHO", "drop"]);
    // Each a batch of its own: who has sent one has its reply when the next is under way, or somebody
    // else's. The last comes long after a canary.
    let noticed = || proxy.log_text().contains("replies out of step");
    let (mut known, mut got) = (Vec::new(), Vec::new());
    for number in 0..200 {
        if number == 199 {
            eventually("it is noticed", noticed);
        }
        known.push(noticed());
        clients[number].send_args(&["ECHO", &number.to_string()]);
        if let Some(last) = number.checked_sub(1) {
            got.push(hear(&mut clients[last], &last.to_string()));
        }
    }
    got.push(hear(&mut clients[199], "199"));
    let count = |what: &Got| got.iter().filter(|got| *got == what).count();
    eprintln!(
        "{} got another's, {} were closed, {} got theirs",
        count(&Got::Anothers),
        count(&Got::Closed),
        count(&Got::Its)
    );
    // A canary goes with each sixteenth batch; the next one is noticed at the latest.
    assert!(count(&Got::Anothers) <= 32, "{got:?}");
    assert!(
        count(&Got::Closed) >= 1,
        "who is owed something is closed: {got:?}"
    );
    for (number, known) in known.iter().enumerate() {
        if *known {
            assert_eq!(
                got[number],
                Got::Its,
                "who comes behind it is served: {number}"
            );
        }
    }
    // Who was owed nothing has a new connection, and so have those who come.
    assert_eq!(idle.call(&["ECHO", "y"]), Reply::bulk("y"));
    assert_eq!(proxy.client("cart").call(&["ECHO", "z"]), Reply::bulk("z"));
    let told = proxy.log_text();
    assert_eq!(
        told.matches("replies out of step on a shared connection")
            .count(),
        1
    );
    let events = proxy.audit_when(|event| event["event"] == "desync");
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(events[0]["reason"], "desync");
}

#[test]
fn a_reply_that_nobody_is_owed_ends_the_connection() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = behind_a_liar(&server).start();
    let mut clients: Vec<_> = (0..20).map(|_| proxy.client("cart")).collect();
    assert_eq!(clients[0].call(&["ECHO", "x"]), Reply::bulk("x"));
    let mut lied_to = proxy.client("cart");
    assert_eq!(
        lied_to.call(&["ECHO", "insert"]),
        Reply::Simple("stray".into())
    );
    proxy.audit_when(|event| event["event"] == "desync");
    for (number, client) in clients.iter_mut().enumerate() {
        let text = number.to_string();
        assert_eq!(client.call(&["ECHO", &text]), Reply::bulk(&text));
    }
}

#[test]
fn a_reply_too_many_amid_others_ends_every_session_that_is_owed_something() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, at) = with_metrics(behind_a_liar(&server));
    let proxy = builder.start();
    let mut clients: Vec<_> = (0..20).map(|_| proxy.client("cart")).collect();
    for client in &mut clients {
        assert_eq!(client.call(&["ECHO", "x"]), Reply::bulk("x"));
    }
    // All are owed something while the one more comes.
    let mut direct = server.direct();
    assert_eq!(direct.call(&["CLIENT", "PAUSE", "60000", "WRITE"]), ok());
    let mut first = proxy.client("cart");
    first.send(pipeline(&[&["SET", "k", "v"], &["ECHO", "insert"]]));
    wait_for_owed(at, 2);
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_args(&["ECHO", &number.to_string()]);
    }
    wait_for_owed(at, 22);
    assert_eq!(direct.call(&["CLIENT", "UNPAUSE"]), ok());
    // Nobody is left to wait.
    let mut got = clients.iter_mut().enumerate();
    let ended = got.all(|(number, client)| hear(client, &number.to_string()) != Got::Its);
    assert!(ended, "each reply was another's");
    proxy.audit_when(|event| event["event"] == "desync");
    assert_eq!(proxy.client("cart").call(&["ECHO", "z"]), Reply::bulk("z"));
}
