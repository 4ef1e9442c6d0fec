//! Requests by chance: templates, options in all orders, arguments at random, and what breaks them.

use crate::random::Random;
use crate::shapes;

/// One request, and what is known of it.
pub struct Request {
    pub args: Vec<Vec<u8>>,
    /// Made by the rules of the command's syntax: its keys can be told.
    pub valid: bool,
}

/// Keys, some of which look like options or patterns.
pub const KEYS: &[&[u8]] = &[
    b"a",
    b"b",
    b"ab",
    b"abc",
    b"ba",
    b"user:1",
    b"user:22",
    b"k",
    b"k[",
    b"STORE",
    b"BY",
    b"GET",
    b"storedist",
    b"STREAMS",
    b"KEYS",
    b"COUNT",
    b"*",
    b"a*",
    b"?",
    b"1",
    b"2",
    b"",
    b"\xff\x00x",
    b"a\x00b",
    b"\xc3\xa9",
    b"\\",
    b"a b",
    b"GROUP",
    b"a\r\n",
    b"LIMIT",
];

pub const CHANNELS: &[&[u8]] = &[
    b"news", b"news.a", b"news.*", b"a", b"a*", b"b", b"*", b"", b"\xff", b"n?ws", b"[an]*",
];

pub const VALUES: &[&[u8]] = &[
    b"0", b"1", b"2", b"3", b"-1", b"10", b"1.5", b"x", b"", b"m", b"$", b">", b"0-0", b"*",
    b"GET", b"STORE", b"u8", b"get", b"PERSIST", b"\x00", b"nosort", b"w_*", b"#",
];

/// Words that mean something somewhere.
const OPTIONS: &[&[u8]] = &[
    b"GET",
    b"SET",
    b"EX",
    b"PX",
    b"NX",
    b"XX",
    b"KEEPTTL",
    b"IFEQ",
    b"STORE",
    b"STOREDIST",
    b"BY",
    b"LIMIT",
    b"ASC",
    b"DESC",
    b"ALPHA",
    b"COUNT",
    b"STREAMS",
    b"GROUP",
    b"BLOCK",
    b"NOACK",
    b"KEYS",
    b"AUTH",
    b"AUTH2",
    b"COPY",
    b"REPLACE",
    b"OVERFLOW",
    b"SAT",
    b"INCRBY",
    b"u8",
    b"WEIGHTS",
    b"AGGREGATE",
    b"WITHSCORES",
    b"LEFT",
    b"RIGHT",
    b"MIN",
    b"MAX",
    b"DB",
    b"STORE\x00",
    b"GET\x00x",
    b"WITHDIST",
    b"ANY",
    b"SAMPLES",
    b"FIELDS",
    b"IDS",
    b"ID",
    b"OBJECT",
    b"SETNAME",
    b"TYPE",
    b"MATCH",
    b"NOMKSTREAM",
    b"MAXLEN",
    b"~",
    b"FROMMEMBER",
    b"BYRADIUS",
    b"by",
    b"store",
    b"get",
    b"streams",
    b"nosort",
    b"w_*",
    b"#",
];

const TEMPLATES: &str = include_str!("../../src/command/keys/requests.txt");

/// More of them, without keys or with what keys don't tell: `@` is a channel, a letter from a to d, or
/// k, is a key.
const MORE_TEMPLATES: &str = "
publish @ v|spublish @ v|subscribe @|subscribe @ @ @|ssubscribe @ @|psubscribe @|psubscribe @ @
unsubscribe|unsubscribe @|punsubscribe @|sunsubscribe @|pubsub channels|pubsub channels @|pubsub numsub @|pubsub shardnumsub @
ping|ping a|echo a|select 0|select 1|auth a|auth u a|hello|hello 3|hello 2 AUTH u p|hello 3 SETNAME x|quit|reset|time|dbsize
config get *|config get dir maxmemory|config set maxmemory 0|config set dir /x|config rewrite|config resetstat
client id|client list|client setname x|client kill ID 1|client no-evict on|client reply on|client tracking on|acl whoami
acl setuser x on|acl cat|command|command count|command getkeys get a|info|info all|multi|exec|discard|watch a b|unwatch
flushall|flushdb ASYNC|swapdb 0 1|keys *|scan 0|scan 0 MATCH a*|randomkey|shutdown NOSAVE|debug object a|debug sleep 0
debug digest-value a b|debug jmap|replicaof no one|slaveof h 1|cluster info|cluster keyslot a|cluster reset|wait 0 0|waitaof 0 0 0
script load x|script exists x|script flush|script kill|function list|function load x|function flush|function stats
latency doctor|latency histogram|memory doctor|memory purge|memory stats|module list|module load x|slowlog get|slowlog len
monitor|sync|psync ? -1|replconf a b|lolwut|role|save|bgsave|bgrewriteaof|lastsave|failover|readonly|readwrite|asking
pfselftest|restore-asking k 0 x|xgroup help|xinfo help|object help|object freq k|memory usage k SAMPLES 0|sort_ro k LIMIT 0 1
";

