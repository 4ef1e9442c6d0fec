//! Answers to `COMMAND` of every shape, as real servers give them.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::command::{CommandId, Databases};
use crate::fixtures::Random;

fn word(text: &str) -> Reply {
    Reply::Status(text.to_owned().into())
}

fn name(text: &str) -> Reply {
    Reply::Bulk(text.to_owned().into())
}

fn words(texts: &[&str]) -> Reply {
    Reply::Array(texts.iter().map(|text| word(text)).collect())
}

/// What every version tells: name, arity, flags, first key, last key, step.
fn six(full: &str, flags: &[&str], row: [i64; 3]) -> Vec<Reply> {
    let mut items = vec![name(full), Reply::Integer(-2), words(flags)];
    items.extend(row.map(Reply::Integer));
    items
}

/// From 6.0 on.
fn seven(full: &str, flags: &[&str], row: [i64; 3], categories: &[&str]) -> Vec<Reply> {
    let mut items = six(full, flags, row);
    items.push(words(categories));
    items
}

/// From 7.0 on.
fn ten(full: &str, flags: &[&str], specs: Vec<Reply>, subcommands: Vec<Vec<Reply>>) -> Vec<Reply> {
    let mut items = seven(full, flags, [0, 0, 0], &["@slow"]);
    items.push(Reply::Array(Vec::new()));
    items.push(Reply::Array(specs));
    items.push(answer(subcommands));
    items
}

fn map(fields: Vec<(&str, Reply)>) -> Reply {
    let pairs = fields.into_iter();
    Reply::Array(pairs.flat_map(|(key, value)| [name(key), value]).collect())
}

fn search(kind: &str, fields: &[(&str, i64)]) -> Reply {
    let number = |(name, number): &(_, i64)| (*name, Reply::Integer(*number));
    let spec = map(fields.iter().map(number).collect());
    map(vec![("type", name(kind)), ("spec", spec)])
}

fn key_spec(flags: &[&str], begin: Reply, find: Reply) -> Reply {
    map(vec![
        ("flags", words(flags)),
        ("begin_search", begin),
        ("find_keys", find),
    ])
}

fn row(first: i64, last: i64, flags: &[&str]) -> Reply {
    let find = [("lastkey", last), ("keystep", 1), ("limit", 0)];
    key_spec(
        flags,
        search("index", &[("index", first)]),
        search("range", &find),
    )
}

fn answer(entries: Vec<Vec<Reply>>) -> Reply {
    Reply::Array(entries.into_iter().map(Reply::Array).collect())
}

fn taught(entries: Vec<Vec<Reply>>) -> Learned {
    learn(&answer(entries), &Table::builtin())
}

/// The only command that is learned, and that the table takes it.
#[track_caller]
fn only(entry: Vec<Reply>) -> Command {
    let Learned { commands, skipped } = taught(vec![entry]);
    assert_eq!(skipped, []);
    assert_eq!(commands.len(), 1, "{commands:?}");
    assert!(commands[0].learned);
    Table::builtin().extend(commands.clone()).unwrap();
    commands[0].clone()
}

fn names(learned: &Learned) -> Vec<&str> {
    learned.commands.iter().map(|c| &*c.name).collect()
}

#[test]
fn six_items_are_read_as_redis_5_tells_them() {
    // Of RediSearch 1.2 in 5.0.6.
    let search = only(six("FT.SEARCH", &["readonly"], [1, 1, 1]));
    assert_eq!((&*search.name, search.arity), ("ft.search", -2));
    assert_eq!(search.flags, Flags::of(&[Flag::Readonly]));
    assert_eq!(search.keys, Keys::range(1, 1, 1, Access::READ));
    assert_eq!(search.need, Need::FirstKey);
    let read = Categories::of(&[Category::Read, Category::Slow]);
    assert_eq!(search.categories, read);

    let add = only(six("ft.add", &["write", "denyoom", "fast"], [1, -1, 2]));
    assert_eq!(add.keys, Keys::range(1, -1, 2, Access::READ_WRITE));
    let write = Categories::of(&[Category::Write, Category::Fast]);
    assert_eq!(add.categories, write);

    let admin = only(six("x", &["admin", "pubsub", "blocking"], [0, 0, 0]));
    let expected = [
        Category::Admin,
        Category::Dangerous,
        Category::Pubsub,
        Category::Blocking,
        Category::Slow,
    ];
    assert_eq!(admin.categories, Categories::of(&expected));
    assert_eq!(
        (admin.keys, admin.channels),
        (Keys::None, Channels::Unknown)
    );
    // Neither said to read nor to write.
    let neither = only(six("x", &[], [1, 1, 1]));
    assert_eq!(neither.keys, Keys::range(1, 1, 1, Access::READ_WRITE));
}

