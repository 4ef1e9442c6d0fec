//! `[[listener]]` and `[listener.tls]`.

use std::path::Path;
use std::time::Duration;

use super::{IDENTITY, LISTENER, POLICY, TLS, UPSTREAM, bad, directory, good, load_in, warns};
use super::{with_listener, with_upstream};
use crate::config::{Bind, ClientAuth, ListenerKind, TlsVersion};

/// A plaintext listener needs a rule that doesn't ask for certificates.
fn plaintext(listener: &str) -> String {
    let identity =
        "[[identity]]\nmatch = { from = \"127.0.0.1\" }\nuser = \"u\"\nauth = \"address\"\n";
    [listener, UPSTREAM, identity, POLICY].concat()
}

fn listener(keys: &str) -> String {
    with_listener(&[LISTENER, keys, "\n", TLS].concat())
}

fn tls(keys: &str) -> String {
    with_listener(&[LISTENER, "[listener.tls]\n", keys, "\n"].concat())
}

#[test]
fn every_key_is_read() {
    let config = good(&with_listener(
        r#"
[[listener]]
name = "a"
upstream = "main"
bind = ["0.0.0.0:1", "[::]:1", "unix:/run/a"]
allow = ["10.0.0.0/8", "192.168.0.1"]
deny = ["10.1.0.0/16"]
proxy_protocol_from = ["10.0.0.9", "10.2.0.0/16"]
max_connections = 5
max_connections_per_ip = 2
max_handshakes = 4
max_handshakes_per_ip = 3
handshake_timeout = "1s"
auth_timeout = "2s"
idle_timeout = "3m"
max_lifetime = "24h"
[listener.tls]
cert = "c"
key = "/k"
client_ca = "ca"
client_auth = "optional"
insecure_no_client_auth = true
crl = []
min_version = "1.3"
"#,
    ))
    .config;
    let listener = &config.listeners[0];
    assert_eq!(listener.bind.len(), 3);
    assert_eq!(listener.bind[2], Bind::Unix("/run/a".into()));
    assert_eq!(listener.allow.len(), 2);
    assert_eq!(listener.deny.len(), 1);
    assert_eq!(listener.proxy_protocol_from.len(), 2);
    assert_eq!(
        (listener.max_handshakes, listener.max_handshakes_per_ip),
        (4, 3)
    );
    assert_eq!(
        (
            listener.max_connections.unwrap(),
            listener.max_connections_per_ip
        ),
        (5, 2)
    );
    assert_eq!(listener.handshake_timeout.as_secs(), 1);
    assert_eq!(listener.auth_timeout.as_secs(), 2);
    assert_eq!(
        listener.idle_timeout.map(|timeout| timeout.as_secs()),
        Some(180)
    );
    assert_eq!(listener.max_lifetime, Some(Duration::from_secs(24 * 3600)));
    let tls = listener.tls.as_ref().unwrap();
    assert_eq!(tls.client_auth, ClientAuth::Optional);
    assert_eq!(tls.min_version, TlsVersion::V1_3);
    assert_eq!(tls.key, Path::new("/k"));
}

#[test]
fn relative_paths_start_from_the_file() {
    let directory = directory(&with_listener(
        &[
            LISTENER.replace("127.0.0.1:6380", "unix:a.sock").as_str(),
            TLS,
        ]
        .concat(),
    ));
    let config = load_in(&directory, &[]).unwrap().config;
    let listener = &config.listeners[0];
    assert_eq!(listener.bind, [Bind::Unix(directory.path().join("a.sock"))]);
    assert_eq!(
        listener.tls.as_ref().unwrap().cert,
        directory.path().join("s.pem")
    );
    assert_eq!(config.acl_files, [directory.path().join("users.acl")]);
}

#[test]
fn an_empty_allow_list_is_nobody() {
    assert!(
        good(&listener("allow = []")).config.listeners[0]
            .allow
            .is_empty()
    );
}

