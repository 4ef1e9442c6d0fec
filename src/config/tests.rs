//! Whole files through [`load`]: what is accepted, and what is said about the rest.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod admin;
mod commands;
mod environment;
mod files;
mod identity;
mod listener;
mod parse;
mod reference;
mod settings;
mod upstream;

use std::fs;

use tempfile::TempDir;

use super::{Loaded, load};

const LISTENER: &str = "[[listener]]\nname = \"main\"\nbind = [\"127.0.0.1:6380\"]\n";
const TLS: &str = "[listener.tls]\ncert = \"s.pem\"\nkey = \"s.key\"\nclient_ca = \"ca.pem\"\n";
const UPSTREAM: &str = "[upstream.main]\naddress = \"127.0.0.1:6379\"\n";
const IDENTITY: &str = "[[identity]]\nmatch = { cn = \"app\" }\nuser = \"app\"\n";
const POLICY: &str = "[policy]\nacl_files = [\"users.acl\"]\n";

/// A sound file, to which a test adds.
fn sound() -> String {
    [LISTENER, TLS, UPSTREAM, IDENTITY, POLICY].concat()
}

/// A file whose listener and TLS tables are the test's own.
fn with_listener(listener: &str) -> String {
    [listener, UPSTREAM, IDENTITY, POLICY].concat()
}

/// A file whose upstreams are the test's own.
fn with_upstream(upstream: &str) -> String {
    [LISTENER, TLS, upstream, IDENTITY, POLICY].concat()
}

/// A file whose rules are the test's own.
fn with_identity(identity: &str) -> String {
    [LISTENER, TLS, UPSTREAM, identity, POLICY].concat()
}

/// A directory with `respgate.toml` of this text; relative paths of the text start there.
fn directory(text: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("respgate.toml"), text).unwrap();
    directory
}

/// What `load` makes of `text`: problems one a line, the directory's name taken out.
fn try_load(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    load_in(&directory(text), variables)
}

fn load_in(directory: &TempDir, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(&directory.path().join("respgate.toml"), variables).map_err(|problems| {
        let prefix = format!("{}/", directory.path().display());
        let text = problems.to_string().replace(&prefix, "");
        text.lines().map(str::to_owned).collect()
    })
}

#[track_caller]
fn good(text: &str) -> Loaded {
    try_load(text, &[]).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"))
}

/// Loads `text`, which must have exactly this problem.
#[track_caller]
fn bad(text: &str, problem: &str) {
    let problems = try_load(text, &[]).expect_err(text);
    assert_eq!(problems, [format!("respgate.toml: {problem}")], "{text}");
}

#[track_caller]
fn warns(text: &str, warning: &str) {
    let warnings = good(text).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].to_string().ends_with(warning),
        "{}",
        warnings[0]
    );
}

#[test]
fn a_short_file_has_the_documented_defaults() {
    use std::time::Duration;

    use super::*;

    let loaded = good(&sound());
    assert!(loaded.warnings.is_empty());
    let config = loaded.config;
    let listener = &config.listeners[0];
    assert_eq!(
        listener
            .allow
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["127.0.0.0/8", "::1/128"]
    );
    assert!(listener.deny.is_empty());
    assert_eq!(listener.max_connections, None);
    assert_eq!(listener.max_connections_per_ip, 1_000);
    assert_eq!(listener.handshake_timeout, Duration::from_secs(5));
    assert_eq!(listener.auth_timeout, Duration::from_secs(10));
    assert_eq!(listener.idle_timeout, None);
    let tls = listener.tls.as_ref().unwrap();
    assert_eq!(tls.client_auth, ClientAuth::Required);
    assert_eq!(tls.min_version, TlsVersion::V1_2);
    let upstream = &config.upstreams[listener.upstream];
    assert_eq!(upstream.name, "main");
    assert_eq!(upstream.connect_timeout, Duration::from_secs(2));
    assert!(upstream.username.is_none() && upstream.password.is_none());
    assert_eq!(config.limits.max_bulk, 512 << 20);
    assert_eq!(config.limits.max_args, 1_048_576);
    assert_eq!(config.limits.max_inspect_buffer, 1 << 20);
    assert_eq!(config.limits.write_timeout, Duration::from_secs(60));
    assert_eq!(config.runtime.workers, 0);
    assert_eq!(config.audit.sink, AuditSink::Stdout);
    assert_eq!(config.audit.settings.decisions, AuditDecisions::Deny);
    assert!(!config.log.json);
    assert_eq!(config.log.level, LogLevel::Info);
}

