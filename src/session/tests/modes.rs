//! What changes the meaning of the bytes that follow: subscriptions, RESP3, MONITOR, replication,
//! CLIENT REPLY.

use super::*;

pub(super) fn modern() -> Harness {
    let mut it = Harness::admin(rules(&[], &[]));
    it.facts = facts("7.0.15");
    it
}

/// RESP2's `subscribe`, `unsubscribe` and the like, RESP3's with `>`.
pub(super) fn confirmation(first: char, word: &str, name: &str, count: u32) -> String {
    let (word_len, name_len) = (word.len(), name.len());
    format!("{first}3\r\n${word_len}\r\n{word}\r\n${name_len}\r\n{name}\r\n:{count}\r\n")
}

const MESSAGE: &str = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$9\r\nsubscribe\r\n";
const NOT_ALLOWED: &str = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
                           allowed in this context\r\n";

#[test]
fn each_channel_is_confirmed_and_a_refusal_keeps_its_place() {
    let mut it = Harness::cart();
    let sent = it.commands(&["SUBSCRIBE cart:a cart:b", "SUBSCRIBE other", "PING"]);
    assert_eq!(sent, ["SUBSCRIBE cart:a cart:b", "PING"]);
    let a = confirmation('*', "subscribe", "cart:a", 1);
    assert_eq!(it.upstream(&a), a);
    // A message may come between two confirmations.
    assert_eq!(it.upstream(MESSAGE), MESSAGE);
    let b = confirmation('*', "subscribe", "cart:b", 2);
    let denied = "-NOPERM No permissions to access a channel\r\n";
    assert_eq!(it.upstream(&b), b + denied);
    let pong = "*2\r\n$4\r\npong\r\n$0\r\n\r\n";
    assert_eq!(it.upstream(pong), pong);
    assert!(it.session.is_settled() && it.session.is_listening());
}

#[test]
fn unsubscribe_of_all_is_confirmed_once_each_or_once_at_all() {
    let mut it = modern();
    it.commands(&[
        "SUBSCRIBE a b",
        "PSUBSCRIBE p",
        "UNSUBSCRIBE",
        "FLUSHALL NOW",
    ]);
    for (word, name, count) in [
        ("subscribe", "a", 1),
        ("subscribe", "b", 2),
        ("psubscribe", "p", 3),
        ("unsubscribe", "b", 2),
    ] {
        it.upstream(&confirmation('*', word, name, count));
    }
    assert!(!it.session.is_settled());
    it.upstream(&confirmation('*', "unsubscribe", "a", 1));
    it.upstream("-ERR Can't execute\r\n");
    assert!(it.session.is_settled() && it.session.is_listening());
    it.commands(&["UNSUBSCRIBE", "PUNSUBSCRIBE", "ACL WHOAMI"]);
    it.upstream("*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:1\r\n");
    // Whether it is answered is not known yet.
    let last = confirmation('*', "punsubscribe", "p", 0);
    assert_eq!(it.upstream(&last), last + "$5\r\nadmin\r\n");
    assert!(it.session.is_settled() && !it.session.is_listening());
}

#[test]
fn pieces_of_any_size_make_the_same_of_subscriptions() {
    let requests = [
        "SUBSCRIBE a b",
        "NOPE",
        "GET x",
        "UNSUBSCRIBE",
        "NOPE",
        "LRANGE l 0 -1",
    ];
    let error = "-ERR Can't execute 'get': no\r\n";
    let array = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n";
    let unknown = "-ERR unknown command 'NOPE', with args beginning with: \r\n";
    let replies = confirmation('*', "subscribe", "a", 1)
        + MESSAGE
        + &confirmation('*', "subscribe", "b", 2)
        + MESSAGE
        + error
        + &confirmation('*', "unsubscribe", "a", 1)
        + MESSAGE
        + &confirmation('*', "unsubscribe", "b", 0)
        + array;
    let expected = confirmation('*', "subscribe", "a", 1)
        + MESSAGE
        + &confirmation('*', "subscribe", "b", 2)
        + unknown
        + MESSAGE
        + error
        + &confirmation('*', "unsubscribe", "a", 1)
        + MESSAGE
        + &confirmation('*', "unsubscribe", "b", 0)
        + unknown
        + array;
    for size in [1, 2, 3, 5, 16, 17, 31, 1000] {
        let mut it = modern();
        it.commands(&requests);
        let mut got = String::new();
        for piece in replies.as_bytes().chunks(size) {
            got += &it.upstream(std::str::from_utf8(piece).unwrap());
        }
        assert_eq!(got, expected, "{size}");
        assert!(it.session.is_settled());
    }
}

