//! Rules, files and decisions. The exact agreement with Redis is tested beside real servers.

use proptest::prelude::*;

use super::*;
use crate::command::{Resolved, Table};
use crate::resp::OwnedArgs;

fn user(rules: &str, table: &Table) -> User {
    let mut user = User::new("u");
    let words: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
    for rule in &super::setuser::merge_selectors(&words).unwrap() {
        user.apply(rule, table)
            .unwrap_or_else(|error| panic!("{}: {error}", rule.escape_ascii()));
    }
    user.compile(table);
    user
}

fn judge(user: &User, command: &str, table: &Table) -> Decision {
    judge_partial(user, command, usize::MAX, table)
}

fn judge_partial(user: &User, command: &str, present: usize, table: &Table) -> Decision {
    let args: OwnedArgs = command.split(' ').collect();
    let args = args.as_partial(present);
    match table.resolve(&args) {
        Resolved::Command(id) => decide(user, id, &args, Whereabouts::START, table),
        other => panic!("{command}: {other:?}"),
    }
}

#[track_caller]
fn allowed(rules: &str, command: &str) {
    let table = Table::builtin();
    let decision = judge(&user(rules, &table), command, &table);
    assert!(
        matches!(decision, Decision::Allow(_)),
        "{rules} on {command}: {decision:?}"
    );
}

#[track_caller]
fn denied(rules: &str, command: &str, reason: DenyReason) {
    let table = Table::builtin();
    match judge(&user(rules, &table), command, &table) {
        Decision::Deny(denial) => assert_eq!(denial.reason, reason, "{rules} on {command}"),
        decision => panic!("{rules} on {command}: {decision:?}"),
    }
}

#[test]
fn rules_apply_left_to_right() {
    allowed("+@all ~*", "FLUSHALL");
    denied("+@all -@dangerous ~*", "FLUSHALL", DenyReason::Command);
    allowed("-@dangerous +@all ~*", "FLUSHALL");
    denied("", "GET a", DenyReason::Command);
    denied("+@all nocommands ~*", "GET a", DenyReason::Command);
    denied("+@all reset ~*", "GET a", DenyReason::Command);
    allowed("+@read allkeys", "GET a");
    denied("+@read allkeys", "SET a b", DenyReason::Command);
    denied(
        "allcommands allkeys resetkeys",
        "GET a",
        DenyReason::Key { index: 1 },
    );
}

#[test]
fn a_line_of_acl_list_is_taken_as_it_stands() {
    let line = "on sanitize-payload ~a:* resetchannels &c -@all +@read +config|get";
    allowed(line, "GET a:1");
    denied(line, "SET a:1 v", DenyReason::Command);
}

#[test]
fn a_container_stands_for_its_subcommands() {
    allowed("+config", "CONFIG SET a b");
    denied("+@all -config", "CONFIG GET a", DenyReason::Command);
    allowed("+@all -config +config|get", "config get a");
    denied(
        "+@all -config +config|get",
        "CONFIG SET a b",
        DenyReason::Command,
    );
    denied("+@all -config +config|get", "CONFIG", DenyReason::Command);
    denied("+@all -config|set", "CONFIG SET a b", DenyReason::Command);
    allowed("+@all -config|set", "CONFIG GET a");
}

#[test]
fn keys_need_what_the_command_does_to_them() {
    allowed("+@all ~a:*", "GET a:1");
    denied("+@all ~a:*", "GET b", DenyReason::Key { index: 1 });
    denied("+@all ~a:*", "MGET a:1 a:2 b", DenyReason::Key { index: 3 });
    allowed("+@all %R~a:*", "GET a:1");
    denied("+@all %R~a:*", "SET a:1 x", DenyReason::Key { index: 1 });
    allowed("+@all %W~a:*", "SET a:1 x");
    denied(
        "+@all %W~a:*",
        "SET a:1 x GET",
        DenyReason::Key { index: 1 },
    );
    allowed("+@all %W~a:* %R~a:*", "SET a:1 x GET");
    allowed("+@all %W~a*", "EXISTS a1");
    denied("+@all %W~a*", "EXISTS b1", DenyReason::Key { index: 1 });
    denied("+@all %W~a*", "GETEX a1", DenyReason::Key { index: 1 });
    denied("+@all %R~a*", "GETEX a1", DenyReason::Key { index: 1 });
    denied("+@all ~a", "RENAME a b", DenyReason::Key { index: 2 });
    denied(
        "+@all ~a",
        "SORT a STORE BY STORE forb",
        DenyReason::Key { index: 5 },
    );
    allowed("+@all", "PING");
    denied(
        "+@all ~a",
        "EVAL s +1 a",
        DenyReason::Unparsable { index: 2 },
    );
    allowed("+@all ~* &*", "EVAL s +1 a");
    denied("+@all ~a", "GET", DenyReason::Arity);
    allowed("+@all ~*", "GET");
}

