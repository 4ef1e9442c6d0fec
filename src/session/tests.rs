//! Sessions driven byte by byte, without a socket.

mod adopt;
mod crowd;
mod edges;
mod mapping;
mod model;
mod modes;
mod place;
mod scripts;

use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::command::{CommandId, Table};
use crate::identity::{AuthKind, Identity, Who};
use crate::policy::{Policy, Source};
use crate::resp::{Limits, Reply};
use crate::rewrite::Names;

const USERS: &[u8] = b"user cart on >cart-pw +@all -@dangerous ~cart:* &cart:*\n\
                       user writer on >w +@all %W~a:*\nuser admin on >admin-pw +@all ~* &*\n";

/// What a host noted: user, command, reason.
#[derive(Default)]
struct Notes(Vec<(String, String, &'static str)>, Throttle);

impl Host for Notes {
    fn refused(&mut self, refused: &Refused<'_>) {
        let _: Option<CommandId> = refused.id;
        self.0.push((
            refused.user.unwrap_or_default().to_owned(),
            String::from_utf8_lossy(refused.command).into_owned(),
            refused.refusal.label(),
        ));
    }

    fn may_log_in(&mut self, user: &str) -> bool {
        self.1.may_log_in(None, user, Instant::now())
    }

    fn logged_in(&mut self, user: &str, ok: bool) {
        self.1.logged_in(None, user, ok, Instant::now());
    }
}

struct Harness {
    session: Session,
    rules: Rules,
    facts: Facts,
    up: Pipe,
    down: Pipe,
    notes: Notes,
}

fn pairs(items: &[(&str, &str)]) -> Vec<(String, String)> {
    items
        .iter()
        .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
        .collect()
}

fn policy(users: &[u8]) -> Policy {
    let source = Source {
        path: "users.acl".into(),
        content: users.to_vec(),
    };
    Policy::parse(&[source], &Table::builtin()).unwrap().0
}

fn rules(rename: &[(&str, &str)], substitute: &[(&str, &str)]) -> Rules {
    let table = Table::builtin();
    let names = Names::compile(&table, &pairs(rename), &pairs(substitute)).unwrap();
    let policy = policy(USERS);
    Rules::new(table, names, policy, Limits::default(), 64 * 1024)
}

fn facts(version: &str) -> Facts {
    let table = Table::builtin();
    let known = table
        .iter()
        .map(|(_, command)| command.name.to_string().into());
    Facts {
        commands: Some(known.collect()),
        ..Facts::read(format!("redis_version:{version}\r\n").as_bytes()).unwrap()
    }
}

impl Harness {
    fn new(who: Who, auth: AuthKind, rules: Rules) -> Self {
        let login = Login::new(Identity { rule: 0, who, auth }, rules.policy()).unwrap();
        let session = Session::new(7, login, &rules);
        let (up, down, notes) = Default::default();
        let mut harness = Self {
            session,
            rules,
            facts: facts("5.0.6"),
            up,
            down,
            notes,
        };
        harness.attach_if_wanted();
        harness
    }

    fn cart() -> Self {
        Self::new(
            Who::Fixed("cart".into()),
            AuthKind::Certificate,
            rules(&[], &[]),
        )
    }

    fn admin(rules: Rules) -> Self {
        Self::new(Who::Fixed("admin".into()), AuthKind::Certificate, rules)
    }

    fn attach_if_wanted(&mut self) {
        if self.session.wants_upstream() {
            self.session.attach(&mut self.up);
        }
    }

    fn run(&mut self) {
        for _ in 0..3 {
            self.session.receive(
                &self.rules,
                &self.facts,
                &mut self.up,
                &mut self.down,
                &mut self.notes,
            );
            self.session.answer(&mut self.down).unwrap();
            self.attach_if_wanted();
        }
    }

    /// These users from now on; those that are as before are the same values.
    fn reload(&mut self, policy: Policy) -> Result<(), Revoked> {
        let policy = policy.reusing(self.rules.policy());
        self.rules = self.rules.with_policy(policy);
        let adopted = self.session.adopt(&self.rules, &mut self.up);
        assert_eq!(self.session.generation(), self.rules.generation());
        adopted
    }

    /// Bytes from the client; what goes to the upstream for them.
    fn client(&mut self, bytes: &[u8]) -> String {
        self.up.input().extend_from_slice(bytes);
        self.run();
        drain(&mut self.up)
    }

    /// Commands from the client, a line each; what goes to the upstream for them, the same way.
    fn commands(&mut self, lines: &[&str]) -> Vec<String> {
        let bytes: Vec<u8> = lines.iter().flat_map(|line| encode(line)).collect();
        let sent = self.client(&bytes);
        decode(sent.as_bytes())
    }

    /// Bytes from the upstream; what the client gets.
    fn upstream(&mut self, bytes: &str) -> String {
        self.down.input().extend_from_slice(bytes.as_bytes());
        self.run();
        drain(&mut self.down)
    }
}

fn drain(pipe: &mut Pipe) -> String {
    let mut out = Vec::new();
    while pipe.waiting() > 0 {
        let bytes = pipe.writable().to_vec();
        pipe.wrote(bytes.len());
        out.extend(bytes);
    }
    String::from_utf8(out).unwrap()
}

fn encode(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split(' ').collect();
    let mut out = bytes::BytesMut::new();
    crate::resp::encode_request(words.iter().map(|word| word.as_bytes()), &mut out);
    out.to_vec()
}

fn decode(bytes: &[u8]) -> Vec<String> {
    let mut rest = bytes::Bytes::copy_from_slice(bytes);
    let mut lines = Vec::new();
    while let Some((reply, used)) = crate::resp::decode_reply(&rest).unwrap() {
        let text = |item: &Reply| String::from_utf8_lossy(item.as_bytes().unwrap()).into_owned();
        let words: Vec<String> = reply.as_array().unwrap().iter().map(text).collect();
        lines.push(words.join(" "));
        rest = rest.slice(used..);
    }
    assert!(rest.is_empty(), "half a request: {rest:?}");
    lines
}

const NO_FLUSHALL: &str = "-NOPERM User cart has no permissions to run the 'flushall' command\r\n";
const NO_KEY: &str = "-NOPERM No permissions to access a key\r\n";

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
fn a_client_that_takes_nothing_is_not_read_for_ever() {
    let mut nobody = Harness::new(
        Who::Fixed("cart".into()),
        AuthKind::Password,
        rules(&[], &[]),
    );
    nobody.client(&encode("GET a").repeat(100_000));
    assert!(nobody.down.waiting() < 65 * 1024);
    assert!(!nobody.session.takes_requests(&nobody.down));
    let mut it = Harness::cart();
    it.client(&encode("DISCARD").repeat(3_000_000));
    assert!(
        !it.session.takes_requests(&it.down),
        "slots are counted too"
    );
}

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
fn an_allowed_run_passes_in_the_buffer_that_it_came_in() {
    let mut it = Harness::cart();
    let bytes = [encode("GET cart:1"), encode("GET cart:2")].concat();
    it.up.input().extend_from_slice(&bytes);
    it.run();
    assert_eq!(it.up.writable(), bytes);
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
fn claims_before_auth_end_the_connection() {
    for (bytes, text) in [
        ("*11\r\n", "unauthenticated multibulk length"),
        ("*2\r\n$16385\r\n", "unauthenticated bulk length"),
    ] {
        let mut it = Harness::new(Who::Chosen, AuthKind::Password, rules(&[], &[]));
        it.client(bytes.as_bytes());
        assert_eq!(it.upstream(""), format!("-ERR Protocol error: {text}\r\n"));
        assert!(it.session.has_ended());
    }
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

#[test]
fn a_server_that_refuses_the_connection_is_passed_on_as_it_speaks() {
    let mut it = Harness::cart();
    let refusal = "-ERR max number of clients reached\r\n";
    for piece in refusal.as_bytes().chunks(7) {
        it.down.input().extend_from_slice(piece);
        it.session.answer(&mut it.down).unwrap();
    }
    assert_eq!(drain(&mut it.down), refusal);
    it.down.input().extend_from_slice(refusal.as_bytes());
    assert_eq!(it.session.answer(&mut it.down), Err(Desync::Unowed));
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
fn a_protocol_error_comes_behind_the_earlier_replies() {
    let mut it = Harness::cart();
    let mut bytes = encode("GET cart:1");
    bytes.extend_from_slice(b"*1\r\n$04\r\nPING\r\n");
    bytes.extend(encode("GET cart:2"));
    assert_eq!(decode(it.client(&bytes).as_bytes()), ["GET cart:1"]);
    let error = "-ERR Protocol error: invalid bulk length\r\n";
    assert_eq!(it.upstream("$-1\r\n"), format!("$-1\r\n{error}"));
    assert!(it.session.has_ended() && it.session.is_settled());
}

#[test]
fn a_request_that_breaks_off_is_owed_nothing_more() {
    let mut it = Harness::admin(rules(&[], &[]));
    let mut bytes = encode("GET a");
    bytes.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n");
    bytes.resize(bytes.len() + 50_000, b'x');
    it.client(&bytes);
    let mut rest = vec![b'x'; 50_000];
    rest.extend_from_slice(b"zz");
    it.client(&rest);
    let got = it.upstream("$-1\r\n");
    assert_eq!(got, "$-1\r\n-ERR Protocol error: expected CRLF\r\n");
    assert!(it.session.has_ended() && it.session.is_settled());
}

#[test]
fn large_values_stream_and_refused_ones_are_dropped() {
    for (key, refused) in [("cart:1", false), ("other", true)] {
        let mut it = Harness::cart();
        let value = vec![b'v'; 1_000_000];
        let mut bytes = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$1000000\r\n", key.len());
        bytes.push_str(std::str::from_utf8(&value).unwrap());
        bytes.push_str("\r\n");
        let (mut sent, mut most) = (0, 0);
        for chunk in bytes.as_bytes().chunks(16 * 1024) {
            it.up.input().extend_from_slice(chunk);
            it.run();
            most = most.max(it.up.unscanned().len() + it.up.waiting());
            sent += drain(&mut it.up).len();
        }
        assert!(most < 40_000, "held {most}");
        assert_eq!(sent, if refused { 0 } else { bytes.len() });
        assert_eq!(it.upstream(""), if refused { NO_KEY } else { "" });
        assert_eq!(it.commands(&["PING"]), ["PING"], "in step again");
    }
}

#[test]
fn a_verdict_that_needs_the_end_holds_back_only_so_much() {
    let who = Who::Fixed("writer".into());
    let mut it = Harness::new(who, AuthKind::Certificate, rules(&[], &[]));
    let mut bytes = b"*4\r\n$3\r\nSET\r\n$3\r\na:1\r\n$1000000\r\n".to_vec();
    bytes.extend(vec![b'v'; 1_000_000]);
    bytes.extend_from_slice(b"\r\n$3\r\nGET\r\n");
    let mut sent = String::new();
    for chunk in bytes.chunks(8 * 1024) {
        sent += &it.client(chunk);
        assert!(it.up.unscanned().len() <= 128 * 1024);
    }
    assert_eq!(sent, "");
    let got = it.upstream("");
    assert!(
        got.starts_with("-ERR respgate: the request is too large"),
        "{got}"
    );
    assert_eq!(it.commands(&["SET a:1 v"]), ["SET a:1 v"]);
}

#[test]
fn a_million_arguments_stream_for_who_holds_all_keys() {
    let mut it = Harness::admin(rules(&[], &[]));
    let mut bytes = b"*1000001\r\n$5\r\nRPUSH\r\n".to_vec();
    for _ in 0..1_000_000 {
        bytes.extend_from_slice(b"$1\r\nx\r\n");
    }
    let mut sent = 0;
    for chunk in bytes.chunks(16 * 1024) {
        it.up.input().extend_from_slice(chunk);
        it.run();
        sent += drain(&mut it.up).len();
    }
    assert_eq!(sent, bytes.len());
}

#[test]
fn http_is_hung_up_on() {
    let mut it = Harness::cart();
    it.client(b"POST / HTTP/1.1\r\nHost: redis\r\n\r\nFLUSHALL\r\n");
    assert_eq!(it.upstream(""), "");
    assert!(it.session.has_ended() && it.session.is_settled());
}

#[test]
fn replies_that_nobody_is_owed_are_an_alarm() {
    let mut it = Harness::cart();
    it.down.input().extend_from_slice(b"+OK\r\n");
    assert_eq!(it.session.answer(&mut it.down), Err(Desync::Unowed));
    let mut it = Harness::cart();
    it.commands(&["MULTI", "FLUSHALL"]);
    it.down.input().extend_from_slice(b"+OK\r\n+QUEUED\r\n");
    assert_eq!(it.session.answer(&mut it.down), Err(Desync::Poison));
    let mut it = Harness::cart();
    it.commands(&["PING"]);
    it.down.input().extend_from_slice(b">1\r\n+x\r\n");
    assert_eq!(it.session.answer(&mut it.down), Err(Desync::Push));
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

proptest! {
    /// However both streams are cut, the same goes out on both sides.
    #[test]
    fn chunking_changes_nothing(
        picks in proptest::collection::vec(0_usize..8, 1..20),
        request_cuts in proptest::collection::vec(1_usize..40, 1..20),
        reply_cuts in proptest::collection::vec(1_usize..20, 1..20),
    ) {
        let menu = ["GET cart:1", "FLUSHALL", "SET cart:1 xx", "GET other", "MULTI", "EXEC", "NOSUCH", "AUTH cart-pw"];
        let mut whole = Harness::cart();
        let lines: Vec<&str> = picks.iter().map(|&pick| menu[pick]).collect();
        let requests: Vec<u8> = lines.iter().flat_map(|line| encode(line)).collect();
        let sent = whole.client(&requests);
        let replies: String = decode(sent.as_bytes()).iter().map(|line| match line.split(' ').next() {
            Some("ECHO") => "-ERR wrong number of arguments for 'echo' command\r\n",
            Some("MULTI") => "+OK\r\n",
            Some("EXEC") => "*1\r\n$2\r\nhi\r\n",
            Some("GET") => "$5\r\nhe\r\no\r\n",
            _ => "+OK\r\n",
        }).collect();
        let got = whole.upstream(&replies);

        let mut cut = Harness::cart();
        let (mut sent_in_pieces, mut at) = (String::new(), 0);
        for size in request_cuts.iter().cycle() {
            if at >= requests.len() { break; }
            let end = (at + size).min(requests.len());
            sent_in_pieces += &cut.client(&requests[at..end]);
            at = end;
        }
        prop_assert_eq!(&sent_in_pieces, &sent);
        let (mut got_in_pieces, mut at) = (String::new(), 0);
        got_in_pieces += &cut.upstream("");
        for size in reply_cuts.iter().cycle() {
            if at >= replies.len() { break; }
            let end = (at + size).min(replies.len());
            got_in_pieces += &cut.upstream(&replies[at..end]);
            at = end;
        }
        prop_assert_eq!(got_in_pieces, got);
    }
}