#[test]
fn what_the_proxy_answers_has_no_place_among_subscriptions() {
    let mut it = modern();
    it.commands(&["SUBSCRIBE a"]);
    it.upstream(&confirmation('*', "subscribe", "a", 1));
    for (command, name) in [
        ("AUTH admin admin-pw", "auth"),
        ("HELLO 3", "hello"),
        ("ACL WHOAMI", "acl|whoami"),
        ("CLIENT REPLY OFF", "client|reply"),
    ] {
        assert!(it.commands(&[command]).is_empty(), "{command}");
        let expected = format!("-ERR Can't execute '{name}': {NOT_ALLOWED}");
        assert_eq!(it.upstream(""), expected);
    }
}

#[test]
fn in_resp3_pushes_come_between_any_two_replies() {
    let mut it = modern();
    let sent = it.commands(&["HELLO 3 AUTH admin admin-pw SETNAME me", "SUBSCRIBE a"]);
    assert_eq!(sent, ["HELLO 3 SETNAME me", "SUBSCRIBE a"]);
    let hello = "%1\r\n$5\r\nproto\r\n:3\r\n";
    assert_eq!(it.upstream(hello), hello);
    let on = confirmation('>', "subscribe", "a", 1);
    assert_eq!(it.upstream(&on), on);
    it.commands(&["GET k", "FLUSHALL x y", "ACL GETUSER nobody"]);
    let push = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n";
    assert_eq!(it.upstream(push), push);
    // Our own waits for the end of a message that has begun.
    it.upstream("$1\r\nv\r\n-ERR syntax error\r\n>3\r\n$7\r\nmessage\r\n$1\r\n");
    it.commands(&["ACL WHOAMI"]);
    assert_eq!(
        it.upstream("a\r\n$1\r\nm\r\n"),
        "a\r\n$1\r\nm\r\n$5\r\nadmin\r\n"
    );
    it.commands(&["HELLO 2"]);
    it.upstream("*2\r\n$5\r\nproto\r\n:2\r\n");
    it.down.input().extend_from_slice(push.as_bytes());
    assert_eq!(it.session.answer(&mut it.down), Err(Desync::Push));
}

#[test]
fn pushes_in_the_midst_of_an_array_are_none_of_its_elements() {
    let mut it = modern();
    it.commands(&["HELLO 3"]);
    it.upstream("%0\r\n");
    it.commands(&["MULTI", "PUBLISH a m", "EXEC", "PING"]);
    it.upstream("+OK\r\n+QUEUED\r\n");
    let exec = "*1\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n:1\r\n";
    assert_eq!(it.upstream(exec), exec);
    it.commands(&["ACL WHOAMI"]);
    assert_eq!(it.upstream("+PONG\r\n"), "+PONG\r\n$5\r\nadmin\r\n");
}

#[test]
fn a_hello_that_fails_or_is_refused_changes_nothing() {
    let mut it = modern();
    it.commands(&["HELLO 3 AUTH admin wrong", "HELLO 3 SETNAME me"]);
    it.upstream("-ERR something\r\n");
    it.down.input().extend_from_slice(b">0\r\n");
    assert_eq!(it.session.answer(&mut it.down), Err(Desync::Push));
}

