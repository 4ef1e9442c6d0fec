//! One upstream at several addresses, upstreams that die and hang, and what clients see of that.

mod load;
mod lookup;
mod outages;
mod switch;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::proxy::Builder;
use crate::support::{Proxy, RedisServer, Reply, Version, command, eventually, ok, pong};

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
