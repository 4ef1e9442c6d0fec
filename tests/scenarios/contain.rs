//! What one user, one address and all clients together may cost, and how long a session may live.

mod connections;
mod lifetime;
mod memory;
mod rates;

use crate::support::{Builder, Proxy, RedisServer, ok};

const MB: usize = 1 << 20;

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