#[test]
fn a_star_for_reading_and_writing_is_a_pattern_like_others() {
    allowed("+@all %RW~*", "SORT a BY w_*");
    allowed("+@all %R~*", "SORT a BY w_* GET x_*");
    denied(
        "+@all %W~* %R~a",
        "SORT a BY w_*",
        DenyReason::AllKeys {
            index: 3,
            why: "BY",
        },
    );
    denied("+@all %RW~*", "SET  v", DenyReason::Key { index: 1 });
    allowed("+@all ~*", "SET  v");
    // Redis takes `BY` for the destination of this one, and runs it. What it writes is the key ``.
    let sort = "SORT GROUP STORE BY STORE  ASC GET ";
    denied("+@all %RW~*", sort, DenyReason::Key { index: 5 });
    denied(
        "(+@all ~GROUP ~BY) (+@all %RW~*)",
        sort,
        DenyReason::AllKeys {
            index: 8,
            why: "GET",
        },
    );
    allowed("(+@all ~GROUP ~BY) (+@all ~*)", sort);
    // `~*` sets a flag after which patterns are refused; this does not.
    allowed("+@all %RW~* ~a", "GET a");
}

#[test]
fn channels_match_and_patterns_are_compared() {
    allowed("+@all &news.*", "PUBLISH news.a x");
    denied(
        "+@all &news.*",
        "PUBLISH other x",
        DenyReason::Channel { index: 1 },
    );
    allowed("+@all &news.*", "PSUBSCRIBE news.*");
    denied(
        "+@all &news.*",
        "PSUBSCRIBE news.a*",
        DenyReason::Channel { index: 1 },
    );
    denied(
        "+@all &news.*",
        "SUBSCRIBE news.a other",
        DenyReason::Channel { index: 2 },
    );
    allowed("+@all &*", "PSUBSCRIBE *");
    denied("+@all", "PUBLISH a b", DenyReason::Channel { index: 1 });
}

#[test]
fn a_verdict_comes_early_only_if_nothing_can_change_it() {
    let table = Table::builtin();
    let writer = user("+@all %W~a:*", &table);
    assert_eq!(
        judge_partial(&writer, "SET a:1 v GET", 2, &table),
        Decision::Wait
    );
    assert!(
        matches!(
            judge_partial(&writer, "SET b v GET", 2, &table),
            Decision::Deny(_)
        ),
        "no pattern matches the key, whatever is done to it"
    );
    let owner = user("+@all ~a:*", &table);
    assert!(matches!(
        judge_partial(&owner, "SET a:1 v GET", 2, &table),
        Decision::Allow(_)
    ));
    assert_eq!(
        judge_partial(&owner, "MSET a:1 v a:2 v", 3, &table),
        Decision::Wait
    );
    assert!(matches!(
        judge_partial(&owner, "MSET a:1 v a:2 v", 4, &table),
        Decision::Allow(_)
    ));
    assert!(matches!(
        judge_partial(&owner, "MSET b v a:2 v", 2, &table),
        Decision::Deny(_)
    ));
    let nobody = user("-@all", &table);
    assert!(matches!(
        judge_partial(&nobody, "SET a v", 1, &table),
        Decision::Deny(_)
    ));
    let all = user("+@all ~*", &table);
    assert!(matches!(
        judge_partial(&all, "MSET a v b v", 1, &table),
        Decision::Allow(_)
    ));
}