#[test]
fn a_query_without_keys_looks_at_the_database_that_it_is_in() {
    // As 5.0 and 7.0 tell of TS.MRANGE, which reads every series that has a label.
    for flags in [&["readonly"][..], &[], &["readonly", "module"]] {
        let query = only(six("ts.mrange", flags, [0, 0, 0]));
        assert_eq!(query.keys, Keys::None);
        assert_eq!(query.databases, Databases::Current, "{flags:?}");
    }
}

#[test]
fn places_of_keys_that_make_no_sense_are_unknown() {
    for (flags, row) in [
        (&["write", "movablekeys"][..], [0, 0, 0]),
        (&["write", "movablekeys"], [1, 1, 1]),
        // RediSearch's FT.MGET in 5.0.6.
        (&["readonly"], [0, 0, -1]),
        (&["readonly"], [-1, 1, 1]),
        (&["readonly"], [2, 1, 1]),
        (&["readonly"], [1, 1, 0]),
        (&["readonly"], [1, 70_000, 1]),
        (&["readonly"], [i64::MIN, i64::MAX, i64::MAX]),
    ] {
        let command = only(six("x", flags, row));
        assert_eq!(command.keys, Keys::Unknown, "{flags:?} {row:?}");
    }
}

#[test]
fn categories_are_those_that_redis_6_tells() {
    let told = ["@read", "@geo", "@search", "no category", "@"];
    let command = only(seven("x", &["write"], [1, 1, 1], &told));
    let expected = Categories::of(&[Category::Read, Category::Geo]);
    assert_eq!(command.categories, expected);
    // Redis 6.0 to 7.4 puts no module's command into any.
    let module = only(seven("x", &["write", "module"], [1, 1, 1], &[]));
    assert_eq!(module.categories, Categories::default());
    assert_eq!(module.keys, Keys::range(1, 1, 1, Access::READ_WRITE));
}

#[test]
fn key_specs_of_redis_7_are_followed() {
    // GRAPH.QUERY, as 8.2.3 tells it.
    let query = only(ten(
        "graph.QUERY",
        &["write", "denyoom", "module", "noscript", "blocking"],
        vec![row(1, 0, &["RW", "access", "update"])],
        vec![],
    ));
    assert_eq!(&*query.name, "graph.query");
    assert_eq!(query.keys, Keys::range(1, 1, 1, Access::READ_WRITE));

    // Two rows with an access each; a shard channel is no key.
    let two = only(ten(
        "x",
        &["write"],
        vec![
            row(1, 0, &["OW", "update"]),
            row(3, 0, &["not_key"]),
            row(2, -1, &["RO", "access"]),
        ],
        vec![],
    ));
    let Keys::Many(specs) = &two.keys else {
        panic!("{:?}", two.keys);
    };
    let told: Vec<_> = specs.iter().map(|spec| (spec.begin, spec.access)).collect();
    assert_eq!(
        told,
        [
            (Begin::Index(1), Access::WRITE),
            (Begin::Index(2), Access::READ)
        ]
    );

    let find = [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)];
    let counted = key_spec(
        &["RO", "access"],
        search("index", &[("index", 1)]),
        search("keynum", &find),
    );
    let flags = ["readonly", "movablekeys"];
    let union = only(ten("x", &flags, vec![counted.clone()], vec![]));
    let Keys::One(spec) = union.keys else {
        panic!("{:?}", union.keys);
    };
    let keynum = Find::Keynum {
        count: 0,
        first: 1,
        step: 1,
    };
    assert_eq!((spec.begin, spec.find), (Begin::Index(1), keynum));
    // A module's own function may find more than its specs say.
    let flags = ["readonly", "movablekeys", "module"];
    assert_eq!(
        only(ten("x", &flags, vec![counted], vec![])).keys,
        Keys::Unknown
    );
    // What a flag of a version to come permits, nobody knows.
    let new = only(ten("x", &[], vec![row(1, 0, &["RO", "peeks"])], vec![]));
    assert_eq!(new.keys, Keys::range(1, 1, 1, Access::READ_WRITE));
}

