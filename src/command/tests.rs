//! The table and its names.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::fixtures::Random;
use crate::resp::OwnedArgs;

fn args(words: &[&[u8]]) -> OwnedArgs {
    words.iter().collect()
}

fn resolve(table: &Table, words: &[&[u8]]) -> Resolved {
    table.resolve(&args(words).as_args())
}

#[test]
fn known_commands_have_their_facts() {
    let table = Table::builtin();
    assert_eq!(
        table.iter().filter(|(_, c)| c.parent.is_none()).count(),
        270
    );
    assert_eq!(table.iter().filter(|(_, c)| c.container).count(), 16);
    assert!(table.len() <= MAX_COMMANDS);

    let get = table.command(table.find(b"GeT").unwrap());
    assert_eq!((&*get.name, get.arity, get.since), ("get", 2, "1.0.0"));
    assert_eq!(get.flags, Flags::of(&[Flag::Readonly, Flag::Fast]));
    assert_eq!(
        get.categories,
        Categories::of(&[Category::Read, Category::String, Category::Fast])
    );
    assert_eq!(get.need, Need::FirstKey);
    assert!(get.arity_fits(2) && !get.arity_fits(1) && !get.arity_fits(3));
    let mset = table.command(table.find(b"mset").unwrap());
    assert!(mset.arity_fits(3) && mset.arity_fits(4) && !mset.arity_fits(2));

    for name in [
        "pfselftest",
        "pfdebug",
        "substr",
        "restore-asking",
        "slaveof",
        "replicaof",
        "lolwut",
        "psync",
        "sync",
        "replconf",
        "stralgo",
        "msetex",
        "georadius_ro",
        "evalsha_ro",
        "fcall_ro",
        "latency",
        "vadd",
        "hgetex",
        "swapdb",
        "debug",
        "failover",
        "quit",
        "reset",
        "hello",
        "auth",
    ] {
        assert!(table.find(name.as_bytes()).is_some(), "{name}");
    }
    for name in [
        "post",
        "host:",
        "ft.search",
        "config|set",
        "",
        "get\0",
        "ge",
        "gett",
    ] {
        assert_eq!(table.find(name.as_bytes()), None, "{name:?}");
    }
}

#[test]
fn no_command_takes_keys_from_nowhere() {
    let table = Table::builtin();
    let unknown: Vec<_> = table
        .iter()
        .filter(|(_, c)| c.keys == Keys::Unknown)
        .map(|(_, c)| c.name.clone())
        .collect();
    assert!(unknown.is_empty(), "{unknown:?} need a parser");
}

#[test]
fn categories_hold_what_acl_cat_lists() {
    let table = Table::builtin();
    for category in Category::ALL {
        assert_eq!(Category::parse(category.as_str()), Some(category));
        assert!(table.in_category(category).count() >= 5, "{category}");
    }
    assert_eq!(Category::parse("SortedSet"), Some(Category::Sortedset));
    assert_eq!(Category::parse("all"), None);
    let dangerous = |name| {
        let id = table.find_full(name).unwrap();
        table
            .in_category(Category::Dangerous)
            .any(|other| other == id)
    };
    assert!(dangerous("flushall") && dangerous("config|set") && dangerous("keys"));
    assert!(!dangerous("get") && !dangerous("client|id"));
}

#[test]
fn flags_have_names() {
    for flag in Flag::ALL {
        assert_eq!(Flag::parse(flag.as_str()), Some(flag));
    }
    assert_eq!(Flags::of(&Flag::ALL).iter().count(), Flag::ALL.len());
}

