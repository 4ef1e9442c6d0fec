//! The single tables.

use super::{IDENTITY, LISTENER, TLS, UPSTREAM, bad, good, sound};
use crate::config::{
    Account, AuditDecisions, AuditKeys, AuditSettings, AuditSink, LogLevel, Shadow,
};

fn with(text: &str) -> String {
    [&sound(), text, "\n"].concat()
}

fn policy(keys: &str) -> String {
    [LISTENER, TLS, UPSTREAM, IDENTITY, "[policy]\n", keys, "\n"].concat()
}

fn pair(left: &str, right: &str) -> (String, String) {
    (left.to_owned(), right.to_owned())
}

#[test]
fn every_key_is_read() {
    let config = good(&with(
        r#"
mode = "enforce"
extra_commands = {}
[rewrite]
rename = { FLUSHALL = "", CONFIG = "CONFIG_b840fc02" }
substitute = { DEL = "UNLINK", flushall = "FLUSHALL ASYNC" }
[limits]
max_bulk = "1MB"
max_args = 1000
max_inspect_buffer = 65536
write_timeout = "5s"
[runtime]
workers = 4
[audit]
path = "/var/log/audit"
decisions = "none"
[log]
format = "json"
level = "debug"
"#,
    ))
    .config;
    assert_eq!(
        config.rename,
        [pair("config", "CONFIG_b840fc02"), pair("flushall", "")]
    );
    assert_eq!(
        config.substitute,
        [pair("del", "UNLINK"), pair("flushall", "FLUSHALL ASYNC")]
    );
    assert_eq!(config.limits.max_bulk, 1 << 20);
    assert_eq!(config.limits.max_args, 1_000);
    assert_eq!(config.limits.max_inspect_buffer, 65_536);
    assert_eq!(config.limits.write_timeout.as_secs(), 5);
    assert_eq!(config.runtime.workers, 4);
    assert_eq!(config.audit.sink, AuditSink::File("/var/log/audit".into()));
    assert_eq!(config.audit.settings.decisions, AuditDecisions::None);
    assert!(config.log.json);
    assert_eq!(config.log.level, LogLevel::Debug);
}

#[test]
fn policy_is_checked() {
    for (keys, problem) in [
        (
            "acl_files = []",
            "policy.acl_files: is required: without a user everything is refused",
        ),
        (
            "acl_files = [\"\"]",
            "policy.acl_files[0]: must not be empty",
        ),
        (
            "acl_files = \"a\"",
            "policy.acl_files = \"a\": must be a list: [ … ]",
        ),
        (
            "acl_files = [\"a\"]\nshadow_users = [\"\"]",
            "policy.shadow_users[0]: must not be empty",
        ),
        (
            "acl_files = [\"a\"]\nshadow_users = \"bob\"",
            "policy.shadow_users = \"bob\": must be a list: [ … ]",
        ),
        (
            "acl_files = [\"a\"]\nmode = \"off\"",
            "policy.mode = \"off\": must be one of \"enforce\", \"shadow\"",
        ),
    ] {
        bad(&policy(keys), problem);
    }
}

#[test]
fn a_policy_that_is_only_tried_is_told() {
    let load = |keys: &str| {
        let loaded = good(&policy(&format!("acl_files = [\"a\"]\n{keys}")));
        let told: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        (loaded.config.shadow, told.join("\n"))
    };
    for keys in ["", "mode = \"enforce\"", "shadow_users = []"] {
        assert_eq!(load(keys), (Shadow::default(), String::new()), "{keys}");
    }
    let (shadow, told) = load("shadow_users = [\"bob\", \"cart\"]\nmode = \"enforce\"");
    assert_eq!(
        (shadow.everybody, shadow.users),
        (false, vec!["bob".into(), "cart".into()])
    );
    assert!(
        told.ends_with(
            "policy.shadow_users = \"bob, cart\": what the policy denies to them is told in the \
             audit and forwarded all the same"
        ),
        "{told}"
    );
    let (_, told) = load("mode = \"shadow\"\n[audit]\ndecisions = \"none\"");
    let untold = "audit.decisions = \"none\": in shadow mode nothing else tells";
    assert!(told.contains(untold), "{told}");
    let (shadow, told) = load("mode = \"shadow\"\nshadow_users = [\"bob\"]");
    assert!(shadow.everybody);
    assert!(
        told.ends_with(
            "policy.mode = \"shadow\": nothing is enforced: what the policy denies to anybody is \
             told in the audit and forwarded all the same"
        ),
        "{told}"
    );
}