#[test]
fn vague_key_specs_leave_all_open() {
    let index = || search("index", &[("index", 1)]);
    let range = || search("range", &[("lastkey", 0), ("keystep", 1), ("limit", 0)]);
    let good = || row(1, 0, &["RO", "access"]);
    let after = map(vec![
        ("keyword", name("STORE")),
        ("startfrom", Reply::Integer(2)),
    ]);
    let keyword = map(vec![("type", name("keyword")), ("spec", after)]);
    for (flags, specs) in [
        (&[][..], vec![row(1, 0, &["RO", "incomplete"])]),
        (&[], vec![good(), key_spec(&["RO"], keyword, range())]),
        (
            &[],
            vec![key_spec(&["RO"], search("unknown", &[]), range())],
        ),
        (
            &[],
            vec![key_spec(&["RO"], index(), search("unknown", &[]))],
        ),
        (&[], vec![row(0, 0, &["RO"])]),
        (&[], vec![row(-1, 0, &["RO"])]),
        (&[], vec![row(70_000, 0, &["RO"])]),
        (&[], vec![key_spec(&["RO"], index(), Reply::Null)]),
        (&[], vec![Reply::Null]),
        (&[], vec![map(vec![("flags", words(&[]))])]),
        // Something finds more keys than the row that the spec tells of.
        (&["movablekeys"], vec![good()]),
        (&["movablekeys"], vec![]),
        (&["movablekeys"], vec![row(1, 0, &["not_key"])]),
    ] {
        let context = format!("{flags:?} {specs:?}");
        let command = only(ten("x", flags, specs, vec![]));
        assert_eq!(command.keys, Keys::Unknown, "{context}");
    }
}

#[test]
fn subcommands_are_learned_with_and_without_their_container() {
    let sub = |full: &str| {
        ten(
            full,
            &["readonly"],
            vec![row(2, 0, &["RO", "access"])],
            vec![],
        )
    };
    let learned = taught(vec![
        ten(
            "FT.CONFIG",
            &[],
            vec![],
            vec![sub("FT.CONFIG|GET"), sub("ft.config|set")],
        ),
        // The table has both CONFIG and CONFIG GET.
        ten(
            "config",
            &["admin"],
            vec![],
            vec![sub("config|get"), sub("config|new")],
        ),
        // GET has no subcommands here, and gets none.
        ten("get", &[], vec![], vec![sub("get|x")]),
    ]);
    assert_eq!(
        names(&learned),
        ["config|new", "ft.config", "ft.config|get", "ft.config|set"]
    );
    assert_eq!(learned.skipped, []);
    assert_eq!(learned.commands[2].keys, Keys::range(2, 2, 1, Access::READ));
    let mut table = Table::builtin();
    let get = table.find(b"get").unwrap();
    table.extend(learned.commands.clone()).unwrap();
    assert!(table.find_full("ft.config|set").is_some() && table.find_full("config|new").is_some());
    assert!(!table.command(get).container);
    // A table that has learned is taught the same again.
    let again = learn(
        &answer(vec![
            six("config", &[], [0, 0, 0]),
            six("ft.config", &[], [0, 0, 0]),
        ]),
        &table,
    );
    assert_eq!(names(&again), ["ft.config"]);
}

#[test]
fn names_that_cannot_be_told_apart_are_skipped() {
    let odd = |full: &str| six(full, &[], [0, 0, 0]);
    let learned = taught(vec![
        odd("a b"),
        odd("nul\0"),
        odd(""),
        odd("a|b"),
        odd(&"x".repeat(65)),
        odd("\u{e9}"),
        odd("post"),
        odd("Host:"),
        odd("get"),
        odd("good"),
        ten(
            "box",
            &[],
            vec![],
            vec![
                odd("other|x"),
                odd("box|"),
                odd("box|a|b"),
                odd("boxx"),
                odd("box"),
            ],
        ),
    ]);
    assert_eq!(names(&learned), ["box", "good"]);
    // It has subcommands; which, is lost.
    assert_eq!(learned.commands[0].keys, Keys::Unknown);
    assert_eq!(learned.skipped.len(), 11);
    assert!(
        learned
            .skipped
            .iter()
            .all(|skipped| skipped.reason == SkipReason::Name)
    );
    assert_eq!(learned.skipped[1].name, "nul\\0");
    let mut table = Table::builtin();
    table.extend(learned.commands).unwrap();
}

#[test]
fn entries_that_no_redis_gives_are_skipped() {
    let mut wild = six("x", &[], [0, 0, 0]);
    wild[1] = Reply::Integer(i64::MAX);
    let mut flagless = six("y", &[], [0, 0, 0]);
    flagless[2] = Reply::Null;
    let mut short = six("z", &[], [0, 0, 0]);
    short.pop();
    let learned = taught(vec![wild, flagless, short, vec![], vec![Reply::Integer(1)]]);
    assert!(learned.commands.is_empty());
    let told: Vec<_> = learned
        .skipped
        .iter()
        .map(|skipped| &*skipped.name)
        .collect();
    assert_eq!(told, ["x", "y", "z", "?", "?"]);
    for other in [
        Reply::Null,
        Reply::Error("ERR".to_owned()),
        Reply::Integer(1),
    ] {
        assert_eq!(learn(&other, &Table::builtin()), Learned::default());
    }
}

#[test]
fn same_name_twice_is_as_strict_as_both() {
    let learned = taught(vec![
        six("X", &["readonly"], [1, 1, 1]),
        six("x", &["readonly"], [2, 2, 1]),
    ]);
    assert_eq!(names(&learned), ["x"]);
    assert_eq!(learned.commands[0].keys, Keys::Unknown);
}

