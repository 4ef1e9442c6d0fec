//! Shadow mode: what goes on against the policy and is told, and what is refused as ever.

use super::*;
use crate::policy::{DenyReason, Shadow};
use crate::resp::{OwnedArgs, ProtocolError};

const TRIED: &[u8] = b"user shy on >pw\n\
                       user picky on >pw +@all -@dangerous +sort ~a:* &a:*\n\
                       user placed on >pw +@all ~* &* db=0,1\n\
                       user lua on >pw +evalsha ~a:* script=sha1:e0e1f9fabfc9d4800c877a703b823ac0578ff8db\n\
                       user boss on >pw +@all ~* &* lethal=* script=any\n";

fn tried(rename: &[(&str, &str)], shadow: Shadow) -> Rules {
    rules(rename, &[])
        .with_policy(policy(TRIED))
        .with_shadow(shadow)
}

fn session(user: &str, shadow: Shadow) -> Harness {
    let rules = tried(&[], shadow);
    Harness::new(Who::Fixed(user.into()), AuthKind::Certificate, rules)
}

impl Harness {
    /// What has gone on for shadow mode, and what was refused: commands and reasons.
    #[track_caller]
    fn expect_told(&mut self, shadow: &[(&str, &str)], refused: &[(&str, &str)]) {
        let Notes(denied, _, _, _, would) = &mut self.notes;
        let would: Vec<_> = would.iter().map(|(name, why)| (&**name, *why)).collect();
        let denied: Vec<_> = denied
            .iter()
            .map(|(_, name, why)| (&**name, *why))
            .collect();
        assert_eq!((would.as_slice(), denied.as_slice()), (shadow, refused));
        (self.notes.0, self.notes.4) = (Vec::new(), Vec::new());
    }

    /// In the next generation of the rules the policy is tried on these.
    fn try_on(&mut self, shadow: Shadow) -> Result<(), Revoked> {
        let rules = self.rules.with_policy(self.rules.policy().clone());
        self.rules = rules.with_shadow(shadow);
        self.session.adopt(&self.rules, &mut self.up)
    }
}

/// Each refusal there is, and whether shadow mode may let its request go on. A new one must be put in
/// here, and in `yields_to_shadow`.
#[test]
fn only_verdicts_of_the_policy_yield_to_it() {
    let reasons = [
        (DenyReason::Database { index: 0 }, true),
        (DenyReason::Command, true),
        (DenyReason::Key { index: 1 }, true),
        (DenyReason::Channel { index: 1 }, true),
        (
            DenyReason::AllKeys {
                index: 0,
                why: "BY",
            },
            true,
        ),
        (DenyReason::Unparsable { index: 0 }, true),
        (DenyReason::Arity, true),
        (DenyReason::Lethal { index: 0 }, false),
        (DenyReason::Script, false),
    ];
    for (reason, yields) in reasons {
        assert_eq!(
            Refusal::Policy(reason).yields_to_shadow(),
            yields,
            "{reason:?}"
        );
    }
    assert!(Refusal::TooLarge.yields_to_shadow());
    for refusal in [
        Refusal::UnknownCommand,
        Refusal::HiddenCommand,
        Refusal::UnknownSubcommand,
        Refusal::NotAuthenticated,
        Refusal::LoginFailed,
        Refusal::LoginThrottled,
        Refusal::HelloNotAuthenticated,
        Refusal::OwnArity,
        Refusal::HelloVersion,
        Refusal::HelloNoProto,
        Refusal::HelloOption { index: 1 },
        Refusal::HelloName,
        Refusal::OwnSyntax,
        Refusal::NoPassword,
        Refusal::NotBuilt,
        Refusal::InMulti,
        Refusal::Subscriber,
        Refusal::UnknownOption { index: 1 },
        Refusal::InfoValue { name: "lib-name" },
        Refusal::ReplconfOption { index: 1 },
        Refusal::Replicating,
        Refusal::Monitoring,
        Refusal::Shared,
        Refusal::NoConnection,
        Refusal::Privileged,
        Refusal::SubstituteForm,
        Refusal::SubstituteUnknown,
        Refusal::Http,
        Refusal::Protocol(ProtocolError::TlsHandshake),
    ] {
        assert!(!refusal.yields_to_shadow(), "{refusal:?}");
    }
}

