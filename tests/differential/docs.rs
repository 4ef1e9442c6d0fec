//! Requests by the server's own grammar: the `arguments` of COMMAND DOCS.

use std::collections::BTreeMap;

use crate::differences::EXCLUDED;
use crate::mask::Mask;
use crate::random::Random;
use crate::script::Item;
use crate::support::{RedisServer, Reply};

/// Commands that chance can make.
pub struct Grammar {
    commands: Vec<Documented>,
}

struct Documented {
    /// The name, in two words where it is a subcommand.
    words: Vec<String>,
    group: String,
    arguments: Vec<Argument>,
}

struct Argument {
    name: String,
    kind: String,
    token: Option<String>,
    optional: bool,
    multiple: bool,
    multiple_token: bool,
    inner: Vec<Argument>,
}

/// Replies that are not the same on two servers, of commands made here.
const MASKS: &[(&str, Mask)] = &[
    // A set with a member that is no number is a hash table, and so is a hash with a long value.
    ("smembers", Mask::Unordered),
    ("sinter", Mask::Unordered),
    ("sunion", Mask::Unordered),
    ("sdiff", Mask::Unordered),
    ("sscan", Mask::Unordered),
    ("hscan", Mask::Unordered),
    ("zscan", Mask::Unordered),
    ("hgetall", Mask::Unordered),
    ("hkeys", Mask::Unordered),
    ("hvals", Mask::Unordered),
    ("keys", Mask::Unordered),
    ("pubsub channels", Mask::Unordered),
    ("pubsub shardchannels", Mask::Unordered),
    ("ttl", Mask::Near),
    ("pttl", Mask::Near),
    ("expiretime", Mask::Near),
    ("pexpiretime", Mask::Near),
    ("object idletime", Mask::Near),
    ("xpending", Mask::Idle),
    ("xinfo consumers", Mask::Idle),
    // Consumers' times at any depth.
    ("xinfo stream", Mask::Near),
    // A set's is in the order of its hash table.
    ("dump", Mask::Kind),
];

/// The families of keys: most commands are given keys of their own.
const FAMILIES: [(&str, &str); 9] = [
    ("string", "s"),
    ("bitmap", "s"),
    ("list", "l"),
    ("hash", "h"),
    ("set", "u"),
    ("sorted-set", "z"),
    ("stream", "x"),
    ("geo", "g"),
    ("hyperloglog", "p"),
];

// === impl Grammar ===

impl Grammar {
    pub fn ask(server: &RedisServer) -> Self {
        let docs = map(server.direct().call(&["COMMAND", "DOCS"]));
        let mut commands = Vec::new();
        for (name, facts) in docs {
            add(&mut commands, vec![name], map(facts));
        }
        commands.sort_by(|a, b| a.words.cmp(&b.words));
        Self { commands }
    }

    /// The names that can be made.
    pub fn names(&self) -> usize {
        self.commands.len()
    }

    /// Whether a request is one of those that are made here. Damaged, some others would do harm, or
    /// list what is in a hash table.
    pub fn made(&self, item: &Item) -> bool {
        let Item::Request { args, .. } = item else {
            return false;
        };
        let name = String::from_utf8_lossy(&args[0]).to_ascii_lowercase();
        self.commands.iter().any(|command| command.words[0] == name)
    }

    /// A request that is mostly right.
    pub fn request(&self, random: &mut Random) -> Item {
        let command = &self.commands[random.below(self.commands.len())];
        let mut args: Vec<Vec<u8>> = command
            .words
            .iter()
            .map(|word| random.cased(word).into_bytes())
            .collect();
        let mut writer = Writer {
            random,
            family: family(&command.group),
            keys: None,
            args: Vec::new(),
        };
        if command.words[0] == "sort" || command.words[0] == "sort_ro" {
            // A set's order is its hash table's, and where elements weigh the same it shows.
            writer.family = "l";
        }
        for argument in &command.arguments {
            writer.argument(argument);
        }
        args.append(&mut writer.args);
        let name = command.words.join(" ");
        let mask = MASKS.iter().find(|(masked, _)| *masked == name);
        Item::Request {
            args,
            mask: mask.map(|(_, mask)| *mask),
        }
    }
}