#[test]
fn subcommands_resolve_below_their_container() {
    let table = Table::builtin();
    let config = table.find(b"config").unwrap();
    let set = table.find_full("CONFIG|Set").unwrap();
    assert_eq!(table.find_sub(config, b"SET"), Some(set));
    assert_eq!(table.command(set).parent, Some(config));
    assert_eq!(table.command(set).own_name(), "set");
    assert_eq!(table.subcommands(config).count(), 5);
    assert_eq!(table.find_full("config|set|x"), None);
    assert_eq!(table.find_full("get|set"), None);

    assert_eq!(
        resolve(&table, &[b"Config", b"sEt", b"a", b"b"]),
        Resolved::Command(set)
    );
    assert_eq!(resolve(&table, &[b"config"]), Resolved::Command(config));
    assert_eq!(
        resolve(&table, &[b"config", b"nope"]),
        Resolved::UnknownSubcommand(config)
    );
    assert_eq!(
        resolve(&table, &[b"config|set", b"a"]),
        Resolved::UnknownCommand
    );
    let whole = args(&[b"config", b"set", b"a", b"b"]);
    assert_eq!(table.resolve(&whole.as_partial(1)), Resolved::Incomplete);
    assert_eq!(table.resolve(&whole.as_partial(0)), Resolved::Incomplete);
    assert_eq!(table.resolve(&whole.as_partial(2)), Resolved::Command(set));
}

#[test]
fn a_nul_byte_makes_a_name_unknown() {
    // Redis compares with `strcasecmp`: up to 6.2 the first of these sets a parameter.
    let table = Table::builtin();
    let config = table.find(b"config").unwrap();
    for own in [
        &b"SET\0"[..],
        b"SET\0x",
        b"\0",
        b"",
        b"SET ",
        b" SET",
        b"se\xf4",
        b"SET|",
    ] {
        assert_eq!(
            resolve(&table, &[b"CONFIG", own, b"dir", b"/x"]),
            Resolved::UnknownSubcommand(config)
        );
    }
    for name in [
        &b"QUIT\0"[..],
        b"DEL\0x",
        b"DEL\0junk",
        b"\0DEL",
        b"del\xc4\xb1",
    ] {
        assert_eq!(resolve(&table, &[name, b"k"]), Resolved::UnknownCommand);
    }
    for first in 0..=u8::MAX {
        for second in 0..8 {
            assert_eq!(
                table.find(&[b"FLUSHALL\0", &[first, second][..]].concat()),
                None
            );
        }
    }
    // U+212A and U+0131 fold to k and i outside of ASCII.
    assert_eq!(table.find("\u{212a}eys".as_bytes()), None);
    assert_eq!(table.find("p\u{131}ng".as_bytes()), None);
}

#[test]
fn every_name_is_found_in_any_case_and_nothing_else() {
    let table = Table::builtin();
    for (id, command) in table.iter() {
        let upper = command.own_name().to_ascii_uppercase();
        let mixed: String = command
            .own_name()
            .char_indices()
            .map(|(at, c)| {
                if at % 2 == 0 {
                    c.to_ascii_uppercase()
                } else {
                    c
                }
            })
            .collect();
        for name in [command.own_name(), &upper, &mixed] {
            let found = match command.parent {
                None => table.find(name.as_bytes()),
                Some(parent) => table.find_sub(parent, name.as_bytes()),
            };
            assert_eq!(found, Some(id), "{name}");
            // Bytes that differ from a letter only in the bit that folding sets.
            let mut near = name.as_bytes().to_vec();
            for at in 0..near.len() {
                let byte = near[at];
                for bit in [0x80, 0x40, 0x20, 0x01] {
                    near[at] = byte ^ bit;
                    if near.eq_ignore_ascii_case(name.as_bytes()) {
                        continue;
                    }
                    let twin = table.iter().any(|(_, c)| {
                        c.parent == command.parent
                            && near.eq_ignore_ascii_case(c.own_name().as_bytes())
                    });
                    let found = match command.parent {
                        None => table.find(&near),
                        Some(parent) => table.find_sub(parent, &near),
                    };
                    assert_eq!(found.is_some(), twin, "{near:?}");
                }
                near[at] = byte;
            }
        }
    }
    let mut random = Random(7);
    for _ in 0..10_000 {
        let name: Vec<u8> = (0..random.below(70))
            .map(|_| b'a' + random.below(26) as u8)
            .collect();
        let known = table
            .iter()
            .any(|(_, c)| c.parent.is_none() && c.name.as_bytes() == name);
        assert_eq!(table.find(&name).is_some(), known, "{name:?}");
    }
}

