//! Variables over the file.

use super::{IDENTITY, LISTENER, POLICY, TLS, UPSTREAM, sound, try_load, with_upstream};
use crate::config::UpstreamAddress;

#[track_caller]
fn bad(name: &str, value: &str, problem: &str) {
    let problems = try_load(&sound(), &[(name, value)]).expect_err(name);
    assert_eq!(problems, [format!("environment: {problem}")]);
}

#[test]
fn single_values_can_be_set() {
    let config = try_load(
        &[&sound(), "[log]\nlevel = \"error\"\n"].concat(),
        &[
            ("RESPGATE__UPSTREAM__MAIN__ADDRESS", "10.0.0.1:7000"),
            ("RESPGATE__UPSTREAM__MAIN__INSECURE_PLAINTEXT", "true"),
            ("RESPGATE__LIMITS__MAX_BULK", "1MB"),
            ("RESPGATE__LIMITS__MAX_ARGS", "99"),
            ("RESPGATE__LIMITS__MAX_INSPECT_BUFFER", "65536"),
            ("RESPGATE__RUNTIME__WORKERS", "3"),
            ("RESPGATE__AUDIT__PATH", "/a"),
            ("RESPGATE__AUDIT__DECISIONS", "all"),
            ("RESPGATE__AUDIT__CONNECTIONS", "false"),
            ("RESPGATE__AUDIT__WHEN_FULL", "refuse"),
            ("RESPGATE__LOG__LEVEL", "warn"),
            ("RESPGATE_OTHER", "not ours"),
            ("HOME", "/root"),
        ],
    )
    .unwrap()
    .config;
    assert_eq!(
        config.upstreams[0].addresses[0],
        UpstreamAddress::Tcp {
            host: "10.0.0.1".to_owned(),
            port: 7000
        }
    );
    assert_eq!(config.limits.max_bulk, 1 << 20);
    assert_eq!(config.limits.max_args, 99);
    assert_eq!(config.limits.max_inspect_buffer, 65_536);
    assert_eq!(config.runtime.workers, 3);
    assert_eq!(
        config.audit.sink,
        crate::config::AuditSink::File("/a".into())
    );
    assert!(!config.audit.settings.connections);
    assert!(config.audit.settings.refuse);
    assert_eq!(config.log.level, crate::config::LogLevel::Warn);
}

#[test]
fn upstream_names_are_matched_without_case_and_hyphens() {
    let text = with_upstream("[upstream.Old-One]\naddress = \"unix:/a\"\n");
    let variable = [("RESPGATE__UPSTREAM__OLD_ONE__CONNECT_TIMEOUT", "9s")];
    let config = try_load(&text, &variable).unwrap().config;
    assert_eq!(config.upstreams[0].connect_timeout.as_secs(), 9);

    let two =
        "[upstream.old-one]\naddress = \"unix:/a\"\n[upstream.old_one]\naddress = \"unix:/b\"\n";
    let text = [
        LISTENER,
        "upstream = \"old-one\"\n",
        TLS,
        two,
        IDENTITY,
        POLICY,
    ]
    .concat();
    assert_eq!(
        try_load(&text, &variable).unwrap_err(),
        [
            "environment: RESPGATE__UPSTREAM__OLD_ONE__CONNECT_TIMEOUT: names several upstreams of \
          the file"
        ]
    );
}

