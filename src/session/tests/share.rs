//! Sessions whose requests go over connections that others use too.

use super::*;
use crate::session::routing::Need;

/// A client that may do everything, before a server of this version.
pub(super) fn rider(version: &str) -> Harness {
    let mut it = Harness::detached(
        Who::Fixed("admin".into()),
        AuthKind::Certificate,
        rules(&[], &[]),
    );
    it.facts = facts(version);
    it.session.share();
    it.session.ride();
    it
}

#[test]
fn select_is_asked_where_that_database_is_selected() {
    let mut it = rider("7.0.15");
    assert_eq!(it.commands(&["GET a"]), ["GET a"]);
    assert!(it.commands(&["SELECT 2", "GET b"]).is_empty());
    assert_eq!(it.session.need(), None, "a reply is owed");
    assert_eq!(it.upstream("$-1\r\n"), "$-1\r\n");
    let Some(Need::Database(berth)) = it.session.need() else {
        panic!("{:?}", it.session.need());
    };
    assert_eq!(berth.database, 2);
    it.session.moved(2);
    // What is behind it waits for its reply.
    assert_eq!(it.commands(&[]), ["SELECT 2"]);
    // While it is on its way, too.
    assert_eq!(it.session.berth(), berth);
    assert_eq!(it.upstream("+OK\r\n"), "+OK\r\n");
    assert_eq!(it.commands(&[]), ["GET b"]);
    assert_eq!(it.upstream("$-1\r\n"), "$-1\r\n");
    assert_eq!(it.session.berth(), berth);
}

#[test]
fn a_select_that_fails_leaves_the_client_where_it_was() {
    let mut it = rider("7.0.15");
    assert!(it.commands(&["SELECT 2", "GET b"]).is_empty());
    it.session.moved(2);
    assert_eq!(it.commands(&[]), ["SELECT 2"]);
    assert_eq!(it.upstream("-BUSY x\r\n"), "-BUSY x\r\n");
    assert_eq!(it.session.berth().database, 0);
    assert_eq!(it.commands(&[]), ["GET b"]);
    it.upstream("$-1\r\n");
    // It fails in every database, so no other is looked for.
    assert!(it.commands(&["SELECT 2 3"]).is_empty());
    assert_eq!(it.session.need(), Some(Need::Own(it.session.berth())));
}

#[test]
fn replies_that_were_owed_elsewhere_are_not_owed_here() {
    let mut it = rider("7.0.15");
    assert_eq!(it.commands(&["PING"]), ["PING"]);
    assert_eq!(it.session.take_sent(), (1, 0));
    it.upstream("+PONG\r\n");
    assert!(it.commands(&["MONITOR"]).is_empty());
    assert!(matches!(it.session.need(), Some(Need::Own(_))));
    it.session.borrow(true, None, &mut it.up);
    assert_eq!(it.commands(&[]), ["MONITOR"]);
    assert_eq!(it.upstream("+OK\r\n"), "+OK\r\n");
    assert!(it.commands(&["RESET"]).is_empty());
    assert_eq!(drain(&mut it.down), "+RESET\r\n");
    assert!(it.session.wants_upstream());
    it.session.ride();
    assert_eq!(it.commands(&["PING"]), ["PING"]);
    assert_eq!(it.session.take_sent(), (1, 0));
}

#[test]
fn what_waits_for_replies_counts_though_the_client_has_said_its_last() {
    for held in ["HELLO 3", "SELECT 1", "BLPOP k 0"] {
        let mut it = rider("7.0.15");
        assert_eq!(it.commands(&["PING", held]), ["PING"]);
        assert!(!it.session.takes_requests(&it.down), "{held} waits");
        it.upstream("+PONG\r\n");
        assert!(
            it.session.need().is_some() || !it.session.is_settled(),
            "{held}"
        );
    }
}

#[test]
fn what_comes_behind_an_errand_waits_until_its_connection_is_gone() {
    let mut it = rider("7.0.15");
    assert!(it.commands(&["CLIENT UNBLOCK 5"]).is_empty());
    assert!(matches!(it.session.need(), Some(Need::Errand(_))));
    it.session.borrow(true, None, &mut it.up);
    assert_eq!(it.commands(&[]), ["CLIENT UNBLOCK 5"]);
    assert_eq!(it.upstream(":0\r\n"), ":0\r\n");
    assert!(it.commands(&["GET a"]).is_empty());
    assert!(
        !it.session.takes_requests(&it.down),
        "or the client's end would drop it"
    );
    assert!(it.session.may_leave());
    assert_eq!(it.session.leave(), None, "it may be in another database");
    assert_eq!(it.commands(&[]), ["GET a"]);
}

#[test]
fn where_none_was_to_be_had_the_next_request_asks_anew() {
    let mut it = rider("7.0.15");
    assert!(it.commands(&["MULTI"]).is_empty());
    assert!(matches!(it.session.need(), Some(Need::Own(_))));
    it.session.deny_own();
    // Meanwhile the rest of it has come.
    let whole = ["MULTI", "GET a", "EXEC"];
    assert_eq!(it.commands(&whole[1..]), whole);
    it.upstream("+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n");
    assert!(it.commands(&["BLPOP k 0"]).is_empty());
    assert!(matches!(it.session.need(), Some(Need::Own(_))));
    it.session.deny_own();
    assert!(it.commands(&[]).is_empty());
    let refused = drain(&mut it.down);
    assert!(
        refused.starts_with("-ERR respgate: 'blpop' needs"),
        "{refused}"
    );
}

#[test]
fn a_hello_that_is_the_login_is_asked_where_its_protocol_is_spoken_and_counts() {
    for (hello, resp3) in [("HELLO 3", true), ("HELLO 2", false)] {
        let who = Who::Fixed("admin".into());
        let mut it = Harness::detached(who, AuthKind::Password, rules(&[], &[]));
        it.facts = facts("7.0.15");
        it.session.share();
        assert!(!it.session.wants_upstream());
        let login = format!("{hello} AUTH admin admin-pw");
        assert_eq!(it.commands(&[&login, "PING"]), [hello]);
        assert!(it.session.wants_upstream());
        it.session.ride();
        assert_eq!(it.session.berth().resp3, resp3, "{hello}");
        assert_eq!(it.session.take_sent(), (1, 0), "{hello}");
    }
}

#[test]
fn a_transaction_with_a_script_does_not_stand_before_those_that_run_none() {
    for inside in ["EVAL return 0", "EVALSHA x 0", "FCALL f 0"] {
        let mut it = rider("7.0.15");
        let whole = ["MULTI", inside, "EXEC"];
        assert!(it.commands(&whole).is_empty(), "{inside}");
        assert!(matches!(it.session.need(), Some(Need::Own(_))), "{inside}");
    }
}
