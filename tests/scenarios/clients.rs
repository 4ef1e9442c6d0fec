//! The clients that people use, as they come.

use redis::{Client, ClientTlsConfig, Commands, TlsCertificates};

use crate::support::redis::LEGACY_AND_CURRENT;
use crate::support::{Proxy, RedisServer, Reply, cli};

#[test]
fn redis_cli_works_and_shows_refusals() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let outcome = cli::redis_cli(
            &proxy,
            "cart",
            &[],
            "SET cart:1 a\nGET cart:1\nFLUSHALL\nGET other\nMULTI\nINCR cart:n\nEXEC\n",
        );
        let lines: Vec<&str> = outcome
            .stdout
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(
            lines,
            [
                "OK",
                "a",
                "NOPERM User cart has no permissions to run the 'flushall' command",
                "NOPERM No permissions to access a key",
                "OK",
                "QUEUED",
                "1"
            ],
            "{outcome:#?}"
        );
    }
}

#[test]
fn redis_cli_with_an_old_password_works() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let outcome = cli::redis_cli(
            &proxy,
            "cart",
            &["-a", "cart-secret", "-n", "2"],
            "SET cart:1 a\nGET cart:1\n",
        )
        .expect_code(0);
        assert_eq!(outcome.stdout, "OK\na\n", "{outcome:#?}");
    }
}

#[test]
fn redis_cli_with_the_wrong_certificate_is_told_why() {
    let server = RedisServer::start(crate::support::Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let outcome = cli::redis_cli(&proxy, "nobody", &[], "PING\n");
    assert!(!outcome.text().contains("PONG"), "{outcome:#?}");
    assert!(
        outcome.text().contains("respgate") || outcome.code != Some(0),
        "{outcome:#?}"
    );
}

#[test]
fn redis_py_works() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let outcome = cli::python(&proxy, "redis_py.py", &[]).expect_code(0);
        assert!(outcome.stdout.ends_with("passed\n"), "{outcome:#?}");
        assert_eq!(
            server.direct().call(&["GET", "cart:py"]),
            Reply::bulk("value")
        );
    }
}

fn crate_client(proxy: &Proxy, name: &str, login: &str) -> Client {
    let read = |file: &str| std::fs::read(proxy.certs().file(file)).unwrap();
    let certificates = TlsCertificates {
        client_tls: Some(ClientTlsConfig {
            client_cert: read(&format!("{name}.pem")),
            client_key: read(&format!("{name}.key")),
        }),
        root_cert: Some(read("ca.pem")),
    };
    Client::build_with_tls(
        format!("rediss://{login}localhost:{}", proxy.port()),
        certificates,
    )
    .unwrap()
}

#[test]
fn redis_crate_works_over_mutual_tls() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        for login in ["", ":cart-secret@", "cart:cart-secret@"] {
            let mut connection = crate_client(&proxy, "cart", login)
                .get_connection()
                .unwrap();
            let () = connection.set("cart:rs", "value").unwrap();
            let value: String = connection.get("cart:rs").unwrap();
            assert_eq!(value, "value");
            let error = redis::cmd("FLUSHALL")
                .query::<()>(&mut connection)
                .unwrap_err();
            assert_eq!(error.code(), Some("NOPERM"), "{error}");
            let (one, two): (i64, i64) = redis::pipe()
                .atomic()
                .cmd("DEL")
                .arg("cart:n")
                .ignore()
                .incr("cart:n", 1)
                .incr("cart:n", 1)
                .query(&mut connection)
                .unwrap();
            assert_eq!((one, two), (1, 2));
            let refused = redis::pipe()
                .atomic()
                .incr("cart:n", 1)
                .get("other")
                .query::<(i64, i64)>(&mut connection);
            assert!(refused.is_err());
            let value: i64 = connection.get("cart:n").unwrap();
            assert_eq!(value, 2, "half a transaction ran");
        }
    }
}