#[test]
fn wrong_rules_are_refused_in_redis_words() {
    let table = Table::builtin();
    let cases = [
        ("-flushal", RuleError::UnknownCommand),
        ("+@nosuch", RuleError::UnknownCommand),
        ("+config|nosuch", RuleError::UnknownCommand),
        ("-get|x", RuleError::UnknownCommand),
        ("+config|get|x", RuleError::FirstArgOfSubcommand),
        ("%Q~a", RuleError::Syntax),
        ("%RR~a", RuleError::Syntax),
        ("%~a", RuleError::Syntax),
        ("nonsense", RuleError::Syntax),
        ("#abc", RuleError::Hash),
        ("<nopassword", RuleError::NoSuchPassword),
        ("(+get", RuleError::Syntax),
        ("(on)", RuleError::Syntax),
        ("((+get))", RuleError::Syntax),
        ("+get|", RuleError::Syntax),
        ("+get|x|y", RuleError::UnknownCommand),
        ("db=", RuleError::Databases),
        ("db=01", RuleError::Databases),
        ("db=-1", RuleError::Databases),
        ("lethal=get", RuleError::NotLethal),
        ("script=sha1:abc", RuleError::Sha1),
    ];
    for (rule, error) in cases {
        assert_eq!(
            User::new("u").apply(rule.as_bytes(), &table),
            Err(error),
            "{rule}"
        );
    }
    let mut all = user("allkeys allchannels", &table);
    assert_eq!(all.apply(b"~a", &table), Err(RuleError::KeyAfterAll));
    // Redis looks at the flag first, and at one word of a selector after the other.
    for rule in [&b"~a b"[..], b"%X~a", b"(~* ~a +nope)"] {
        assert_eq!(all.apply(rule, &table), Err(RuleError::KeyAfterAll));
    }
    let mut channels = user("allchannels", &table);
    assert_eq!(
        channels.apply(b"&a b", &table),
        Err(RuleError::ChannelAfterAll)
    );
    assert_eq!(channels.apply(b"+get|a b", &table), Err(RuleError::Syntax));
    assert_eq!(all.apply(b"&a", &table), Err(RuleError::ChannelAfterAll));
}

fn parse(text: &str) -> Result<(Policy, Vec<Problem>), Vec<Problem>> {
    let source = Source {
        path: "users.acl".into(),
        content: text.as_bytes().to_vec(),
    };
    Policy::parse(&[source], &Table::builtin())
}

#[test]
fn a_file_reports_every_wrong_line_and_no_password() {
    let text = "# comment\n\nuser a on >secret1 +nosuch +get\nusre b on\nuser a on\nuser\n\
                role r +nope\nuser c on #secret2 ~a ~*  ~b\n";
    let problems = parse(text).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let lines = lines.join("\n");
    for part in [
        "users.acl:3: '+nosuch': Unknown command",
        "users.acl:4: 'usre': a line starts with 'user', 'role' or",
        "users.acl:5: 'a': Duplicate user found",
        "users.acl:6: 'user': the user's name is missing",
        "users.acl:7: '+nope': Unknown command",
        "users.acl:8: '#…': The password hash must",
        "users.acl:8: '~b': Adding a pattern after the *",
    ] {
        assert!(lines.contains(part), "{part} in\n{lines}");
    }
    assert!(!lines.contains("secret"));
}

#[test]
fn a_file_that_is_no_acl_file_is_not_shown() {
    let text = "-----BEGIN PRIVATE KEY-----\nMIGHsecret+/12==\nsecretsecret\n\
                user a on secret== x=secret\n";
    let problems = parse(text).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let lines = lines.join("\n");
    assert!(
        lines.contains("users.acl:2: 'M…': a line starts"),
        "{lines}"
    );
    assert!(lines.contains("users.acl:4: 's…': Syntax error"), "{lines}");
    assert!(!lines.contains("secret"), "{lines}");
}

#[test]
fn what_reads_like_a_slip_is_told_once_and_with_the_way_out() {
    let text = "user a on +ping   # his and hers\nuser b db=a role=x script=sha1:1\n";
    let problems = parse(text).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "users.acl:1: '#': a comment stands on a line of its own",
            "users.acl:2: 'role=x': there is no role of this name",
            "users.acl:2: 'db=a': databases are numbers with commas between them, such as db=0,3",
            "users.acl:2: 'script=sha1:1': a SHA-1 has 40 hexadecimal digits",
        ]
    );
}