fn add(commands: &mut Vec<Documented>, words: Vec<String>, mut facts: BTreeMap<String, Reply>) {
    if EXCLUDED.iter().any(|(name, _)| *name == words[0]) {
        return;
    }
    if let Some(inner) = facts.remove("subcommands") {
        for (name, facts) in map(inner) {
            let name = name.rsplit('|').next().unwrap_or_default().to_owned();
            let words = words.iter().cloned().chain([name]).collect();
            add(commands, words, map(facts));
        }
        return;
    }
    let group = facts.remove("group").map(|group| group.text());
    let arguments = facts.remove("arguments").map_or(Vec::new(), arguments);
    commands.push(Documented {
        words,
        group: group.unwrap_or_default(),
        arguments,
    });
}

fn arguments(reply: Reply) -> Vec<Argument> {
    let Reply::Array(items) = reply else {
        return Vec::new();
    };
    let argument = |reply: Reply| {
        let mut facts = map(reply);
        let mut text = |name: &str| facts.remove(name).map(|value| value.text());
        let (name, kind, token) = (text("name"), text("type"), text("token"));
        let flags = match facts.remove("flags") {
            Some(Reply::Array(flags)) => flags.iter().map(Reply::text).collect(),
            _ => Vec::new(),
        };
        let flag = |name: &str| flags.iter().any(|flag| flag == name);
        Argument {
            name: name.unwrap_or_default(),
            kind: kind.unwrap_or_default(),
            token,
            optional: flag("optional"),
            multiple: flag("multiple"),
            multiple_token: flag("multiple_token"),
            inner: facts.remove("arguments").map_or(Vec::new(), arguments),
        }
    };
    items.into_iter().map(argument).collect()
}

/// The flat array that RESP2 has for a map.
fn map(reply: Reply) -> BTreeMap<String, Reply> {
    let Reply::Array(items) = reply else {
        return BTreeMap::new();
    };
    let mut items = items.into_iter();
    let mut map = BTreeMap::new();
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        map.insert(name.text(), value);
    }
    map
}

fn family(group: &str) -> &'static str {
    let found = FAMILIES.iter().find(|(name, _)| *name == group);
    found.map_or("", |(_, letter)| letter)
}

/// A key of a family, or of any. Its first letter is what policies' patterns look at.
pub fn key(family: &str, random: &mut Random) -> Vec<u8> {
    let families = ["s", "l", "h", "u", "z", "x", "g", "p"];
    let family = match family {
        "" => random.pick(&families),
        // Of another type, now and then.
        "l" => random.pick(&["l", "l", "l", "l", "l", "l", "l", "z", "s"]),
        family if random.chance(8) => {
            let _ = family;
            random.pick(&families)
        }
        family => family,
    };
    let owner = random.pick(&["a", "a", "a", "b", "c"]);
    format!("{owner}:{family}{}", random.below(3)).into_bytes()
}

/// What a string argument may be.
pub fn value(random: &mut Random) -> Vec<u8> {
    match random.below(24) {
        0 => Vec::new(),
        1 => b"with blank".to_vec(),
        2 => b"line\r\nFLUSHALL\r\n".to_vec(),
        3 => vec![0, 255, 13, 10, b'*', b'1'],
        4 => vec![b'x'; random.between(60, 5000)],
        5 => b"+inf".to_vec(),
        6 => b"-0".to_vec(),
        7 => b"9223372036854775807".to_vec(),
        8 => b"3.25".to_vec(),
        9..=15 => random.below(20).to_string().into_bytes(),
        _ => random
            .pick(&["v", "w", "one", "two", "three"])
            .as_bytes()
            .to_vec(),
    }
}

/// Puts arguments down, one behind the other.
struct Writer<'a> {
    random: &'a mut Random,
    family: &'static str,
    /// How many keys a count has promised.
    keys: Option<usize>,
    args: Vec<Vec<u8>>,
}

// === impl Writer ===

