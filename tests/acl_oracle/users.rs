//! Users by chance, from the whole grammar of rules.

use crate::random::Random;

/// What a server knows of what we know: nothing else can be compared.
pub struct Names {
    /// In full: `get`, `config|set`.
    pub commands: Vec<String>,
    /// Without `@`.
    pub categories: Vec<String>,
    /// The server doesn't die of `+get|a b`.
    pub survives_blanks: bool,
}

/// Few, and alike, so that patterns match often and not always.
pub const KEY_PATTERNS: &[&[u8]] = &[
    b"a*",
    b"a",
    b"b",
    b"b*",
    b"*b",
    b"ab",
    b"?",
    b"??",
    b"[ab]",
    b"[^a]*",
    b"user:*",
    b"user:[0-9]",
    b"STORE",
    b"B*",
    b"[A-Z]*",
    b"\\*",
    b"a\\",
    b"[b-a]*",
    b"",
    b"*",
    b"**",
    b"k*",
    b"\xff*",
    b"k[",
    b"*e*",
    b"user:1",
];

const CHANNEL_PATTERNS: &[&[u8]] = &[
    b"news.*", b"news", b"news.a", b"a*", b"*", b"[an]*", b"", b"?", b"\xff", b"b",
];

/// First arguments of commands that have no subcommands.
const FIRST_ARGS: &[&str] = &[
    "a", "1", "get", "ab", "user:1", "0", "STORE", "object", "news",
];

/// The rules of one user, one word each; a selector is one word.
pub fn rules(random: &mut Random, names: &Names) -> Vec<Vec<u8>> {
    let mut rules = permissions(random, names);
    for _ in 0..random.below(7).saturating_sub(3) {
        let words = permissions(random, names);
        // Quotes would have to be written as the selector's own.
        let words: Vec<_> = words.into_iter().filter(|word| plain(word)).collect();
        rules.push([b"(", words.join(&b' ').as_slice(), b")"].concat());
    }
    if random.chance(4) {
        rules.insert(random.below(rules.len() + 1), b"reset".to_vec());
    }
    if random.chance(4) {
        rules.push(b"clearselectors".to_vec());
    }
    rules
}

fn plain(word: &[u8]) -> bool {
    !word.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'\\'))
}

/// What one selector allows: commands, keys and channels mixed.
fn permissions(random: &mut Random, names: &Names) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    match random.below(5) {
        0 => words.push(b"+@all".to_vec()),
        1 => words.push(b"allcommands".to_vec()),
        _ => {}
    }
    for _ in 0..random.below(9) {
        words.push(command_rule(random, names).into_bytes());
    }
    let mut others = Vec::new();
    match random.below(5) {
        0 => others.push(random.pick(&[&b"allkeys"[..], b"~*", b"%RW~*"]).to_vec()),
        1 => {}
        _ => (0..=random.below(7)).for_each(|_| others.push(key_rule(random))),
    }
    match random.below(4) {
        0 => others.push(random.pick(&[&b"allchannels"[..], b"&*"]).to_vec()),
        1 => {}
        _ => {
            for _ in 0..=random.below(3) {
                others.push([&b"&"[..], random.pick(CHANNEL_PATTERNS)].concat());
            }
        }
    }
    if random.chance(8) {
        let word = random.pick(&["resetkeys", "resetchannels", "allkeys", "nocommands"]);
        others.push(random.cased(word).into_bytes());
    }
    // Commands keep their order; the rest comes anywhere between them.
    for word in others {
        words.insert(random.below(words.len() + 1), word);
    }
    words
}

pub fn command_rule(random: &mut Random, names: &Names) -> String {
    let sign = if random.chance(65) { '+' } else { '-' };
    let command = &names.commands[random.below(names.commands.len())];
    match random.below(10) {
        0..=3 => {
            let category = &names.categories[random.below(names.categories.len())];
            format!("{sign}@{}", random.cased(category))
        }
        4 if !command.contains('|') => {
            format!("+{}|{}", random.cased(command), random.pick(FIRST_ARGS))
        }
        // Those that many requests are about.
        5 => {
            let often = [
                "get",
                "set",
                "sort",
                "select",
                "debug",
                "mget",
                "publish",
                "subscribe",
                "eval",
                "object",
            ];
            let name = random.pick(&often);
            format!("{sign}{}", random.cased(name))
        }
        _ => format!("{sign}{}", random.cased(command)),
    }
}

pub fn key_rule(random: &mut Random) -> Vec<u8> {
    let sign = random.pick(&["~", "~", "%R~", "%W~", "%RW~", "%wr~", "%r~"]);
    [sign.as_bytes(), &key_pattern(random)].concat()
}

fn key_pattern(random: &mut Random) -> Vec<u8> {
    if random.chance(75) {
        return random.pick(KEY_PATTERNS).to_vec();
    }
    let alphabet = b"aabb1:**??[[]]^--\\\xff";
    (0..random.below(8))
        .map(|_| alphabet[random.below(alphabet.len())])
        .collect()
}
