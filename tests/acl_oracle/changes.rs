//! `ACL SETUSER`, `ACL GETUSER` and `ACL LIST` beside ours.

use respgate::command::{Category, Table};
use respgate::policy::{Policy, Selector, User};

use crate::differences::{Differences, OF_CHANGES};
use crate::random::{Random, tell};
use crate::server::{Reply, Server};
use crate::users::Names;
use crate::{catalogue, decisions, words};

const SEQUENCES: usize = 6000;

/// As many as are worth reading.
const MOST_FAILURES: usize = 15;

struct Bench {
    table: Table,
    server: Server,
    differences: Differences,
    /// 7.0 works out the rules about commands from what they allow when it prints them, and dies of
    /// printing some (`%~a`): only what it takes and what it refuses is compared.
    prints: bool,
    changes: usize,
    taken: usize,
    round_trips: usize,
}

/// Compares; `variable` names the server, which is of this version.
pub fn compare(variable: &str, version: &'static str) {
    let Some(server) = Server::start(variable) else {
        return;
    };
    let mut random = Random::new(&format!("changes beside Redis {version}"));
    let mut bench = Bench {
        table: Table::builtin(),
        server,
        differences: Differences::read(version),
        prints: version != "7.0.15",
        changes: 0,
        taken: 0,
        round_trips: 0,
    };
    let names = bench.names();
    let mut failures = Vec::new();
    for number in 0..SEQUENCES {
        let name = words::user_name(&mut random, number);
        let steps: Vec<_> = (0..=random.below(5))
            .map(|_| words::change(&mut random, &names))
            .collect();
        if let Err(why) = bench.sequence(&name, &steps)
            && failures.len() < MOST_FAILURES
        {
            let step = |words: &Vec<Vec<u8>>| format!("\n  {}", decisions::printed(words));
            let steps: String = steps.iter().map(step).collect();
            failures.push(format!("{}:{steps}\n  {why}", name.escape_ascii()));
        }
    }
    tell(&format!(
        "changes beside Redis {version}: {} in {SEQUENCES} sequences, {} taken, {} printed and read again; met:{}",
        bench.changes,
        bench.taken,
        bench.round_trips,
        bench.differences.summary(OF_CHANGES),
    ));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let share = bench.taken * 100 / bench.changes;
    assert!((15..85).contains(&share), "{share} % taken: too one-sided");
}

// === impl Bench ===

impl Bench {
    /// What both sides know.
    fn names(&mut self) -> Names {
        let known = catalogue::commands_of(&mut self.server);
        let ours = self
            .table
            .iter()
            .map(|(_, command)| command.name.to_string());
        let categories = self.server.call(&["ACL", "CAT"]).array();
        let categories = categories.into_iter().map(Reply::text);
        Names {
            commands: ours.filter(|name| known.contains(name)).collect(),
            categories: categories
                .filter(|name| Category::parse(name).is_some())
                .collect(),
            survives_blanks: !self.prints,
        }
    }

    /// Several changes of one user, who is printed after each.
    fn sequence(&mut self, name: &[u8], steps: &[Vec<Vec<u8>>]) -> Result<(), String> {
        for step in steps {
            let words = [&b"ACL"[..], b"SETUSER", name].into_iter();
            let words = words.chain(step.iter().map(Vec::as_slice));
            self.server.ask(&words.collect::<Vec<_>>());
            if self.prints {
                self.server.ask(&["ACL", "LIST"]);
                self.server.ask(&[&b"ACL"[..], b"GETUSER", name]);
            }
        }
        self.server.ask(&[&b"ACL"[..], b"DELUSER", name]);
        let mut replies = self.server.answers().into_iter();
        let (mut policy, _) = Policy::parse(&[], &self.table).unwrap();
        for (number, step) in steps.iter().enumerate() {
            self.changes += 1;
            let rules: Vec<&[u8]> = step.iter().map(Vec::as_slice).collect();
            let ours = policy.with_user(name, &rules, &self.table);
            let theirs = replies.next().unwrap();
            let same = match (&ours, &theirs) {
                (Ok(_), Reply::Simple(_)) => true,
                (Err(error), Reply::Error(text)) => {
                    on_the_wire(&error.to_string()) == *String::from_utf8_lossy(text)
                }
                _ => false,
            };
            if !same {
                // From here on the two users are not the same.
                let looser = ours.is_ok() && matches!(theirs, Reply::Error(_));
                let reasons = words::meant(step, ours.as_ref().err());
                let mut reasons = reasons.into_iter();
                return match reasons.find(|one| self.differences.count(one, looser)) {
                    Some(_) => Ok(()),
                    None => Err(format!(
                        "step {number}: ours {:?}, theirs {theirs:?}",
                        ours.map(|_| "OK")
                    )),
                };
            }
            if let Ok(changed) = ours {
                policy = changed;
                self.taken += 1;
            }
            if !self.prints {
                continue;
            }
            let (list, fields) = (replies.next().unwrap().array(), replies.next().unwrap());
            let user = std::str::from_utf8(name)
                .ok()
                .and_then(|name| policy.user(name));
            let Some(user) = user else { continue };
            compare_printed(user, &line_of(list), &fields)
                .map_err(|why| format!("step {number}: {why}"))?;
        }
        let user = std::str::from_utf8(name)
            .ok()
            .and_then(|name| policy.user(name));
        match user {
            Some(user) if self.prints => self.round_trip(&User::clone(user)),
            _ => Ok(()),
        }
    }