#[test]
fn addresses_are_read_as_what_they_are() {
    let config = good(&with(
        r#"
[rewrite.addresses]
"10.0.0.5:6379" = "redis-a.example.com:6380"
"[fd00:0::5]:6379" = "[FD00::a]:6380"
"[::ffff:10.0.0.6]:6379" = "10.1.0.6:6380"
"Redis-C.internal:6379" = "10.0.0.5:6379"
"#,
    ))
    .config;
    let pairs: Vec<String> = config
        .addresses
        .iter()
        .map(|(from, to)| format!("{from} {to}"))
        .collect();
    assert_eq!(
        pairs,
        [
            "10.0.0.5:6379 redis-a.example.com:6380",
            "10.0.0.6:6379 10.1.0.6:6380",
            "[fd00::5]:6379 [fd00::a]:6380",
            "redis-c.internal:6379 10.0.0.5:6379",
        ]
    );
    assert!(good(&sound()).config.addresses.is_empty());
}

#[test]
fn addresses_are_checked() {
    let form = "must be \"host:port\" or \"[v6 address]:port\"";
    let port = "must end in a port from 1 to 65535";
    for (pairs, key, value, reason) in [
        ("\"a:1\" = \"b\"", "a:1", "b", form.to_owned()),
        ("\"a:1\" = \"\"", "a:1", "", form.to_owned()),
        ("\"a:1\" = \"b:0\"", "a:1", "b:0", port.to_owned()),
        ("\"a:1\" = \"b:65536\"", "a:1", "b:65536", port.to_owned()),
        ("\"a:1\" = \"b:06\"", "a:1", "b:06", port.to_owned()),
        (
            "\"a:1\" = \"fd00::1:6\"",
            "a:1",
            "fd00::1:6",
            form.to_owned(),
        ),
        ("\"a:1\" = \"[b]:6\"", "a:1", "[b]:6", form.to_owned()),
        ("\"a:1\" = \"[::1:6\"", "a:1", "[::1:6", form.to_owned()),
        ("\"a:1\" = \"b..c:6\"", "a:1", "b..c:6", form.to_owned()),
        ("\"a:1\" = \"b c:6\"", "a:1", "b c:6", form.to_owned()),
        ("\"a:1\" = \"10.0.0:6\"", "a:1", "10.0.0:6", form.to_owned()),
        (
            "\"a:1\" = \"010.0.0.1:6\"",
            "a:1",
            "010.0.0.1:6",
            form.to_owned(),
        ),
        ("\"a\" = \"b:6\"", "a", "b:6", format!("its key {form}")),
        ("\":1\" = \"b:6\"", ":1", "b:6", format!("its key {form}")),
        (
            "\"a:1\" = 6380",
            "a:1",
            "6380",
            "must be a string".to_owned(),
        ),
        (
            "\"[::ffff:10.0.0.5]:1\" = \"b:1\"\n\"10.0.0.5:1\" = \"b:2\"",
            "[::ffff:10.0.0.5]:1",
            "b:1",
            "the address is there twice; its spellings are one".to_owned(),
        ),
        (
            "\"A:1\" = \"b:1\"\n\"a:1\" = \"b:2\"",
            "a:1",
            "b:2",
            "the address is there twice; its spellings are one".to_owned(),
        ),
    ] {
        let value = match value {
            "" => String::new(),
            value => format!(" = {value:?}"),
        };
        let problem = format!("rewrite.addresses.{key}{value}: {reason}");
        bad(&with(&format!("[rewrite.addresses]\n{pairs}")), &problem);
    }
}