#[test]
fn values_are_checked_strictly() {
    for (keys, problem) in [
        (
            "allow = [\"10.0.0.1/8\"]",
            "listener.main.allow[0] = \"10.0.0.1/8\": has host bits beyond its prefix; the network is \"10.0.0.0/8\"",
        ),
        (
            "allow = \"10.0.0.0/8\"",
            "listener.main.allow = \"10.0.0.0/8\": must be a list: [ … ]",
        ),
        (
            "deny = [true]",
            "listener.main.deny[0] = \"true\": must be a string",
        ),
        (
            "max_connections = 0",
            "listener.main.max_connections = \"0\": must be an integer from 1 to 10000000",
        ),
        (
            "max_connections = \"5\"",
            "listener.main.max_connections = \"5\": must be an integer from 1 to 10000000",
        ),
        (
            "max_connections = 3.7",
            "listener.main.max_connections = \"3.7\": must be an integer from 1 to 10000000",
        ),
        (
            "max_connections = 3.0",
            "listener.main.max_connections = \"3.0\": must be an integer from 1 to 10000000",
        ),
        (
            "max_connections_per_ip = -1",
            "listener.main.max_connections_per_ip = \"-1\": must be an integer from 1 to 10000000",
        ),
        (
            "handshake_timeout = \"0s\"",
            "listener.main.handshake_timeout = \"0s\": must be longer than \"0s\"",
        ),
        (
            "handshake_timeout = 5",
            "listener.main.handshake_timeout = \"5\": must be a duration such as \
             \"200ms\", \"5s\", \"1m\" or \"2h\"",
        ),
        (
            "auth_timeout = \"0ms\"",
            "listener.main.auth_timeout = \"0ms\": must be longer than \"0s\"",
        ),
        (
            "upstream = \"mein\"",
            "listener.main.upstream = \"mein\": there is no such upstream; did you mean \"main\"?",
        ),
        (
            "upstream = \"\"",
            "listener.main.upstream: there is no such upstream",
        ),
        (
            "proxy_protocol_from = [\"10.0.0.1/8\"]",
            "listener.main.proxy_protocol_from[0] = \"10.0.0.1/8\": has host bits beyond its prefix; the network is \"10.0.0.0/8\"",
        ),
        (
            "proxy_protocol_from = [\"balancer\"]",
            "listener.main.proxy_protocol_from[0] = \"balancer\": must be an address or a network such as \"10.0.0.0/8\" or \"fd00::/8\"",
        ),
        (
            "proxy_protocol_from = true",
            "listener.main.proxy_protocol_from = \"true\": must be a list: [ … ]",
        ),
        (
            "max_handshakes = 0",
            "listener.main.max_handshakes = \"0\": must be an integer from 1 to 10000000",
        ),
        (
            "max_handshakes_per_ip = 0",
            "listener.main.max_handshakes_per_ip = \"0\": must be an integer from 1 to 10000000",
        ),
    ] {
        bad(&listener(keys), problem);
    }
}

#[test]
fn a_listener_has_a_name_and_an_address() {
    for (text, problem) in [
        (
            "[[listener]]\nbind = [\"127.0.0.1:1\"]\n",
            "listener[0].name: is required",
        ),
        (
            "[[listener]]\nname = \"\"\nbind = [\"127.0.0.1:1\"]\n",
            "listener[0].name: must not be empty",
        ),
        (
            "[[listener]]\nname = \"a*\"\nbind = [\"127.0.0.1:1\"]\n",
            "listener[0].name = \"a*\": the name of a listener has only letters, digits, \"_\" and \"-\"",
        ),
        (
            "[[listener]]\nname = \"a\"\n",
            "listener.a.bind: is required: at least one address",
        ),
        (
            "[[listener]]\nname = \"a\"\nbind = []\n",
            "listener.a.bind: is required: at least one address",
        ),
        (
            "[[listener]]\nname = \"a\"\nbind = \"127.0.0.1:1\"\n",
            "listener.a.bind = \"127.0.0.1:1\": must be a list: [ … ]",
        ),
        (
            "[listener]\nname = \"a\"\n",
            "listener = \"{…}\": must be a list: [ … ]",
        ),
    ] {
        bad(&plaintext(text), problem);
    }
}