#[test]
fn what_the_policy_denies_goes_on_and_is_told_once() {
    for (user, command, name, reason) in [
        ("picky", "FLUSHALL", "flushall", "command"),
        ("picky", "GET b", "get", "key"),
        ("picky", "SORT a:1 BY x_*", "sort", "all_keys"),
        ("picky", "PUBLISH b x", "publish", "channel"),
        ("picky", "SUBSCRIBE b", "subscribe", "channel"),
        ("placed", "SELECT 3", "select", "database"),
        ("placed", "MOVE a:1 3", "move", "database"),
        ("placed", "FLUSHALL", "flushall", "database"),
        (
            "picky",
            "ZUNIONSTORE a:1 x a:2",
            "zunionstore",
            "unparsable",
        ),
        ("placed", "SELECT 01", "select", "unparsable"),
        ("picky", "GET", "get", "arity"),
        ("picky", "PSYNC ? -1", "psync", "command"),
        ("shy", "MULTI", "multi", "command"),
        ("shy", "SHUTDOWNX", "", ""),
        ("shy", "CONFIG GET dir", "config|get", "command"),
        ("shy", "CONFIG SET maxmemory 1", "config|set", "command"),
        ("lua", "GET a:1", "get", "command"),
        (
            "lua",
            "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 b",
            "evalsha",
            "key",
        ),
    ] {
        let mut it = session(user, Shadow::of([user]));
        let sent = it.commands(&[command]);
        if name.is_empty() {
            assert!(sent.is_empty(), "{command}");
            it.expect_told(&[], &[("SHUTDOWNX", "unknown_command")]);
            continue;
        }
        assert_eq!(sent, [command]);
        it.expect_told(&[(name, reason)], &[]);
        // For everybody else it is as it was.
        let mut other = session(user, Shadow::of(["boss"]));
        assert!(other.commands(&[command]).is_empty(), "{command}");
        other.expect_told(&[], &[(name, reason)]);
    }
    // An inline one, too, and one that the proxy answers itself.
    let mut it = session("shy", Shadow::Everybody);
    assert_eq!(it.client(b"get b\r\n"), "*2\r\n$3\r\nget\r\n$1\r\nb\r\n");
    it.expect_told(&[("get", "command")], &[]);
    it.upstream("$-1\r\n");
    assert!(it.commands(&["CLIENT REPLY ON"]).is_empty());
    assert_eq!(it.upstream(""), "+OK\r\n");
    it.expect_told(&[("client|reply", "command")], &[]);
    // What is allowed is nothing to tell.
    let mut it = session("picky", Shadow::Everybody);
    assert_eq!(it.commands(&["GET a:1", "SELECT 1"]).len(), 2);
    it.expect_told(&[], &[]);
}

#[test]
fn what_leads_to_the_machine_or_can_not_be_followed_is_refused_as_ever() {
    for (command, reason) in [
        ("SHUTDOWN", "command"),
        ("DEBUG SLEEP 0", "command"),
        ("CONFIG SET dir /tmp", "command"),
        ("CONFIG SET maxmemory 1 dir /tmp", "command"),
        ("CONFIG SET maxmemory\0 1", "command"),
        ("CONFIG REWRITE", "command"),
        ("MODULE LOAD x", "command"),
        ("REPLICAOF a 1", "command"),
        ("MIGRATE h 1 k 0 1", "command"),
        ("RESTORE b 0 x", "command"),
        ("PUBLISH __sentinel__:hello x", "channel"),
        ("EVAL x 0", "script"),
        (
            "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
            "script",
        ),
        ("SCRIPT LOAD x", "script"),
        ("FCALL x 0", "script"),
        ("ACL SETUSER boss off", "command"),
        ("NOSUCH b", "unknown_command"),
        ("CONFIG NOSUCH", "unknown_subcommand"),
        ("CONFIG SET\0 maxmemory 1", "unknown_subcommand"),
        ("GET\0 b", "unknown_command"),
        ("SORT a:1 STORE\0 b", "unparsable"),
        ("SELECT 1\0", "unparsable"),
        ("HELLO 9", "hello"),
        ("HELLO 2 AUTH boss no", "auth"),
    ] {
        let user = if command.starts_with("SELECT") {
            "placed"
        } else {
            "picky"
        };
        let mut it = session(user, Shadow::Everybody);
        assert!(it.commands(&[command]).is_empty(), "{command:?}");
        let Notes(refused, _, _, _, would) = &it.notes;
        assert_eq!(would.len(), 0, "{command:?}");
        let told: Vec<_> = refused.iter().map(|note| note.2).collect();
        // What it says is what it says where nothing is tried.
        let mut enforced = session(user, Shadow::Nobody);
        enforced.commands(&[command]);
        assert_eq!(it.notes.0, enforced.notes.0, "{command:?}");
        assert_eq!(told, [reason], "{command:?}");
        assert_eq!(it.upstream(""), enforced.upstream(""), "{command:?}");
    }
    for command in ["ACL WHOAMI", "ACL SETUSER shy +@all", "ACL LIST"] {
        let mut it = session("shy", Shadow::Everybody);
        assert!(it.commands(&[command]).is_empty());
        let acl = command.to_lowercase().replace(' ', "|");
        let name = acl.split('|').take(2).collect::<Vec<_>>().join("|");
        it.expect_told(&[], &[(&name, "command")]);
    }
    // Before 5.0.10 it shows the proxy's own password.
    for (version, sent) in [("5.0.9", 0), ("5.0.10", 1)] {
        let mut it = session("picky", Shadow::Everybody);
        it.facts = facts(version);
        assert_eq!(it.commands(&["MONITOR"]).len(), sent, "{version}");
        assert_eq!((it.notes.4.len(), it.notes.0.len()), (sent, 1 - sent));
    }
}