#[test]
fn doubts_name_the_rule_and_spare_who_was_plain() {
    let text = "user a on +slaveof +config|rewrite lethal=slaveof\n\
                user b on +@all -@scripting resetchannels\nuser c on +publish\n";
    let (_, warnings) = parse(text).unwrap();
    let lines: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert_eq!(
        lines[0],
        "users.acl:1: 'a': '+config|rewrite' opens nothing without 'lethal=config|rewrite'"
    );
    assert!(
        lines[1].starts_with("users.acl:3: 'c': may publish"),
        "{lines:#?}"
    );
}

#[test]
fn a_password_without_its_sign_is_not_repeated() {
    for word in [
        "c2VjcmV0IHB3==",
        "_secret",
        "=secret",
        "(>secret",
        "$ecret=secret",
        "(+get >secret)",
        "(+no #secret)",
    ] {
        let problems = parse(&format!("user a on {word} +get\n")).unwrap_err();
        let line = problems[0].to_string();
        assert!(!line.contains("ecret") && !line.contains("c2Vj"), "{line}");
    }
    assert_eq!(file::masked("(".repeat(1 << 20).as_bytes()), "(");
    let problems = parse("user a on db=x lethal=get role=none\n").unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for part in ["'db=x'", "'lethal=get'", "'role=none'"] {
        assert!(lines.iter().any(|line| line.contains(part)), "{lines:?}");
    }
}

#[test]
fn passwords_open_only_their_user() {
    let hash = PasswordHash::of(b"hashed");
    let text = format!(
        "user a on >one >two\nuser off off >pw\nuser any on nopass\nuser none on\n\
         user h on #{hash}\nuser gone on >x resetpass\nuser less on >x >y <x\n"
    );
    let (policy, warnings) = parse(&text).unwrap();
    let cases = [
        ("a", "one", true),
        ("a", "two", true),
        ("a", "three", false),
        ("a", "", false),
        ("off", "pw", false),
        ("any", "whatever", true),
        ("none", "", false),
        ("h", "hashed", true),
        ("gone", "x", false),
        ("less", "x", false),
        ("less", "y", true),
        ("nobody", "x", false),
        ("default", "x", false),
    ];
    for (name, password, expected) in cases {
        let found = policy.authenticate(name, password.as_bytes()).is_some();
        assert_eq!(found, expected, "{name} {password}");
    }
    assert!(
        warnings
            .iter()
            .any(|warning| warning.reason.contains("'nopass'"))
    );
    assert!(!format!("{policy:?}").contains("hashed"));
    assert_eq!(policy.content_hash().len(), 64);
}

#[test]
fn files_that_rely_on_redis_6_channels_are_told_so() {
    let (_, warnings) = parse("user a on >x +@all ~*\nuser b on >x +@all ~* &*\n").unwrap();
    let told = |word: &str| {
        let about = warnings.iter().filter(|one| one.reason.contains(word));
        about.map(|one| one.text.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(told("no channel"), ["a"]);
    assert_eq!(told("script="), ["a"], "less than a script may");
    let (_, warnings) = parse("user a on >x +debug\nuser b on >x +debug lethal=debug\n").unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].reason.contains("lethal="));
}

#[test]
fn an_explanation_names_the_rule() {
    let table = Table::builtin();
    let told_to = |judged: &User, command: &str| {
        let args: OwnedArgs = command.split(' ').collect();
        let Resolved::Command(id) = table.resolve(&args.as_args()) else {
            panic!("{command}")
        };
        explain(judged, id, &args.as_args(), Whereabouts::START, &table)
    };
    let judged = user("+@all -@dangerous %R~cache:*", &table);
    let told = |command: &str| told_to(&judged, command);
    assert_eq!(told("FLUSHALL").rule, "-@dangerous");
    assert_eq!(told("GET cache:1").rule, "+@all");
    let set = told("SET cache:1 v");
    assert_eq!(set.rule, "%R~cache:*");
    assert_eq!(set.offender.as_deref(), Some(&b"cache:1"[..]));
    assert_eq!(set.names, [b"cache:1"]);
    assert_eq!(told("GET other").rule, "no ~pattern matches");
    let first = user("~* db=0 +set|k +select", &table);
    assert_eq!(told_to(&first, "SET k v").rule, "+set|k");
    let unreadable = told_to(&first, "SELECT +1").rule;
    assert_eq!(
        unreadable,
        "what it touches can't be told, and not everything is allowed"
    );
}