#[test]
fn names_and_addresses_are_unique() {
    let two = |first: &str, second: &str| plaintext(&[first, second].concat());
    let a = "[[listener]]\nname = \"a\"\nbind = [\"127.0.0.1:1\", \"unix:/s\"]\n";
    bad(
        &two(a, "[[listener]]\nname = \"a\"\nbind = [\"127.0.0.1:2\"]\n"),
        "listener[1].name = \"a\": another listener has this name",
    );
    bad(
        &two(a, "[[listener]]\nname = \"b\"\nbind = [\"127.0.0.1:1\"]\n"),
        "listener.b.bind[0] = \"127.0.0.1:1\": is bound twice",
    );
    bad(
        &two(a, "[[listener]]\nname = \"b\"\nbind = [\"unix:/s\"]\n"),
        "listener.b.bind[0] = \"unix:/s\": is bound twice",
    );
    good(&plaintext(
        "[[listener]]\nname = \"a\"\nbind = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n",
    ));
}

#[test]
fn which_upstream_may_only_be_left_out_where_there_is_one() {
    let upstreams = "[upstream.a]\naddress = \"unix:/a\"\n[upstream.b]\naddress = \"unix:/b\"\n";
    bad(
        &with_upstream(upstreams),
        "listener.main.upstream: is required: there are a, b",
    );
    let text = [
        LISTENER,
        "upstream = \"b\"\n",
        TLS,
        upstreams,
        IDENTITY,
        POLICY,
    ]
    .concat();
    let config = good(&text).config;
    assert_eq!(config.upstreams[config.listeners[0].upstream].name, "b");
}

#[test]
fn plaintext_stays_on_this_host() {
    for bind in [
        "127.0.0.1:1",
        "127.8.0.1:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
        "unix:/s",
    ] {
        let text = format!("[[listener]]\nname = \"a\"\nbind = [\"{bind}\"]\n");
        assert!(super::try_load(&plaintext(&text), &[]).is_ok(), "{bind}");
    }
    for bind in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[::ffff:10.0.0.1]:1"] {
        let text = format!("[[listener]]\nname = \"a\"\nbind = [\"{bind}\"]\n");
        let problem = format!(
            "listener.a.bind[0] = \"{bind}\": plaintext, without [listener.tls], binds only \
             loopback addresses and unix sockets"
        );
        bad(&plaintext(&text), &problem);
    }
}

#[test]
fn a_unix_socket_has_no_balancer_with_an_address() {
    let listener = |bind: &str| {
        format!(
            "[[listener]]\nname = \"a\"\nbind = [{bind}]\nproxy_protocol_from = [\"10.0.0.1\"]\n"
        )
    };
    bad(
        &plaintext(&listener("\"unix:/s\"")),
        "listener.a.proxy_protocol_from: is not for unix sockets, and this listener has nothing else",
    );
    good(&plaintext(&listener("\"unix:/s\", \"127.0.0.1:1\"")));
}

#[test]
fn what_a_balancer_may_say_and_about_whom_is_looked_at() {
    warns(
        &listener("proxy_protocol_from = [\"10.0.0.1\"]"),
        "listener.main.allow: is not given: of the sources that PROXY headers name, only loopback ones are let in",
    );
    warns(
        &listener("allow = [\"10.0.0.0/8\"]\nproxy_protocol_from = [\"10.0.0.1\", \"::/0\"]"),
        "listener.main.proxy_protocol_from = \"::/0\": whoever can connect may name any source",
    );
    let keys = "allow = [\"10.0.0.0/8\"]\nproxy_protocol_from = [\"10.0.0.1\"]";
    assert!(good(&listener(keys)).warnings.is_empty());
}

