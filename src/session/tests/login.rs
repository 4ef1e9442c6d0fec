//! AUTH, HELLO, QUIT, RESET, and who has not logged in.

use super::*;

#[test]
fn a_client_that_has_gone_still_gets_its_reset() {
    let mut it = Harness::cart();
    it.commands(&["GET cart:1", "RESET"]);
    it.session.end();
    assert_eq!(it.upstream("$-1\r\n"), "$-1\r\n+RESET\r\n");
    assert!(it.session.is_settled());
}

#[test]
fn reset_takes_no_argument_and_hello_only_canonical_numbers() {
    let mut it = Harness::cart();
    it.commands(&["RESET now", "HELLO 007", "HELLO -0", "HELLO 1"]);
    let not_integer = "-ERR Protocol version is not an integer or out of range\r\n";
    assert_eq!(
        drain(&mut it.down),
        format!(
            "-ERR wrong number of arguments for 'reset' command\r\n{not_integer}{not_integer}\
             -NOPROTO unsupported protocol version\r\n"
        )
    );
}

#[test]
fn auth_is_never_forwarded() {
    let mut it = Harness::cart();
    assert!(
        it.commands(&["AUTH cart-pw", "AUTH wrong", "AUTH admin admin-pw"])
            .is_empty()
    );
    let wrong = "-ERR invalid password\r\n";
    let pair = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    assert_eq!(it.upstream(""), format!("+OK\r\n{wrong}{pair}"));
    it.facts = facts("7.0.15");
    assert!(
        it.commands(&["AUTH wrong", "AUTH", "AUTH a b c"])
            .is_empty()
    );
    let arity = "-ERR wrong number of arguments for 'auth' command\r\n";
    assert_eq!(
        it.upstream(""),
        format!("{pair}{arity}-ERR syntax error\r\n")
    );
    assert_eq!(it.commands(&["MULTI", "AUTH cart-pw"]), ["MULTI"]);
    it.down.input().extend_from_slice(b"+OK\r\n");
    it.run();
    assert_eq!(decode(drain(&mut it.up).as_bytes()), ["ECHO"]);
    assert!(it.notes.0.iter().any(|note| note.2 == "auth"));
}

#[test]
fn who_guesses_too_often_is_not_listened_to() {
    let who = Who::Fixed("cart".into());
    let mut harness = Harness::new(who, AuthKind::Password, rules(&[], &[]));
    let throttled = "-ERR respgate: too many failed logins from this address or as this user, try \
                     again later\r\n";
    harness.client(&encode("AUTH wrong").repeat(20));
    assert_eq!(
        drain(&mut harness.down),
        "-ERR invalid password\r\n".repeat(20)
    );
    for right in ["AUTH cart-pw", "HELLO 2 AUTH cart cart-pw"] {
        harness.client(&encode(right));
        assert_eq!(drain(&mut harness.down), throttled);
    }
    let (_, command, label) = harness.notes.0.pop().unwrap();
    assert_eq!((&*command, label), ("hello", "auth_throttled"));
    assert!(!harness.session.is_authenticated());
}

#[test]
fn auth_behind_an_unanswered_exec_waits_for_its_reply() {
    let arity = "-ERR wrong number of arguments for 'exec' command\r\n";
    let late = "-ERR respgate: 'auth' is not allowed inside MULTI\r\n";
    for (reply, then) in [("*0\r\n", "+OK\r\n"), (arity, late)] {
        let (auth, get) = ("AUTH cart-pw", "GET cart:1");
        let mut it = Harness::cart();
        let sent = it.commands(&["MULTI", "EXEC", auth, get]);
        assert_eq!(sent, ["MULTI", "EXEC"], "what follows waits too");
        it.down
            .input()
            .extend_from_slice(format!("+OK\r\n{reply}").as_bytes());
        it.run();
        let sent = decode(drain(&mut it.up).as_bytes());
        let poisoned = if then == late {
            vec!["ECHO", get]
        } else {
            vec![get]
        };
        assert_eq!(sent, poisoned);
        let owed = if then == late {
            "-ERR x\r\n+QUEUED\r\n"
        } else {
            "+QUEUED\r\n"
        };
        let got = it.upstream(owed);
        assert_eq!(got, format!("+OK\r\n{reply}{then}+QUEUED\r\n"));
    }
    let mut it = Harness::cart();
    let mut bytes = [encode("MULTI"), encode("EXEC")].concat();
    bytes.extend_from_slice(b"AUTH cart-pw\r\nGET cart:1\r\n");
    it.client(&bytes);
    it.down.input().extend_from_slice(b"+OK\r\n*0\r\n");
    it.run();
    assert_eq!(
        decode(drain(&mut it.up).as_bytes()),
        ["GET cart:1"],
        "inline too"
    );
}

