//! A user is changed rule by rule, and printed as Redis prints it.

use proptest::prelude::*;

use super::*;

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

fn described(rules: &str) -> String {
    let table = Table::builtin();
    let source = format!("user u {rules}");
    let (policy, _) = parse(&source).unwrap_or_else(|problems| panic!("{rules}: {problems:?}"));
    let text = policy.user("u").unwrap().describe();
    let again = User::new("u");
    let mut again = again;
    let text_words: Vec<&[u8]> = text.split(|byte| *byte == b' ').collect();
    for rule in &setuser::merge_selectors(&text_words).unwrap() {
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
