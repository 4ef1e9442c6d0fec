//! The verdict on one request: alone, and through a whole session.
//!
//! All beside `redis-protocol`'s `decode_range` of `SET key <64 B>`: what merely finding the
//! arguments costs there. `cargo bench --bench decide`.

mod support;

use std::hint::black_box;
use std::sync::Arc;

use respgate::command::{Resolved, Table};
use respgate::identity::{AuthKind, Identity, Who};
use respgate::policy::{Decision, Policy, Source, Whereabouts, decide};
use respgate::resp::{Limits, RequestScanner, Scan};
use respgate::rewrite::Names;
use respgate::session::{Facts, Host, Login, Pipe, Refused, Rules, Session};

use support::{Group, decode, request};

const KEY: &[u8] = b"user:1000:cart";
const VALUE: &[u8] = &[b'v'; 64];

fn main() {
    verdicts();
    sessions();
}

/// What `Session` asks of names, table and policy for each request.
fn verdicts() {
    let set = request(&[b"SET", KEY, VALUE]);
    let config = request(&[b"CONFIG", b"GET", b"maxmemory"]);
    let keys: Vec<String> = (0..100).map(|n| format!("user:{n}:cart")).collect();
    let mut mset = vec![&b"MSET"[..]];
    keys.iter()
        .for_each(|key| mset.extend([key.as_bytes(), b"0123456789"]));
    let mset = request(&mset);
    let far = format!("+@all {} ~user:*", patterns("app"));
    let near = format!("+@all {} ~user:1000:cart", patterns("user:"));
    let (all, one) = ("+@all ~*", "+@all ~user:*");
    let no_set = "+@all -set ~user:*";

    let mut group = Group::new("verdict: name, table, policy");
    group.add("redis-protocol decode_range", 1, || decode(&set));
    let mut add = |name, operations, user: &str, bytes: &[u8], allowed| {
        group.add(name, operations, verdict(user, bytes, allowed));
    };
    add("SET, all keys", 1, all, &set, true);
    add("SET, one prefix pattern", 1, one, &set, true);
    add("SET, the last of 100 patterns", 1, &far, &set, true);
    add("  the same, all patterns begin alike", 1, &near, &set, true);
    add("SET, the command refused", 1, no_set, &set, false);
    add("CONFIG GET, all keys", 1, all, &config, true);
    add(
        "MSET of 100 keys, one pattern, a key",
        100,
        one,
        &mset,
        true,
    );
    add(
        "MSET of 100 keys, 100 patterns, a key",
        100,
        &far,
        &mset,
        true,
    );
    group.run();
}

/// Bytes in, judged, forwarded; the reply in, and out.
fn sessions() {
    let set = request(&[b"SET", KEY, VALUE]);
    let pipeline = set.repeat(16);
    let patterns = format!("+@all {} ~user:*", patterns("app"));
    let mut group = Group::new("session: receive and answer, a command");
    group.add("redis-protocol decode_range", 1, || decode(&set));
    for (name, rules, count, bytes) in [
        ("SET one at a time, all keys", "+@all ~*", 1, &set),
        ("SET one at a time, 100 patterns", &patterns, 1, &set),
        (
            "SET in a pipeline of 16, all keys",
            "+@all ~*",
            16,
            &pipeline,
        ),
        (
            "SET in a pipeline of 16, 100 patterns",
            &patterns,
            16,
            &pipeline,
        ),
    ] {
        let mut client = Client::new(rules);
        let replies = b"+OK\r\n".repeat(count);
        group.add(name, count as u32, move || client.exchange(bytes, &replies));
    }
    // What the harness itself costs: the copies in and out that sockets would make.
    let (mut up, mut down) = (Pipe::default(), Pipe::default());
    let set = set.as_slice();
    group.add("the pipes alone, one at a time", 1, move || {
        for (pipe, bytes) in [(&mut up, set), (&mut down, b"+OK\r\n")] {
            pipe.input().extend_from_slice(black_box(bytes));
            pipe.forward(bytes.len());
            drain(pipe, bytes.len());
        }
    });
    group.run();
}

/// 99 key patterns: exact, prefix and glob in turn.
fn patterns(beginning: &str) -> String {
    let pattern = |n| match n % 3 {
        0 => format!("~{beginning}{n}:config"),
        1 => format!("~{beginning}{n}:*"),
        _ => format!("~{beginning}{n}:*:cart"),
    };
    (0..99).map(pattern).collect::<Vec<_>>().join(" ")
}

fn rules(user: &str) -> Rules {
    let table = Table::builtin();
    let names = Names::compile(&table, &[], &[]).expect("there is nothing to rewrite");
    let source = Source {
        path: "users.acl".into(),
        content: format!("user app on nopass {user}\n").into_bytes(),
    };
    let (policy, _) = Policy::parse(&[source], &table).expect("the rules are valid");
    Rules::new(table, names, policy, Limits::default(), 64 * 1024)
}

fn verdict(user: &str, bytes: &[u8], allowed: bool) -> impl FnMut() -> Decision + use<> {
    let rules = rules(user);
    let user = Arc::clone(rules.policy().user("app").expect("it was just defined"));
    let bytes = bytes.to_vec();
    let mut scanner = RequestScanner::new(Limits::default());
    assert_eq!(scanner.scan(&bytes), Ok(Scan::Request));
    let judge = move || {
        let args = black_box(scanner.args(&bytes));
        let entry = rules.names().find(args.name()).expect("a known command");
        let judged = entry.judged(&args).expect("nothing is substituted");
        let Resolved::Command(id) = entry.resolve(&judged, rules.table()) else {
            unreachable!("a known subcommand");
        };
        decide(&user, id, &judged, Whereabouts::START, rules.table())
    };
    assert_eq!(matches!(judge(), Decision::Allow(_)), allowed);
    judge
}

/// A session with a client and an upstream that take everything at once.
struct Client {
    session: Session,
    rules: Rules,
    facts: Facts,
    up: Pipe,
    down: Pipe,
}

/// Nothing is refused.
struct Nobody;

impl Client {
    fn new(user: &str) -> Self {
        let rules = rules(user);
        let identity = Identity {
            rule: 0,
            who: Who::Fixed("app".into()),
            auth: AuthKind::Certificate,
        };
        let login = Login::new(identity, rules.policy()).expect("the user is on");
        let (mut up, down) = (Pipe::default(), Pipe::default());
        let mut session = Session::new(1, login, &rules);
        session.attach(&mut up);
        Self {
            session,
            rules,
            facts: Facts::default(),
            up,
            down,
        }
    }

    fn exchange(&mut self, requests: &[u8], replies: &[u8]) {
        self.up.input().extend_from_slice(black_box(requests));
        let (up, down) = (&mut self.up, &mut self.down);
        self.session
            .receive(&self.rules, &self.facts, up, down, &mut Nobody);
        drain(up, requests.len());
        down.input().extend_from_slice(black_box(replies));
        self.session.answer(down).expect("every reply is owed");
        drain(down, replies.len());
    }
}

impl Host for Nobody {
    fn refused(&mut self, refused: &Refused<'_>) {
        unreachable!("{refused:?}");
    }

    fn may_log_in(&mut self, _: &str) -> bool {
        true
    }

    fn logged_in(&mut self, _: &str, _: bool) {}
}

fn drain(pipe: &mut Pipe, expected: usize) {
    let len = black_box(pipe.writable()).len();
    assert_eq!(len, expected);
    pipe.wrote(len);
}
