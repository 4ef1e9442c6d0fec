//! Rules, files and decisions. The exact agreement with Redis is tested beside real servers.

use proptest::prelude::*;

use super::*;
use crate::command::{Resolved, Table};
use crate::resp::OwnedArgs;

fn user(rules: &str, table: &Table) -> User {
    let mut user = User::new("u");
    for rule in rules.split(' ') {
        user.apply(rule, table)
            .unwrap_or_else(|error| panic!("{rule}: {error}"));
    }
    user
}

fn judge(user: &User, command: &str, table: &Table) -> Decision {
    judge_partial(user, command, usize::MAX, table)
}

fn judge_partial(user: &User, command: &str, present: usize, table: &Table) -> Decision {
    let args: OwnedArgs = command.split(' ').collect();
    let args = args.as_partial(present);
    match table.resolve(&args) {
        Resolved::Command(id) => decide(user, id, &args, table),
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
    allowed("+@all ~*", "EVAL s +1 a");
    denied("+@all ~a", "GET", DenyReason::Arity);
    allowed("+@all ~*", "GET");
}

#[test]
fn a_star_for_reading_and_writing_is_a_pattern_like_others() {
    allowed("+@all %RW~*", "SORT a BY w_*");
    denied("+@all %RW~*", "SET  v", DenyReason::Key { index: 1 });
    allowed("+@all ~*", "SET  v");
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
        ("+select|0", RuleError::NotBuilt("first-argument rules")),
        ("%Q~a", RuleError::Syntax),
        ("%RR~a", RuleError::Syntax),
        ("%~a", RuleError::Syntax),
        ("nonsense", RuleError::Syntax),
        ("#abc", RuleError::Hash),
        ("<nopassword", RuleError::NoSuchPassword),
        ("(+get", RuleError::NotBuilt("selectors")),
        ("role=x", RuleError::NotBuilt("roles")),
    ];
    for (rule, error) in cases {
        assert_eq!(User::new("u").apply(rule, &table), Err(error), "{rule}");
    }
    let mut all = user("allkeys allchannels", &table);
    assert_eq!(all.apply("~a", &table), Err(RuleError::KeyAfterAll));
    assert_eq!(all.apply("&a", &table), Err(RuleError::ChannelAfterAll));
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
                role r +get\nuser c on #secret2 ~a ~*  ~b\n";
    let problems = parse(text).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let lines = lines.join("\n");
    for part in [
        "users.acl:3: '+nosuch': Unknown command",
        "users.acl:4: 'usre': a line starts with 'user'",
        "users.acl:5: 'a': Duplicate user found",
        "users.acl:6: 'user': the user's name is missing",
        "users.acl:7: 'role': not built yet",
        "users.acl:8: '#…': The provided password hash",
        "users.acl:8: '~b': Adding a pattern after the *",
    ] {
        assert!(lines.contains(part), "{part} in\n{lines}");
    }
    assert!(!lines.contains("secret"));
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
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].reason.contains("no channel"));
}

#[test]
fn an_explanation_names_the_rule() {
    let table = Table::builtin();
    let judged = user("+@all -@dangerous %R~cache:*", &table);
    let told = |command: &str| {
        let args: OwnedArgs = command.split(' ').collect();
        let Resolved::Command(id) = table.resolve(&args.as_args()) else {
            panic!("{command}")
        };
        explain(&judged, id, &args.as_args(), &table)
    };
    assert_eq!(told("FLUSHALL").rule, "-@dangerous");
    assert_eq!(told("GET cache:1").rule, "+@all");
    let set = told("SET cache:1 v");
    assert_eq!(set.rule, "%R~cache:*");
    assert_eq!(set.offender.as_deref(), Some(&b"cache:1"[..]));
    assert_eq!(set.names, [b"cache:1"]);
    assert_eq!(told("GET other").rule, "no ~pattern matches");
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
            compiled.apply(&format!("{sign}{pattern}"), &table).unwrap();
        }
        let plain = compiled.clone();
        compiled.compile();
        for key in &keys {
            for words in [["GET", key].as_slice(), &["SET", key, "v"], &["APPEND", key, "v"], &["EXISTS", key]] {
                let args: OwnedArgs = words.iter().collect();
                let args = args.as_args();
                let id = table.find(args.name()).unwrap();
                prop_assert_eq!(
                    decide(&compiled, id, &args, &table),
                    decide(&plain, id, &args, &table),
                    "{:?}", words
                );
            }
        }
    }
}