proptest! {
    /// A user with many patterns may do what it may do without the index of them.
    #[test]
    fn a_compiled_user_may_do_the_same(
        patterns in proptest::collection::vec(("~|%R~|%W~", "a{0,10}[ab]{0,3}[ab*?\\[\\]\\\\]{0,3}"), 5..30),
        keys in proptest::collection::vec("a{0,10}[ab]{0,4}", 1..20),
    ) {
        let table = Table::builtin();
        let mut compiled = user("+@all", &table);
        for (sign, pattern) in patterns.iter().filter(|(_, pattern)| pattern != "*") {
            compiled.apply(format!("{sign}{pattern}").as_bytes(), &table).unwrap();
        }
        let plain = compiled.clone();
        compiled.compile(&table);
        for key in &keys {
            for words in [["GET", key].as_slice(), &["SET", key, "v"], &["APPEND", key, "v"], &["EXISTS", key]] {
                let args: OwnedArgs = words.iter().collect();
                let args = args.as_args();
                let id = table.find(args.name()).unwrap();
                prop_assert_eq!(
                    decide(&compiled, id, &args, Whereabouts::START, &table),
                    decide(&plain, id, &args, Whereabouts::START, &table),
                    "{:?}", words
                );
            }
        }
    }
}

fn described(rules: &str) -> String {
    let table = Table::builtin();
    let source = format!("user u {rules}");
    let (policy, _) = parse(&source).unwrap_or_else(|problems| panic!("{rules}: {problems:?}"));
    let text = policy.user("u").unwrap().describe();
    let again = User::new("u");
    let mut again = again;
    let text_words: Vec<&[u8]> = text.split(|byte| *byte == b' ').collect();
    for rule in &super::setuser::merge_selectors(&text_words).unwrap() {
        again.apply(rule, &table).unwrap();
    }
    assert_eq!(
        again.describe(),
        text,
        "what is printed makes the same user"
    );
    String::from_utf8(text).unwrap()
}

#[test]
fn a_user_is_printed_as_redis_prints_it() {
    let cases = [
        ("", "off sanitize-payload resetchannels -@all"),
        (
            "on nopass ~* &* +@all",
            "on nopass sanitize-payload ~* &* +@all",
        ),
        (
            "%R %WR~k &a &b -@dangerous +@read +GET +config|get -config +select|0 +select|X",
            "off sanitize-payload %R~ ~k resetchannels &a &b -@all -@dangerous +@read +get \
             -config +select|0 +select|x",
        ),
        (
            "+@all -get ( +get ~c ) (+@read &x) skip-sanitize-payload",
            "off skip-sanitize-payload resetchannels +@all -get (~c resetchannels -@all +get) \
             (resetchannels &x -@all +@read)",
        ),
        (
            "db=3,0 db=1 (alldbs) (resetdbs) lethal=config|set lethal=DEBUG",
            "off sanitize-payload lethal=config|set lethal=debug resetchannels db=0,1,3 -@all \
             (resetchannels -@all) (resetchannels resetdbs -@all)",
        ),
        (
            "script=any script=sha1:E0E1F9FABFC9D4800C877A703B823AC0578FF8DB",
            "off sanitize-payload script=any \
             script=sha1:e0e1f9fabfc9d4800c877a703b823ac0578ff8db resetchannels -@all",
        ),
        (
            "+@all ~a (+get) reset",
            "off sanitize-payload resetchannels -@all",
        ),
        (
            "(+get) clearselectors",
            "off sanitize-payload resetchannels -@all",
        ),
    ];
    for (rules, expected) in cases {
        assert_eq!(described(rules), expected, "{rules}");
    }
}

