//! The words of `ACL SETUSER` by chance, right and wrong.

use respgate::policy::SetUserError;
use respgate::resp::split_inline;

use crate::random::Random;
use crate::users::{self, Names};

/// In any case.
const PLAIN: &[&str] = &[
    "on",
    "off",
    "nopass",
    "resetpass",
    "sanitize-payload",
    "skip-sanitize-payload",
    "reset",
    "clearselectors",
    "allkeys",
    "resetkeys",
    "allchannels",
    "resetchannels",
    "allcommands",
    "nocommands",
    "+@all",
    "-@all",
    "~*",
    "&*",
];

/// SHA-256 of `p1`, of `p2`, and what is none.
const PASSWORDS: &[&str] = &[
    ">p1",
    ">p1",
    ">p2",
    ">",
    ">>",
    "<p1",
    "<p2",
    "<p9",
    "<",
    ">a b",
    ">\u{e9}",
    "#6cf615d5bcaac778352a8f1f3360d23f02f34ec182e259897fd6ce485d7870d4",
    "!6cf615d5bcaac778352a8f1f3360d23f02f34ec182e259897fd6ce485d7870d4",
    "#5906ac361a137e2d286465cd6588ebb5ac3f5ae955001100bc41577c3d751764",
    "!5906ac361a137e2d286465cd6588ebb5ac3f5ae955001100bc41577c3d751764",
    "#5906AC361A137E2D286465CD6588EBB5AC3F5AE955001100BC41577C3D751764",
    "#5906ac361a137e2d286465cd6588ebb5ac3f5ae955001100bc41577c3d75176g",
    "#59",
    "#",
    "!",
    "!x",
];

const ODD: &[&[u8]] = &[
    b"",
    b"foo",
    b"+",
    b"-",
    b"+@",
    b"-@",
    b"|",
    b"+|",
    b"+|get",
    b"-|get",
    b"+nope",
    b"-nope",
    b"+@nope",
    b"-@nope",
    b"+get|a b",
    b"+get|a\tb",
    b"+get|",
    b"+get||",
    b"+get|a|b",
    b"+get|A",
    b"+GET|a",
    b"-get|a",
    b"+config|get",
    b"-config|get",
    b"+config|nope",
    b"-config|nope",
    b"+config|get|x",
    b"-config|get|x",
    b"+config|",
    b"-config|",
    b"+config|get|",
    b"+select|1",
    b"+select|0",
    b"-select|1",
    b"-select",
    b"+select",
    b"+debug|object",
    b"+@all|x",
    b"+@read|x",
    b"+@read ",
    b"+get ",
    b" on",
    b"on ",
    b"%",
    b"%~",
    b"%~a",
    b"%R",
    b"%r",
    b"%W",
    b"%RW",
    b"%RR~a",
    b"%RWR~a",
    b"%X~a",
    b"%rw~",
    b"%R~a b",
    b"%W~",
    b"%Ra",
    b"%*",
    b"~",
    b"~a b",
    b"~a\tb",
    b"~**",
    b"~ ",
    b"&",
    b"&a b",
    b"&**",
    b"&\xff",
    b"~\xc3\xa9",
    b"+\xff",
    b"\xff",
    b"\xc3\xa9",
    b"+\xc3\xa9",
    b"~\"a",
    b"~a'",
    b"~a)",
    b"~(a",
    b"&a)",
    b"a)",
    b"~\r\n",
    b"x\r\ny",
    b"x\n",
    b"~\x0b",
    b"~\x0c",
    b"+get|\xff",
    b"resetkeys2",
    b"ON",
    b"nopass=1",
    b"+memory|usage",
    b"-memory|usage",
    b"+memory",
    b"-memory",
    b"+@memory",
    b"+@ALL",
    b"-@aLL",
    b"ALLKEYS",
    b"+client|kill",
    b"-client",
    b"+client|id",
    b"-@dangerous",
    b"+@dangerous",
    b"off off",
];

const NULS: &[&[u8]] = &[
    b"on\0",
    b"allkeys\0x",
    b"+get\0",
    b"~a\0b",
    b"&a\0",
    b"+@read\0",
    b"+get|a\0b",
    b"\0",
    b">a\0b",
    b"(+get\0)",
    b"(~a\0b)",
    b"%R~\0",
    b"foo\0bar",
];

const OWN: &[&str] = &[
    "db=0",
    "db=0,1",
    "alldbs",
    "resetdbs",
    "lethal=*",
    "lethal=debug",
    "lethal=none",
    "script=any",
    "script=none",
    "role=x",
    "db=x",
    "lethal=get",
    "script=x.lua",
    "(db=1)",
    "(alldbs +get)",
];

const SELECTORS: &[&[u8]] = &[
    b"()",
    b"( )",
    b"(  +get   ~a )",
    b"(+get ~a)",
    b"(on)",
    b"(>p)",
    b"(reset)",
    b"((+get))",
    b"((+get) ~a)",
    b"(+nope)",
    b"(~* ~a)",
    b"(%~a)",
    b"(\"~a\")",
    b"('~a')",
    b"(\"~a b\")",
    b"(~a\"b\")",
    b"(~\"\\x41\")",
    b"(~'a b')",
    b"(~a\\x)",
    b"(\"\")",
    b"('' +get)",
    b"(+get)(~a)",
    b"(+get) ",
    b" (+get)",
    b"(\t+get\n~a)",
    b"(&a &a)",
    b"(~\xff)",
    b"(clearselectors)",
    b"(+@all -@all +get|a)",
    b"(allkeys)",
    b"(ALLKEYS +@READ)",
];

const UNBALANCED: &[&[u8]] = &[
    b"(\"a)",
    b"(~a \"b)",
    b"('a)",
    b"(\"a\"b)",
    b"(+get ')",
    b"(~\"a\\\")",
];

