//! Where one mode meets another, or a peer that means no good.

use std::sync::Arc;

use super::modes::{confirmation, modern};
use super::*;
use crate::rewrite::Addresses;

#[test]
fn a_monitor_is_not_answered_when_it_asks_again() {
    let mut it = modern();
    it.commands(&["MONITOR"]);
    it.upstream("+OK\r\n");
    // Redis gives none of them a reply: waiting for one would be for ever.
    assert_eq!(
        it.commands(&["MONITOR", "PSYNC ? -1", "SYNC", "PING"]),
        ["PING"]
    );
    assert_eq!(it.upstream("+PONG\r\n"), "+PONG\r\n");
    assert!(it.session.is_settled());
    it.commands(&["QUIT"]);
    assert_eq!(it.upstream(""), "+OK\r\n");
}

#[test]
fn a_monitor_runs_nothing_whose_status_could_pass_for_a_line() {
    let mut it = modern();
    it.facts = facts("5.0.10");
    let lethal = policy(b"user admin on +@all ~* &* lethal=debug\n");
    it.reload(lethal).unwrap();
    it.commands(&["MONITOR"]);
    it.upstream("+OK\r\n");
    let script = "EVAL return{ok='1.5'} 0";
    assert_eq!(it.commands(&[script, "DEBUG DIGEST"]), ["DEBUG DIGEST"]);
    let digest = format!("+{}\r\n", "0".repeat(40));
    let refused = "-ERR Replica can't interract with the keyspace\r\n";
    assert_eq!(it.upstream(&digest), format!("{refused}{digest}"));
    assert!(it.session.is_settled());
}

#[test]
fn a_long_psync_is_waited_for_or_refused() {
    let mut it = modern();
    let long = format!("PSYNC ? {}", "1".repeat(20_000));
    let bytes = encode(&long);
    assert_eq!(it.client(&bytes[..18_000]), "");
    let sent = it.client(&bytes[18_000..]);
    assert_eq!(decode(sent.as_bytes()), [long]);
    it.upstream("-ERR no\r\n");
    let longer = encode(&format!("PSYNC ? {}", "1".repeat(100_000)));
    it.client(&longer[..70_000]);
    it.client(&longer[70_000..]);
    assert_eq!(it.commands(&["PING"]), ["PING"]);
    assert!(it.upstream("").contains("too large"));
    it.upstream("+PONG\r\n");
    assert!(it.session.is_settled());
}

#[test]
fn half_a_message_does_not_outlive_its_connection() {
    let mut it = modern();
    it.commands(&["HELLO 3", "SUBSCRIBE a"]);
    it.upstream("%0\r\n");
    it.upstream(&confirmation('>', "subscribe", "a", 1));
    assert_eq!(it.upstream(">3\r\n$7\r\nmess"), "");
    it.commands(&["RESET", "GET a"]);
    assert_eq!(it.upstream("$-1\r\n"), "+RESET\r\n$-1\r\n");
    assert!(it.session.is_settled());
}

#[test]
fn a_header_without_an_end_is_not_held() {
    for header in [">", "*", ">3\r\n$"] {
        let mut it = modern();
        it.commands(&["HELLO 3", "SUBSCRIBE a"]);
        it.upstream("%0\r\n");
        it.session.known.protocol = if header.starts_with('*') {
            known::Protocol::Resp2
        } else {
            known::Protocol::Resp3
        };
        let endless = format!("{header}{}", "1".repeat(100));
        it.down.input().extend_from_slice(endless.as_bytes());
        assert!(matches!(
            it.session.answer(&mut it.down),
            Err(Desync::Reply(_))
        ));
    }
}

#[test]
fn a_blank_line_spends_a_skip_before_8_0() {
    for (version, replies) in [("7.0.15", "+PONG\r\n"), ("8.2.3", "")] {
        for blank in ["\r\n", "  \r\n", "*0\r\n"] {
            let mut it = modern();
            it.facts = facts(version);
            it.commands(&["CLIENT REPLY SKIP"]);
            it.client(blank.as_bytes());
            it.commands(&["PING"]);
            assert_eq!(it.upstream("+PONG\r\n"), replies, "{blank:?}");
        }
    }
}

