//! The family, asked of a session whose host changes users in memory.

use std::sync::Arc;

use super::*;
use crate::command::Table;
use crate::identity::{AuthKind, Identity, Who};
use crate::policy::{LogEntry, Policy, Source};
use crate::resp::{Limits, OwnedArgs, encode_request};
use crate::rewrite::Names;
use crate::session::{Facts, Oversight, Pipe, Refused, Rules, Session};

const USERS: &str = "user admin on >pw ~* &* +@all\nuser root on ~* &* +@all lethal=acl\n\
                     user debugger on ~* +@all lethal=debug\nuser scripter on +eval script=any\n\
                     user default on nopass\nuser cart on +get ~cart:* +acl|whoami db=0,3\n\
                     role boss +@all lethal=*\nuser app on +@read ~app:* (+set ~w:*)\n";

/// A proxy of one session.
struct World {
    rules: Arc<Rules>,
    /// What becomes of LOAD and SAVE; `None`: somebody else is at it.
    begin: Option<Result<(), FilesError>>,
    refused: Vec<(String, &'static str)>,
}

struct Client {
    world: World,
    session: Session,
    up: Pipe,
    down: Pipe,
}

impl Host for World {
    fn refused(&mut self, refused: &Refused<'_>) {
        let command = String::from_utf8_lossy(refused.command).into_owned();
        self.refused.push((command, refused.refusal.label()));
    }

    fn would_refuse(&mut self, refused: &Refused<'_>) {
        unreachable!("{refused:?}");
    }

    fn may_log_in(&mut self, _: &str) -> bool {
        true
    }

    fn logged_in(&mut self, _: &str, _: bool) {}

    fn change_users(
        &mut self,
        caller: &str,
        change: &UserChange<'_>,
    ) -> Option<Result<usize, ChangeError>> {
        self.begin.as_ref()?;
        Some(change.make(caller, &self.rules).map(|made| {
            self.rules = Arc::new(self.rules.with_policy(made.policy));
            made.touched.len()
        }))
    }

    fn begin(&mut self, _: &str, _: Errand) -> Option<Result<(), FilesError>> {
        self.begin.clone()
    }

    fn random(&mut self, bytes: &mut [u8]) -> bool {
        bytes.fill(0xab);
        true
    }
}

impl Client {
    fn new(name: &str) -> Self {
        let source = Source {
            path: "users.acl".into(),
            content: USERS.into(),
        };
        let table = Table::builtin();
        let policy = Policy::parse(&[source], &table).unwrap().0;
        let names = Names::compile(&table, &[], &[]).unwrap();
        let rules = Rules::new(table, names, policy, Limits::default(), 64 * 1024);
        let who = Who::Fixed(name.into());
        let auth = AuthKind::Certificate;
        let login = Login::new(Identity { rule: 0, who, auth }, rules.policy()).unwrap();
        let mut client = Self {
            session: Session::new(7, login, &rules),
            world: World {
                rules: Arc::new(rules),
                begin: Some(Err(FilesError::NoFile)),
                refused: Vec::new(),
            },
            up: Pipe::default(),
            down: Pipe::default(),
        };
        client.session.attach(&mut client.up);
        client
    }

    fn send(&mut self, line: &str) {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        encode_request(words.into_iter(), self.up.input());
    }

    /// One batch by the rules that it began with.
    fn receive(&mut self) -> String {
        let rules = Arc::clone(&self.world.rules);
        let (up, down) = (&mut self.up, &mut self.down);
        let facts = Facts::default();
        self.session
            .receive(&rules, &facts, up, down, &mut self.world);
        drain(&mut self.down)
    }