/// Parts of a selector that is spread over words.
const PARTS: &[&[u8]] = &[
    b"(+get", b"(", b")", b"~a", b"~b)", b"(~a", b"+set)", b"(x", b"%R~a", b"+@read", b"(\"",
    b"\")", b"((",
];

/// Mostly one of its own for each sequence.
pub fn user_name(random: &mut Random, number: usize) -> Vec<u8> {
    match random.below(60) {
        0 => random
            .pick(&[
                &b""[..],
                b"a b",
                b"a\0",
                b"\xff",
                b"\xc3\xa9",
                b"a\n",
                b"a\tb",
                b"(",
                b">x",
            ])
            .to_vec(),
        _ => format!("s{number}").into_bytes(),
    }
}

/// The rules of one `ACL SETUSER`. Most are right, or hardly any change would be taken.
pub fn change(random: &mut Random, names: &Names) -> Vec<Vec<u8>> {
    let wrong = random.chance(35);
    let mut words: Vec<Vec<u8>> = (0..random.below(7)).map(|_| right(random, names)).collect();
    if wrong {
        for _ in 0..=random.below(3) {
            let odd = odd(random, names);
            if names.survives_blanks || !kills(&odd) {
                words.insert(random.below(words.len() + 1), odd);
            }
        }
    }
    words
}

fn right(random: &mut Random, names: &Names) -> Vec<u8> {
    match random.below(14) {
        0..=2 => {
            let word = random.pick(PLAIN);
            random.cased(word).into_bytes()
        }
        3 => random.pick(&PASSWORDS[..4]).as_bytes().to_vec(),
        4 | 5 => users::key_rule(random),
        6 => [&b"&"[..], random.pick(users::KEY_PATTERNS)].concat(),
        7 => {
            let mut words: Vec<Vec<u8>> = Vec::new();
            for _ in 0..random.below(4) {
                words.push(match random.below(3) {
                    0 => users::key_rule(random),
                    _ => users::command_rule(random, names).into_bytes(),
                });
            }
            [b"(", words.join(&b' ').as_slice(), b")"].concat()
        }
        8 => {
            let count = random.below(3);
            let mut words = vec![b"resetkeys".to_vec()];
            words.extend((0..count).map(|_| users::key_rule(random)));
            words.remove(random.below(words.len()))
        }
        _ => users::command_rule(random, names).into_bytes(),
    }
}

fn odd(random: &mut Random, names: &Names) -> Vec<u8> {
    match random.below(20) {
        0..=4 => random.pick(ODD).to_vec(),
        5..=6 => random.pick(PASSWORDS).as_bytes().to_vec(),
        7..=9 => random.pick(SELECTORS).to_vec(),
        10..=12 => random.pick(PARTS).to_vec(),
        13 => random.pick(UNBALANCED).to_vec(),
        14 => random.pick(NULS).to_vec(),
        15 if random.chance(30) => random.pick(OWN).as_bytes().to_vec(),
        16 => {
            let sign = random.pick(&[
                &b"~"[..],
                b"&",
                b"%R~",
                b">",
                b"+get|a b",
                b"+get|a\tb",
                b"+get|",
                b"x",
            ]);
            [sign, b"a*".repeat(1 + random.below(900)).as_slice()].concat()
        }
        _ => {
            let mut word = right(random, names);
            disturb(random, &mut word);
            word
        }
    }
}

/// Redis takes a first argument with a blank in it; 8.2 dies of the next rule about commands.
fn kills(word: &[u8]) -> bool {
    let argument = word
        .iter()
        .position(|&byte| byte == b'|')
        .map_or(&[][..], |at| &word[at..]);
    let blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0x0b | b'"' | b'\'');
    match word.first() {
        Some(b'(') => word.contains(&b'|') && word.iter().any(|byte| matches!(byte, b'"' | b'\'')),
        _ => argument.iter().any(blank),
    }
}

/// One byte more, less or other.
fn disturb(random: &mut Random, word: &mut Vec<u8>) {
    let bytes = b"+-@~%&|()<>#! aR\"\\\xff";
    let byte = bytes[random.below(bytes.len())];
    let at = random.below(word.len().max(1));
    match random.below(3) {
        _ if word.is_empty() => word.push(byte),
        0 => word.insert(at, byte),
        1 => word[at] = byte,
        _ => {
            word.remove(at);
        }
    }
}

/// The differences that a change may show, by what is in it and why we refuse it.
pub fn meant(words: &[Vec<u8>], error: Option<&SetUserError>) -> Vec<&'static str> {
    let any = |test: fn(&[u8]) -> bool| words.iter().any(|word| test(word));
    let own = |word: &[u8]| {
        let word = word.to_ascii_lowercase();
        let mut inside = word.split(|byte| matches!(byte, b' ' | b'(' | b')'));
        let heads = ["db=", "lethal=", "script=", "role=", "alldbs", "resetdbs"];
        inside.any(|part| heads.iter().any(|head| part.starts_with(head.as_bytes())))
    };
    let opening = words.iter().filter(|word| word.starts_with(b"(")).count();
    let unbalanced = match error {
        Some(SetUserError::Rule { rule, .. }) if rule.starts_with('(') => {
            split_inline(&rule.as_bytes()[1..rule.len() - 1]).is_err()
        }
        _ => false,
    };
    let found = [
        ("names", matches!(error, Some(SetUserError::NotText))),
        ("own-rules", any(own)),
        ("nul-in-rules", any(|word| word.contains(&0))),
        ("quotes", unbalanced),
        ("first-argument", any(kills)),
        ("parentheses", opening > 1),
    ];
    let found = found.into_iter().filter(|(_, found)| *found);
    found.map(|(name, _)| name).collect()
}