#[test]
fn rewrite_is_checked() {
    for (keys, problem) in [
        (
            "rename = { get = \"a b\" }",
            "rewrite.rename.get = \"a b\": must be a command's name, or \"\" to hide the command",
        ),
        (
            "rename = { \"a b\" = \"c\" }",
            "rewrite.rename.a b = \"c\": its key is no command's name",
        ),
        (
            "rename = { GET = \"a\", get = \"b\" }",
            "rewrite.rename.get = \"b\": the command is there twice; upper and lower case are one",
        ),
        (
            "rename = { get = \"x\", set = \"X\" }",
            "rewrite.rename.set = \"X\": rewrite.rename.get has the same target",
        ),
        (
            "rename = { get = 1 }",
            "rewrite.rename.get = \"1\": must be a string",
        ),
        ("rename = 1", "rewrite.rename = \"1\": must be a table"),
        (
            "substitute = { del = \"\" }",
            "rewrite.substitute.del: must be a command: words with single spaces between",
        ),
        (
            "substitute = { del = \"a  b\" }",
            "rewrite.substitute.del = \"a  b\": must be a command: words with single spaces between",
        ),
        (
            "substitute = { del = \" a\" }",
            "rewrite.substitute.del = \" a\": must be a command: words with single spaces between",
        ),
        (
            "substitute = { del = \"a\\tb\" }",
            "rewrite.substitute.del = \"a\\tb\": must be a command: words with single spaces between",
        ),
        (
            "substitute = { del = \"DEL\" }",
            "rewrite.substitute.del = \"DEL\": replaces the command with itself",
        ),
        (
            "substitute = { DEL = \"a\", del = \"b\" }",
            "rewrite.substitute.del = \"b\": the command is there twice; upper and lower case are one",
        ),
        (
            "renames = {}",
            "rewrite.renames: unknown key; did you mean \"rename\"?",
        ),
    ] {
        bad(&with(&["[rewrite]\n", keys].concat()), problem);
    }
    // Hidden is no target: any number of commands can be.
    good(&with("[rewrite]\nrename = { get = \"\", set = \"\" }"));
}

#[test]
fn limits_are_checked() {
    for (keys, problem) in [
        (
            "max_bulk = \"1000\"",
            "limits.max_bulk = \"1000\": must be from \"1KB\" to \"4GB\"",
        ),
        (
            "max_bulk = \"5GB\"",
            "limits.max_bulk = \"5GB\": must be from \"1KB\" to \"4GB\"",
        ),
        (
            "max_bulk = -1",
            "limits.max_bulk = \"-1\": must not be negative",
        ),
        (
            "max_bulk = true",
            "limits.max_bulk = \"true\": must be a size such as \"64MB\", or bytes",
        ),
        (
            "max_bulk = \"64mb\"",
            "limits.max_bulk = \"64mb\": must be a size such as \"64KB\", \"512MB\", \"1GB\", or bytes",
        ),
        (
            "max_args = 15",
            "limits.max_args = \"15\": must be an integer from 16 to 67108864",
        ),
        (
            "max_args = 67108865",
            "limits.max_args = \"67108865\": must be an integer from 16 to 67108864",
        ),
        (
            "max_args = 4294967312",
            "limits.max_args = \"4294967312\": must be an integer from 16 to 67108864",
        ),
        (
            "max_inspect_buffer = \"15KB\"",
            "limits.max_inspect_buffer = \"15KB\": must be from \"16KB\" to \"64MB\"",
        ),
        (
            "max_inspect_buffer = \"65MB\"",
            "limits.max_inspect_buffer = \"65MB\": must be from \"16KB\" to \"64MB\"",
        ),
        (
            "write_timeout = \"0s\"",
            "limits.write_timeout = \"0s\": must be longer than \"0s\"",
        ),
        (
            "max_reply_buffer = \"255KB\"",
            "limits.max_reply_buffer = \"255KB\": must be from \"256KB\" to \"4GB\"",
        ),
        (
            "memory = \"1023KB\"\nmax_reply_buffer = \"256KB\"",
            "limits.memory = \"1023KB\": must be from \"1MB\" to \"1024GB\"",
        ),
        (
            "memory = \"16MB\"",
            "limits.memory: the budget of all is 16777216 bytes, less than the 33554432 bytes of \
             max_reply_buffer that one client may hold",
        ),
        (
            "memory = \"32MB\"\nmax_inspect_buffer = \"33MB\"",
            "limits.memory: the budget of all is 33554432 bytes, less than the 34603008 bytes of \
             max_inspect_buffer that one client may hold",
        ),
        (
            "max_reply_buffer = \"2GB\"",
            "limits.memory: the budget of all, as the file doesn't say, is 1073741824 bytes, less than \
             the 2147483648 bytes of max_reply_buffer that one client may hold",
        ),
        (
            "[limits.auth]\nattempts = 0",
            "limits.auth.attempts = \"0\": must be an integer from 1 to 1000000",
        ),
        ("user = 3", "limits.user = \"3\": must be a table"),
        ("user.cart = 3", "limits.user.cart = \"3\": must be a table"),
        (
            "[limits.user.cart]\ncommands_per_second = 0",
            "limits.user.cart.commands_per_second = \"0\": must be an integer from 1 to 1000000000",
        ),
        (
            "[limits.user.\"*\"]\nbytes_per_second = \"1000\"",
            "limits.user.*.bytes_per_second = \"1000\": must be from \"1KB\" to \"1024GB\"",
        ),
        (
            "[limits.address]\nmax_connection = 3",
            "limits.address.max_connection: unknown key; did you mean \"max_connections\"?",
        ),
    ] {
        bad(&with(&["[limits]\n", keys].concat()), problem);
    }
}

