//! Who gets through the TLS handshake, and who does not get as far.

use std::io::{self, Read};
use std::net::TcpStream;

use crate::support::{Certs, Proxy, RedisServer, Reply, TestClient, Version};

/// However a handshake is refused, no command is answered.
#[track_caller]
fn assert_refused(client: std::io::Result<TestClient>) {
    if let Ok(mut client) = client {
        let _ = client.try_send(b"*1\r\n$4\r\nPING\r\n");
        client.expect_close();
    }
}

/// Whether the peer closes without a byte; a reset is as good an end as any, and it may come before
/// `connect` returns.
fn reads_nothing(connected: io::Result<TcpStream>) -> bool {
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
    };
    let mut rest = Vec::new();
    let outcome = stream.read_to_end(&mut rest);
    let waited_in_vain = outcome.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    rest.is_empty() && !waited_in_vain
}

#[test]
fn client_without_a_certificate_is_refused() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    assert_refused(proxy.try_client(None));
    assert_refused(TestClient::tls(
        proxy.address(),
        proxy.certs().client_config_tls12(None),
    ));
    assert_eq!(
        proxy.client("cart").call(&["PING"]),
        Reply::Simple("PONG".into())
    );
}

#[test]
fn certificate_of_another_ca_is_refused() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let other = Certs::new();
    assert_refused(TestClient::tls(
        proxy.address(),
        proxy.certs().foreign_client_config(&other, "admin"),
    ));
    assert_eq!(
        proxy.client("admin").call(&["PING"]),
        Reply::Simple("PONG".into())
    );
}

#[test]
fn server_certificate_is_not_good_as_a_client() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    assert_refused(TestClient::tls(
        proxy.address(),
        proxy.certs().client_config(Some("server")),
    ));
}

#[test]
fn wrong_source_address_is_closed_before_any_tls_byte() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .listener("allow = [\"127.0.0.0/8\"]")
        .listener("deny = [\"127.0.0.2/32\"]")
        .start();
    assert!(reads_nothing(TestClient::connect_from(
        Some("127.0.0.2"),
        proxy.address()
    )));
    let config = proxy.certs().client_config(Some("cart"));
    assert!(TestClient::tls_from(Some("127.0.0.2"), proxy.address(), config.clone()).is_err());
    let mut client = TestClient::tls_from(Some("127.0.0.3"), proxy.address(), config).unwrap();
    assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
}

#[test]
fn source_that_is_not_listed_is_closed() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .listener("allow = [\"127.0.0.1/32\"]")
        .start();
    let config = proxy.certs().client_config(Some("cart"));
    assert!(TestClient::tls_from(Some("127.0.0.2"), proxy.address(), config).is_err());
    assert_eq!(
        proxy.client("cart").call(&["PING"]),
        Reply::Simple("PONG".into())
    );
}

#[test]
fn empty_list_of_sources_lets_nobody_in() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .listener("allow = []")
        .ready_when_listening()
        .start();
    assert!(reads_nothing(TestClient::connect_from(
        None,
        proxy.address()
    )));
}

#[test]
fn tls_1_2_is_spoken_unless_forbidden() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut old = TestClient::tls(
        proxy.address(),
        proxy.certs().client_config_tls12(Some("cart")),
    )
    .unwrap();
    assert_eq!(
        old.call(&["SET", "cart:1", "a"]),
        Reply::Simple("OK".into())
    );
    let strict = Proxy::builder()
        .upstream(&server)
        .tls("client_auth = \"required\"\nmin_version = \"1.3\"")
        .start();
    assert!(
        TestClient::tls(
            strict.address(),
            strict.certs().client_config_tls12(Some("cart"))
        )
        .is_err()
    );
    assert_eq!(
        strict.client("cart").call(&["GET", "cart:1"]),
        Reply::bulk("a")
    );
}

#[test]
fn resumed_session_keeps_the_identity() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    for config in [
        proxy.certs().client_config(Some("cart")),
        proxy.certs().client_config_tls12(Some("cart")),
    ] {
        let mut first = TestClient::tls(proxy.address(), config.clone()).unwrap();
        assert!(!first.resumed());
        // The ticket comes with the first bytes.
        assert_eq!(first.call(&["PING"]), Reply::Simple("PONG".into()));
        let mut second = TestClient::tls(proxy.address(), config).unwrap();
        assert!(second.resumed(), "no resumption");
        assert_eq!(
            second.call(&["SET", "cart:1", "a"]),
            Reply::Simple("OK".into())
        );
        assert!(second.call(&["GET", "other"]).is_error());
    }
}

#[test]
fn plaintext_on_a_tls_port_reaches_nobody() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = TestClient::tcp(proxy.address()).unwrap();
    let _ = client.try_send(b"*3\r\n$3\r\nSET\r\n$6\r\ncart:1\r\n$1\r\na\r\n");
    let rest = client.read_to_close();
    assert!(
        !rest.starts_with(b"+") && !rest.starts_with(b"-"),
        "{:?}",
        rest.escape_ascii().to_string()
    );
    assert_eq!(server.direct().call(&["DBSIZE"]), Reply::Integer(0));
}

#[test]
fn no_upstream_is_opened_before_the_handshake_is_done() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let before: u64 = server.info("total_connections_received").parse().unwrap();
    for _ in 0..20 {
        assert_refused(proxy.try_client(None));
        assert_refused(proxy.try_client(Some("nobody")).map(|mut client| {
            client.read_to_close();
            client
        }));
    }
    let after: u64 = server.info("total_connections_received").parse().unwrap();
    // The two that ask are their own; the proxy's control connection may have asked too.
    assert!(after - before < 5, "{} connections", after - before);
}

#[test]
fn optional_certificate_counts_when_it_is_shown() {
    let identities = r#"
[[identity]]
match = { cn = ["cart", "admin"] }
user = "$cn"
auth = "certificate"

[[identity]]
match = { from = ["127.0.0.0/8"] }
user = "search"
auth = "password"
"#;
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .tls("client_auth = \"optional\"\ninsecure_no_client_auth = true")
        .identities(identities)
        .start();
    assert_eq!(
        proxy.client("cart").call(&["SET", "cart:1", "a"]),
        Reply::Simple("OK".into())
    );
    let mut bare = proxy.try_client(None).unwrap();
    assert_eq!(
        bare.call(&["GET", "cart:1"]).error(),
        "NOAUTH Authentication required."
    );
    assert_eq!(
        bare.call(&["AUTH", "search-secret"]),
        Reply::Simple("OK".into())
    );
    assert_eq!(bare.call(&["GET", "cart:1"]), Reply::bulk("a"));
    assert!(bare.call(&["SET", "cart:1", "b"]).is_error());
    let other = Certs::new();
    assert_refused(TestClient::tls(
        proxy.address(),
        proxy.certs().foreign_client_config(&other, "admin"),
    ));
}
