//! `[upstream.NAME]`.

use std::fs;

use super::{UPSTREAM, bad, directory, good, load_in, try_load, warns, with_upstream};
use crate::config::{Connections, Loaded, UpstreamAddress};

fn upstream(keys: &str) -> String {
    with_upstream(&[UPSTREAM, keys, "\n"].concat())
}

fn address(address: &str) -> String {
    with_upstream(&format!("[upstream.main]\naddress = \"{address}\"\n"))
}

/// Loads a file beside a password file of this content.
fn with_password(content: &[u8], mode: u32) -> Result<Loaded, Vec<String>> {
    let directory = directory(&upstream(
        "username = \"proxy\"\npassword_file = \"secret\"",
    ));
    let path = directory.path().join("secret");
    fs::write(&path, content).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    load_in(&directory, &[])
}

#[test]
fn every_key_is_read() {
    let config = good(&upstream(
        "insecure_plaintext = true\nusername = \"\"\npassword_file = \"\"\n\
         connections = \"dedicated\"\nconnect_timeout = \"100ms\"",
    ))
    .config;
    assert_eq!(config.upstreams[0].connect_timeout.as_millis(), 100);
    assert_eq!(config.upstreams[0].username, None);
    assert_eq!(config.upstreams[0].password, None);
    assert_eq!(config.upstreams[0].connections, Connections::Dedicated);
}

#[test]
fn connections_are_shared_unless_it_says_otherwise() {
    for keys in ["", "connections = \"shared\""] {
        let config = good(&upstream(keys)).config;
        assert_eq!(config.upstreams[0].connections, Connections::Shared);
    }
}

#[test]
fn addresses_lose_their_brackets_and_keep_their_names() {
    let host = |text: &str| match &good(&address(text)).config.upstreams[0].addresses[0] {
        UpstreamAddress::Tcp { host, port } => (host.clone(), *port),
        UpstreamAddress::Unix(path) => panic!("{path:?}"),
    };
    assert_eq!(host("[::1]:7000"), ("::1".to_owned(), 7000));
    assert_eq!(host("localhost:6379"), ("localhost".to_owned(), 6379));
    assert_eq!(
        good(&address("unix:/run/r")).config.upstreams[0].addresses[0],
        UpstreamAddress::Unix("/run/r".into())
    );
}

#[test]
fn upstreams_are_sorted_by_name() {
    let text = "[upstream.b]\naddress = \"unix:/b\"\n[upstream.a]\naddress = \"unix:/a\"\n";
    let text = with_upstream(text).replacen("name =", "upstream = \"b\"\nname =", 1);
    let config = good(&text).config;
    let names: Vec<_> = config
        .upstreams
        .iter()
        .map(|upstream| &upstream.name)
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(config.listeners[0].upstream, 1);
}

#[test]
fn plaintext_to_another_host_must_be_spelled_out() {
    for remote in ["10.0.0.1:6379", "redis.internal:6379", "[fd00::1]:6379"] {
        let problem = format!(
            "upstream.main.address = \"{remote}\": a remote upstream without TLS carries \
             everything in the clear; say insecure_plaintext = true if that network is safe"
        );
        bad(&address(remote), &problem);
        good(&with_upstream(&format!(
            "[upstream.main]\naddress = \"{remote}\"\ninsecure_plaintext = true\n"
        )));
    }
}

#[test]
fn an_upstream_may_have_several_addresses() {
    let several = |list: &str, keys: &str| {
        with_upstream(&format!("[upstream.main]\naddress = {list}\n{keys}\n"))
    };
    let text = several("[\"localhost:1\", \"unix:/run/r\"]", "");
    let addresses = good(&text).config.upstreams[0].addresses.clone();
    let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["localhost:1", "unix:/run/r"]);

    // Each of them is looked at.
    let remote = several("[\"localhost:1\", \"10.0.0.1:1\"]", "");
    bad(
        &remote,
        "upstream.main.address[1] = \"10.0.0.1:1\": a remote upstream without TLS carries everything \
         in the clear; say insecure_plaintext = true if that network is safe",
    );
    for (list, problem) in [
        ("[]", "upstream.main.address = \"[…]\": must not be empty"),
        (
            "[\"localhost:1\", \"localhost:1\"]",
            "upstream.main.address[1] = \"localhost:1\": stands there twice",
        ),
        (
            "[\"localhost:1\", 2]",
            "upstream.main.address[1] = \"2\": must be a string",
        ),
        (
            "1",
            "upstream.main.address = \"1\": must be a string or a list of strings",
        ),
    ] {
        bad(&several(list, ""), problem);
    }
    let list: Vec<_> = (1..=17)
        .map(|port| format!("\"localhost:{port}\""))
        .collect();
    bad(
        &several(&format!("[{}]", list.join(", ")), ""),
        "upstream.main.address[16] = \"localhost:17\": is one too many: an upstream has at most 16 \
         addresses",
    );
}

