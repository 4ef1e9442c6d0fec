//! Our decisions beside `ACL DRYRUN`.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use respgate::command::{Access, Category, CommandId, Resolved, Table, Touch, touches};
use respgate::policy::{Decision, DenyReason, Policy, Selector, User, Whereabouts, decide};
use respgate::resp::OwnedArgs;

use crate::catalogue;
use crate::differences::{Differences, Disagreement, OF_DECISIONS, Verdict};
use crate::random::{Random, tell};
use crate::requests::{Request, Source};
use crate::server::{Reply, Server};
use crate::users::{self, Names};

/// Every user is asked about many requests: changing users costs more than asking.
const USERS: usize = 1500;
const REQUESTS: usize = 150;

/// What chance has found and must not find again: rules, and a request. Here the first selector
/// doesn't hold the keys that GET may read, and the second not the key `""`, which no `*` matches.
/// Redis takes `BY` for the destination, so the second allows all that it looks at, and it runs.
const FOUND: &[(&[&str], &[&str])] = &[(
    &["(+sort ~GROUP ~BY)", "(+sort %RW~*)"],
    &[
        "SORT", "GROUP", "STORE", "BY", "STORE", "", "ASC", "GET", "",
    ],
)];

/// As many as are worth reading.
const MOST_FAILURES: usize = 20;

struct Bench {
    table: Table,
    server: Server,
    differences: Differences,
    /// It prints names up to a NUL byte.
    cuts_names: bool,
    /// Commands of this server, in full.
    known: HashSet<String>,
    /// Those that are in other categories than in our table.
    recategorized: HashSet<String>,
    /// Those that take another number of arguments.
    rearranged: HashSet<String>,
    failures: Vec<String>,
    /// What DRYRUN allows and we refuse, because Redis will answer an error.
    hopeless: Vec<Vec<Vec<u8>>>,
    allowed: usize,
    asked: BTreeSet<String>,
}

/// Compares; `variable` names the server, which is of this version.
pub fn compare(variable: &str, version: &'static str) {
    let Some(server) = Server::start(variable) else {
        return;
    };
    let mut random = Random::new(&format!("decisions beside Redis {version}"));
    let mut bench = Bench::new(server, version);
    let names = bench.names();
    let arity = |name: &String| {
        let id = bench.table.find_full(name).unwrap();
        (name.clone(), bench.table.command(id).arity)
    };
    let mut source = Source::new(names.commands.iter().map(arity).collect());
    for (rules, args) in FOUND {
        let words = rules.iter().map(|rule| rule.as_bytes().to_vec()).collect();
        let (user, rules) = bench.user(words, false);
        let args = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        bench.decide(&user, &[Request { args, valid: true }], &rules);
    }
    let mut decisions = FOUND.len();
    for _ in 0..USERS {
        let words = users::rules(&mut random, &names);
        // Half of them may do what Redis allows without more ado, so that the rest is seen.
        let (user, rules) = bench.user(words, random.chance(50));
        let requests: Vec<Request> = (0..REQUESTS).map(|_| source.next(&mut random)).collect();
        decisions += requests.len();
        bench.decide(&user, &requests, &rules);
    }
    tell(&format!(
        "decisions beside Redis {version}: {decisions}, {} allowed, {} commands; met:{}",
        bench.allowed,
        bench.asked.len(),
        bench.differences.summary(OF_DECISIONS),
    ));
    let failures = &bench.failures;
    assert!(
        failures.is_empty(),
        "{} of {decisions}:\n{}",
        failures.len(),
        failures.join("\n")
    );
    let runs = |name: &&String| {
        !bench
            .table
            .command(bench.table.find_full(name).unwrap())
            .container
    };
    let never: Vec<_> = names
        .commands
        .iter()
        .filter(runs)
        .filter(|name| !bench.asked.contains(*name))
        .collect();
    assert!(never.is_empty(), "nothing was decided on {never:?}");
    let share = bench.allowed * 100 / decisions;
    assert!(
        (15..85).contains(&share),
        "{share} % allowed: too one-sided"
    );
}

// === impl Bench ===

impl Bench {
    fn new(mut server: Server, version: &'static str) -> Self {
        let table = Table::builtin();
        let known = catalogue::commands_of(&mut server);
        let recategorized = catalogue::recategorized(&mut server, &table, &known);
        let rearranged = catalogue::rearranged(&mut server, &table, &known);
        if !recategorized.is_empty() || !rearranged.is_empty() {
            tell(&format!(
                "Redis {version} has other categories: {recategorized:?}; another arity: {rearranged:?}"
            ));
        }
        Self {
            table,
            server,
            differences: Differences::read(version),
            cuts_names: version == "7.0.15",
            known,
            recategorized,
            rearranged,
            failures: Vec::new(),
            hopeless: Vec::new(),
            allowed: 0,
            asked: BTreeSet::new(),
        }
    }

