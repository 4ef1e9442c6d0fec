//! `[[identity]]` against the listeners of its file.

use super::{LISTENER, POLICY, TLS, UPSTREAM, bad, good, warns, with_identity};
use crate::identity::{AuthKind, Naming};

const DIGEST: &str = "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef";

fn rule(keys: &str) -> String {
    with_identity(&["[[identity]]\n", keys, "\n"].concat())
}

/// A TLS listener `main`, a plaintext one `local`, one without client certificates `open`, and a
/// unix socket.
fn many(keys: &str) -> String {
    let others = r#"
[[listener]]
name = "local"
bind = ["127.0.0.1:6381"]
[[listener]]
name = "socket"
bind = ["unix:/run/s"]
[[listener]]
name = "open"
bind = ["127.0.0.1:6382"]
[listener.tls]
cert = "c"
key = "k"
client_auth = "none"
insecure_no_client_auth = true
"#;
    [
        LISTENER,
        TLS,
        others,
        UPSTREAM,
        "[[identity]]\n",
        keys,
        "\n",
        POLICY,
    ]
    .concat()
}

#[test]
fn every_key_is_read() {
    let keys = format!(
        "match = {{ cn = \"a\", ou = [\"b\", \"c\"], o = \"d\", dns = \"*.E\", uri = \"f://**\", \
         email = \"g@h\", spki_sha256 = \"{DIGEST}\", issuer_cn = \"i\", \
         issuer_spki_sha256 = [\"{DIGEST}\"], from = [\"10.0.0.0/8\", \"::1\"], \
         listener = \"ma*\" }}\nusers = [\"u\", \"v\"]\nauth = \"password\""
    );
    let config = good(&rule(&keys)).config;
    let rule = &config.identities[0];
    assert_eq!(rule.auth(), AuthKind::Password);
    assert_eq!(
        rule.naming(),
        &Naming::OneOf(["u".into(), "v".into()].into())
    );
    assert!(rule.needs_certificate() && rule.needs_source());
    assert!(rule.covers_listener("main") && !rule.covers_listener("other"));
}

#[test]
fn conditions_are_checked() {
    for (keys, problem) in [
        (
            "match = { cn = \"\" }\nuser = \"u\"",
            "identity[0].match.cn: must not be empty",
        ),
        (
            "match = { cn = [] }\nuser = \"u\"",
            "identity[0].match.cn = \"[…]\": must not be empty: nothing could match it",
        ),
        (
            "match = { cn = [\"a\", \"\"] }\nuser = \"u\"",
            "identity[0].match.cn[1]: must not be empty",
        ),
        (
            "match = { cn = true }\nuser = \"u\"",
            "identity[0].match.cn = \"true\": must be a string or a list of strings",
        ),
        (
            "match = { cn = [1] }\nuser = \"u\"",
            "identity[0].match.cn[0] = \"1\": must be a string",
        ),
        (
            "match = \"cn\"\nuser = \"u\"\nauth = \"password\"",
            "identity[0].match = \"cn\": must be a table",
        ),
        (
            "match = { spki_sha256 = \"abc*\" }\nuser = \"u\"",
            "identity[0].match.spki_sha256 = \"abc*\": must be the 64 hexadecimal digits of a SHA-256, without wildcards",
        ),
        (
            "match = { cn = \"a\", from = \"10.0.0.1/8\" }\nuser = \"u\"",
            "identity[0].match.from = \"10.0.0.1/8\": has host bits beyond its prefix; the network is \"10.0.0.0/8\"",
        ),
        (
            "match = { cn = \"a\", from = [] }\nuser = \"u\"",
            "identity[0].match.from = \"[…]\": must not be empty: nothing could match it",
        ),
        (
            "match = { cn = \"a\", listener = \"mainn\" }\nuser = \"u\"",
            "identity[0].match.listener = \"mainn\": matches no listener; did you mean \"main\"?",
        ),
        (
            "match = { cn = \"a\", listener = [\"main\", \"x*\"] }\nuser = \"u\"",
            "identity[0].match.listener[1] = \"x*\": matches no listener",
        ),
    ] {
        bad(&rule(keys), problem);
    }
}

