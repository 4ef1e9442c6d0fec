//! What a file's lines say, and what is told of wrong and of doubtful ones.

use super::*;

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
