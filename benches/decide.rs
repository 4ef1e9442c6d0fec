//! The verdict on one request: alone, and through a whole session; and what the number of users costs.
//!
//! Verdicts and sessions beside `redis-protocol`'s `decode_range` of `SET key <64 B>`: what merely finding the
//! arguments costs there. `cargo bench --bench decide`.

#[path = "support/session.rs"]
mod session;
mod support;

use std::hint::black_box;

use respgate::command::Table;
use respgate::policy::{Decision, PasswordHash};
use respgate::session::{Pipe, Rules};

use session::{Client, compiled, drain, feed, patterns, rules, verdict_of};
use support::{Group, decode, request};

const KEY: &[u8] = b"user:1000:cart";
const VALUE: &[u8] = &[b'v'; 64];

fn main() {
    verdicts();
    sessions();
    verdicts_among_users();
    changes_among_users();
    logins_among_users();
}

/// What `Session` asks of names, table and policy for each request.
fn verdicts() {
    let set = request(&[b"SET", KEY, VALUE]);
    let config = request(&[b"CONFIG", b"GET", b"maxmemory"]);
    let keys: Vec<String> = (0..100).map(|n| format!("user:{n}:cart")).collect();
    let mut mset = vec![&b"MSET"[..]];
    keys.iter()
        .for_each(|key| mset.extend([key.as_bytes(), b"0123456789"]));
    let mset = request(&mset);
    let far = format!("+@all {} ~user:*", patterns("app"));
    let near = format!("+@all {} ~user:1000:cart", patterns("user:"));
    let (all, one) = ("+@all ~*", "+@all ~user:*");
    let no_set = "+@all -set ~user:*";

    let mut group = Group::new("verdict: name, table, policy");
    group.add("redis-protocol decode_range", 1, || decode(&set));
    let mut add = |name, operations, user: &str, bytes: &[u8], allowed| {
        group.add(name, operations, verdict(user, bytes, allowed));
    };
    add("SET, all keys", 1, all, &set, true);
    add("SET, one prefix pattern", 1, one, &set, true);
    add("SET, the last of 100 patterns", 1, &far, &set, true);
    add("  the same, all patterns begin alike", 1, &near, &set, true);
    add("SET, the command refused", 1, no_set, &set, false);
    add("CONFIG GET, all keys", 1, all, &config, true);
    add(
        "MSET of 100 keys, one pattern, a key",
        100,
        one,
        &mset,
        true,
    );
    add(
        "MSET of 100 keys, 100 patterns, a key",
        100,
        &far,
        &mset,
        true,
    );
    group.run();
}

/// A session holds its user: how many others there are doesn't matter.
fn verdicts_among_users() {
    let set = request(&[b"SET", KEY, VALUE]);
    let mut group = Group::new("verdict among users: SET, one prefix pattern");
    for (name, users) in [("1 user", 1), ("100 users", 100), ("10,000 users", 10_000)] {
        let rules = among(users);
        group.add(name, 1, verdict_of(rules, "u0", &set, true));
    }
    group.run();
}

/// `ACL SETUSER`: a new policy, which shares the other users.
fn changes_among_users() {
    let table = Table::builtin();
    let rules: [&[u8]; 5] = [b"on", b">secret", b"+@read", b"~user:*", b"&news.*"];
    let mut group = Group::new("change: Policy::with_user, five rules");
    for (name, user, users) in [
        ("a new user beside 1", "new", 1),
        ("a new user beside 1,000", "new", 1000),
        ("a new user beside 10,000", "new", 10_000),
        ("a change to one of 1", "u0", 1),
        ("a change to one of 1,000", "u500", 1000),
        ("a change to one of 10,000", "u5000", 10_000),
    ] {
        let (policy, table) = (among(users).policy().clone(), &table);
        group.add(name, 1, move || {
            policy.with_user(black_box(user.as_bytes()), &rules, table)
        });
    }
    group.run();
}

/// AUTH, which hashes the password whether the user exists or not.
fn logins_among_users() {
    let mut group = Group::new("login: Policy::authenticate");
    group.add("SHA-256 of the password", 1, || {
        PasswordHash::of(black_box(b"secret"))
    });
    for (name, user, password, users) in [
        ("one of 1 user", "u0", "secret", 1),
        ("one of 10,000 users", "u5000", "secret", 10_000),
        ("one of 10,000, another password", "u5000", "wrong", 10_000),
        ("nobody among 10,000", "nobody", "secret", 10_000),
    ] {
        let policy = among(users).policy().clone();
        let known = user != "nobody" && password == "secret";
        group.add(name, 1, move || {
            let found = policy.authenticate(black_box(user), black_box(password.as_bytes()));
            assert_eq!(found.is_some(), known);
        });
    }
    group.run();
}

/// Bytes in, judged, forwarded; the reply in, and out.
fn sessions() {
    let set = request(&[b"SET", KEY, VALUE]);
    let pipeline = set.repeat(16);
    let patterns = format!("+@all {} ~user:*", patterns("app"));
    let mut group = Group::new("session: receive and answer, a command");
    group.add("redis-protocol decode_range", 1, || decode(&set));
    for (name, rules, count, bytes) in [
        ("SET one at a time, all keys", "+@all ~*", 1, &set),
        ("SET one at a time, 100 patterns", &patterns, 1, &set),
        (
            "SET in a pipeline of 16, all keys",
            "+@all ~*",
            16,
            &pipeline,
        ),
        (
            "SET in a pipeline of 16, 100 patterns",
            &patterns,
            16,
            &pipeline,
        ),
    ] {
        let mut client = Client::new(rules);
        let replies = b"+OK\r\n".repeat(count);
        group.add(name, count as u32, move || {
            feed(&mut client.up, bytes);
            client.receive();
            drain(&mut client.up, bytes.len());
            feed(&mut client.down, &replies);
            client.answer();
            drain(&mut client.down, replies.len());
        });
    }
    // What the harness itself costs: the copies in and out that sockets would make.
    let (mut up, mut down) = (Pipe::default(), Pipe::default());
    let set = set.as_slice();
    group.add("the pipes alone, one at a time", 1, move || {
        for (pipe, bytes) in [(&mut up, set), (&mut down, b"+OK\r\n")] {
            feed(pipe, bytes);
            pipe.forward(bytes.len());
            drain(pipe, bytes.len());
        }
    });
    group.run();
}

/// So many users, named `u0`, `u1` and on, who may do the same.
fn among(users: usize) -> Rules {
    let user = |n| format!("user u{n} on >secret +@all ~user:*\n");
    compiled((0..users).map(user).collect())
}

fn verdict(user: &str, bytes: &[u8], allowed: bool) -> impl FnMut() -> Decision + use<> {
    verdict_of(rules(user), "app", bytes, allowed)
}