#[test]
fn each_address_has_its_own_name_in_tls() {
    let text =
        "[upstream.main]\naddress = [\"a.example:1\", \"10.0.0.1:1\"]\n[upstream.main.tls]\n";
    let names = |text: &str| {
        let tls = good(&with_upstream(text)).config.upstreams[0].tls.clone();
        tls.unwrap().server_names
    };
    assert_eq!(names(text), ["a.example", "10.0.0.1"]);
    let text = format!("{text}server_name = \"redis\"\n");
    assert_eq!(names(&text), ["redis", "redis"]);
}

#[test]
fn a_variable_may_hold_several_addresses() {
    let variable = |value| [("RESPGATE__UPSTREAM__MAIN__ADDRESS", value)];
    let text = address("localhost:1");
    let config = try_load(&text, &variable("localhost:2, unix:/run/r")).unwrap();
    let shown = config.config.upstreams[0].shown_addresses();
    assert_eq!(shown, "localhost:2, unix:/run/r");
    let problems = try_load(&text, &variable("localhost:2,nothing")).unwrap_err();
    assert!(
        problems[0].starts_with(
            "environment: RESPGATE__UPSTREAM__MAIN__ADDRESS = \"nothing\": must be \"host:port\""
        ),
        "{problems:?}"
    );
}

#[test]
fn values_are_checked() {
    for (text, problem) in [
        (
            with_upstream("[upstream.main]\n"),
            "upstream.main.address: is required",
        ),
        (
            with_upstream("[upstream.\"a b\"]\naddress = \"unix:/a\"\n"),
            "upstream.a b = \"{…}\": the name of an upstream has only letters, digits, \"_\" and \"-\"",
        ),
        (
            with_upstream("[upstream]\nmain = 1\n"),
            "upstream.main = \"1\": must be a table",
        ),
        (
            upstream("max_connections = 0"),
            "upstream.main.max_connections = \"0\": must be an integer from 1 to 10000000",
        ),
        (
            upstream("connections = \"pooled\""),
            "upstream.main.connections = \"pooled\": must be one of \"shared\", \"dedicated\"",
        ),
        (
            upstream("connect_timeout = \"0s\""),
            "upstream.main.connect_timeout = \"0s\": must be longer than \"0s\"",
        ),
        (
            upstream("username = \"proxy\""),
            "upstream.main.username = \"proxy\": needs a password_file",
        ),
        (
            upstream("insecure_plaintext = 1"),
            "upstream.main.insecure_plaintext = \"1\": must be true or false",
        ),
        (
            upstream("tls = true"),
            "upstream.main.tls = \"true\": must be a table",
        ),
        (
            upstream("[upstream.main.tls]\ncert = \"c.pem\""),
            "upstream.main.tls.cert = \"c.pem\": needs its key",
        ),
        (
            upstream("[upstream.main.tls]\nkey = \"c.key\"\ncert = \"\""),
            "upstream.main.tls.key = \"c.key\": needs its cert",
        ),
        (
            upstream("[upstream.main.tls]\nserver_name = 1"),
            "upstream.main.tls.server_name = \"1\": must be a string",
        ),
        (
            upstream("[upstream.main.tls]\nclient_ca = \"ca.pem\""),
            "upstream.main.tls.client_ca: unknown key",
        ),
        (
            with_upstream("[upstream.main]\naddress = \"unix:/r\"\n[upstream.main.tls]\n"),
            "upstream.main.tls.server_name: is required: a unix socket has no name that the \
             certificate could hold",
        ),
    ] {
        bad(&text, problem);
    }
}

#[test]
fn tls_expects_the_host_of_the_address_unless_another_name_is_given() {
    for (host, lines, name) in [
        ("10.0.0.1:6379", "", "10.0.0.1"),
        (
            "redis.internal:6379",
            "server_name = \"\"",
            "redis.internal",
        ),
        ("[fd00::1]:6379", "", "fd00::1"),
        ("10.0.0.1:6379", "server_name = \"redis\"", "redis"),
        ("unix:/run/r", "server_name = \"redis\"", "redis"),
    ] {
        // Remote, and nothing is insecure about it.
        let text = format!("[upstream.main]\naddress = \"{host}\"\n[upstream.main.tls]\n{lines}\n");
        let loaded = good(&with_upstream(&text));
        assert!(loaded.warnings.is_empty());
        let tls = loaded.config.upstreams[0].tls.clone().unwrap();
        assert_eq!(tls.server_names, [name]);
        assert_eq!((tls.ca, tls.identity), (None, None));
    }
}

