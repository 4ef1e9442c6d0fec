//! Who may run what, by the rules that Redis has too.

use proptest::prelude::*;

use super::*;

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