#[test]
fn nothing_reaches_an_upstream_before_auth() {
    let mut it = Harness::new(Who::Chosen, AuthKind::Password, rules(&[], &[]));
    assert!(it.commands(&["GET cart:1", "NOSUCH", "MULTI"]).is_empty());
    let noauth = "-NOAUTH Authentication required.\r\n";
    // Redis looks for the command first.
    let unknown = "-ERR unknown command `NOSUCH`, with args beginning with: \r\n";
    assert_eq!(it.upstream(""), format!("{noauth}{unknown}{noauth}"));
    assert!(!it.session.wants_upstream());
    let sent = it.commands(&[
        "AUTH cart cart-pw",
        "GET cart:1",
        "AUTH admin admin-pw",
        "GET x",
    ]);
    assert_eq!(sent, ["GET cart:1", "GET x"]);
    assert_eq!(
        it.upstream("$-1\r\n$-1\r\n"),
        "+OK\r\n$-1\r\n+OK\r\n$-1\r\n"
    );
}

#[test]
fn hello_is_answered_for_any_upstream() {
    let mut it = Harness::cart();
    assert!(it.commands(&["HELLO"]).is_empty());
    let answer = it.upstream("");
    assert!(
        answer.starts_with("*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
        "{answer}"
    );
    assert!(answer.contains("$5\r\n5.0.6\r\n") && answer.contains("$2\r\nid\r\n:7\r\n"));
    let errors = [
        (
            "HELLO 3",
            "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n",
        ),
        ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
        (
            "HELLO x",
            "-ERR Protocol version is not an integer or out of range\r\n",
        ),
        (
            "HELLO 2 NOPE",
            "-ERR Syntax error in HELLO option 'NOPE'\r\n",
        ),
        (
            "HELLO 2 AUTH cart",
            "-ERR Syntax error in HELLO option 'AUTH'\r\n",
        ),
        (
            "HELLO 2 AUTH cart wrong",
            "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
        ),
    ];
    for (command, error) in errors {
        assert!(it.commands(&[command]).is_empty());
        assert_eq!(it.upstream(""), error, "{command}");
    }
    let sent = it.commands(&["HELLO 2 SETNAME me AUTH default cart-pw", "PING"]);
    assert_eq!(sent, ["CLIENT SETNAME me", "PING"]);
    let got = it.upstream("+OK\r\n+PONG\r\n");
    assert!(got.ends_with("*0\r\n+PONG\r\n"), "{got}");
}

#[test]
fn quit_is_the_last_that_is_read() {
    let mut it = Harness::cart();
    assert_eq!(
        it.commands(&["GET cart:1", "QUIT", "GET cart:2"]),
        ["GET cart:1"]
    );
    assert_eq!(it.upstream("$-1\r\n"), "$-1\r\n+OK\r\n");
    assert!(it.session.has_ended() && it.session.is_settled());
}

#[test]
fn reset_waits_for_what_is_owed_and_wants_a_fresh_upstream() {
    let mut it = Harness::new(Who::Chosen, AuthKind::Password, rules(&[], &[]));
    it.commands(&["AUTH admin admin-pw", "MULTI", "RESET", "GET x"]);
    assert_eq!(drain(&mut it.down), "+OK\r\n");
    assert!(!it.session.is_detached());
    it.down.input().extend_from_slice(b"+OK\r\n");
    it.session.answer(&mut it.down).unwrap();
    assert!(it.session.is_detached(), "the old upstream is to be closed");
    it.run();
    let noauth = "-NOAUTH Authentication required.\r\n";
    assert_eq!(drain(&mut it.down), format!("+OK\r\n+RESET\r\n{noauth}"));
    assert_eq!(
        it.commands(&["AUTH admin admin-pw", "FLUSHALL"]),
        ["FLUSHALL"]
    );
}

#[test]
fn who_has_not_logged_in_may_leave_little_unread() {
    let mut it = Harness::new(Who::Chosen, AuthKind::Password, rules(&[], &[]));
    it.up
        .input()
        .extend_from_slice(&encode("GET x").repeat(100_000));
    it.run();
    assert!(it.down.waiting() < 65 * 1024, "{}", it.down.waiting());
    assert!(!it.session.takes_requests(&it.down));
}