#[test]
fn tls_files_are_relative_to_the_file() {
    let directory = directory(&upstream(
        "[upstream.main.tls]\nca = \"ca.pem\"\ncert = \"c.pem\"\nkey = \"/etc/c.key\"",
    ));
    let config = load_in(&directory, &[]).unwrap().config;
    let tls = config.upstreams[0].tls.clone().unwrap();
    assert_eq!(tls.ca, Some(directory.path().join("ca.pem")));
    let (cert, key) = tls.identity.unwrap();
    assert_eq!(cert, directory.path().join("c.pem"));
    assert_eq!(key, std::path::Path::new("/etc/c.key"));
}

#[test]
fn tls_can_be_set_from_the_environment() {
    let text = address("redis.internal:6379");
    let variables = [
        ("RESPGATE__UPSTREAM__MAIN__TLS__CA", "/etc/ca.pem"),
        ("RESPGATE__UPSTREAM__MAIN__TLS__SERVER_NAME", "redis"),
    ];
    let config = try_load(&text, &variables).unwrap().config;
    let tls = config.upstreams[0].tls.clone().unwrap();
    assert_eq!(tls.ca, Some("/etc/ca.pem".into()));
    assert_eq!(tls.server_names, ["redis"]);
    let variables = [("RESPGATE__UPSTREAM__MAIN__TLS__CERT", "/etc/c.pem")];
    assert_eq!(
        try_load(&text, &variables).unwrap_err(),
        ["environment: RESPGATE__UPSTREAM__MAIN__TLS__CERT = \"/etc/c.pem\": needs its key"]
    );
}

#[test]
fn insecure_plaintext_beside_tls_is_a_warning() {
    warns(
        &upstream("insecure_plaintext = true\n[upstream.main.tls]"),
        "upstream.main.insecure_plaintext = \"true\": is not used: this upstream is spoken to over TLS",
    );
}

#[test]
fn a_password_in_an_address_is_not_shown() {
    bad(
        &address("redis://:hunter2@redis:6379"),
        "upstream.main.address: must be \"host:port\", \"[v6 address]:port\" or \"unix:/path\" \
         (no scheme, no user)",
    );
}

#[test]
fn a_password_file_loses_one_newline() {
    for (content, password) in [
        ("hunter2", "hunter2"),
        ("hunter2\n", "hunter2"),
        ("hunter2\r\n", "hunter2"),
        ("hunter2\n\n", "hunter2\n"),
        (" hunter2 ", " hunter2 "),
    ] {
        let loaded = with_password(content.as_bytes(), 0o600).unwrap();
        let upstream = &loaded.config.upstreams[0];
        assert_eq!(upstream.username.as_deref(), Some("proxy"));
        assert_eq!(upstream.password.as_ref().unwrap().expose(), password);
        assert!(!format!("{:?}", loaded.config).contains("hunter2"));
    }
}

#[test]
fn a_password_file_must_hold_a_password() {
    for content in ["", "\n"] {
        let problems = with_password(content.as_bytes(), 0o600).unwrap_err();
        assert_eq!(
            problems,
            ["respgate.toml: upstream.main.password_file = \"secret\": secret is empty"]
        );
    }
    let problems = with_password(&[b'x'; 64 * 1024 + 1], 0o600).unwrap_err();
    assert_eq!(
        problems,
        ["respgate.toml: upstream.main.password_file = \"secret\": secret is longer than 64 KB"]
    );
    let problems = with_password(b"\xffhunter2", 0o600).unwrap_err();
    assert!(problems[0].contains("cannot read secret: "), "{problems:?}");
    assert!(!problems[0].contains("hunter2"), "{problems:?}");

    let problems = try_load(&upstream("password_file = \"missing\""), &[]).unwrap_err();
    assert!(
        problems[0].starts_with(
            "respgate.toml: upstream.main.password_file = \"missing\": cannot read missing: "
        ),
        "{problems:?}"
    );
}

#[cfg(unix)]
#[test]
fn a_password_file_that_all_can_read_is_a_warning() {
    assert!(
        with_password(b"hunter2", 0o640)
            .unwrap()
            .warnings
            .is_empty()
    );
    let warnings = with_password(b"hunter2", 0o644).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].key, "upstream.main.password_file");
    assert_eq!(
        warnings[0].reason,
        "every user of this host can read the password; chmod o-r it"
    );
}