    /// What both sides know.
    fn names(&mut self) -> Names {
        let ours = self
            .table
            .iter()
            .map(|(_, command)| command.name.to_string());
        let categories = self
            .server
            .call(&["ACL", "CAT"])
            .array()
            .into_iter()
            .map(Reply::text);
        Names {
            commands: ours.filter(|name| self.known.contains(name)).collect(),
            categories: categories
                .filter(|name| Category::parse(name).is_some())
                .collect(),
            survives_blanks: false,
        }
    }

    /// One more user here and there, with its rules; here it may have those that Redis lacks, too.
    fn user(&mut self, words: Vec<Vec<u8>>, ungated: bool) -> (User, String) {
        self.server.ask(&["ACL", "SETUSER", "u", "reset"]);
        for word in &words {
            self.server.ask(&[&b"ACL"[..], b"SETUSER", b"u", word]);
        }
        let (mut policy, _) = Policy::parse(&[], &self.table).unwrap();
        policy = policy.with_user(b"u", &[], &self.table).unwrap();
        let mut taken = Vec::new();
        for (word, reply) in words.iter().zip(self.server.answers().split_off(1)) {
            // What is refused, like a pattern after `~*`, changes nothing on either side.
            match (policy.with_user(b"u", &[word], &self.table), reply) {
                (Ok(changed), Reply::Simple(_)) => {
                    policy = changed;
                    taken.push(word.escape_ascii().to_string());
                }
                (Err(_), Reply::Error(_)) => {}
                (ours, theirs) => panic!("{}: {ours:?} and {theirs:?}", word.escape_ascii()),
            }
        }
        if ungated {
            policy = policy
                .with_user(b"u", &[b"lethal=*", b"script=any"], &self.table)
                .unwrap();
            taken.push("[lethal=* script=any]".to_owned());
        }
        (User::clone(policy.user("u").unwrap()), taken.join(" "))
    }

    fn decide(&mut self, user: &User, requests: &[Request], rules: &str) {
        for request in requests {
            let dryrun = [&b"ACL"[..], b"DRYRUN", b"u"];
            let words = dryrun
                .into_iter()
                .chain(request.args.iter().map(Vec::as_slice));
            self.server.ask(&words.collect::<Vec<_>>());
        }
        for (request, reply) in requests.iter().zip(self.server.answers()) {
            self.judge(user, request, &reply, rules);
        }
        self.run_the_hopeless(rules);
    }

    fn judge(&mut self, user: &User, request: &Request, reply: &Reply, rules: &str) {
        let args: OwnedArgs = request.args.iter().collect();
        let (ours, id) = self.ours(user, &args);
        let theirs = read(reply);
        let command = id.map_or(String::new(), |id| self.table.command(id).name.to_string());
        if !command.is_empty() && !self.known.contains(&command) {
            // Of another version: whether this one knows it is no question of ours.
            return;
        }
        if !matches!(theirs, Verdict::Unknown | Verdict::Arity) {
            self.asked.insert(command.clone());
        }
        self.allowed += usize::from(theirs == Verdict::Allow);
        if ours == theirs {
            return;
        }
        let (keys, unreadable) = id.map_or_else(Default::default, |id| self.keys(id, &args));
        let container = command.split('|').next().unwrap_or_default();
        let case = Disagreement {
            args: &request.args,
            command: &command,
            valid: request.valid,
            unreadable,
            keys: &keys,
            ours: &ours,
            theirs: &theirs,
            recategorized: self.recategorized.contains(&command)
                || self.recategorized.contains(container),
            by_first_arg: id
                .is_some_and(|id| user.selectors().iter().any(|one| one.has_first_args(id))),
            rearranged: self.rearranged.contains(&command),
            holds_all_keys: id.is_some_and(|id| {
                let holds =
                    |one: &Selector| one.allows_command(id) && one.allows_any_key(Access::READ);
                user.selectors().iter().any(holds)
            }),
        };
        match self.differences.explain(&case) {
            Some("unreadable" | "all-keys")
                if theirs == Verdict::Allow && runs(&command, &request.args) =>
            {
                self.hopeless.push(request.args.clone());
            }
            Some(_) => {}
            None => self.fail(&format!(
                "user {rules}\n  {}{}\n  ours {ours:?}, theirs {theirs:?}",
                printed(&request.args),
                if request.valid { " (valid)" } else { "" },
            )),
        }
    }

