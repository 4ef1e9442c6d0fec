//! Sessions driven byte by byte, without a socket.

mod adopt;
mod allowance;
mod crowd;
mod edges;
mod framing;
mod liar;
mod login;
mod mapping;
mod model;
mod modes;
mod oversight;
mod place;
mod redis;
mod refusals;
mod riders;
mod scripts;
mod shadow;
mod share;
mod speaker;
mod tally;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::command::{Class, CommandId, Table};
use crate::identity::{AuthKind, Identity, Who};
use crate::policy::{Policy, Source, User, Whereabouts};
use crate::resp::{Limits, Reply};
use crate::rewrite::Names;

const USERS: &[u8] = b"user cart on >cart-pw +@all -@dangerous ~cart:* &cart:*\n\
                       user writer on >w +@all %W~a:*\nuser admin on >admin-pw +@all ~* &*\n";

/// What a host noted: user, command, reason; and of what went on for shadow mode: command, reason.
struct Notes(
    Vec<(String, String, &'static str)>,
    Throttle,
    Watch,
    Counted,
    Vec<(String, &'static str)>,
);

/// What it wants to hear, and what it heard of what was served: user, command, arguments that were judged;
/// and how much it can hear.
#[derive(Default)]
struct Watch(Oversight, Vec<String>, Option<usize>);

/// What the host is told of requests that are allowed.
#[derive(Default)]
struct Counted {
    user: Option<String>,
    allowed: BTreeMap<(String, &'static str), u32>,
}

impl Default for Notes {
    fn default() -> Self {
        let throttle = Throttle::new(20, Duration::from_secs(1));
        Self(
            Vec::new(),
            throttle,
            Watch::default(),
            Counted::default(),
            Vec::new(),
        )
    }
}

impl Host for Notes {
    fn oversight(&self) -> Oversight {
        match self.2.2 {
            Some(most) if self.2.1.len() >= most => Oversight::Suspended,
            _ => self.2.0,
        }
    }

    fn allowed(&mut self, allowed: &Allowed<'_>) {
        let user = allowed.user.unwrap_or_default();
        let (command, args) = (allowed.command, allowed.args.len());
        let how = if allowed.is_judged { "" } else { " unjudged" };
        let place = match allowed.whereabouts {
            Whereabouts::Among(databases) => format!("{databases:?}"),
            Whereabouts::Anywhere => "anywhere".to_owned(),
        };
        self.2
            .1
            .push(format!("{user} {command} {args} {place}{how}"));
    }

    fn refused(&mut self, refused: &Refused<'_>) {
        let _: Option<CommandId> = refused.id;
        self.0.push((
            refused.user.unwrap_or_default().to_owned(),
            String::from_utf8_lossy(refused.command).into_owned(),
            refused.refusal.label(),
        ));
    }

    fn would_refuse(&mut self, refused: &Refused<'_>) {
        let command = String::from_utf8_lossy(refused.command).into_owned();
        self.4.push((command, refused.refusal.label()));
    }

    fn may_log_in(&mut self, user: &str) -> bool {
        self.1.may_log_in(None, user, Instant::now())
    }

    fn logged_in(&mut self, user: &str, ok: bool) {
        self.1.logged_in(None, user, ok, Instant::now());
    }

    fn counted(&mut self, tally: &Tally) {
        let user = self.3.user.clone().unwrap_or_default();
        for (class, count) in tally.iter() {
            let key = (user.clone(), Class::ALL[class].label());
            *self.3.allowed.entry(key).or_default() += count;
        }
    }

    fn acts_as(&mut self, user: Option<&Arc<User>>) {
        self.3.user = user.map(|user| user.name().to_owned());
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
        let mut harness = Self::detached(who, auth, rules);
        harness.attach_if_wanted();
        harness
    }

    /// The same, and nothing is connected yet.
    fn detached(who: Who, auth: AuthKind, rules: Rules) -> Self {
        let login = Login::new(Identity { rule: 0, who, auth }, rules.policy()).unwrap();
        let session = Session::new(7, login, &rules);
        let (up, down, notes) = Default::default();
        Self {
            session,
            rules,
            facts: facts("5.0.6"),
            up,
            down,
            notes,
        }
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
        if self.session.wants_upstream() && !self.session.shares() {
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
