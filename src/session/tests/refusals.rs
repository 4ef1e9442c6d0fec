//! Refusals in their places and in the words of each version; renames and substitutes.

use super::*;

#[test]
fn a_refusal_keeps_its_place_among_the_replies() {
    let mut it = Harness::cart();
    let sent = it.commands(&[
        "SET cart:1 a",
        "FLUSHALL",
        "GET cart:1",
        "GET other",
        "PING",
    ]);
    assert_eq!(sent, ["SET cart:1 a", "GET cart:1", "PING"]);
    assert_eq!(it.upstream("+OK\r\n"), format!("+OK\r\n{NO_FLUSHALL}"));
    assert_eq!(
        it.upstream("$1\r\na\r\n+PONG\r\n"),
        format!("$1\r\na\r\n{NO_KEY}+PONG\r\n")
    );
    let reasons: Vec<_> = it
        .notes
        .0
        .iter()
        .map(|note| (note.1.as_str(), note.2))
        .collect();
    assert_eq!(reasons, [("flushall", "command"), ("get", "key")]);
}

#[test]
fn a_refusal_inside_multi_spoils_the_transaction() {
    let mut it = Harness::cart();
    let sent = it.commands(&["MULTI", "SET cart:1 a", "FLUSHALL", "EXEC", "FLUSHALL"]);
    assert_eq!(sent, ["MULTI", "SET cart:1 a", "ECHO", "EXEC", "ECHO"]);
    let arity = "-ERR wrong number of arguments for 'echo' command\r\n";
    let abort = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    let got = it.upstream(&format!("+OK\r\n+QUEUED\r\n{arity}{abort}{arity}"));
    assert_eq!(
        got,
        format!("+OK\r\n+QUEUED\r\n{NO_FLUSHALL}{abort}{NO_FLUSHALL}")
    );
    assert!(
        it.commands(&["FLUSHALL"]).is_empty(),
        "the transaction is known to be closed"
    );
    assert_eq!(it.upstream(""), NO_FLUSHALL);
}

#[test]
fn what_closes_a_transaction_is_read_from_its_reply() {
    for (command, reply, open) in [
        ("EXEC", "*0\r\n", false),
        ("EXEC", "*-1\r\n", false),
        (
            "EXEC x",
            "-ERR wrong number of arguments for 'exec' command\r\n",
            true,
        ),
        (
            "EXEC x",
            "-EXECABORT Transaction discarded because of: wrong number\r\n",
            false,
        ),
        ("DISCARD", "+OK\r\n", false),
        (
            "DISCARD x",
            "-ERR wrong number of arguments for 'discard' command\r\n",
            true,
        ),
        ("MULTI", "-ERR MULTI calls can not be nested\r\n", true),
        (
            "WATCH cart:1",
            "-ERR WATCH inside MULTI is not allowed\r\n",
            true,
        ),
    ] {
        let mut it = Harness::cart();
        it.commands(&["MULTI", command]);
        it.upstream(&format!("+OK\r\n{reply}"));
        let poisoned = it.commands(&["FLUSHALL"]) == ["ECHO"];
        assert_eq!(poisoned, open, "{command} {reply}");
    }
    let mut it = Harness::cart();
    it.commands(&["MULTI"]);
    it.upstream("-LOADING Redis is loading the dataset in memory\r\n");
    assert!(it.commands(&["FLUSHALL"]).is_empty(), "MULTI failed");
}

#[test]
fn what_needs_all_keys_says_so() {
    let who = Who::Fixed("writer".into());
    let mut it = Harness::new(who, AuthKind::Certificate, rules(&[], &[]));
    for (command, reply) in [
        ("DEBUG RELOAD", NO_KEY),
        (
            "SORT_RO a:1 GET x",
            "-NOPERM No permissions to access a key\r\n",
        ),
    ] {
        assert!(it.commands(&[command]).is_empty());
        assert_eq!(it.upstream(""), reply, "{command}");
    }
    let rules = rules(&[], &[]);
    let source = Source {
        path: "users.acl".into(),
        content: b"user reader on +@all ~a:*\n".to_vec(),
    };
    let rules = rules.with_policy(Policy::parse(&[source], rules.table()).unwrap().0);
    let mut it = Harness::new(Who::Fixed("reader".into()), AuthKind::Certificate, rules);
    for option in ["BY", "GET"] {
        let denied =
            format!("-ERR {option} option of SORT denied due to insufficient ACL permissions.\r\n");
        assert!(it.commands(&[&format!("SORT a:1 {option} x_*")]).is_empty());
        assert_eq!(it.upstream(""), denied);
    }
}