#[test]
fn going_without_client_certificates_must_be_spelled_out() {
    for word in ["optional", "none"] {
        let keys =
            format!("cert = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\nclient_auth = \"{word}\"");
        let problems = super::try_load(&tls(&keys), &[]).unwrap_err();
        assert_eq!(
            problems[0],
            format!(
                "respgate.toml: listener.main.tls.client_auth = \"{word}\": lets clients in \
                 without a certificate; say insecure_no_client_auth = true if that is meant"
            )
        );
    }
}

#[test]
fn tls_needs_its_files() {
    for (keys, problem) in [
        (
            "key = \"k\"\nclient_ca = \"a\"",
            "listener.main.tls.cert: is required",
        ),
        (
            "cert = \"c\"\nkey = \"\"\nclient_ca = \"a\"",
            "listener.main.tls.key: must not be empty",
        ),
        (
            "cert = \"c\"\nkey = \"k\"",
            "listener.main.tls.client_ca: is required",
        ),
        (
            "cert = \"c\"\nkey = \"k\"\nclient_auth = \"optional\"\ninsecure_no_client_auth = true",
            "listener.main.tls.client_ca: is required",
        ),
        (
            "cert = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\nclient_auth = \"maybe\"",
            "listener.main.tls.client_auth = \"maybe\": must be one of \"required\", \"optional\", \"none\"",
        ),
        (
            "cert = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\nmin_version = \"1.1\"",
            "listener.main.tls.min_version = \"1.1\": must be one of \"1.2\", \"1.3\"",
        ),
        (
            "cert = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\nmin_version = 1.2",
            "listener.main.tls.min_version = \"1.2\": must be a string",
        ),
        (
            "cert = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\ninsecure_no_client_auth = \"yes\"",
            "listener.main.tls.insecure_no_client_auth = \"yes\": must be true or false",
        ),
        (
            "cert = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\ncrl = [\"\"]",
            "listener.main.tls.crl[0]: must not be empty",
        ),
    ] {
        bad(&tls(keys), problem);
    }
}

#[test]
fn a_client_ca_that_nobody_asks_about_is_a_warning() {
    let listener = [
        LISTENER,
        TLS,
        "client_auth = \"none\"\ninsecure_no_client_auth = true\n",
    ]
    .concat();
    warns(
        &plaintext(&listener),
        "ca.pem\": is not used: client_auth = \"none\" asks for no certificate",
    );
}

#[test]
fn an_upstream_is_a_redis_or_a_sentinel_for_all_its_listeners() {
    assert_eq!(
        good(&listener("")).config.listeners[0].kind,
        ListenerKind::Redis
    );
    for (word, kind) in [
        ("redis", ListenerKind::Redis),
        ("sentinel", ListenerKind::Sentinel),
    ] {
        let config = good(&listener(&format!("kind = \"{word}\""))).config;
        assert_eq!(config.listeners[0].kind, kind);
    }
    bad(
        &listener("kind = \"cluster\""),
        "listener.main.kind = \"cluster\": must be one of \"redis\", \"sentinel\"",
    );
    let second = "[[listener]]\nname = \"b\"\nbind = [\"127.0.0.1:6381\"]\n";
    let two = [LISTENER, "kind = \"sentinel\"\n", TLS, second, TLS].concat();
    bad(
        &with_listener(&two),
        "listener.b.kind = \"redis\": another listener of the same upstream says \"sentinel\"",
    );
}

#[test]
fn a_sentinel_without_a_map_of_addresses_is_a_warning() {
    let text = listener("kind = \"sentinel\"");
    warns(
        &text,
        "listener.main.kind = \"sentinel\": rewrite.addresses is empty: clients are told where the \
         Redis is, and not its respgate",
    );
    let map = "[rewrite.addresses]\n\"10.0.0.5:6379\" = \"redis-a.example.com:6380\"\n";
    assert!(good(&[&text, map].concat()).warnings.is_empty());
}