#[test]
fn a_full_table_says_so_and_stays_usable() {
    let many = (0..3_000).map(|n| six(&format!("x{n}"), &[], [0, 0, 0]));
    let odd = (0..100).map(|n| six(&format!("odd {n}"), &[], [0, 0, 0]));
    let learned = taught(odd.chain(many).collect());
    let mut table = Table::builtin();
    assert_eq!(table.len() + learned.commands.len(), MAX_COMMANDS);
    let last = learned.skipped.last().unwrap();
    assert_eq!(last.reason, SkipReason::TooMany);
    assert_eq!(learned.skipped.len(), MAX_SKIPPED);
    table.extend(learned.commands).unwrap();
}

#[test]
fn no_answer_panics_and_the_table_takes_what_is_learned() {
    const WORDS: &[&str] = &[
        "",
        "x",
        "X",
        "get",
        "config",
        "config|get",
        "config|y",
        "x|y",
        "x|y|z",
        "a b",
        "\0",
        "post",
        "readonly",
        "write",
        "pubsub",
        "movablekeys",
        "module",
        "@read",
        "@x",
        "flags",
        "begin_search",
        "find_keys",
        "type",
        "spec",
        "index",
        "range",
        "keynum",
        "keyword",
        "lastkey",
        "keystep",
        "limit",
        "keynumidx",
        "firstkey",
        "RO",
        "RW",
        "not_key",
        "incomplete",
        "access",
    ];
    const NUMBERS: &[i64] = &[
        0,
        1,
        -1,
        2,
        -2,
        7,
        65_535,
        65_536,
        -32_768,
        i64::MAX,
        i64::MIN,
    ];

    fn any(random: &mut Random, depth: usize) -> Reply {
        match random.below(if depth < 7 { 9 } else { 5 }) {
            0 => Reply::Null,
            1 | 2 => Reply::Integer(NUMBERS[random.below(NUMBERS.len())]),
            3 => word(WORDS[random.below(WORDS.len())]),
            4 => name(WORDS[random.below(WORDS.len())]),
            _ => (0..random.below(11))
                .map(|_| any(random, depth + 1))
                .collect::<Vec<_>>()
                .into_reply(),
        }
    }

    /// An entry of the right shape, with something wrong in some places.
    fn entry(random: &mut Random, depth: usize) -> Reply {
        let subs = match depth {
            0 => (0..random.below(3)).map(|_| entry(random, 1)).collect(),
            _ => Vec::new(),
        };
        let pick = |random: &mut Random| NUMBERS[random.below(NUMBERS.len())];
        let spec = row(
            pick(random),
            pick(random),
            &[WORDS[random.below(WORDS.len())]],
        );
        let mut items = seven(
            WORDS[random.below(WORDS.len())],
            &[
                WORDS[random.below(WORDS.len())],
                WORDS[random.below(WORDS.len())],
            ],
            [pick(random), pick(random), pick(random)],
            &[WORDS[random.below(WORDS.len())]],
        );
        items.extend([
            Vec::new().into_reply(),
            vec![spec].into_reply(),
            subs.into_reply(),
        ]);
        if random.below(3) == 0 {
            let at = random.below(items.len());
            items[at] = any(random, depth + 2);
        }
        items.truncate([10, 10, 9, 8, 7, 6, 5][random.below(7)]);
        items.into_reply()
    }

    trait IntoReply {
        fn into_reply(self) -> Reply;
    }
    impl IntoReply for Vec<Reply> {
        fn into_reply(self) -> Reply {
            Reply::Array(self)
        }
    }

    let seed = 0x5eed_0002;
    let mut random = Random(seed);
    let builtin = Table::builtin();
    let mut count = 0;
    for round in 0..20_000 {
        let entries = (0..random.below(6)).map(|_| match random.below(4) {
            0 => any(&mut random, 1),
            _ => entry(&mut random, 0),
        });
        let answer = entries.collect::<Vec<_>>().into_reply();
        let learned = learn(&answer, &builtin);
        count += learned.commands.len();
        for command in &learned.commands {
            assert!(
                builtin.find_full(&command.name).is_none(),
                "seed {seed:#x} round {round}"
            );
        }
        if round % 200 == 0 {
            let mut table = builtin.clone();
            let outcome = table.extend(learned.commands);
            assert_eq!(outcome, Ok(()), "seed {seed:#x} round {round} {answer:?}");
            let ids: Vec<CommandId> = table.iter().map(|(id, _)| id).collect();
            assert_eq!(ids.len(), table.len());
        }
    }
    assert!(count > 1_000, "the generator teaches too little: {count}");
}