#[test]
fn a_selector_must_allow_all_of_a_request() {
    let rules = "+@read ~r:* (+@write ~w:*)";
    let table = Table::builtin();
    let (policy, _) = parse(&format!("user u {rules}")).unwrap();
    let user = policy.user("u").unwrap();
    let told = |command: &str| match judge(user, command, &table) {
        Decision::Deny(denial) => Some(denial.reason),
        _ => None,
    };
    assert_eq!(told("GET r:1"), None);
    assert_eq!(told("SET w:1 v"), None);
    assert_eq!(told("SET r:1 v"), Some(DenyReason::Key { index: 1 }));
    assert_eq!(told("PING"), Some(DenyReason::Command));
    assert_eq!(
        told("COPY r:1 w:1"),
        Some(DenyReason::Key { index: 1 }),
        "selectors are never combined"
    );
}

#[test]
fn a_first_argument_opens_a_command() {
    allowed("+select|0 +select|7", "SELECT 7");
    denied("+select|0", "SELECT 1", DenyReason::Command);
    denied("+select|0", "SELECT", DenyReason::Command);
    denied("+select|0 -select", "SELECT 0", DenyReason::Command);
    denied("+select|0 -@connection", "SELECT 0", DenyReason::Command);
    allowed("+debug|sleep lethal=debug ~*", "debug SLEEP 0");
}

#[test]
fn a_database_must_be_allowed() {
    let database = |index| DenyReason::Database { index };
    allowed("+@all ~* db=0,3", "SELECT 3");
    denied("+@all ~* db=0,3", "SELECT 1", database(1));
    denied(
        "+@all ~* db=0",
        "SELECT +0",
        DenyReason::Unparsable { index: 1 },
    );
    denied("+@all ~* db=3", "GET a", database(0));
    allowed("+@all ~* db=3", "PING");
    allowed("+@all ~* db=3", "SELECT 3");
    denied("+@all ~* db=0", "MOVE k 1", database(2));
    denied("+@all ~* db=0", "COPY a b DB 1", database(4));
    allowed("+@all ~* db=0,1", "COPY a b REPLACE DB 1");
    denied("+@all ~* db=0", "SWAPDB 0 1", database(2));
    denied("+@all ~* db=0", "FLUSHALL", database(0));
    denied("+@all ~* db=0 lethal=*", "MIGRATE h 1 k 2 9", database(4));
    let table = Table::builtin();
    let user = user("+@all ~* db=0,3", &table);
    let args: OwnedArgs = ["GET", "a"].iter().collect();
    let id = table.find(b"get").unwrap();
    let at = |whereabouts| decide(&user, id, &args.as_args(), whereabouts, &table);
    assert!(matches!(
        at(Whereabouts::Among(&[0, 3])),
        Decision::Allow(_)
    ));
    assert!(matches!(
        at(Whereabouts::Among(&[0, 1])),
        Decision::Unsettled(_)
    ));
    assert!(matches!(at(Whereabouts::Among(&[1])), Decision::Deny(_)));
    assert!(matches!(at(Whereabouts::Anywhere), Decision::Deny(_)));
}