#[test]
fn users_are_checked() {
    const CN: &str = "match = { cn = \"a\" }\n";
    for (keys, problem) in [
        (
            "",
            "identity[0].user: is required: user = \"…\", or users = [ … ]",
        ),
        (
            "user = \"u\"\nusers = [\"v\"]",
            "identity[0].users = \"[…]\": a rule has either user or users",
        ),
        ("user = \"\"", "identity[0].user: must not be empty"),
        (
            "user = \"a b\"",
            "identity[0].user = \"a b\": a user name has no spaces and no NUL",
        ),
        (
            "user = \"$ou\"",
            "identity[0].user = \"$ou\": only \"$cn\", \"$uri\", \"$dns\" and \"$auth\" may begin with \"$\"",
        ),
        (
            "user = [\"u\"]",
            "identity[0].user = \"[…]\": must be a string",
        ),
        (
            "users = []",
            "identity[0].users: must name at least one user",
        ),
        (
            "users = \"u\"",
            "identity[0].users = \"u\": must be a list: [ … ]",
        ),
        (
            "users = [\"u\", \"v\", \"u\"]",
            "identity[0].users[2] = \"u\": is in the list twice",
        ),
        (
            "users = [\"u\", \"$cn\"]",
            "identity[0].users[1] = \"$cn\": a list of users holds plain names, nothing with \"$\"",
        ),
        (
            "user = \"u\"\nauth = \"none\"",
            "identity[0].auth = \"none\": must be one of \"certificate\", \"password\", \"address\"",
        ),
        (
            "user = \"$auth\"",
            "identity[0].auth: \"$auth\" needs auth = \"password\"",
        ),
        (
            "user = \"$auth\"\nauth = \"certificate\"",
            "identity[0].auth = \"certificate\": \"$auth\" needs auth = \"password\"",
        ),
    ] {
        bad(&rule(&[CN, keys].concat()), problem);
    }
}

#[test]
fn what_proves_nothing_must_be_spelled_out() {
    const PROBLEM: &str = "the rule has no certificate attribute: \"certificate\" proves nothing; \
        say \"password\", or \"address\" if the source address is proof enough";
    for (matching, key) in [
        ("match = { from = \"10.0.0.0/8\" }\n", ""),
        ("match = { listener = \"main\" }\n", ""),
        ("match = {}\n", ""),
        ("", ""),
        ("match = {}\n", "auth = \"certificate\"\n"),
    ] {
        let keys = [matching, "user = \"u\"\n", key].concat();
        let value = if key.is_empty() {
            ""
        } else {
            " = \"certificate\""
        };
        bad(&rule(&keys), &format!("identity[0].auth{value}: {PROBLEM}"));
    }
    good(&rule(
        "match = { from = \"10.0.0.0/8\" }\nuser = \"u\"\nauth = \"address\"",
    ));
    good(&rule("user = \"$auth\"\nauth = \"password\""));
    good(&rule("user = \"$cn\""));
}

#[test]
fn a_broken_attribute_still_makes_the_rule_one_about_certificates() {
    bad(
        &rule("match = { spki_sha256 = \"ab\" }\nuser = \"u\""),
        "identity[0].match.spki_sha256 = \"ab\": must be the 64 hexadecimal digits of a SHA-256, \
         without wildcards",
    );
}

#[test]
fn a_rule_about_certificates_needs_a_listener_that_asks_for_them() {
    const PROBLEM: &str = "identity[0].match.listener: the rule needs a certificate, and these \
        listeners ask for none";
    for listeners in ["\"local\"", "\"open\"", "[\"local\", \"open\", \"socket\"]"] {
        bad(
            &many(&format!(
                "match = {{ cn = \"a\", listener = {listeners} }}\nuser = \"u\""
            )),
            PROBLEM,
        );
        bad(
            &many(&format!(
                "match = {{ listener = {listeners} }}\nuser = \"$cn\""
            )),
            PROBLEM,
        );
    }
    for keys in [
        "match = { cn = \"a\", listener = [\"local\", \"main\"] }\nuser = \"u\"",
        "match = { cn = \"a\", listener = \"*\" }\nuser = \"u\"",
        "match = { cn = \"a\" }\nuser = \"u\"",
    ] {
        assert!(good(&many(keys)).warnings.is_empty());
    }
}

#[test]
fn rules_that_never_match_or_match_everybody_are_warnings() {
    warns(
        &[LISTENER, UPSTREAM, super::IDENTITY, POLICY].concat(),
        "identity[0].match: never matches: it needs a certificate, and no listener asks for one",
    );
    warns(
        &many(
            "match = { from = \"10.0.0.1\", listener = \"socket\" }\nuser = \"u\"\nauth = \"address\"",
        ),
        "identity[0].match: never matches: its listeners are unix sockets, which have no source \
         address",
    );
    warns(
        &many("match = { listener = \"local\" }\nuser = \"u\"\nauth = \"address\""),
        "identity[0].auth = \"address\": without \"from\", every source that the listener allows \
         becomes this user",
    );
    let socket = many("match = { listener = \"socket\" }\nuser = \"u\"\nauth = \"address\"");
    assert!(good(&socket).warnings.is_empty());
}