    /// What a user is printed as makes the same user, here and there.
    fn round_trip(&mut self, user: &User) -> Result<(), String> {
        let line = user.describe();
        let rules: Vec<&[u8]> = line
            .split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty())
            .collect();
        let words = [&b"ACL"[..], b"SETUSER", b"again"]
            .into_iter()
            .chain(rules.iter().copied());
        self.server.ask(&words.collect::<Vec<_>>());
        self.server.ask(&["ACL", "LIST"]);
        self.server.ask(&["ACL", "GETUSER", "again"]);
        self.server.ask(&["ACL", "DELUSER", "again"]);
        let mut replies = self.server.answers().into_iter();
        let (policy, _) = Policy::parse(&[], &self.table).unwrap();
        let (ours, theirs) = (
            policy.with_user(b"again", &rules, &self.table),
            replies.next().unwrap(),
        );
        let exact = user.selectors().iter().all(reads_back);
        self.round_trips += 1;
        match (ours, theirs) {
            (Ok(policy), Reply::Simple(_)) => {
                let again = policy.user("again").unwrap();
                if exact && again.describe() != line {
                    let (one, other) = (line.escape_ascii(), again.describe());
                    return Err(format!("printed {one}, read as {}", other.escape_ascii()));
                }
                compare_printed(
                    again,
                    &line_of(replies.next().unwrap().array()),
                    &replies.next().unwrap(),
                )
            }
            (Err(_), Reply::Error(_)) if !exact => Ok(()),
            (ours, theirs) => Err(format!(
                "printed {}, read: {:?}, theirs {theirs:?}",
                line.escape_ascii(),
                ours.map(|_| "OK")
            )),
        }
    }
}

/// Whether Redis can read what it prints of a selector as what it was. Quotes are not written as they
/// are read, parentheses in patterns close selectors, and the pattern `%RW~*` is printed as `~*`,
/// behind which no pattern may stand.
fn reads_back(selector: &Selector) -> bool {
    let plain = |byte: &u8| !matches!(byte, b'"' | b'\'' | b'\\' | b'(' | b')');
    let keys = selector.describe_keys();
    let mut patterns = keys.split(|byte| *byte == b' ');
    let channels = selector.describe_channels();
    let all = selector.allows_all_keys() || !patterns.any(|pattern| pattern == b"~*");
    all && keys.iter().chain(&channels).all(plain) && selector.describe_commands().iter().all(plain)
}

/// The line of the user who isn't the default one.
fn line_of(list: Vec<Reply>) -> Vec<u8> {
    let mut lines = list.into_iter().map(Reply::bytes);
    lines
        .find(|line| !line.starts_with(b"user default "))
        .unwrap_or_default()
}

/// Compares LIST's line and GETUSER's fields with what we would print.
fn compare_printed(user: &User, line: &[u8], fields: &Reply) -> Result<(), String> {
    let name = user.name().as_bytes();
    let ours = [b"user ", name, b" ", &user.describe()].concat();
    if ours != line {
        return Err(format!(
            "ours  {}\n  theirs {}",
            ours.escape_ascii(),
            line.escape_ascii()
        ));
    }
    let ours = get_user(user);
    if ours != *fields {
        return Err(format!("ours  {ours:?}\n  theirs {fields:?}"));
    }
    Ok(())
}

/// Our user as GETUSER replies.
fn get_user(user: &User) -> Reply {
    let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    let selector = |number: usize| {
        let one = &user.selectors()[number];
        vec![
            bulk("commands"),
            Reply::Bulk(one.describe_commands()),
            bulk("keys"),
            Reply::Bulk(one.describe_keys()),
            bulk("channels"),
            Reply::Bulk(one.describe_channels()),
        ]
    };
    let passwords = user.passwords().iter().map(|hash| bulk(&hash.to_string()));
    let mut fields = vec![
        bulk("flags"),
        Reply::Array(user.flags().map(bulk).collect()),
        bulk("passwords"),
        Reply::Array(passwords.collect()),
    ];
    fields.extend(selector(0));
    let others = (1..user.selectors().len()).map(|number| Reply::Array(selector(number)));
    fields.extend([bulk("selectors"), Reply::Array(others.collect())]);
    Reply::Array(fields)
}

/// An error as Redis sends it: line ends become blanks.
fn on_the_wire(error: &str) -> String {
    format!("ERR {}", error.replace(['\r', '\n'], " "))
}