impl Writer<'_> {
    fn argument(&mut self, argument: &Argument) {
        if argument.optional && !self.random.chance(30) {
            return;
        }
        let times = match argument.multiple {
            true if argument.kind == "key" => self.keys.take(),
            true => None,
            false => Some(1),
        };
        let times = times.unwrap_or_else(|| self.random.between(1, 3));
        for time in 0..times {
            if let Some(token) = &argument.token
                && argument.kind != "pure-token"
                && (time == 0 || argument.multiple_token)
            {
                let token = self.random.cased(token);
                self.args.push(token.into_bytes());
            }
            self.once(argument);
        }
    }

    fn once(&mut self, argument: &Argument) {
        match &*argument.kind {
            "oneof" => {
                let inner = &argument.inner;
                if !inner.is_empty() {
                    let chosen = self.random.below(inner.len());
                    self.argument(&inner[chosen]);
                }
            }
            "block" => argument.inner.iter().for_each(|inner| self.argument(inner)),
            "pure-token" => {
                let token = argument.token.as_deref().unwrap_or_default();
                // XADD's and XTRIM's own time would be another on each side.
                let token = if token == "*" { "7-7" } else { token };
                let token = match token {
                    "\"\"" => String::new(),
                    token => self.random.cased(token),
                };
                self.args.push(token.into_bytes());
            }
            "key" => {
                let key = key(self.family, self.random);
                self.args.push(key);
            }
            _ => {
                let word = self.word(argument);
                self.args.push(word);
            }
        }
    }

    fn word(&mut self, argument: &Argument) -> Vec<u8> {
        let random = &mut *self.random;
        let number = |random: &mut Random| match random.below(10) {
            0 => "-1".to_owned(),
            1 => "0".to_owned(),
            _ => random.between(1, 12).to_string(),
        };
        let text = match (&*argument.name, &*argument.kind) {
            ("numkeys", _) => {
                let count = random.between(1, 3);
                self.keys = Some(count);
                count.to_string()
            }
            ("cursor", _) => "0".to_owned(),
            // All of it in one reply: cursors are made of a hash table's seed.
            ("count", _) if self.args.iter().any(|arg| arg == b"0") => "1000".to_owned(),
            // What has passed is gone at once, or when Redis comes round to it.
            (name, "unix-time") if name.contains("milli") => "4000000000000".to_owned(),
            (_, "unix-time") => "4000000000".to_owned(),
            // Nothing that ends while the conversation lasts.
            ("seconds" | "milliseconds" | "ttl", _) => random
                .pick(&["0", "-1", "1000", "500000", "99999999999999999"])
                .to_owned(),
            ("min-idle-time" | "min-idle" | "ms", _) => random.pick(&["0", "9999999"]).to_owned(),
            ("encoding", _) => random
                .pick(&["u8", "i5", "u63", "i64", "u64", "x"])
                .to_owned(),
            ("offset", _) => random.pick(&["0", "1", "7", "#1", "100", "-1"]).to_owned(),
            ("index" | "start" | "stop" | "end", "integer") => {
                random.pick(&["0", "1", "-1", "-3", "2", "100"]).to_owned()
            }
            ("start" | "end" | "id" | "lastid" | "last-id" | "threshold" | "min-id", _)
                if self.family == "x" =>
            {
                random
                    .pick(&["-", "+", "0", "1-1", "2-2", "3", "0-0", "9-9", "$"])
                    .to_owned()
            }
            ("group" | "groupname", _) => random.pick(&["g1", "g2"]).to_owned(),
            ("consumer" | "consumername", _) => random.pick(&["c1", "c2"]).to_owned(),
            ("min" | "max", "string" | "double") => random
                .pick(&["-inf", "+inf", "(1", "2", "[a", "-", "+", "(v", "10"])
                .to_owned(),
            ("longitude" | "latitude", _) => random
                .pick(&["13.361389", "38.115556", "-20", "0.5", "200"])
                .to_owned(),
            ("bit", _) => random.pick(&["0", "1", "2"]).to_owned(),
            ("index" | "db" | "index1" | "index2" | "destination-db", _) => {
                random.pick(&["0", "1", "2", "99"]).to_owned()
            }
            ("path" | "member1" | "member2" | "member" | "field" | "element", _) => {
                return value(random);
            }
            (_, "integer") => number(random),
            (_, "double") => random
                .pick(&["1", "2.5", "-3", "0.1", "1e10", "inf", "100"])
                .to_owned(),
            (_, "pattern") => random
                .pick(&["*", "a:*", "?:s[0-1]", "w_*", "#"])
                .to_owned(),
            ("group-name" | "name", _) => "n".to_owned(),
            _ => return value(random),
        };
        text.into_bytes()
    }
}