#[test]
fn a_hello_that_the_upstream_hides_is_answered_as_for_an_old_one() {
    let mut it = modern();
    it.facts.commands.as_mut().unwrap().remove("hello");
    assert!(it.commands(&["HELLO 2", "HELLO 3"]).is_empty());
    let got = it.upstream("");
    assert!(got.starts_with("*14\r\n"), "{got}");
    assert!(got.contains("-ERR unknown command 'HELLO'"), "{got}");
}

#[test]
fn hello_may_be_the_login_and_go_on_to_the_upstream() {
    let mut it = Harness::new(Who::Chosen, AuthKind::Password, rules(&[], &[]));
    it.facts = modern().facts;
    let sent = it.commands(&["HELLO 3 AUTH admin admin-pw", "GET x"]);
    assert_eq!(sent, ["HELLO 3", "GET x"]);
    assert_eq!(it.upstream("%0\r\n_\r\n"), "%0\r\n_\r\n");
}

#[test]
fn acl_answers_in_the_protocol_that_is_spoken_then() {
    let mut it = modern();
    it.commands(&["ACL GETUSER nobody", "HELLO 3", "ACL GETUSER nobody"]);
    assert_eq!(it.upstream("%0\r\n"), "$-1\r\n%0\r\n_\r\n");
    it.commands(&["ACL GETUSER admin"]);
    let got = it.upstream("");
    assert!(got.starts_with("%6\r\n$5\r\nflags\r\n~2\r\n"), "{got}");
}

#[test]
fn lines_of_monitor_are_no_replies() {
    let mut it = modern();
    let sent = it.commands(&["MONITOR", "PING", "ACL WHOAMI"]);
    assert_eq!(sent, ["MONITOR"], "what follows depends on the reply");
    let line = "+1700000000.000001 [0 127.0.0.1:1] \"get\" \"k\"\r\n";
    assert_eq!(it.upstream("+OK\r\n"), "+OK\r\n");
    assert_eq!(it.upstream(line), line);
    assert_eq!(it.upstream(&format!("{line}+PONG\r\n{line}+17.")), {
        format!("{line}+PONG\r\n$5\r\nadmin\r\n{line}+17.")
    });
    it.commands(&["QUIT"]);
    assert_eq!(it.upstream("00.1 x\r\n"), "00.1 x\r\n+OK\r\n");
    assert!(it.session.has_ended() && it.session.is_settled());
}

#[test]
fn monitor_shows_passwords_of_old_servers_to_few() {
    let mut it = modern();
    it.facts = facts("5.0.6");
    assert!(it.commands(&["MONITOR"]).is_empty());
    assert!(it.upstream("").contains("to run the 'monitor' command"));
    it.reload(policy(b"user admin on +@all ~* &* lethal=monitor\n"))
        .unwrap();
    assert_eq!(it.commands(&["MONITOR"]), ["MONITOR"]);
}

#[test]
fn a_replica_gets_everything_and_may_only_acknowledge() {
    let mut it = modern();
    let sent = it.commands(&["REPLCONF listening-port 1", "PSYNC ? -1", "REPLCONF ACK 0"]);
    assert_eq!(sent, ["REPLCONF listening-port 1", "PSYNC ? -1"]);
    assert_eq!(it.upstream("+OK\r\n\n\n"), "+OK\r\n\n\n");
    // No RESP: a payload without an end, and a stream of commands.
    let data = "+FULLRESYNC abc 1\r\n$5\r\nREDIS*1\r\n$4\r\nPING\r\n";
    assert_eq!(it.upstream(data), data);
    assert!(it.session.is_listening());
    assert_eq!(decode(drain(&mut it.up).as_bytes()), ["REPLCONF ACK 0"]);
    assert_eq!(it.commands(&["REPLCONF ACK 14"]), ["REPLCONF ACK 14"]);
    assert_eq!(it.commands(&["REPLCONF ACK 14 FACK 3"]), {
        ["REPLCONF ACK 14 FACK 3"]
    });
    for command in ["FLUSHALL", "REPLCONF capa eof", "NOPE", "QUIT", "AUTH a b"] {
        let mut it = modern();
        it.commands(&["SYNC"]);
        it.upstream("$3\r\nabc");
        assert!(it.commands(&[command]).is_empty(), "{command}");
        assert_eq!(it.upstream(""), "", "there is no place for an answer");
        assert!(it.session.has_ended() && it.session.is_settled());
    }
}