#[test]
fn all_problems_come_at_once() {
    let text = "\
colour = true
[[listener]]
bind = [\"0.0.0.0:6380\", \"nowhere\"]
upstream = \"mian\"
idle_timeout = \"soon\"
[upstream.main]
address = \"redis.example:6379\"
[[identity]]
user = \"$name\"
[rewrite]
rename = { get = \"a b\" }
[log]
level = \"loud\"
";
    assert_eq!(
        try_load(text, &[("RESPGATE__LIMITS__MAX_ARGS", "many")]).unwrap_err(),
        [
            "respgate.toml: upstream.main.address = \"redis.example:6379\": a remote upstream \
             without TLS carries everything in the clear; say insecure_plaintext = true if that \
             network is safe",
            "respgate.toml: listener[0].name: is required",
            "respgate.toml: listener[0].upstream = \"mian\": there is no such upstream; did you \
             mean \"main\"?",
            "respgate.toml: listener[0].bind[1] = \"nowhere\": must be an address and port such \
             as \"127.0.0.1:6380\" or \"[::1]:6380\", or \"unix:/path\"",
            "respgate.toml: listener[0].bind[0] = \"0.0.0.0:6380\": plaintext, without [listener.tls], binds only loopback addresses and unix sockets",
            "respgate.toml: listener[0].idle_timeout = \"soon\": must be a duration such as \
             \"200ms\", \"5s\", \"1m\" or \"2h\"",
            "respgate.toml: identity[0].user = \"$name\": only \"$cn\", \"$uri\", \"$dns\" and \
             \"$auth\" may begin with \"$\"",
            "respgate.toml: policy.acl_files: is required: without a user everything is refused",
            "respgate.toml: rewrite.rename.get = \"a b\": must be a command's name, or \"\" to \
             hide the command",
            "environment: RESPGATE__LIMITS__MAX_ARGS = \"many\": must be an integer from 16 to \
             67108864",
            "respgate.toml: log.level = \"loud\": must be one of \"error\", \"warn\", \"info\", \
             \"debug\"",
            "respgate.toml: colour: unknown key",
        ]
    );
}

#[test]
fn an_empty_file_lacks_four_things() {
    assert_eq!(
        try_load("", &[]).unwrap_err(),
        [
            "respgate.toml: upstream: at least one [upstream.NAME] is required",
            "respgate.toml: listener: at least one [[listener]] is required",
            "respgate.toml: identity: at least one [[identity]] is required: without a rule \
             nobody can connect",
            "respgate.toml: policy.acl_files: is required: without a user everything is refused",
        ]
    );
}

#[test]
fn a_syntax_error_comes_alone_with_its_line_and_without_the_text_there() {
    let problems = try_load("[log]\nlevel = \"info\"\npassword = hunter2\n", &[]).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with("respgate.toml: TOML parse error at line 3, column 12: "),
        "{problems:?}"
    );
    assert!(!problems[0].contains("hunter2"), "{problems:?}");
}

#[test]
fn a_missing_file_is_a_problem_of_its_own() {
    let problems = load("/nowhere/respgate.toml".as_ref(), std::iter::empty()).unwrap_err();
    let text = problems.to_string();
    assert!(
        text.starts_with("/nowhere/respgate.toml: cannot be read: "),
        "{text}"
    );
}

#[test]
fn unknown_keys_are_problems_that_name_what_is_near_and_never_show_the_value() {
    for (text, problem) in [
        (
            [sound(), "[limits]\nmax_bluk = 1\n".into()].concat(),
            "limits.max_bluk: unknown key; did you mean \"max_bulk\"?",
        ),
        (
            [sound(), "[limit]\n".into()].concat(),
            "limit: unknown key; did you mean \"limits\"?",
        ),
        (
            with_upstream(&[UPSTREAM, "secret = \"hunter2\"\n"].concat()),
            "upstream.main.secret: unknown key",
        ),
        (
            with_listener(&[LISTENER, TLS, "clientca = \"x\"\n"].concat()),
            "listener.main.tls.clientca: unknown key; did you mean \"client_ca\"?",
        ),
        (
            with_identity("[[identity]]\nmatch = { cn = \"a\", spki = \"b\" }\nuser = \"u\"\n"),
            "identity[0].match.spki: unknown key",
        ),
        // A quoted key with a dot is one key, not a table and its key.
        (
            ["\"limits.max_args\" = 20\n", &sound()].concat(),
            "limits.max_args: unknown key",
        ),
    ] {
        bad(&text, problem);
    }
}

#[test]
fn a_line_break_in_a_value_does_not_make_a_second_problem() {
    let text = [sound(), "[log]\nformat = \"a\\nb: c\"\n".into()].concat();
    bad(
        &text,
        "log.format = \"a\\nb: c\": must be one of \"text\", \"json\"",
    );
}