    /// Has the user run what Redis must answer with an error.
    fn run_the_hopeless(&mut self, rules: &str) {
        let requests = std::mem::take(&mut self.hopeless);
        self.server.ask(&["ACL", "SETUSER", "u", "on", "nopass"]);
        for request in &requests {
            self.server.ask(&["AUTH", "u", "x"]);
            self.server.ask(request);
            self.server.ask(&["AUTH", "default", "x"]);
        }
        let replies = self.server.answers().split_off(1);
        for (request, replies) in requests.iter().zip(replies.chunks(3)) {
            if !matches!(replies[1], Reply::Error(_)) {
                self.fail(&format!(
                    "user {rules}\n  {}\n  ran: {:?}",
                    printed(request),
                    replies[1]
                ));
            }
        }
    }

    fn fail(&mut self, text: &str) {
        if self.failures.len() < MOST_FAILURES {
            self.failures.push(text.to_owned());
        }
    }

    fn ours(&self, user: &User, args: &OwnedArgs) -> (Verdict, Option<CommandId>) {
        let args = args.as_args();
        let Resolved::Command(id) = self.table.resolve(&args) else {
            return (Verdict::Unknown, None);
        };
        let command = self.table.command(id);
        // DRYRUN looks at the arity first, as Redis does when it runs a command.
        if !command.arity_fits(args.len()) {
            return (Verdict::Arity, Some(id));
        }
        let named = |index| {
            let name = args.get(index).unwrap_or_default();
            let end = name.iter().position(|&byte| byte == 0 && self.cuts_names);
            name[..end.unwrap_or(name.len())].to_vec()
        };
        let verdict = match decide(user, id, &args, Whereabouts::START, &self.table) {
            Decision::Allow(_) => Verdict::Allow,
            Decision::Deny(denial) => match denial.reason {
                DenyReason::Command => Verdict::Command(command.name.as_bytes().to_vec()),
                DenyReason::Key { index } => Verdict::Key(named(index)),
                DenyReason::Channel { index } => Verdict::Channel(named(index)),
                reason => Verdict::Other(reason.label()),
            },
            other => panic!("undecided on a whole request: {other:?}"),
        };
        (verdict, Some(id))
    }

    fn keys(&self, id: CommandId, args: &OwnedArgs) -> (Vec<(usize, Access)>, bool) {
        let mut keys = Vec::new();
        let ended = touches(self.table.command(id), &args.as_args(), &mut |touch| {
            if let Touch::Key { index, access, .. } = touch {
                keys.push((index, access));
            }
            ControlFlow::Continue(())
        });
        (keys, ended.is_err())
    }
}

/// What DRYRUN said. The texts of 7.0 name no user.
fn read(reply: &Reply) -> Verdict {
    let text = match reply {
        Reply::Simple(_) => return Verdict::Allow,
        Reply::Error(text) if text.starts_with(b"ERR wrong number of arguments") => {
            return Verdict::Arity;
        }
        Reply::Error(text) if text.ends_with(b"not found") => return Verdict::Unknown,
        Reply::Bulk(text) => text,
        other => panic!("{other:?}"),
    };
    let between = |before: &[u8], behind: &[u8]| {
        let rest = [&b"User u"[..], b"This user"]
            .iter()
            .find_map(|who| text.strip_prefix(*who))?;
        let rest = rest.strip_prefix(b" has no permissions to ")?;
        Some(rest.strip_prefix(before)?.strip_suffix(behind)?.to_vec())
    };
    // What Redis 8 has from a module is in upper case.
    between(b"run the '", b"' command")
        .map(|name| Verdict::Command(name.to_ascii_lowercase()))
        .or_else(|| between(b"access the '", b"' key").map(Verdict::Key))
        .or_else(|| between(b"access the '", b"' channel").map(Verdict::Channel))
        .unwrap_or_else(|| panic!("{}", text.escape_ascii()))
}

pub fn printed(args: &[Vec<u8>]) -> String {
    let words: Vec<_> = args
        .iter()
        .map(|arg| format!("\"{:.100}\"", arg.escape_ascii().to_string()))
        .collect();
    words.join(" ")
}

/// Whether a request may be run here, and only gets an error. MIGRATE would look for its host; and a
/// word with a NUL byte is an option to Redis, which is why it is refused.
fn runs(command: &str, args: &[Vec<u8>]) -> bool {
    command != "migrate" && !args.iter().any(|arg| arg.contains(&0))
}