#[test]
fn a_sync_that_is_refused_leaves_all_as_it_was() {
    let mut it = modern();
    it.commands(&["PSYNC ? -1", "PING"]);
    let error = "-NOMASTERLINK Can't SYNC while not connected with my master\r\n";
    assert_eq!(it.upstream(error), error);
    assert_eq!(it.commands(&[]), ["PING"]);
    assert_eq!(it.upstream("+PONG\r\n"), "+PONG\r\n");
    assert!(it.session.is_settled() && !it.session.is_listening());
    // The data may come over another connection, since 8.0: then this one is for what follows it.
    it.commands(&["PSYNC ? -1"]);
    it.upstream("+RDBCHANNELSYNC 7\r\n");
    assert!(it.session.is_settled() && it.session.is_listening());
    assert_eq!(it.commands(&["REPLCONF ACK 0"]), ["REPLCONF ACK 0"]);
}

#[test]
fn only_who_reads_everything_may_replicate() {
    let mut it = Harness::new(
        Who::Fixed("writer".into()),
        AuthKind::Certificate,
        rules(&[], &[]),
    );
    for command in ["SYNC", "PSYNC ? -1"] {
        assert!(it.commands(&[command]).is_empty());
        assert_eq!(it.upstream(""), NO_KEY);
    }
    let unanswered = [
        "ACK 1",
        "GETACK *",
        "listening-port 1 ACK 1",
        "ack\0x 1",
        "nope 1",
    ];
    for options in unanswered {
        assert!(it.commands(&[&format!("REPLCONF {options}")]).is_empty());
        let got = it.upstream("");
        assert!(
            got.starts_with("-ERR Unrecognized REPLCONF option: "),
            "{got}"
        );
    }
}

#[test]
fn what_has_no_single_reply_is_refused_in_a_transaction() {
    let mut it = modern();
    it.commands(&["MULTI"]);
    it.upstream("+OK\r\n");
    for command in [
        "SUBSCRIBE a",
        "PUNSUBSCRIBE",
        "MONITOR",
        "PSYNC ? -1",
        "REPLCONF capa eof",
        "CLIENT REPLY SKIP",
        "HELLO 3",
    ] {
        assert_eq!(it.commands(&[command]), ["ECHO"], "{command}");
        let got = it.upstream("-ERR wrong number of arguments\r\n");
        assert!(got.ends_with("is not allowed inside MULTI\r\n"), "{got}");
    }
}

#[test]
fn replies_that_are_not_wanted_are_dropped() {
    let mut it = modern();
    let sent = it.commands(&[
        "GET a",
        "CLIENT REPLY OFF",
        "GET b",
        "NOPE",
        "ACL WHOAMI",
        "CLIENT REPLY SKIP",
        "MULTI",
        "NOPE",
        "CLIENT REPLY ON",
    ]);
    assert_eq!(
        sent,
        ["GET a", "GET b", "MULTI", "ECHO"],
        "what follows waits"
    );
    assert_eq!(it.upstream("$1\r\na\r\n$1\r\nb\r\n+OK\r\n"), "$1\r\na\r\n");
    assert_eq!(it.upstream("-ERR x\r\n"), "");
    it.commands(&["DISCARD"]);
    assert_eq!(it.upstream("-ERR x\r\n+OK\r\n"), "");
    it.commands(&["CLIENT REPLY ON", "GET c"]);
    assert_eq!(it.upstream("$1\r\nc\r\n"), "+OK\r\n$1\r\nc\r\n");
    assert!(it.session.is_settled());
}

