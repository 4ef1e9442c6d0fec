//! From a certificate, an address and a listener to a user.

use crate::support::{Proxy, RedisServer, Reply, TestClient, Version, free_port};

#[test]
fn unknown_identity_gets_one_clear_line_and_a_close() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("nobody");
    let text = String::from_utf8(client.read_to_close()).unwrap();
    assert!(text.starts_with("-NOPERM respgate: "), "{text:?}");
    assert!(
        text.ends_with("\r\n") && text.matches("\r\n").count() == 1,
        "{text:?}"
    );
    let events = proxy.audit_when(|event| event["reason"] == "identity");
    assert!(
        events[0]["certificate"].to_string().contains("nobody"),
        "{events:#?}"
    );
}

#[test]
fn unknown_identity_that_speaks_first_gets_the_same() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("nobody");
    let _ = client.try_send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n");
    let text = String::from_utf8_lossy(&client.read_to_close()).into_owned();
    assert!(
        text.starts_with("-NOPERM respgate: ") && !text.contains("+OK"),
        "{text:?}"
    );
    assert_eq!(server.direct().call(&["DBSIZE"]), Reply::Integer(0));
}

#[test]
fn first_matching_rule_wins() {
    let identities = r#"
[[identity]]
match = { cn = "cart", from = ["127.0.0.2/32"] }
user = "search"
auth = "certificate"

[[identity]]
match = { cn = "c*" }
user = "cart"
auth = "certificate"

[[identity]]
match = { cn = "**" }
user = "admin"
auth = "certificate"
"#;
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .identities(identities)
        .start();
    let config = proxy.certs().client_config(Some("cart"));
    let mut here = TestClient::tls(proxy.address(), config.clone()).unwrap();
    assert_eq!(
        here.call(&["SET", "cart:1", "a"]),
        Reply::Simple("OK".into())
    );
    assert!(here.call(&["GET", "search:1"]).is_error());
    let mut there = TestClient::tls_from(Some("127.0.0.2"), proxy.address(), config).unwrap();
    assert!(there.call(&["SET", "cart:1", "b"]).is_error());
    assert_eq!(there.call(&["GET", "search:1"]), Reply::Nil);
    assert_eq!(
        proxy.client("nobody").call(&["GET", "anything"]),
        Reply::Nil
    );
}

#[test]
fn user_that_no_file_defines_is_nobody() {
    let identities = r#"
[[identity]]
match = { issuer_cn = "**" }
user = "$cn"
auth = "certificate"
"#;
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .identities(identities)
        .start();
    let text = String::from_utf8_lossy(&proxy.client("nobody").read_to_close()).into_owned();
    assert!(text.starts_with("-NOPERM respgate: "), "{text:?}");
    assert_eq!(proxy.client("cart").call(&["GET", "cart:1"]), Reply::Nil);
}

#[test]
fn user_that_is_off_is_nobody() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users("user cart off ~* +@all\nuser search on ~* +@all\nuser admin on ~* +@all\n")
        .start();
    let text = String::from_utf8_lossy(&proxy.client("cart").read_to_close()).into_owned();
    assert!(text.starts_with("-NOPERM respgate: "), "{text:?}");
}

#[test]
fn address_alone_is_proof_where_the_rule_says_so() {
    let identities = r#"
[[identity]]
match = { from = ["127.0.0.1/32"] }
user = "cart"
auth = "address"
"#;
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .plaintext()
        .identities(identities)
        .start();
    let mut client = proxy.client("");
    assert_eq!(
        client.call(&["SET", "cart:1", "a"]),
        Reply::Simple("OK".into())
    );
    assert!(client.call(&["FLUSHALL"]).is_error());
}

#[test]
fn listener_can_decide() {
    let identities = r#"
[[identity]]
match = { cn = "cart", listener = "other" }
user = "admin"
auth = "certificate"

[[identity]]
match = { cn = ["cart", "admin"], listener = "main" }
user = "$cn"
auth = "certificate"
"#;
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let other = free_port();
    let proxy = Proxy::builder()
        .upstream(&server)
        .identities(identities)
        .another_listener("other", other, "")
        .start();
    let config = proxy.certs().client_config(Some("cart"));
    let mut there = TestClient::tls(([127, 0, 0, 1], other).into(), config).unwrap();
    assert!(proxy.client("cart").call(&["FLUSHALL"]).is_error());
    assert_eq!(there.call(&["FLUSHALL"]), Reply::Simple("OK".into()));
}