#[test]
fn the_rest_is_checked() {
    for (text, problem) in [
        (
            "[runtime]\nworkers = \"auto\"",
            "runtime.workers = \"auto\": must be an integer from 0 to 1024",
        ),
        (
            "[runtime]\nworkers = 1025",
            "runtime.workers = \"1025\": must be an integer from 0 to 1024",
        ),
        (
            "[audit]\npath = \"\"",
            "audit.path: must be a path, \"-\" for stdout, \"syslog\" or \"journald\"",
        ),
        (
            "[audit]\nkeys = \"md5\"",
            "audit.keys = \"md5\": must be one of \"plain\", \"sha256\"",
        ),
        (
            "[audit]\nconnections = \"yes\"",
            "audit.connections = \"yes\": must be true or false",
        ),
        (
            "[audit]\nwhen_full = \"block\"",
            "audit.when_full = \"block\": must be one of \"drop\", \"refuse\"",
        ),
        (
            "[audit]\ndecisions = \"none\"\nwhen_full = \"refuse\"",
            "audit.when_full = \"refuse\": asks for lines, and audit.decisions = \"none\" writes \
             nothing at all",
        ),
        (
            "[audit]\ndecisions = \"none\"\nconnections = true",
            "audit.connections = \"true\": asks for lines, and audit.decisions = \"none\" writes \
             nothing at all",
        ),
        (
            "[audit]\ndecisions = \"some\"",
            "audit.decisions = \"some\": must be one of \"deny\", \"all\", \"none\"",
        ),
        (
            "[log]\nlevel = \"trace\"",
            "log.level = \"trace\": must be one of \"error\", \"warn\", \"info\", \"debug\"",
        ),
        (
            "[[log]]\nlevel = \"info\"",
            "log = \"[…]\": must be a table",
        ),
    ] {
        bad(&with(text), problem);
    }
}

