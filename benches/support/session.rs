//! Users, verdicts and sessions to be measured.

use std::hint::black_box;
use std::sync::Arc;

use respgate::command::{Resolved, Table};
use respgate::identity::{AuthKind, Identity, Who};
use respgate::policy::{Decision, Policy, Source, Whereabouts, decide};
use respgate::resp::{Limits, RequestScanner, Scan};
use respgate::rewrite::Names;
use respgate::session::{Facts, Host, Login, Pipe, Refused, Rules, Session};

/// 99 key patterns: exact, prefix and glob in turn.
pub(crate) fn patterns(beginning: &str) -> String {
    let pattern = |n| match n % 3 {
        0 => format!("~{beginning}{n}:config"),
        1 => format!("~{beginning}{n}:*"),
        _ => format!("~{beginning}{n}:*:cart"),
    };
    (0..99).map(pattern).collect::<Vec<_>>().join(" ")
}

/// With one user, `app`.
pub(crate) fn rules(user: &str) -> Rules {
    compiled(format!("user app on nopass {user}\n"))
}

/// From the text of an ACL file.
pub(crate) fn compiled(content: String) -> Rules {
    let table = Table::builtin();
    let names = Names::compile(&table, &[], &[]).expect("there is nothing to rewrite");
    let source = Source {
        path: "users.acl".into(),
        content: content.into_bytes(),
    };
    let (policy, _) = Policy::parse(&[source], &table).expect("the rules are valid");
    Rules::new(table, names, policy, Limits::default(), 64 * 1024)
}

/// A session of a user with these rules, and an upstream for it.
pub(crate) fn begin(user: &str, up: &mut Pipe) -> (Session, Rules) {
    let rules = rules(user);
    let identity = Identity {
        rule: 0,
        who: Who::Fixed("app".into()),
        auth: AuthKind::Certificate,
    };
    let login = Login::new(identity, rules.policy()).expect("the user is on");
    let mut session = Session::new(1, login, &rules);
    session.attach(up);
    (session, rules)
}

/// A verdict on these bytes, again and again: what `Session` asks of names, table and policy.
pub(crate) fn verdict_of(
    rules: Rules,
    user: &str,
    bytes: &[u8],
    allowed: bool,
) -> impl FnMut() -> Decision + use<> {
    let user = Arc::clone(rules.policy().user(user).expect("it was just defined"));
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

/// A session; what goes out is for the caller to take.
pub(crate) struct Client {
    session: Session,
    rules: Rules,
    facts: Facts,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
}

/// Who refuses is seen by what doesn't come out.
struct Nobody;

// === impl Client ===

impl Client {
    /// As a user with these rules.
    pub(crate) fn new(user: &str) -> Self {
        let (mut up, down) = (Pipe::default(), Pipe::default());
        let (session, rules) = begin(user, &mut up);
        Self {
            session,
            rules,
            facts: Facts::default(),
            up,
            down,
        }
    }

    /// What has come into `up`.
    pub(crate) fn receive(&mut self) {
        let (up, down) = (&mut self.up, &mut self.down);
        self.session
            .receive(&self.rules, &self.facts, up, down, &mut Nobody);
    }

    /// What has come into `down`.
    pub(crate) fn answer(&mut self) {
        self.session
            .answer(&mut self.down)
            .expect("every reply is owed");
    }
}

// === impl Nobody ===

impl Host for Nobody {
    fn refused(&mut self, refused: &Refused<'_>) {
        black_box(refused);
    }

    fn would_refuse(&mut self, refused: &Refused<'_>) {
        black_box(refused);
    }

    fn may_log_in(&mut self, _: &str) -> bool {
        true
    }

    fn logged_in(&mut self, _: &str, _: bool) {}
}

/// What a socket would have brought.
pub(crate) fn feed(pipe: &mut Pipe, bytes: &[u8]) {
    pipe.input().extend_from_slice(black_box(bytes));
}

/// What a socket would have taken.
pub(crate) fn drain(pipe: &mut Pipe, expected: usize) {
    let len = black_box(pipe.writable()).len();
    assert_eq!(len, expected);
    pipe.wrote(len);
}
