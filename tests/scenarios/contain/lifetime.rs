//! How long a session may live.

use std::thread;
use std::time::Duration;

use super::{MB, in_both_modes, is_closed_for, reload};
use crate::support::{Proxy, RedisServer, Reply, Version, command, eventually, ok};

#[test]
fn a_session_ends_behind_its_lifetime_and_no_reply_is_lost() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    in_both_modes(&server, |builder| {
        let proxy = builder.listener("max_lifetime = \"3s\"").start();
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
        let proxy = builder.listener("max_lifetime = \"3s\"").start();
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