#[test]
fn all_commands_are_not_the_lethal_ones() {
    let lethal = |index| DenyReason::Lethal { index };
    let all = "+@all ~* &*";
    denied(all, "DEBUG SLEEP 0", lethal(0));
    denied(all, "SHUTDOWN", lethal(0));
    denied(all, "MODULE LOAD /x.so", lethal(0));
    denied(all, "CLUSTER MEET a 1", lethal(0));
    denied(all, "CONFIG SET dir /tmp", lethal(2));
    denied(all, "CONFIG SET maxmemory 1 DbFileName x", lethal(4));
    denied(all, "CONFIG SET dir\0x /tmp", lethal(2));
    denied(all, "SENTINEL MONITOR m 10.0.0.1 6379 2", lethal(0));
    denied(all, "SENTINEL SET m notification-script /x", lethal(0));
    denied(all, "SENTINEL CONFIG SET announce-ip 10.0.0.1", lethal(0));
    allowed(all, "SENTINEL GET-MASTER-ADDR-BY-NAME m");
    allowed(all, "SENTINEL CKQUORUM m");
    denied(all, "PUBLISH __sentinel__:hello x", lethal(1));
    denied(all, "PUBLISH __sentinel__:hello\0 x", lethal(1));
    allowed(all, "PUBLISH __sentinel__:hell x");
    denied(all, "CONFIG SET replica-announce-ip 1", lethal(2));
    allowed(all, "CONFIG SET maxmemory 1");
    allowed(all, "MODULE LIST");
    allowed(all, "CLUSTER INFO");
    allowed("+@all ~* lethal=config", "CONFIG SET dir /tmp");
    allowed("+@all ~* lethal=config|set", "CONFIG SET dir /tmp");
    denied("+@all ~* lethal=config|set", "CONFIG REWRITE", lethal(0));
    allowed(
        "+@all lethal=sentinel",
        "SENTINEL MONITOR m 10.0.0.1 6379 2",
    );
    allowed("+@all &* lethal=publish", "PUBLISH __sentinel__:hello x");
    allowed("+@all ~* lethal=*", "SHUTDOWN NOSAVE");
    denied("-@all lethal=*", "SHUTDOWN", DenyReason::Command);
    denied("+@all ~* lethal=* lethal=none", "SHUTDOWN", lethal(0));
}

#[test]
fn scripts_are_for_those_who_may_do_everything_or_named() {
    let one = "script=sha1:e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    allowed("+@all ~* &*", "EVAL x 0");
    for narrow in [
        "+@all ~*",
        "+@all ~a &*",
        "+@all ~* &* -get",
        "+@all ~* &* db=0",
    ] {
        denied(narrow, "EVAL x 0", DenyReason::Script);
        denied(narrow, "SCRIPT LOAD x", DenyReason::Script);
        denied(narrow, "FCALL x 0", DenyReason::Script);
    }
    let table = Table::builtin();
    let user = user(&format!("+@all ~a {one}"), &table);
    let told = |words: &[&str]| {
        let args: OwnedArgs = words.iter().collect();
        let args = args.as_args();
        let Resolved::Command(id) = table.resolve(&args) else {
            panic!("{words:?}")
        };
        matches!(
            decide(&user, id, &args, Whereabouts::START, &table),
            Decision::Allow(_)
        )
    };
    assert!(told(&["EVAL", "return 1", "0"]));
    assert!(told(&["EVAL", "return 1", "1", "a"]));
    assert!(
        !told(&["EVAL", "return 1", "1", "b"]),
        "its keys are judged all the same"
    );
    assert!(!told(&["EVAL", "return 2", "0"]));
    assert!(told(&["SCRIPT", "LOAD", "return 1"]));
    assert!(told(&[
        "evalsha",
        "E0E1F9FABFC9D4800C877A703B823AC0578FF8DB",
        "0"
    ]));
    assert!(!told(&["evalsha", "e0e1", "0"]));
    allowed("+@all ~a script=any", "FCALL x 0");
}

#[test]
fn roles_stand_for_their_rules() {
    let text = "role reader +@read ~r:*\nuser a on role=reader -get\nrole both role=reader +set\n\
                user b role=both ROLE=reader\n";
    let (policy, _) = parse(text).unwrap();
    let told = |name| String::from_utf8(policy.user(name).unwrap().describe()).unwrap();
    let head = "sanitize-payload ~r:* resetchannels -@all";
    assert_eq!(told("a"), format!("on {head} +@read -get"));
    assert_eq!(told("b"), format!("off {head} +set +@read"));
    let changed = policy.with_user(b"c", &[b"role=reader"], &Table::builtin());
    let changed = changed.unwrap();
    assert_eq!(
        changed.user("c").unwrap().describe(),
        format!("off {head} +@read").as_bytes()
    );
    let problems = parse("role a role=b\nrole b role=a\nuser u role=none\n").unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(lines[0].contains("stands for itself"), "{lines:?}");
    assert!(
        lines.last().unwrap().contains("no role of this name"),
        "{lines:?}"
    );
}