#[test]
fn a_hidden_command_stays_hidden_and_nobody_stays_nobody() {
    let hidden = tried(&[("keys", "")], Shadow::Everybody);
    let who = Who::Fixed("picky".into());
    let mut it = Harness::new(who.clone(), AuthKind::Certificate, hidden);
    assert!(it.commands(&["KEYS *"]).is_empty());
    it.expect_told(&[], &[("KEYS", "hidden_command")]);
    let rules = tried(&[], Shadow::Everybody);
    let mut it = Harness::detached(who.clone(), AuthKind::Password, rules);
    assert!(it.commands(&["GET b", "AUTH no"]).is_empty());
    it.expect_told(&[], &[("get", "not_authenticated"), ("auth", "auth")]);
    let mut it = session("picky", Shadow::Everybody);
    let off = policy(b"user picky off >pw +@all ~*\n");
    assert_eq!(it.reload(off), Err(Revoked::Off));
    let mut it = Harness::new(who, AuthKind::Certificate, tried(&[], Shadow::Everybody));
    assert_eq!(it.client(b"*1\r\n$4\r\nPOST\r\n"), "");
    it.expect_told(&[], &[("POST", "http")]);
}

#[test]
fn in_a_transaction_nothing_is_spoiled_but_by_what_is_refused() {
    let mut it = session("shy", Shadow::Everybody);
    let all = ["MULTI", "SET b 1", "FLUSHALL", "EXEC", "PING"];
    assert_eq!(it.commands(&all), all);
    let replies = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n+PONG\r\n";
    assert_eq!(it.upstream(replies), replies);
    assert_eq!(it.notes.4.len(), all.len());
    assert_eq!(it.commands(&["MULTI", "SHUTDOWN"]), ["MULTI", "ECHO"]);
    it.upstream("+OK\r\n-ERR wrong number of arguments\r\n");
    // What has no place in a transaction has none in shadow mode either.
    assert_eq!(it.commands(&["SUBSCRIBE b", "EXEC"]), ["ECHO", "EXEC"]);
    let refused: Vec<_> = it.notes.0.iter().map(|note| note.2).collect();
    assert_eq!(refused, ["command", "in_multi"]);
}

#[test]
fn a_large_value_streams_and_is_told_once() {
    let mut it = session("picky", Shadow::Everybody);
    let head = "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$100000\r\n";
    let begun = format!("{head}{}", "x".repeat(20_000));
    assert_eq!(it.client(begun.as_bytes()), begun);
    let rest = "x".repeat(80_000) + "\r\n";
    assert_eq!(it.client(rest.as_bytes()), rest);
    it.expect_told(&[("set", "key")], &[]);
    assert_eq!(it.commands(&["GET a:1"]), ["GET a:1"], "it is in step");
}

#[test]
fn what_is_too_large_to_be_judged_goes_on_where_it_leads_to_no_machine() {
    // All keys that are here are allowed; the next may be another one.
    let key = format!("$100\r\na:{}\r\n", "k".repeat(98));
    let del = format!("*1001\r\n$3\r\nDEL\r\n{}", key.repeat(700));
    let mut it = session("picky", Shadow::Everybody);
    assert_eq!(it.client(del.as_bytes()), del);
    assert_eq!(it.client(key.repeat(300).as_bytes()).len(), key.len() * 300);
    it.expect_told(&[("del", "too_large")], &[]);
    assert_eq!(it.commands(&["GET a:1"]), ["GET a:1"]);
    let mut enforced = session("picky", Shadow::Nobody);
    assert_eq!(enforced.client(del.as_bytes()), "");
    enforced.expect_told(&[], &[("del", "too_large")]);
    // Whether this one does, nobody can tell.
    let pairs = format!("$99\r\n{}\r\n$1\r\n1\r\n", "p".repeat(99));
    let set = format!(
        "*2002\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n{}",
        pairs.repeat(700)
    );
    let mut it = session("picky", Shadow::Everybody);
    assert_eq!(it.client(set.as_bytes()), "");
    it.expect_told(&[], &[("config|set", "too_large")]);
}

