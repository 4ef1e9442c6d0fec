//! The program's own face: exit codes, and errors that come all at once.

use std::path::Path;

use crate::support::cli::{respgate, respgate_with_input};
use crate::support::{Builder, Proxy, RedisServer, Version};

/// A configuration that is in order but for what the test does to it; nobody need listen upstream.
fn config(change: impl FnOnce(Builder) -> Builder) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let builder = change(Proxy::builder().upstream_named("main", "address = \"127.0.0.1:6379\""));
    let path = builder.write(dir.path(), 6380);
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn check_accepts_what_is_in_order() {
    let (_dir, path) = config(|builder| builder);
    respgate(&["check", "--config", &path]).expect_code(0);
}

/// With its certificates, which are made and not shipped: in the folder beside it that it names.
#[test]
fn shipped_configuration_is_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config");
    std::fs::create_dir(&config).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for entry in std::fs::read_dir(shipped).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), config.join(entry.file_name())).unwrap();
        }
    }
    let certs = dir.path().join("certs-dev");
    let out = certs.to_str().unwrap();
    respgate(&["certs", "--out", out, "--client", "egress"]).expect_code(0);
    for name in ["respgate.toml", "egress.toml", "gateway.toml"] {
        let config = config.join(name);
        let outcome = respgate(&["check", "--config", config.to_str().unwrap()]);
        let outcome = outcome.expect_code(0);
        assert!(!outcome.stderr.contains("warning"), "{name}: {outcome:#?}");
    }
}

#[test]
fn check_tells_every_fault_at_once() {
    let (_dir, path) = config(|builder| {
        builder
            .listener("allow = [\"10.0.0.0/99\"]")
            .listener("handshake_timeout = \"soon\"")
            .listener("upstream = \"nowhere\"")
            .users("user cart on ~* +@all +nosuchcommand\nuser search on +@nosuchcategory\nuser admin on ~* +@all\n")
            .section("[limits]\nmax_bulk = \"lots\"\n")
    });
    let outcome = respgate(&["check", "--config", &path]).expect_code(78);
    for word in [
        "respgate.toml",
        "users.acl",
        "10.0.0.0/99",
        "soon",
        "nowhere",
        "nosuchcommand",
        "nosuchcategory",
        "lots",
        "max_bulk",
        "handshake_timeout",
    ] {
        assert!(outcome.stderr.contains(word), "no {word}: {outcome:#?}");
    }
}

/// Files that the configuration names are looked at even where it is wrong itself; what can't be
/// read is named, and a pipe is not waited for.
#[test]
fn check_looks_at_every_file_in_one_go() {
    let (dir, path) = config(|builder| {
        builder
            .listener("handshake_timeout = \"soon\"")
            .section("[audit]\npath = \"no/such/folder/audit.log\"\n")
    });
    let acl = dir.path().join("more.acl");
    std::fs::create_dir(&acl).unwrap();
    std::os::unix::fs::symlink("nowhere", acl.join("dead.acl")).unwrap();
    let pipe = dir.path().join("pipe.acl");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("server.key", "not-there.key").replace(
        "[\"users.acl\"]",
        "[\"users.acl\", \"more.acl\", \"pipe.acl\"]",
    );
    assert!(text.contains("pipe.acl"), "{text}");
    std::fs::write(&path, text).unwrap();
    let outcome = respgate(&["check", "--config", &path]).expect_code(78);
    for word in [
        "soon",
        "not-there.key",
        "dead.acl",
        "pipe.acl",
        "no/such/folder",
    ] {
        assert!(outcome.stderr.contains(word), "no {word}: {outcome:#?}");
    }
}

#[test]
fn run_refuses_what_check_refuses() {
    let (_dir, path) = config(|builder| builder.listener("allow = [\"10.0.0.0/99\"]"));
    let outcome = respgate(&["run", "--config", &path]).expect_code(78);
    assert!(outcome.stderr.contains("10.0.0.0/99"), "{outcome:#?}");
}

#[test]
fn what_is_open_by_accident_is_refused() {
    type Change = fn(Builder) -> Builder;
    let cases: [(&str, Change); 7] = [
        ("address", |b| {
            b.identities("[[identity]]\nmatch = { from = [\"127.0.0.1/32\"] }\nuser = \"cart\"\nauth = \"certificate\"\n")
        }),
        ("no_such_key", |b| b.listener("no_such_key = 1")),
        ("insecure_no_client_auth", |b| {
            b.tls("client_auth = \"none\"")
        }),
        ("nopass", |b| {
            b.users("user cart on nopass ~* +@all\nuser admin on ~* +@all\n")
                .identities("[[identity]]\nmatch = { cn = \"cart\" }\nuser = \"cart\"\nauth = \"password\"\n")
        }),
        ("insecure_plaintext", |b| {
            b.upstream_named("far", "address = \"192.0.2.1:6379\"")
                .listener("upstream = \"main\"")
        }),
        ("plaintext", |b| b.plaintext().also_bind("0.0.0.0:6390")),
        ("default", |b| {
            b.identities("[[identity]]\nmatch = { cn = \"cart\" }\nuser = \"default\"\nauth = \"certificate\"\n")
        }),
    ];
    for (word, change) in cases {
        let (_dir, path) = config(change);
        let outcome = respgate(&["check", "--config", &path]).expect_code(78);
        assert!(outcome.stderr.contains(word), "no {word}: {outcome:#?}");
    }
}