#[test]
fn a_change_is_done_whole_or_not_at_all() {
    let table = Table::builtin();
    let (policy, _) = parse("user a on +get ~x\nuser c on\n").unwrap();
    let error = policy
        .with_user(b"a", &[b"+set", b"nonsense"], &table)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Error in ACL SETUSER modifier 'nonsense': Syntax error"
    );
    let error = policy
        .with_user(b"a", &[b"(+get", b"~y"], &table)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Unmatched parenthesis in acl selector starting at '(+get'."
    );
    let changed = policy
        .with_user(b"b", &[b"on", b"(+get", b"~y)"], &table)
        .unwrap();
    let names: Vec<&str> = changed.users().map(|user| user.name()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(policy.user("b").is_none(), "the policy before is as it was");
    assert!(std::sync::Arc::ptr_eq(
        policy.user("a").unwrap(),
        changed.user("a").unwrap()
    ));
    let (rest, gone) = changed.without_users(&[b"a", b"nobody"]);
    assert_eq!((rest.users().count(), gone), (2, 1));
    let (reread, _) = parse("user a on ~x +get\nuser c off\n").unwrap();
    let reread = reread.reusing(&policy);
    let same =
        |name| std::sync::Arc::ptr_eq(reread.user(name).unwrap(), policy.user(name).unwrap());
    assert!(same("a") && !same("c"));
}

/// A rule as a clumsy administrator may write it.
fn any_rule() -> impl Strategy<Value = Vec<u8>> {
    let rule = "[+-](@(all|read|write|admin|dangerous|scripting)|get|set|config|config\\|(get|set)|\
                select|acl|acl\\|(list|load)|sort|client|client\\|(id|list)|foo|x\\|y)|\
                \\+(get|select|sort|config|foo)\\|[a-c]|(%R|%W|%RW|)~[a-c*?]{0,3}|&[ab*]{0,2}|\
                db=[0-3](,[0-3])?|alldbs|resetdbs|allkeys|resetkeys|allchannels|resetchannels|\
                nopass|resetpass|on|off|[><][ab]|reset|clearselectors|lethal=(\\*|debug|none)|\
                script=(any|none)|\\((~[a-c] )?([+-](get|@read|config\\|get) ){0,2}db=1\\)";
    prop_oneof![
        9 => rule.prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ]
}

proptest! {
    #[test]
    fn what_is_printed_or_recompiled_says_the_same(
        rules in proptest::collection::vec(any_rule(), 0..14),
    ) {
        let table = Table::builtin();
        let mut user = User::new("u");
        for rule in &rules {
            let before = user.describe();
            if user.apply(rule, &table).is_err() {
                prop_assert_eq!(before, user.describe());
            }
        }
        user.compile(&table);
        let mut recompiled = user.clone();
        recompiled.recompile(&table);
        prop_assert_eq!(user.describe(), recompiled.describe());
        let (policy, _) = parse("").unwrap();
        let text = user.describe();
        let words: Vec<&[u8]> = text.split(|&byte| byte == b' ').collect();
        let reread = policy.with_user(b"u", &words, &table);
        let others = [Some(recompiled), reread.ok().map(|policy| User::clone(policy.user("u").unwrap()))];
        // A pattern `%RW~*` is printed `~*`, as Redis prints it, and that is read as "all keys", which
        // takes the patterns beside it away: the same rights in fewer words.
        let is_keys = |word: &&&[u8]| word.starts_with(b"~") || word.starts_with(b"%");
        let keys = words.iter().filter(is_keys);
        let collapses = words.contains(&b"~*".as_slice()) && keys.count() > 1;
        for other in others.into_iter().flatten() {
            if collapses {
                prop_assert!(other.selectors()[0].allows_all_keys() || other.describe() == text);
            } else {
                prop_assert_eq!(&text, &other.describe());
            }
            for (one, same) in user.selectors().iter().zip(other.selectors()) {
                for (id, command) in table.iter() {
                    prop_assert_eq!(one.allows_command(id), same.allows_command(id), "{}", command.name);
                    for argument in ["a", "b", "c"] {
                        prop_assert_eq!(
                            one.allows_first_arg(id, argument.as_bytes()),
                            same.allows_first_arg(id, argument.as_bytes()),
                            "{}", command.name
                        );
                    }
                }
            }
        }
    }
}