#[test]
fn an_index_of_any_size_builds() {
    for size in [0_u16, 1, 2, 3, 7, 64, 256, 1024] {
        let names: Vec<_> = (0..size)
            .map(|n| (format!("command.number-{n}"), n))
            .collect();
        let index = NameIndex::build(names.clone()).unwrap();
        assert_eq!(index.len(), usize::from(size));
        assert_eq!(index.is_empty(), size == 0);
        for (name, n) in names {
            assert_eq!(index.find(name.to_uppercase().as_bytes()), Some(n));
        }
        assert_eq!(index.find(b""), None);
        assert_eq!(index.find(b"command.number-"), None);
        assert_eq!(index.find(&[b'a'; 65]), None);
    }
    for name in ["", "a|b", "a b", "a\0", "\u{e9}", &"a".repeat(65)] {
        assert!(matches!(
            NameIndex::build([(name, 0)]),
            Err(NameError::Malformed(_))
        ));
    }
    let twice = NameIndex::build([("get", 0), ("GET", 1)]);
    assert_eq!(twice.unwrap_err(), NameError::Duplicate("GET".to_owned()));
    let long = "a".repeat(64);
    assert_eq!(
        NameIndex::build([(&long, 9)])
            .unwrap()
            .find(long.as_bytes()),
        Some(9)
    );
}

#[test]
fn commands_can_be_added() {
    let mut table = Table::builtin();
    let (before, get) = (table.len(), table.find(b"get"));
    let new = |name: &str| {
        let keys = Keys::range(1, 1, 1, Access::READ);
        Command::new(
            name.to_owned(),
            -2,
            Flags::default(),
            Categories::default(),
            keys,
            Channels::None,
        )
    };
    table
        .extend([
            new("FT.SEARCH"),
            new("ft.config"),
            new("ft.config|get"),
            new("config|new"),
        ])
        .unwrap();
    assert_eq!((table.len(), table.find(b"get")), (before + 4, get));
    let search = table.find(b"ft.search").unwrap();
    assert_eq!(table.command(search).name, "ft.search");
    assert_eq!(table.command(search).need, Need::FirstKey);
    assert!(table.find_full("ft.config|get").is_some() && table.find_full("config|new").is_some());

    let duplicate = table.extend([new("other"), new("GET")]).unwrap_err();
    assert!(matches!(
        duplicate,
        TableError::Name(NameError::Duplicate(_))
    ));
    assert!(matches!(
        table.extend([new("nope|sub")]),
        Err(TableError::NoContainer(_))
    ));
    assert!(table.extend([new("config|a|b")]).is_err());
    let many = (0..MAX_COMMANDS).map(|n| new(&format!("x{n}")));
    assert_eq!(table.extend(many), Err(TableError::TooMany));
    assert_eq!((table.len(), table.find(b"other")), (before + 4, None));
}

#[test]
fn what_is_taught_replaces_what_was_taught_before() {
    let new = |name: &str, learned| Command {
        learned,
        ..Command::new(
            name.to_owned(),
            -1,
            Flags::default(),
            Categories::default(),
            Keys::None,
            Channels::None,
        )
    };
    let mut table = Table::builtin();
    table.extend([new("declared", false)]).unwrap();
    let (declared, before) = (table.find(b"declared"), table.len());
    let first = table
        .taught([new("old", true), new("config|old", true), new("both", true)])
        .unwrap();
    let second = first
        .taught([new("box", true), new("box|in", true), new("both", true)])
        .unwrap();
    assert_eq!((first.len(), second.len()), (before + 3, before + 3));
    assert_eq!(second.find(b"declared"), declared);
    assert!(second.find(b"old").is_none() && second.find_full("config|old").is_none());
    assert!(second.find(b"both").is_some() && second.find_full("box|in").is_some());
    assert_eq!(second.taught([]).unwrap().len(), before);
    // What is built in or declared is known already, and is the better lesson.
    let taught = table.taught([new("get", true)]).unwrap();
    assert!(taught.iter().eq(table.iter()));
}