#[test]
fn missing_and_broken_files_are_named() {
    let (_dir, path) = config(|builder| builder);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace("server.key", "not-there.key")
            .replace("users.acl", "not-there.acl"),
    )
    .unwrap();
    let outcome = respgate(&["check", "--config", &path]).expect_code(78);
    assert!(
        outcome.stderr.contains("not-there.key") && outcome.stderr.contains("not-there.acl"),
        "{outcome:#?}"
    );
    let outcome = respgate(&["check", "--config", "/nonexistent/respgate.toml"]).expect_code(78);
    assert!(
        outcome.stderr.contains("/nonexistent/respgate.toml"),
        "{outcome:#?}"
    );
    std::fs::write(&path, "[[listener]\n").unwrap();
    respgate(&["check", "--config", &path]).expect_code(78);
}

#[test]
fn explain_says_allow_or_deny_and_why() {
    let (_dir, path) = config(|builder| builder);
    let explain = |args: &[&str]| {
        respgate(
            &[
                &["explain", "--config", &path, "--user", "cart", "--"],
                args,
            ]
            .concat(),
        )
    };
    explain(&["GET", "cart:1"]).expect_code(0);
    let outcome = explain(&["GET", "other:1"]).expect_code(1);
    assert!(outcome.text().contains("other:1"), "{outcome:#?}");
    let outcome = explain(&["FLUSHALL"]).expect_code(1);
    assert!(
        outcome.text().to_lowercase().contains("flushall"),
        "{outcome:#?}"
    );
    explain(&["NOSUCHCOMMAND"]).expect_code(1);
    // The proxy answers both; who may run ACL is policy's to say.
    let outcome = explain(&["AUTH", "x"]).expect_code(0);
    assert!(outcome.text().contains("answers it itself"), "{outcome:#?}");
    let outcome = explain(&["ACL", "LIST"]).expect_code(1);
    assert!(outcome.text().contains("rule:    "), "{outcome:#?}");
    let unknown = respgate(&[
        "explain", "--config", &path, "--user", "nosuch", "--", "PING",
    ]);
    assert!(!matches!(unknown.code, Some(0)), "{unknown:#?}");
}

#[test]
fn wrong_usage_is_64() {
    for args in [
        &["frobnicate"][..],
        &["run"],
        &["check", "--no-such-flag"],
        &["explain", "--user", "x"],
    ] {
        respgate(args).expect_code(64);
    }
    for args in [&["--help"][..], &["--version"]] {
        respgate(args).expect_code(0);
    }
}

#[test]
fn certs_never_overwrites_a_ca() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("certs");
    let out = out.to_str().unwrap();
    respgate(&["certs", "--out", out, "--client", "cart"]).expect_code(0);
    let ca = std::fs::read(Path::new(out).join("ca.pem")).unwrap();
    let key = std::fs::read(Path::new(out).join("ca.key")).unwrap();
    // Whether it adds a client to the CA that is there or declines is not settled here.
    respgate(&["certs", "--out", out, "--client", "other"]);
    assert!(std::fs::read(Path::new(out).join("ca.pem")).unwrap() == ca);
    assert!(std::fs::read(Path::new(out).join("ca.key")).unwrap() == key);
    use std::os::unix::fs::PermissionsExt as _;
    for name in ["ca.key", "server.key", "cart.key"] {
        let mode = std::fs::metadata(Path::new(out).join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name} can be read by others");
    }
}

#[test]
fn hashed_password_stands_in_an_acl_file() {
    for input in ["cart-secret", "cart-secret\n"] {
        let outcome = respgate_with_input(&["hash-password"], input).expect_code(0);
        assert_eq!(outcome.stdout, format!("#{}\n", sha256("cart-secret")));
    }
}

fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn check_can_ask_the_redis_too() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let dir = tempfile::tempdir().unwrap();
    let path = Proxy::builder().upstream(&server).write(dir.path(), 6380);
    let outcome = respgate(&["check", "--config", path.to_str().unwrap(), "--upstream"]);
    assert!(outcome.text().contains("5.0.6"), "{outcome:#?}");
    let (_dir, path) = config(|builder| {
        builder
            .upstream_named("dead", "address = \"127.0.0.1:1\"")
            .listener("upstream = \"main\"")
    });
    let outcome = respgate(&["check", "--config", &path, "--upstream"]);
    assert_ne!(outcome.code, Some(0), "{outcome:#?}");
    assert!(outcome.text().contains("dead"), "{outcome:#?}");
}

#[test]
fn environment_overrides_scalars_and_nothing_else() {
    let (_dir, path) = config(|builder| builder);
    let run = |name: &str, value: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_respgate"))
            .args(["check", "--config", &path])
            .env(name, value)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(run("RESPGATE__LIMITS__MAX_BULK", "1MB").0, Some(0));
    let (code, text) = run("RESPGATE__LIMITS__MAX_BULK", "lots");
    assert!(code == Some(78) && text.contains("lots"), "{text}");
    let (code, text) = run("RESPGATE__LISTENER__MAIN__BIND", "0.0.0.0:1");
    assert!(
        code == Some(78) && text.contains("RESPGATE__LISTENER"),
        "{text}"
    );
}

#[test]
fn demo_shows_the_tour_once_and_exits() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_respgate"))
        .args(["demo", "--once"])
        .env(
            "RESPGATE_REDIS_SERVER",
            crate::support::redis::fetched("5.0.6"),
        )
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(0), "{text}");
    for word in ["NOPERM", "FLUSHALL", "CONFIG", "5.0.6"] {
        assert!(text.contains(word), "no {word}: {text}");
    }
}
