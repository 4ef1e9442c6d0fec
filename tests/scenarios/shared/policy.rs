//! The policy changes while sessions share connections.

use super::{USERS, Witness, builder, ok, start};
use crate::metrics::with_metrics;
use crate::support::http::wait_for_owed;
use crate::support::{RedisServer, Reply, Version, command, eventually, pipeline};

#[test]
fn a_reload_is_obeyed_by_who_rides() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut carts: Vec<_> = (0..10).map(|_| proxy.client("cart")).collect();
    let mut admin = proxy.client("admin");
    for client in &mut carts {
        assert_eq!(client.call(&["SET", "k", "v"]), ok());
    }
    proxy.reload(&USERS.replace("user cart on ~*", "user cart on ~cart:*"));
    for client in &mut carts {
        client.send(pipeline(&[
            &["GET", "k"],
            &["SET", "cart:k", "v"],
            &["GET", "cart:k"],
        ]));
        assert!(client.read_reply().error().starts_with("NOPERM"));
        client.expect("+OK\r\n$1\r\nv\r\n");
    }
    assert_eq!(admin.call(&["GET", "k"]), Reply::bulk("v"));
    proxy.reload(&USERS.replace("user cart ", "user former "));
    for client in &mut carts {
        client.expect_close();
    }
    assert_eq!(admin.call(&["GET", "k"]), Reply::bulk("v"));
}

#[test]
fn acl_setuser_and_deluser_are_obeyed_by_who_rides() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let (mut cart, mut admin) = (proxy.client("cart"), proxy.client("admin"));
    assert_eq!(cart.call(&["SET", "k", "v"]), ok());
    // In the middle of his own pipeline.
    admin.send(pipeline(&[
        &["SET", "a", "1"],
        &["ACL", "SETUSER", "cart", "resetkeys", "~cart:*"],
        &["GET", "a"],
    ]));
    admin.expect("+OK\r\n+OK\r\n$1\r\n1\r\n");
    assert!(cart.call(&["GET", "k"]).error().starts_with("NOPERM"));
    assert_eq!(cart.call(&["SET", "cart:k", "v"]), ok());
    // He is owed something, and has a transaction open.
    let mut in_multi = proxy.client("cart");
    assert_eq!(in_multi.call(&["MULTI"]), ok());
    assert_eq!(admin.call(&["ACL", "SETUSER", "cart", "-set"]), ok());
    assert!(
        in_multi
            .call(&["SET", "cart:k", "w"])
            .error()
            .starts_with("NOPERM")
    );
    assert!(in_multi.call(&["EXEC"]).error().starts_with("EXECABORT"));
    assert_eq!(admin.call(&["ACL", "DELUSER", "cart"]), Reply::Integer(1));
    cart.expect_close();
    in_multi.expect_close();
    assert_eq!(admin.call(&["GET", "cart:k"]), Reply::bulk("v"));
}

#[test]
fn a_value_on_its_way_when_its_user_is_deleted_is_never_written() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut witness = Witness::of(&server);
    let open = witness.open();
    let (mut cart, mut admin) = (proxy.client("cart"), proxy.client("admin"));
    let request = command(&["SET", "cart:1", &"x".repeat(1_000_000)]);
    let (head, rest) = request.split_at(500_000);
    cart.send(head);
    eventually("it has a connection of its own", || {
        witness.open() == open + 1
    });
    proxy.reload(&USERS.replace("user cart ", "user former "));
    let _ = cart.try_send(rest);
    eventually("which is closed", || witness.open() == open);
    assert_eq!(admin.call(&["EXISTS", "cart:1"]), Reply::Integer(0));
}

/// What a deleted user has on its way is nobody's then.
#[test]
fn a_deleted_user_s_late_replies_reach_nobody() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, at) = with_metrics(builder(&server));
    let proxy = builder.start();
    let (mut cart, mut admin) = (proxy.client("cart"), proxy.client("admin"));
    // A write that waits, and all behind it on the same connection.
    let mut direct = server.direct();
    assert_eq!(direct.call(&["CLIENT", "PAUSE", "60000", "WRITE"]), ok());
    cart.send(pipeline(&[&["SET", "k", "late"], &["ECHO", "late too"]]));
    wait_for_owed(at, 2);
    admin.send_args(&["ECHO", "mine"]);
    wait_for_owed(at, 3);
    proxy.reload(&USERS.replace("user cart ", "user former "));
    cart.expect_close();
    assert_eq!(direct.call(&["CLIENT", "UNPAUSE"]), ok());
    assert_eq!(admin.read_reply(), Reply::bulk("mine"));
    assert_eq!(admin.call(&["ECHO", "x"]), Reply::bulk("x"));
}
