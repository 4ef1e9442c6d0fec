//! Who wants to hear of each request, and requests that nobody could be told of.

use super::*;

const MISCONF: &str =
    "-MISCONF respgate can't write its audit, and is configured to refuse commands then\r\n";

fn watched(oversight: Oversight) -> Harness {
    let mut it = Harness::cart();
    it.notes.2.0 = oversight;
    it
}

/// What was heard since this was asked last.
fn heard(it: &mut Harness) -> Vec<String> {
    std::mem::take(&mut it.notes.2.1)
}

#[test]
fn who_wants_to_hear_of_each_hears_of_each_once_and_in_order() {
    for shares in [false, true] {
        let mut it = watched(Oversight::Each);
        if shares {
            it.session.share();
            it.session.ride();
        }
        it.commands(&["SET cart:1 a", "FLUSHALL", "GET other", "nonsense"]);
        it.client(b"GET cart:1\r\n\r\n*0\r\n");
        let expected = ["cart set 3 [0]", "cart get 2 [0]"];
        assert_eq!(heard(&mut it), expected, "{shares}");
        assert_eq!(it.notes.0.len(), 3);
        it.commands(&["MULTI", "GET cart:1", "FLUSHALL", "EXEC"]);
        let expected = ["cart multi 1 [0]", "cart get 2 [0]", "cart exec 1 [0]"];
        assert_eq!(heard(&mut it), expected, "{shares}");
        // Half of it is here, and then the rest.
        let request = encode("GET cart:1");
        it.client(&request[..9]);
        assert!(heard(&mut it).is_empty());
        it.client(&request[9..]);
        assert_eq!(heard(&mut it), ["cart get 2 [0]"], "{shares}");
    }
}

#[test]
fn a_long_request_is_heard_of_when_it_begins() {
    let mut it = watched(Oversight::Each);
    let mut request = b"*3\r\n$3\r\nSET\r\n$6\r\ncart:1\r\n$1000000\r\n".to_vec();
    request.extend_from_slice(&[b'x'; 50_000]);
    it.client(&request);
    assert_eq!(heard(&mut it), ["cart set 3 [0]"]);
    it.client(&[b'x'; 950_000]);
    it.client(b"\r\n");
    assert!(heard(&mut it).is_empty());
    assert_eq!(it.session.taken(), 1);
}

#[test]
fn logins_are_heard_of_by_the_new_name_and_only_where_they_succeed() {
    let mut it = Harness::detached(Who::Chosen, AuthKind::Password, rules(&[], &[]));
    it.notes.2.0 = Oversight::Each;
    it.commands(&["AUTH admin wrong", "AUTH admin admin-pw"]);
    assert_eq!(heard(&mut it), ["admin auth 3 [0] unjudged"]);
    assert_eq!(it.notes.0.len(), 1);
    it.commands(&["ACL WHOAMI", "SELECT 3", "GET a", "QUIT"]);
    let heard = heard(&mut it);
    assert_eq!(heard[0], "admin acl|whoami 2 [0]");
    assert_eq!(heard[1], "admin select 2 [0]", "where it stands");
    assert!(heard[2].starts_with("admin get 2"), "{heard:?}");
    assert!(heard[3].starts_with("admin quit 1") && heard[3].ends_with(" unjudged"));
}

#[test]
fn what_nobody_can_be_told_of_is_not_served() {
    let mut it = watched(Oversight::Suspended);
    let sent = it.commands(&[
        "GET cart:1",
        "PING",
        "AUTH cart-pw",
        "ACL WHOAMI",
        "HELLO 3",
    ]);
    assert!(sent.is_empty());
    assert_eq!(drain(&mut it.down), MISCONF.repeat(5));
    assert!(heard(&mut it).is_empty());
    let labels: Vec<_> = it.notes.0.iter().map(|note| note.2).collect();
    assert_eq!(labels, ["unaudited"; 5]);
    // The policy comes first, and tells no more than ever.
    it.commands(&["FLUSHALL"]);
    assert_eq!(drain(&mut it.down), NO_FLUSHALL);
    it.notes.2.0 = Oversight::Refused;
    assert_eq!(it.commands(&["GET cart:1"]), ["GET cart:1"]);
    it.upstream("$-1\r\n");
    it.notes.2.0 = Oversight::Suspended;
    it.commands(&["QUIT"]);
    assert_eq!(drain(&mut it.down), "+OK\r\n");
    assert!(it.session.has_ended());
}

#[test]
fn a_transaction_that_nobody_can_be_told_of_is_spoiled() {
    let mut it = Harness::cart();
    it.facts = facts("7.0.15");
    it.commands(&["MULTI", "SET cart:1 a"]);
    it.upstream("+OK\r\n+QUEUED\r\n");
    it.notes.2.0 = Oversight::Suspended;
    assert_eq!(it.commands(&["SET cart:2 a"]), ["ECHO"]);
    assert_eq!(it.upstream("-ERR wrong number\r\n"), MISCONF);
    assert_eq!(it.commands(&["EXEC"]), ["DISCARD"]);
    let abort = it.upstream("+OK\r\n");
    assert!(abort.starts_with("-EXECABORT Transaction discarded because of: "));
    assert!(abort.contains("MISCONF respgate can't write its audit"));
}

#[test]
fn a_transaction_that_others_wait_for_is_told_and_sent_to_its_end() {
    for (count, served) in [(0, 0), (1, 4), (2, 4), (3, 4)] {
        let mut it = watched(Oversight::Each);
        it.facts = facts("7.0.15");
        it.session.share();
        it.session.ride();
        it.notes.2.2 = Some(count);
        let lines = ["MULTI", "SET cart:1 a", "SET cart:2 a", "EXEC", "PING"];
        let sent = it.commands(&lines);
        // Behind it stands what spoils a transaction that may be open.
        assert!(
            sent.iter()
                .zip(&lines[..served])
                .all(|(sent, line)| sent == line)
                && sent.len() >= served,
            "{count}: {sent:?}"
        );
        assert!(!it.session.is_parted(), "{count}");
        assert_eq!(heard(&mut it).len(), served, "{count}");
        let refused: Vec<_> = it.notes.0.iter().map(|note| &*note.1).collect();
        assert_eq!(
            refused.last(),
            Some(&"ping"),
            "{count}: nothing behind it is served"
        );
    }
}