#[test]
fn a_request_that_waits_for_its_verdict_is_told_once() {
    let mut it = session("placed", Shadow::Everybody);
    // Where GET runs depends on what comes of the SELECT.
    assert_eq!(it.commands(&["SELECT 3", "GET a:1", "PING"]), ["SELECT 3"]);
    it.expect_told(&[("select", "database")], &[]);
    assert_eq!(it.upstream("+OK\r\n"), "+OK\r\n");
    assert_eq!(decode(drain(&mut it.up).as_bytes()), ["GET a:1", "PING"]);
    it.expect_told(&[("get", "database")], &[]);
    // Elsewhere it is allowed.
    assert_eq!(it.commands(&["SELECT 1", "GET a:1"]), ["SELECT 1"]);
    it.upstream("$-1\r\n+PONG\r\n+OK\r\n");
    assert_eq!(decode(drain(&mut it.up).as_bytes()), ["GET a:1"]);
    it.expect_told(&[], &[]);
}

#[test]
fn it_begins_and_ends_under_a_living_session() {
    let mut it = session("picky", Shadow::Nobody);
    assert!(it.commands(&["GET b"]).is_empty());
    it.expect_told(&[], &[("get", "key")]);
    assert_eq!(it.try_on(Shadow::Everybody), Ok(()));
    it.upstream("");
    assert_eq!(it.commands(&["GET b"]), ["GET b"]);
    it.expect_told(&[("get", "key")], &[]);
    assert_eq!(it.try_on(Shadow::Nobody), Ok(()));
    assert!(it.commands(&["GET b"]).is_empty());
    it.expect_told(&[], &[("get", "key")]);
}

#[test]
fn what_it_let_into_a_transaction_does_not_outlive_it() {
    let poison = "*1\r\n$4\r\nECHO\r\n";
    for (command, spoiled) in [("SET b 1", true), ("SET a:1 1", false)] {
        let mut it = session("picky", Shadow::Everybody);
        it.commands(&["MULTI", command]);
        it.upstream("+OK\r\n+QUEUED\r\n");
        assert_eq!(it.try_on(Shadow::of(["picky"])), Ok(()));
        assert_eq!(drain(&mut it.up), "", "it goes on");
        assert_eq!(it.try_on(Shadow::Nobody), Ok(()));
        assert_eq!(drain(&mut it.up) == poison, spoiled, "{command}");
        // Once is enough.
        assert_eq!(it.try_on(Shadow::Nobody), Ok(()));
        assert_eq!(drain(&mut it.up), "");
    }
}

#[test]
fn whom_it_let_listen_hears_no_more_when_it_ends() {
    let long = format!("SUBSCRIBE {}", "x".repeat(70_000));
    for (command, revoked) in [
        ("SUBSCRIBE b", Err(Revoked::Channel)),
        // More than is noted of a name: nobody can tell.
        (&*long, Err(Revoked::Channel)),
        ("PSYNC ? -1", Err(Revoked::Command)),
        ("SUBSCRIBE a:1", Ok(())),
    ] {
        let mut it = session("picky", Shadow::Everybody);
        assert_eq!(it.commands(&[command]).len(), 1);
        assert_eq!(
            it.try_on(Shadow::of(["picky"])),
            Ok(()),
            "it may as long as it lasts"
        );
        assert_eq!(it.try_on(Shadow::Nobody), revoked, "{:.20}", command);
    }
}

#[test]
fn a_forecast_tells_both_verdicts() {
    let rules = tried(&[], Shadow::of(["picky"]));
    let told = |user: &str, line: &str| {
        let args: OwnedArgs = line.split(' ').collect();
        let told = foresee(&rules, user, &args.as_args()).unwrap();
        (told.refusal.map(Refusal::label), told.shadow)
    };
    assert_eq!(told("picky", "GET a:1"), (None, false));
    assert_eq!(told("picky", "GET b"), (Some("key"), true));
    assert_eq!(told("picky", "CLIENT REPLY ON"), (None, false));
    assert_eq!(told("picky", "SHUTDOWN"), (Some("command"), false));
    assert_eq!(told("shy", "GET b"), (Some("command"), false));
}
