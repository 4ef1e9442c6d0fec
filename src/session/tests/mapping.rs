//! Addresses in replies, in any pieces, in and out of transactions.

use std::sync::Arc;

use super::*;
use crate::rewrite::Addresses;

fn mapped(sentinel: bool) -> Harness {
    let mut it = Harness::admin(rules(&[], &[]));
    it.facts = facts("7.0.15");
    let pairs = [(("10.0.0.5", 6379), ("redis-a.example.com", 6380))];
    let addresses = Arc::new(Addresses::new(pairs, "127.0.0.1"));
    it.session.map_addresses(addresses, sentinel);
    it
}

/// The same in one piece and byte by byte.
fn answers(commands: &[&str], replies: &str, expected: &str) {
    for size in [1, 3, 7, 48, 1000] {
        let mut it = mapped(false);
        it.commands(commands);
        let mut got = String::new();
        for piece in replies.as_bytes().chunks(size) {
            got += &it.upstream(std::str::from_utf8(piece).unwrap());
        }
        assert_eq!(got, expected, "{size}");
        assert!(it.session.is_settled());
    }
}

const ROLE: &str = "*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.5\r\n:6379\r\n$9\r\nconnected\r\n:14\r\n";
const MAPPED: &str =
    "*5\r\n$5\r\nslave\r\n$19\r\nredis-a.example.com\r\n:6380\r\n$9\r\nconnected\r\n:14\r\n";

#[test]
fn replies_that_name_addresses_are_mapped_in_their_place() {
    answers(
        &["GET a", "ROLE", "NOPE", "GET b", "GET c"],
        &format!("$-1\r\n{ROLE}-MOVED 1 10.0.0.5:6379\r\n-ASK 2 10.0.0.6:6379\r\n"),
        &format!(
            "$-1\r\n{MAPPED}-ERR unknown command 'NOPE', with args beginning with: \r\n\
             -MOVED 1 redis-a.example.com:6380\r\n-ASK 2 10.0.0.6:6379\r\n"
        ),
    );
}

#[test]
fn a_transaction_is_mapped_where_it_names_addresses() {
    let queued = "+OK\r\n+QUEUED\r\n+QUEUED\r\n";
    let get = "$8\r\n10.0.0.5\r\n";
    answers(
        &["MULTI", "GET a", "ROLE", "EXEC", "ROLE"],
        &format!("{queued}*2\r\n{get}{ROLE}{ROLE}"),
        &format!("{queued}*2\r\n{get}{MAPPED}{MAPPED}"),
    );
    // What was queued before is gone.
    answers(
        &["MULTI", "ROLE", "DISCARD", "MULTI", "GET a", "EXEC"],
        &format!("+OK\r\n+QUEUED\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n{ROLE}"),
        &format!("+OK\r\n+QUEUED\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n{ROLE}"),
    );
}

#[test]
fn replies_that_are_not_wanted_are_not_mapped_either() {
    answers(
        &["CLIENT REPLY SKIP", "ROLE", "ROLE"],
        &format!("{ROLE}{ROLE}"),
        MAPPED,
    );
}

#[test]
fn what_is_too_long_to_be_held_passes_as_it_is() {
    let mut it = mapped(false);
    it.commands(&["ROLE", "GET a"]);
    let long = format!("*2\r\n{ROLE}${}\r\n{}\r\n", 17 << 20, "x".repeat(17 << 20));
    assert!(it.upstream(&format!("{long}$-1\r\n")) == format!("{long}$-1\r\n"));
    assert!(it.session.is_settled());
}

#[test]
fn messages_of_a_sentinel_are_mapped() {
    let on = "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n";
    let message = |address: &str| {
        let payload = format!("mymaster 10.0.0.6 6379 {address}");
        let len = payload.len();
        format!("*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n${len}\r\n{payload}\r\n")
    };
    for (sentinel, expected) in [(true, "redis-a.example.com 6380"), (false, "10.0.0.5 6379")] {
        let mut it = mapped(sentinel);
        it.commands(&["SUBSCRIBE +switch-master"]);
        it.upstream(on);
        assert_eq!(it.upstream(&message("10.0.0.5 6379")), message(expected));
    }
}