#[test]
fn the_audit_is_told_what_to_say_and_where() {
    let audit = |text: &str| good(&with(text)).config.audit;
    let default = audit("[audit]\npath = \"-\"");
    assert_eq!(default.sink, AuditSink::Stdout);
    let settings = AuditSettings {
        decisions: AuditDecisions::Deny,
        keys: AuditKeys::Plain,
        connections: false,
        refuse: false,
    };
    assert_eq!(default.settings, settings);
    let all = audit("[audit]\npath = \"journald\"\ndecisions = \"all\"\nkeys = \"sha256\"");
    assert_eq!(all.sink, AuditSink::Journal);
    let settings = AuditSettings {
        decisions: AuditDecisions::All,
        keys: AuditKeys::Sha256,
        connections: true,
        refuse: false,
    };
    assert_eq!(all.settings, settings);
    let strict = audit(
        "[audit]\npath = \"syslog\"\ndecisions = \"all\"\nconnections = false\nwhen_full = \"refuse\"",
    );
    assert_eq!(strict.sink, AuditSink::Syslog);
    assert!(!strict.settings.connections);
    assert!(strict.settings.refuse);
}

#[test]
fn the_process_is_a_user_by_name_or_number_and_never_root() {
    let read = |lines: &str| good(&with(&format!("[runtime]\n{lines}"))).config.runtime;
    let defaults = read("user = \"\"\ngroup = \"\"");
    assert_eq!((defaults.user, defaults.group), (None, None));
    assert_eq!(defaults.drain_timeout.as_secs(), 25);
    assert!(defaults.landlock);
    let named = read("user = \"gate\"\ngroup = 12\ndrain_timeout = \"2m\"\nlandlock = false");
    assert_eq!(named.user, Some(Account::Name("gate".to_owned())));
    assert_eq!(named.group, Some(Account::Number(12)));
    assert_eq!(named.drain_timeout.as_secs(), 120);
    assert!(!named.landlock);
    assert_eq!(read("user = \"77\"").user, Some(Account::Number(77)));
    let dropped = "root is what is dropped: name another user";
    let form = "must be a name or a number";
    for (line, value, reason) in [
        ("user = \"root\"", "user = \"root\"", dropped),
        ("user = 0", "user = \"0\"", dropped),
        ("user = -1", "user = \"-1\"", form),
        ("user = 4294967295", "user = \"4294967295\"", form),
        ("user = true", "user = \"true\"", form),
        (
            "user = 5\ngroup = 0",
            "group = \"0\"",
            "root's group is what is dropped",
        ),
        (
            "group = 5",
            "group = \"5\"",
            "means nothing without runtime.user",
        ),
        (
            "drain_timeout = \"0s\"",
            "drain_timeout = \"0s\"",
            "must be longer than \"0s\"",
        ),
        (
            "landlock = \"yes\"",
            "landlock = \"yes\"",
            "must be true or false",
        ),
    ] {
        let problem = format!("runtime.{value}: {reason}");
        bad(&with(&format!("[runtime]\n{line}")), &problem);
    }
}

#[test]
fn users_and_addresses_have_limits_of_their_own() {
    let config = good(&with(
        "[limits]\nmemory = \"64MB\"\n\n[limits.user.cart]\nmax_connections = 3\n\
         commands_per_second = 10\n\n[limits.user.\"a.b\"]\n\n[limits.user.\"*\"]\n\
         bytes_per_second = \"10MB\"\n\n[limits.address]\nmax_connections = 7\n",
    ))
    .config;
    assert_eq!(config.limits.memory, 64 << 20);
    let quotas = config.limits.quotas;
    let said = |name| {
        let quota = quotas.of_user(name).unwrap();
        let rates = [quota.commands_per_second, quota.bytes_per_second];
        let rates = rates.map(|rate| rate.map(std::num::NonZeroU64::get));
        (quota.max_connections, rates)
    };
    assert_eq!(said("cart"), (Some(3), [Some(10), None]));
    assert_eq!(
        said("a.b"),
        (None, [None, None]),
        "named, and so not one of the others"
    );
    assert_eq!(said("ops"), (None, [None, Some(10 << 20)]));
    assert_eq!(quotas.address.unwrap().max_connections, Some(7));
    let none = good(&with("[limits.address]")).config.limits;
    assert!(none.quotas.address.is_none() && !none.quotas.limit_users());
    assert_eq!((none.auth.attempts, none.auth.interval.as_secs()), (20, 1));
    assert_eq!(none.memory, 1 << 30);
}