/// All requests that can be made.
pub struct Source {
    templates: Vec<Vec<&'static str>>,
    /// In full; every one gets its turn.
    commands: Vec<(String, i16)>,
    turn: usize,
}

// === impl Source ===

impl Source {
    /// Of these commands, each with its arity.
    pub fn new(commands: Vec<(String, i16)>) -> Self {
        let known = |words: &Vec<&str>| {
            commands.iter().any(|(name, _)| match name.split_once('|') {
                None => *name == words[0],
                Some((container, own)) => words[0] == container && words.get(1) == Some(&own),
            })
        };
        let lines = TEMPLATES.lines().chain(MORE_TEMPLATES.lines());
        let templates = lines
            .flat_map(|line| line.split('|'))
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| !words.is_empty() && known(words))
            .collect();
        Self {
            templates,
            commands,
            turn: 0,
        }
    }

    /// One more request.
    pub fn next(&mut self, random: &mut Random) -> Request {
        let mut request = match random.below(10) {
            0..=2 => self.template(random),
            3..=5 => shapes::request(random),
            _ => self.arbitrary(random),
        };
        if random.chance(25) {
            request.valid = false;
            for _ in 0..=random.below(2) {
                disturb(random, &mut request.args);
            }
        }
        request
    }

    fn template(&self, random: &mut Random) -> Request {
        let words = &self.templates[random.below(self.templates.len())];
        let mut args = Vec::new();
        // Subcommands are no keys, and the counts of the templates hold.
        let subcommand = format!("{}|{}", words[0], words.get(1).unwrap_or(&""));
        let names = 1 + usize::from(self.commands.iter().any(|(name, _)| *name == subcommand));
        for (at, word) in words.iter().enumerate() {
            args.push(match *word {
                _ if at < names => random.cased(word).into_bytes(),
                "a" | "b" | "c" | "d" | "k" => key(random),
                "@" => random.pick(CHANNELS).to_vec(),
                "\"\"" => Vec::new(),
                word => random.cased(word).into_bytes(),
            });
        }
        Request { args, valid: true }
    }

    /// The next command in turn, with as many arguments as it takes, or about that many.
    fn arbitrary(&mut self, random: &mut Random) -> Request {
        self.turn += 1;
        let (name, arity) = &self.commands[self.turn % self.commands.len()];
        let mut args: Vec<Vec<u8>> = name
            .split('|')
            .map(|word| random.cased(word).into_bytes())
            .collect();
        let more = random.pick(&[&0, &0, &0, &0, &1, &2, &3, &6, &-1]);
        let more = if *arity > 0 && random.chance(80) {
            &0
        } else {
            more
        };
        let len = (i32::from(arity.unsigned_abs()) + more).max(1) as usize;
        while args.len() < len {
            args.push(argument(random));
        }
        Request { args, valid: false }
    }
}

/// One of the keys, or one for the patterns that are made by chance.
pub fn key(random: &mut Random) -> Vec<u8> {
    if random.chance(80) {
        return random.pick(KEYS).to_vec();
    }
    let alphabet = b"aabb1:^-]\\\xff\x80";
    let len = random.below(5);
    (0..len)
        .map(|_| alphabet[random.below(alphabet.len())])
        .collect()
}

fn argument(random: &mut Random) -> Vec<u8> {
    let pool = match random.below(10) {
        0..=5 => return key(random),
        6 => CHANNELS,
        7..=8 => VALUES,
        _ => OPTIONS,
    };
    random.pick(pool).to_vec()
}

/// Breaks a request, or makes another one of it.
fn disturb(random: &mut Random, args: &mut Vec<Vec<u8>>) {
    let at = random.below(args.len());
    match random.below(8) {
        0 if args.len() > 1 => {
            args.remove(at);
        }
        1 => args.truncate(at.max(1)),
        2 => args.insert(at.max(1), random.pick(OPTIONS).to_vec()),
        3 => {
            let copy = args[at].clone();
            args.insert(at, copy);
        }
        4 if at > 0 => args[at] = random.pick(OPTIONS).to_vec(),
        5 if at > 0 => args[at] = random.pick(VALUES).to_vec(),
        6 => {
            args[at].extend_from_slice(random.pick(&[&b"\x00"[..], b"\x00x", b"x", b"|get", b" "]))
        }
        _ => args.push(argument(random)),
    }
}