    fn call(&mut self, line: &str) -> String {
        self.send(line);
        let reply = self.receive();
        let rules = Arc::clone(&self.world.rules);
        if self.session.generation() != rules.generation() {
            self.session.adopt(&rules, &mut self.up).unwrap();
        }
        assert_eq!(drain(&mut self.up), "", "{line} went to the upstream");
        reply
    }
}

fn drain(pipe: &mut Pipe) -> String {
    let mut out = Vec::new();
    while pipe.waiting() > 0 {
        out.extend_from_slice(pipe.writable());
        let len = pipe.writable().len();
        pipe.wrote(len);
    }
    String::from_utf8(out).unwrap()
}

const PRIVILEGED: &str =
    "-NOPERM respgate: changing a user that holds lethal= or script= rules needs lethal=acl\r\n";

#[test]
fn behind_an_errand_nothing_is_taken_before_its_reply() {
    let mut admin = Client::new("admin");
    admin.world.begin = Some(Ok(()));
    for (line, failure) in [
        ("ACL LOAD", "-ERR line 1\r\n"),
        ("ACL SAVE", "-ERR There was"),
    ] {
        for done in [Ok(()), Err(FilesError::Failed("line 1".to_owned()))] {
            admin.send(line);
            admin.send("ACL WHOAMI");
            assert_eq!(admin.receive(), "");
            assert!(!admin.session.takes_requests(&admin.down));
            assert!(!admin.session.is_settled() && admin.session.has_changed_rules());
            admin.session.take_turn();
            assert_eq!(admin.receive(), "", "it isn't another's that it waits for");
            admin.session.conclude_errand(&done, &mut admin.down);
            let reply = drain(&mut admin.down);
            assert!(
                reply.starts_with(if done.is_ok() { "+OK\r\n" } else { failure }),
                "{reply}"
            );
            if done.is_ok() {
                assert_eq!(admin.receive(), "", "the new rules come first");
                let rules = Arc::clone(&admin.world.rules);
                admin.session.adopt(&rules, &mut admin.up).unwrap();
            }
            assert_eq!(admin.receive(), "$5\r\nadmin\r\n");
            assert!(admin.session.is_settled());
        }
    }
}

#[test]
fn during_anothers_errand_what_changes_users_waits_and_is_judged_again() {
    for line in ["ACL SETUSER cart off", "ACL SAVE", "ACL LOAD"] {
        let mut admin = Client::new("admin");
        admin.world.begin = None;
        admin.send(line);
        assert_eq!(admin.receive(), "");
        assert!(admin.session.waits_for_host() && !admin.session.is_settled());
        let gone = admin.world.rules.policy().without_users(&[&b"admin"[..]]).0;
        let gone = admin.world.rules.with_policy(gone);
        admin.world.begin = Some(Ok(()));
        admin.session.take_turn();
        assert!(admin.session.adopt(&gone, &mut admin.up).is_err());
    }
    let mut admin = Client::new("admin");
    admin.world.begin = None;
    admin.send("ACL SETUSER cart off");
    assert_eq!(admin.receive(), "");
    admin.world.begin = Some(Ok(()));
    admin.session.take_turn();
    assert_eq!(admin.receive(), "+OK\r\n");
}

#[test]
fn who_loses_his_own_user_by_an_errand_reads_that_it_worked() {
    let mut admin = Client::new("admin");
    admin.world.begin = Some(Ok(()));
    admin.send("ACL LOAD");
    assert_eq!(admin.receive(), "");
    let gone = admin.world.rules.policy().without_users(&[&b"admin"[..]]).0;
    let gone = admin.world.rules.with_policy(gone);
    assert!(admin.session.has_changed_rules());
    assert!(admin.session.adopt(&gone, &mut admin.up).is_err());
    admin.session.end();
    assert!(!admin.session.is_settled());
    admin.session.conclude_errand(&Ok(()), &mut admin.down);
    assert_eq!(drain(&mut admin.down), "+OK\r\n");
    assert!(admin.session.is_settled() && !admin.session.has_changed_rules());
}

#[test]
fn a_change_holds_for_the_next_command_of_its_pipeline() {
    let mut admin = Client::new("admin");
    for line in [
        "GET a",
        "ACL SETUSER admin -get",
        "GET b",
        "ACL SETUSER admin +get",
        "GET c",
    ] {
        admin.send(line);
    }
    let mut replies = String::new();
    for _ in 0..3 {
        replies.push_str(&admin.receive());
        let rules = Arc::clone(&admin.world.rules);
        admin.session.adopt(&rules, &mut admin.up).unwrap();
    }
    assert_eq!(
        drain(&mut admin.up),
        "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nc\r\n"
    );
    admin
        .down
        .input()
        .extend_from_slice(b"$1\r\n1\r\n$1\r\n3\r\n");
    admin.session.answer(&mut admin.down).unwrap();
    replies.push_str(&drain(&mut admin.down));
    assert_eq!(
        replies,
        "$1\r\n1\r\n+OK\r\n-NOPERM User admin has no permissions to run the 'get' command\r\n\
         +OK\r\n$1\r\n3\r\n"
    );
}

#[test]
fn nobody_lifts_himself_to_what_needs_lethal_acl() {
    let refused = [
        "SETUSER admin lethal=*",
        "SETUSER admin lethal=acl",
        "SETUSER new on script=any",
        "SETUSER new role=boss",
        "SETUSER debugger >mine",
        "SETUSER debugger reset",
        "SETUSER scripter script=none",
        "SETUSER root off",
        "DELUSER nobody app scripter",
    ];
    for line in refused {
        let mut admin = Client::new("admin");
        assert_eq!(admin.call(&format!("ACL {line}")), PRIVILEGED, "{line}");
        assert_eq!(admin.world.rules.generation(), 1, "{line}");
        let refused = admin.world.refused.pop().unwrap();
        assert_eq!(refused.1, "lethal");
        // One lethal command is not all of them.
        let mut debugger = Client::new("debugger");
        assert_eq!(debugger.call(&format!("ACL {line}")), PRIVILEGED, "{line}");
        if line != "SETUSER root off" {
            let mut root = Client::new("root");
            let reply = root.call(&format!("ACL {line}"));
            assert!(reply == "+OK\r\n" || reply == ":2\r\n", "{line}: {reply}");
        }
    }
    let mut admin = Client::new("admin");
    for line in [
        "SETUSER app >pw lethal=none",
        "SETUSER admin -debug",
        "DELUSER app",
    ] {
        assert!(!admin.call(&format!("ACL {line}")).starts_with('-'));
    }
}

#[test]
fn rights_that_are_lost_meanwhile_change_nothing() {
    for lost in ["-acl|setuser", "off", "reset"] {
        let mut admin = Client::new("admin");
        admin.send("ACL SETUSER app on");
        let table = Table::builtin();
        let now = admin.world.rules.policy();
        let now = now.with_user(b"admin", &[lost.as_bytes()], &table).unwrap();
        let before = Arc::clone(&admin.world.rules);
        admin.world.rules = Arc::new(before.with_policy(now));
        let (up, down) = (&mut admin.up, &mut admin.down);
        let facts = Facts::default();
        admin
            .session
            .receive(&before, &facts, up, down, &mut admin.world);
        assert!(drain(&mut admin.down).starts_with("-NOPERM User admin has no"));
        assert_eq!(admin.world.rules.generation(), 2);
    }
}

#[test]
fn a_transaction_holds_none_of_it() {
    let mut admin = Client::new("admin");
    admin.send("MULTI");
    admin.send("ACL WHOAMI");
    // Whether it is open is not known yet.
    assert_eq!(admin.receive(), "");
    assert!(drain(&mut admin.up).ends_with("MULTI\r\n"));
    admin.down.input().extend_from_slice(b"+OK\r\n");
    admin.session.answer(&mut admin.down).unwrap();
    assert_eq!(drain(&mut admin.down), "+OK\r\n");
    admin.receive();
    assert_eq!(drain(&mut admin.up), "*1\r\n$4\r\nECHO\r\n");
    assert_eq!(admin.world.refused.pop().unwrap().1, "in_multi");
}

#[test]
fn policy_judges_it_by_name_and_subcommand() {
    let mut cart = Client::new("cart");
    assert_eq!(cart.call("ACL WHOAMI"), "$4\r\ncart\r\n");
    for line in ["ACL USERS", "ACL SETUSER cart on"] {
        assert!(cart.call(line).starts_with("-NOPERM User cart"), "{line}");
    }
    // Redis counts the arguments first.
    assert_eq!(
        cart.call("ACL"),
        "-ERR wrong number of arguments for 'acl' command\r\n"
    );
    assert_eq!(
        cart.call("ACL nosuch"),
        "-ERR unknown subcommand 'nosuch'. Try ACL HELP.\r\n"
    );
}

#[test]
fn descriptions_hold_no_password() {
    let rules: [&[u8]; 5] = [b"on", b">secret", b"<secret", b"#5ec4e7", b"~key"];
    let change = UserChange::Set {
        name: b"bob",
        rules: &rules,
    };
    assert_eq!(change.describe(), "SETUSER bob on >… <… #… ~key");
    let names: [&[u8]; 2] = [b"bob", b"ann"];
    let change = UserChange::Delete { names: &names };
    assert_eq!(change.describe(), "DELUSER bob ann");
    let long = [&b"~k"[..]; 10_000];
    let change = UserChange::Set {
        name: b"bob",
        rules: &long,
    };
    assert_eq!(change.describe().chars().count(), 1025);
}

#[test]
fn getuser_says_what_redis_has_no_word_for_behind_the_rest() {
    let mut admin = Client::new("admin");
    assert_eq!(admin.call("ACL GETUSER nosuch"), "$-1\r\n");
    let reply = admin.call("ACL GETUSER cart");
    assert!(reply.starts_with("*14\r\n$5\r\nflags\r\n"), "{reply}");
    assert!(
        reply.contains("$9\r\ndatabases\r\n$6\r\ndb=0,3\r\n"),
        "{reply}"
    );
    let reply = admin.call("ACL GETUSER scripter");
    assert!(
        reply.ends_with("*0\r\n$7\r\nscripts\r\n$10\r\nscript=any\r\n"),
        "{reply}"
    );
    let reply = admin.call("ACL GETUSER debugger");
    assert!(
        reply.ends_with("$6\r\nlethal\r\n$12\r\nlethal=debug\r\n"),
        "{reply}"
    );
}

#[test]
fn dryrun_names_our_own_reasons() {
    let mut admin = Client::new("admin");
    let cases = [
        (
            "admin debug sleep 1",
            "run the 'debug' command without lethal=debug",
        ),
        (
            "admin config set dir /",
            "run the 'config|set' command for 'dir' without lethal=config|set",
        ),
        (
            "app sort_ro app:l by w_*",
            "run the 'sort_ro' command with BY: it reaches keys that it does not name",
        ),
        ("cart select 5", "access database 5"),
    ];
    for (line, text) in cases {
        let user = line.split(' ').next().unwrap();
        let text = format!("User {user} has no permissions to {text}");
        let reply = admin.call(&format!("ACL DRYRUN {line}"));
        assert_eq!(reply, format!("${}\r\n{text}\r\n", text.len()));
    }
    assert_eq!(admin.call("ACL DRYRUN cart GET cart:1"), "+OK\r\n");
    assert_eq!(admin.call("ACL DRYRUN app set w:1 x"), "+OK\r\n");
}

#[test]
fn genpass_is_as_long_as_its_bits_need() {
    let mut admin = Client::new("admin");
    assert_eq!(admin.call("ACL GENPASS 5"), "$2\r\nab\r\n");
    assert_eq!(admin.call("ACL GENPASS 1"), "$1\r\na\r\n");
    let longest = format!("$1024\r\n{}\r\n", "ab".repeat(512));
    assert_eq!(admin.call("ACL GENPASS 4096"), longest);
}

#[test]
fn log_entries_are_twenty_fields() {
    let entry = LogEntry {
        count: 2,
        reason: crate::policy::LogReason::Auth,
        context: crate::policy::LogContext::TopLevel,
        object: b"AUTH"[..].into(),
        username: b"bob"[..].into(),
        client_info: "id=7".into(),
        id: 3,
        created: 1_000,
        updated: 2_000,
    };
    let mut out = BytesMut::new();
    show::log(&[entry], 2_050, Protocol::Resp2, &mut out);
    assert_eq!(
        out,
        "*1\r\n*20\r\n$5\r\ncount\r\n:2\r\n$6\r\nreason\r\n$4\r\nauth\r\n$7\r\ncontext\r\n$8\r\n\
         toplevel\r\n$6\r\nobject\r\n$4\r\nAUTH\r\n$8\r\nusername\r\n$3\r\nbob\r\n$11\r\n\
         age-seconds\r\n$4\r\n0.05\r\n$11\r\nclient-info\r\n$4\r\nid=7\r\n$8\r\nentry-id\r\n:3\r\n\
         $17\r\ntimestamp-created\r\n:1000\r\n$22\r\ntimestamp-last-updated\r\n:2000\r\n"
    );
}

#[test]
fn args_are_never_read_beyond_their_end() {
    // What the scanner gives is whole; an empty view is refused all the same.
    let args: OwnedArgs = ["ACL"].iter().collect();
    let mut client = Client::new("admin");
    let rules = Arc::clone(&client.world.rules);
    let mut taking = Taking {
        rules: &rules,
        facts: &Facts::default(),
        host: &mut client.world,
        oversight: Oversight::Refused,
    };
    let mut reply = BytesMut::new();
    let login = client.session.login();
    let refused = answer(
        login,
        &args.as_args(),
        Protocol::Resp2,
        &mut taking,
        &mut reply,
    );
    assert!(matches!(refused, Err(Refusal::OwnArity)));
}

#[test]
fn a_long_answer_is_not_kept_by_its_session() {
    let mut root = Client::new("root");
    let long = format!("ACL SETUSER app resetkeys ~{}", "a".repeat(100_000));
    assert_eq!(root.call(&long), "+OK\r\n");
    assert!(root.call("ACL LIST").len() > 100_000);
    assert!(root.session.scratch.capacity() < 100_000);
}

proptest::proptest! {
    #[test]
    fn whatever_is_asked_has_one_reply(
        requests in proptest::collection::vec(
            (
                "(?i)(cat|users|list|getuser|whoami|help|dryrun|genpass|log|setuser|deluser|load|save|x)",
                proptest::collection::vec(any_word(), 0..6),
            ),
            1..6,
        ),
    ) {
        let mut it = Client::new("root");
        for (sub, words) in &requests {
            let words = words.iter().map(Vec::as_slice);
            let all = [&b"ACL"[..], sub.as_bytes()].into_iter().chain(words);
            let all: Vec<&[u8]> = all.collect();
            encode_request(all.into_iter(), it.up.input());
            let rules = Arc::clone(&it.world.rules);
            let (up, down) = (&mut it.up, &mut it.down);
            it.session.receive(&rules, &Facts::default(), up, down, &mut it.world);
            let mut reply = Vec::new();
            while it.down.waiting() > 0 {
                reply.extend_from_slice(it.down.writable());
                let len = it.down.writable().len();
                it.down.wrote(len);
            }
            let step = crate::resp::ReplyScanner::default().advance(&reply).unwrap();
            proptest::prop_assert!(step.done.is_some());
            proptest::prop_assert_eq!(step.consumed, reply.len());
            let rules = Arc::clone(&it.world.rules);
            if it.session.adopt(&rules, &mut it.up).is_err() {
                break;
            }
        }
    }
}

fn any_word() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    prop_oneof![
        "[+-]@?[a-z|]{0,8}|[~%&(>#!<][A-Za-z*~() ]{0,6}|db=[0-9,]{0,4}|role=boss|lethal=[*a-z]{0,5}|\
         script=[a-z:0-9]{0,4}|reset|on|off|-?[0-9]{1,5}|admin|root|app|get|set|config|eval|reset"
            .prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..8),
    ]
}