#[test]
fn values_are_as_strict_as_in_the_file() {
    for (name, value, reason) in [
        (
            "RESPGATE__UPSTREAM__MAIN__INSECURE_PLAINTEXT",
            "yes",
            "must be true or false",
        ),
        (
            "RESPGATE__UPSTREAM__MAIN__INSECURE_PLAINTEXT",
            "1",
            "must be true or false",
        ),
        (
            "RESPGATE__LIMITS__MAX_ARGS",
            "3.7",
            "must be an integer from 16 to 67108864",
        ),
        (
            "RESPGATE__LIMITS__MAX_ARGS",
            " 20",
            "must be an integer from 16 to 67108864",
        ),
        (
            "RESPGATE__LIMITS__WRITE_TIMEOUT",
            "60",
            "must be a duration such as \"200ms\", \"5s\", \"1m\" or \"2h\"",
        ),
        (
            "RESPGATE__UPSTREAM__MAIN__CONNECTIONS",
            "pooled",
            "must be one of \"shared\", \"dedicated\"",
        ),
        (
            "RESPGATE__LIMITS__MEMORY",
            "1",
            "must be from \"1MB\" to \"1024GB\"",
        ),
        ("RESPGATE__LIMITS__USER", "1", "must be a table"),
        (
            "RESPGATE__AUDIT__DECISIONS",
            "some",
            "must be one of \"deny\", \"all\", \"none\"",
        ),
        (
            "RESPGATE__AUDIT__CONNECTIONS",
            "yes",
            "must be true or false",
        ),
        (
            "RESPGATE__AUDIT__WHEN_FULL",
            "wait",
            "must be one of \"drop\", \"refuse\"",
        ),
    ] {
        bad(name, value, &format!("{name} = \"{value}\": {reason}"));
    }
    bad(
        "RESPGATE__ADMIN__BIND",
        "127.0.0.1:0",
        "RESPGATE__ADMIN__BIND = \"127.0.0.1:0\": must have a port",
    );
}

#[test]
fn who_may_do_what_stays_in_the_file() {
    for (name, section) in [
        ("RESPGATE__LISTENER__MAIN__BIND", "listener"),
        ("RESPGATE__LISTENER", "listener"),
        ("RESPGATE__IDENTITY__0__USER", "identity"),
        ("RESPGATE__POLICY__MODE", "policy"),
        ("RESPGATE__REWRITE__RENAME", "rewrite"),
        ("RESPGATE__REWRITE__ADDRESSES", "rewrite"),
        ("RESPGATE__LISTENER__KIND", "listener"),
    ] {
        let problem =
            format!("{name}: [{section}] cannot be set from the environment, only in the file");
        bad(name, "x", &problem);
    }
}

#[test]
fn unknown_variables_are_problems_that_never_show_the_value() {
    for (name, reason) in [
        (
            "RESPGATE__LIMITS__MAX_BLUK",
            "unknown key; did you mean \"max_bulk\"?",
        ),
        ("RESPGATE__UPSTREAM__MAIN__PASSWORD", "unknown key"),
        (
            "RESPGATE__UPSTREAM__OTHER__ADDRESS",
            "the file has no [upstream.other]",
        ),
        (
            "RESPGATE__UPSTREAM__MAIN",
            "must be RESPGATE__UPSTREAM__NAME__KEY",
        ),
        (
            "RESPGATE__UPSTREAM__MAIN__A__B__C",
            "must be RESPGATE__UPSTREAM__NAME__KEY",
        ),
        (
            "RESPGATE__UPSTREAM",
            "must be RESPGATE__UPSTREAM__NAME__KEY",
        ),
        (
            "RESPGATE__LIMIT__MAX_BULK",
            "unknown section; did you mean \"limits\"?",
        ),
        ("RESPGATE__COLOUR", "unknown section"),
        ("RESPGATE__", "unknown section"),
        ("RESPGATE__LOG", "must be RESPGATE__SECTION__KEY"),
        ("RESPGATE__LOG__LEVEL__X", "must be RESPGATE__SECTION__KEY"),
        ("RESPGATE__log__level", "must be in capitals"),
    ] {
        bad(name, "hunter2", &format!("{name}: {reason}"));
    }
}

#[test]
fn problems_come_in_the_order_of_names() {
    let text = [LISTENER, TLS, UPSTREAM, IDENTITY, POLICY].concat();
    let problems = try_load(&text, &[("RESPGATE__Z", ""), ("RESPGATE__A", "")]).unwrap_err();
    assert_eq!(
        problems,
        [
            "environment: RESPGATE__A: unknown section",
            "environment: RESPGATE__Z: unknown section"
        ]
    );
}