#[test]
fn who_listens_to_nothing_any_more_holds_no_names() {
    let mut it = modern();
    let many = format!("SUBSCRIBE {}", "x".repeat(70_000));
    it.commands(&[&many]);
    it.upstream(&confirmation('*', "subscribe", "x", 1));
    it.commands(&["UNSUBSCRIBE"]);
    assert!(it.session.known.subscriptions.may_be_any());
    it.upstream(&confirmation('*', "unsubscribe", "x", 0));
    assert!(!it.session.known.subscriptions.may_be_any());
}

#[test]
fn who_replicates_needs_every_key_where_it_may_sync() {
    let mut it = modern();
    it.commands(&["PSYNC ? -1"]);
    it.upstream("+CONTINUE\r\n");
    let split = policy(b"user admin on +psync (+get ~*)\n");
    assert_eq!(it.reload(split), Err(Revoked::Command));
}

fn mapped() -> Harness {
    let mut it = modern();
    let pairs = [(("10.0.0.5", 6379), ("redis-a.example.com", 6380))];
    let addresses = Arc::new(Addresses::new(pairs, "127.0.0.1"));
    it.session.map_addresses(addresses, false);
    it
}

const ROLE: &str = "*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.5\r\n:6379\r\n$9\r\nconnected\r\n:14\r\n";

#[test]
fn a_long_reply_that_is_not_wanted_is_dropped_to_its_end() {
    let mut it = mapped();
    it.commands(&["CLIENT REPLY SKIP", "ROLE", "PING"]);
    let long = format!("*1\r\n${}\r\n{}\r\n", 17 << 20, "x".repeat(17 << 20));
    assert!(it.upstream(&long).is_empty());
    assert_eq!(it.upstream("+PONG\r\n"), "+PONG\r\n");
}

#[test]
fn what_one_transaction_queued_maps_nothing_in_another() {
    let get = "*1\r\n$8\r\n10.0.0.5\r\n";
    let long = format!("*1\r\n${}\r\n{}\r\n", 17 << 20, "x".repeat(17 << 20));
    for (end, reply) in [("RESET", ""), ("EXEC", &*long)] {
        let mut it = mapped();
        it.commands(&["MULTI", "GET a", "ROLE", end]);
        it.upstream(&format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n{reply}"));
        it.commands(&["MULTI", "ROLE", "EXEC"]);
        let role = format!("*1\r\n{ROLE}");
        let got = it.upstream(&format!("+OK\r\n+QUEUED\r\n{role}"));
        assert!(got.contains("redis-a.example.com"), "{end}: {got}");
        it.commands(&["MULTI", "GET a", "EXEC"]);
        let got = it.upstream(&format!("+OK\r\n+QUEUED\r\n{get}"));
        assert!(got.ends_with(get), "{end}: {got}");
    }
}

#[test]
fn a_replica_that_refuses_a_write_is_noticed_once_and_the_client_reads_it() {
    let mut it = Harness::cart();
    it.commands(&["GET cart:1", "SET cart:1 a", "GET cart:1"]);
    let readonly = "-READONLY You can't write against a read only replica.\r\n";
    assert_eq!(it.upstream("$8\r\nREADONLY\r\n"), "$8\r\nREADONLY\r\n");
    assert!(!it.session.take_readonly());
    // However it comes.
    assert_eq!(it.upstream(&readonly[..6]), "");
    assert_eq!(it.upstream(&readonly[6..]), readonly);
    assert!(it.session.take_readonly());
    assert!(!it.session.take_readonly());
    assert_eq!(it.upstream("-ERR READONLY\r\n"), "-ERR READONLY\r\n");
    assert!(!it.session.take_readonly());
}