#[test]
fn one_reply_is_skipped_whoever_gives_it() {
    let mut it = modern();
    it.commands(&["CLIENT REPLY SKIP", "NOPE", "ACL WHOAMI"]);
    assert_eq!(it.upstream(""), "$5\r\nadmin\r\n");
    it.commands(&["CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "GET a", "GET b"]);
    assert_eq!(it.upstream("$1\r\na\r\n$1\r\nb\r\n"), "$1\r\nb\r\n");
    it.commands(&["CLIENT REPLY SKIP", "CLIENT REPLY ON", "CLIENT REPLY NOPE"]);
    assert_eq!(it.upstream(""), "+OK\r\n-ERR syntax error\r\n");
    // A value that streams by, and breaks off.
    it.commands(&["CLIENT REPLY SKIP"]);
    let head = format!(
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$99999\r\n{}",
        "x".repeat(20_000)
    );
    it.client(head.as_bytes());
    it.session.end();
    assert!(it.session.is_settled());
}

#[test]
fn an_exec_that_is_refused_ends_its_transaction_since_6_0() {
    let mut it = modern();
    it.commands(&["MULTI"]);
    it.upstream("+OK\r\n");
    it.reload(policy(b"user admin on +@all -exec\n")).unwrap();
    assert_eq!(it.commands(&["EXEC"]), ["ECHO", "DISCARD"]);
    assert_eq!(
        it.upstream("-ERR x\r\n+OK\r\n"),
        "-EXECABORT Transaction discarded because of: NOPERM User admin has no permissions to run \
         the 'exec' command\r\n"
    );
    assert!(it.commands(&["NOPE"]).is_empty(), "it is over");
}

#[test]
fn old_upstreams_are_spared_what_they_do_not_know() {
    let mut it = modern();
    let commands = [
        "CLIENT SETINFO lib-name x",
        "CLIENT ID",
        "CLIENT NO-TOUCH on",
        "COMMAND DOCS",
    ];
    it.facts.version = Version::new(2, 8, 4);
    assert!(it.commands(&commands).is_empty());
    assert_eq!(it.upstream(""), "+OK\r\n:7\r\n+OK\r\n*0\r\n");
    it.facts.version = Version::new(5, 0, 6);
    assert_eq!(it.commands(&commands), ["CLIENT ID"]);
    it.upstream(":1\r\n");
    it.facts.version = Version::new(7, 2, 0);
    assert_eq!(it.commands(&commands), commands);
    it.upstream("+OK\r\n:1\r\n+OK\r\n*0\r\n");
    // Redis itself judges them in a transaction.
    it.facts.version = Version::new(5, 0, 6);
    it.commands(&["MULTI"]);
    it.upstream("+OK\r\n");
    assert_eq!(it.commands(&commands), commands);
    let mut cart = Harness::cart();
    cart.reload(policy(b"user cart on +get\n")).unwrap();
    cart.commands(&commands);
    assert_eq!(
        cart.upstream("").matches("-NOPERM").count(),
        4,
        "policy first"
    );
}

#[test]
fn our_credential_is_nobody_elses_affair() {
    let mut it = modern();
    it.commands(&["GET a", "GET b"]);
    it.down
        .input()
        .extend_from_slice(b"$-1\r\n-NOAUTH Authentication required.\r\n");
    assert_eq!(it.session.answer(&mut it.down), Err(Desync::Credential));
    assert_eq!(drain(&mut it.down), "$-1\r\n");
}

#[test]
fn who_may_not_listen_any_more_is_cut() {
    let lost = |command: &str, reply: &str, users: &str| {
        let mut it = modern();
        it.commands(&[command]);
        it.upstream(reply);
        it.reload(policy(users.as_bytes()))
    };
    let sub = confirmation('*', "subscribe", "a:1", 1);
    let psub = confirmation('*', "psubscribe", "a:*", 1);
    let user = "user admin on +@all ~*";
    assert_eq!(
        lost("SUBSCRIBE a:1", &sub, &format!("{user} &a:*\n")),
        Ok(())
    );
    assert_eq!(
        lost("PSUBSCRIBE a:*", &psub, &format!("{user} &a:*\n")),
        Ok(())
    );
    let channel = Err(Revoked::Channel);
    assert_eq!(
        lost("SUBSCRIBE a:1", &sub, &format!("{user} &b\n")),
        channel
    );
    // One that is not confirmed yet.
    assert_eq!(lost("SUBSCRIBE a:1", "", &format!("{user} &b\n")), channel);
    assert_eq!(
        lost("PSUBSCRIBE a:*", &psub, &format!("{user} &a:**\n")),
        channel
    );
    let user = "user admin on +@all ~* &* -monitor -psync -sync";
    let command = Err(Revoked::Command);
    assert_eq!(lost("MONITOR", "+OK\r\n", &format!("{user}\n")), command);
    assert_eq!(lost("MONITOR", "", &format!("{user}\n")), command);
    assert_eq!(lost("SYNC", "$9\r\n", &format!("{user}\n")), command);
    assert_eq!(lost("SYNC", "$9\r\n", &format!("{user} +sync\n")), Ok(()));
    assert_eq!(lost("SYNC", "$9\r\n", "user admin on +@all ~a\n"), command);
}

#[test]
fn who_listens_to_more_than_can_be_noted_is_cut_only_when_a_pattern_goes() {
    let users = |rules| policy(format!("user admin on +@all ~* {rules}\n").as_bytes());
    for (rules, expected) in [
        ("&pub:* &b (&c)", Ok(())),
        ("&more &pub:* &b (&c)", Ok(())),
        ("&b (&pub:*) (&c)", Ok(())),
        ("&*", Ok(())),
        ("&pub:* &b", Err(Revoked::Channel)),
        ("&pub* &b &c", Err(Revoked::Channel)),
    ] {
        let mut it = modern();
        it.reload(users("&pub:* &b (+get) (&c)")).unwrap();
        let long = format!("SUBSCRIBE pub:{}", "x".repeat(40_000));
        it.commands(&[&long, &long.replace("pub:", "pub:y")]);
        assert_eq!(it.reload(users(rules)), expected, "{rules}");
    }
}

#[test]
fn another_user_does_not_inherit_what_is_listened_to() {
    let mut it = Harness::new(Who::Chosen, AuthKind::Password, rules(&[], &[]));
    it.facts = modern().facts;
    it.commands(&["HELLO 3 AUTH admin admin-pw", "SUBSCRIBE other"]);
    it.upstream("%0\r\n");
    it.upstream(&confirmation('>', "subscribe", "other", 1));
    assert!(it.commands(&["AUTH cart cart-pw", "PING"]).is_empty());
    assert!(it.session.has_changed_rules());
    let rules = &it.rules;
    assert_eq!(it.session.adopt(rules, &mut it.up), Err(Revoked::Channel));
}

#[test]
fn reset_forgets_every_mode() {
    let mut it = modern();
    it.commands(&["HELLO 3", "SUBSCRIBE a", "CLIENT REPLY OFF"]);
    it.upstream("%0\r\n");
    it.upstream(&confirmation('>', "subscribe", "a", 1));
    it.commands(&["RESET"]);
    assert_eq!(it.upstream(""), "+RESET\r\n");
    assert!(!it.session.is_listening());
    it.commands(&["GET a"]);
    it.down.input().extend_from_slice(b">0\r\n");
    assert_eq!(it.session.answer(&mut it.down), Err(Desync::Push));
}