#[test]
fn renamed_and_substituted_commands_are_judged_as_what_runs() {
    let names = rules(
        &[("config", "CONFIG_b840"), ("flushdb", "")],
        &[
            ("del", "UNLINK"),
            ("flushall", "FLUSHALL ASYNC"),
            ("get", "GETDEL"),
        ],
    );
    let mut it = Harness::admin(names);
    // It came with 6.2.
    it.facts.commands.as_mut().unwrap().remove("getdel");
    let sent = it.commands(&["config_b840 GET dir", "DEL a b", "FLUSHALL"]);
    assert_eq!(sent, ["config GET dir", "UNLINK a b", "FLUSHALL ASYNC"]);
    it.upstream("*0\r\n:2\r\n+OK\r\n");
    for (command, error) in [
        (
            "FLUSHDB",
            "-ERR unknown command `FLUSHDB`, with args beginning with: \r\n",
        ),
        (
            "CONFIG GET dir",
            "-ERR unknown command `CONFIG`, with args beginning with: `GET`, `dir`, \r\n",
        ),
        (
            "FLUSHALL SYNC",
            "-NOPERM User admin has no permissions to run the 'flushall' command\r\n",
        ),
        (
            "GET a",
            "-ERR respgate: the command that stands for 'get' here is unknown to the upstream\r\n",
        ),
    ] {
        assert!(it.commands(&[command]).is_empty(), "{command}");
        assert_eq!(it.upstream(""), error);
    }
    let names = rules(&[("config", "CONFIG_b840")], &[("get", "FLUSHALL")]);
    let mut it = Harness::new(Who::Fixed("cart".into()), AuthKind::Certificate, names);
    it.commands(&["GET", "CONFIG_B840 SET a b"]);
    let denied = it.upstream("");
    assert!(
        denied.contains("to run the 'get' command"),
        "the client's name: {denied}"
    );
    assert!(
        denied.contains("to run the 'config_b840|set' command"),
        "{denied}"
    );
}

#[test]
fn commands_whose_replies_cannot_be_followed_are_refused() {
    let mut it = Harness::admin(rules(&[], &[]));
    assert!(it.commands(&["SCRIPT DEBUG YES"]).is_empty());
    let got = it.upstream("");
    assert!(
        got.starts_with("-ERR respgate: not supported yet: '"),
        "{got}"
    );
    let mut it = Harness::cart();
    it.commands(&["MONITOR", "SUBSCRIBE other"]);
    let got = it.upstream("");
    assert!(
        got.contains("to run the 'monitor' command"),
        "policy first: {got}"
    );
    assert!(
        got.contains("-NOPERM No permissions to access a channel"),
        "{got}"
    );
}

#[test]
fn names_with_a_nul_are_nobodys() {
    let mut it = Harness::admin(rules(&[], &[]));
    let sent = it.commands(&["CONFIG SET\0 dir /x", "FLUSHALL\0aa", "QUIT\0", "GET a"]);
    assert_eq!(sent, ["GET a"]);
    let got = it.upstream("$-1\r\n");
    assert!(got.contains("-ERR Unknown subcommand or wrong number of arguments for 'SET'."));
    assert!(got.contains("-ERR unknown command `FLUSHALL`"), "{got}");
}

#[test]
fn texts_are_those_of_the_upstreams_version() {
    for (version, expected) in [
        ("4.0.10", "-ERR unknown command 'NoSuch'\r\n"),
        (
            "5.0.6",
            "-ERR unknown command `NoSuch`, with args beginning with: `a`, `b c`, \r\n",
        ),
        (
            "7.0.15",
            "-ERR unknown command 'NoSuch', with args beginning with: 'a' 'b c' \r\n",
        ),
    ] {
        let mut it = Harness::cart();
        it.facts = facts(version);
        it.client(b"NoSuch a \"b\\rc\"\r\n");
        assert_eq!(it.upstream(""), expected);
    }
}
