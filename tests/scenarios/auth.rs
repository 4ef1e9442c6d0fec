//! AUTH, HELLO, QUIT and RESET: the proxy's own, on every server.

use std::time::Instant;

use crate::support::proxy::PASSWORD;
use crate::support::redis::{ALL, LEGACY_AND_CURRENT};
use crate::support::{Proxy, RedisServer, Reply, TestClient, Version, command, eventually};

const NOAUTH: &str = "NOAUTH Authentication required.";

fn refuses_password(reply: &Reply) -> bool {
    // Old servers say it in the second way, and old clients look for that.
    reply.error().starts_with("WRONGPASS") || reply.error() == "ERR invalid password"
}

#[test]
fn old_client_goes_on_sending_its_password() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        assert_eq!(
            client.call(&["AUTH", "cart-secret"]),
            Reply::Simple("OK".into())
        );
        assert_eq!(
            client.call(&["AUTH", "default", "cart-secret"]),
            Reply::Simple("OK".into())
        );
        assert!(refuses_password(&client.call(&["AUTH", "wrong"])));
        assert!(refuses_password(&client.call(&[
            "AUTH",
            "default",
            "admin-secret"
        ])));
        assert!(
            refuses_password(&client.call(&["AUTH", "admin", "admin-secret"])),
            "the certificate says who it is"
        );
        // A failed AUTH changes nothing.
        assert_eq!(
            client.call(&["SET", "cart:1", "a"]),
            Reply::Simple("OK".into())
        );
        assert!(client.call(&["FLUSHALL"]).is_error());
    }
}

#[test]
fn password_identity_must_log_in_first() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder()
            .upstream(&server)
            .identities(PASSWORD)
            .start();
        let mut client = proxy.client("cart");
        for args in [&["GET", "cart:1"][..], &["FLUSHALL"], &["MULTI"], &["PING"]] {
            assert_eq!(client.call(args).error(), NOAUTH, "{args:?}");
        }
        assert!(refuses_password(&client.call(&["AUTH", "wrong"])));
        assert_eq!(client.call(&["GET", "cart:1"]).error(), NOAUTH);
        assert_eq!(
            client.call(&["AUTH", "cart-secret"]),
            Reply::Simple("OK".into())
        );
        assert_eq!(client.call(&["GET", "cart:1"]), Reply::Nil);
        assert!(client.call(&["GET", "other"]).is_error());
    }
}

#[test]
fn login_and_commands_may_come_in_one_pipeline() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .identities(PASSWORD)
        .start();
    let mut client = proxy.client("cart");
    client.send("GET cart:1\r\nAUTH cart-secret\r\nSET cart:1 a\r\nGET cart:1\r\nAUTH wrong\r\nGET cart:1\r\n");
    client.expect(format!("-{NOAUTH}\r\n+OK\r\n+OK\r\n$1\r\na\r\n"));
    assert!(refuses_password(&client.read_reply()));
    client.expect("$1\r\na\r\n");
}

#[test]
fn auth_identity_is_whom_auth_names() {
    let identities = r#"
[[identity]]
match = { issuer_cn = "*", listener = "main" }
user = "$auth"
auth = "password"
"#;
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .identities(identities)
        .start();
    let mut client = proxy.client("cart");
    assert_eq!(client.call(&["GET", "cart:1"]).error(), NOAUTH);
    assert!(
        client.call(&["AUTH", "cart-secret"]).is_error(),
        "there is no default user"
    );
    assert!(refuses_password(&client.call(&[
        "AUTH",
        "nosuch",
        "cart-secret"
    ])));
    assert_eq!(
        client.call(&["AUTH", "cart", "cart-secret"]),
        Reply::Simple("OK".into())
    );
    assert_eq!(client.call(&["GET", "cart:1"]), Reply::Nil);
    assert!(client.call(&["GET", "other"]).is_error());
    assert_eq!(
        client.call(&["AUTH", "admin", "admin-secret"]),
        Reply::Simple("OK".into())
    );
    assert_eq!(client.call(&["GET", "other"]), Reply::Nil);
}

#[test]
fn listed_users_may_be_chosen_by_auth() {
    let identities = r#"
[[identity]]
match = { cn = "cart" }
users = ["cart", "search"]
auth = "certificate"

[[identity]]
match = { cn = "admin" }
user = "admin"
auth = "certificate"
"#;
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .identities(identities)
        .start();
    let mut client = proxy.client("cart");
    assert_eq!(
        client.call(&["SET", "cart:1", "a"]),
        Reply::Simple("OK".into()),
        "the first, before any AUTH"
    );
    assert_eq!(
        client.call(&["AUTH", "search", "search-secret"]),
        Reply::Simple("OK".into())
    );
    assert!(client.call(&["SET", "cart:1", "b"]).is_error());
    assert_eq!(
        client.call(&["SET", "search:1", "b"]),
        Reply::Simple("OK".into())
    );
    assert!(refuses_password(&client.call(&[
        "AUTH",
        "admin",
        "admin-secret"
    ])));
    assert_eq!(
        client.call(&["AUTH", "cart", "cart-secret"]),
        Reply::Simple("OK".into())
    );
    assert_eq!(
        client.call(&["SET", "cart:1", "c"]),
        Reply::Simple("OK".into())
    );
}

#[test]
fn hello_2_is_answered_on_every_server() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        for args in [
            &["HELLO"][..],
            &["HELLO", "2"],
            &["HELLO", "2", "AUTH", "default", "cart-secret"],
            &[
                "HELLO",
                "2",
                "SETNAME",
                "shop",
                "AUTH",
                "cart",
                "cart-secret",
            ],
        ] {
            let Reply::Array(fields) = client.call(args) else {
                panic!("Redis {} {args:?}", version.as_str())
            };
            let at = fields
                .iter()
                .position(|field| *field == Reply::bulk("proto"))
                .expect("no proto");
            assert_eq!(fields[at + 1], Reply::Integer(2));
        }
        assert!(refuses_password(
            &client.call(&["HELLO", "2", "AUTH", "default", "wrong"])
        ));
        assert_eq!(client.call(&["GET", "cart:1"]), Reply::Nil);
    }
}

#[test]
fn hello_3_on_a_legacy_server_gets_its_unknown_command() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    let own = server.direct().call(&["HELLO", "3"]);
    assert_eq!(client.call(&["HELLO", "3"]), own);
    let reply = client.call(&["HELLO", "3", "AUTH", "default", "cart-secret"]);
    assert!(
        reply.error().starts_with("ERR unknown command"),
        "{reply:?}"
    );
    assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
}

#[test]
fn hello_with_an_impossible_version_is_refused() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    assert_eq!(
        client.call(&["HELLO", "4"]).error(),
        "NOPROTO unsupported protocol version"
    );
    assert_eq!(
        client.call(&["HELLO", "x"]).error(),
        "ERR Protocol version is not an integer or out of range"
    );
    assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
}

#[test]
fn quit_is_answered_and_ends_the_session() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        client.send("SET cart:1 a\r\nFLUSHALL\r\nQUIT\r\nSET cart:1 b\r\n");
        client.expect("+OK\r\n");
        assert!(client.read_reply().is_error());
        client.expect("+OK\r\n");
        client.expect_close();
        assert_eq!(server.direct().call(&["GET", "cart:1"]), Reply::bulk("a"));
        let mut client = proxy.client("cart");
        client.send("MULTI\r\nSET cart:1 b\r\nQUIT\r\n");
        client.expect("+OK\r\n+QUEUED\r\n+OK\r\n");
        client.expect_close();
        assert_eq!(server.direct().call(&["GET", "cart:1"]), Reply::bulk("a"));
    }
}

#[test]
fn reset_ends_a_transaction_and_keeps_the_identity() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    client.send("MULTI\r\nSET cart:1 a\r\nRESET\r\nGET cart:1\r\nFLUSHALL\r\n");
    client.expect("+OK\r\n+QUEUED\r\n+RESET\r\n$-1\r\n");
    assert!(client.read_reply().is_error());
}

#[test]
fn credentials_of_clients_never_go_upstream() {
    // MONITOR of this version shows every AUTH in clear.
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let mut monitor = server.direct();
    assert_eq!(monitor.call(&["MONITOR"]), Reply::Simple("OK".into()));
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    client.call(&["AUTH", "cart-secret"]);
    client.call(&["AUTH", "cart", "cart-secret"]);
    client.call(&["HELLO", "2", "AUTH", "cart", "cart-secret"]);
    client.call(&["AUTH", "cart-secret", "one", "too-many"]);
    client.call(&["MULTI"]);
    client.call(&["AUTH", "cart-secret"]);
    client.call(&["HELLO", "2", "AUTH", "cart", "cart-secret"]);
    client.call(&["DISCARD"]);
    let mut last = proxy.client("cart");
    last.call(&["ECHO", "the-end"]);
    loop {
        let line = monitor.read_reply().text();
        assert!(!line.contains("secret"), "{line}");
        if line.contains("the-end") {
            break;
        }
    }
}

#[test]
fn reset_gives_the_whole_time_to_log_in_again() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .identities(PASSWORD)
        .listener("auth_timeout = \"4s\"")
        .start();
    let mut client = proxy.client("cart");
    client.send("AUTH cart-secret\r\nPING\r\n");
    client.expect("+OK\r\n+PONG\r\n");
    std::thread::sleep(std::time::Duration::from_millis(4200));
    client.send("RESET\r\n");
    client.expect("+RESET\r\n");
    client.send("AUTH cart-secret\r\nPING\r\n");
    client.expect("+OK\r\n+PONG\r\n");
    // What is owed before RESET is waited for, however long it takes.
    client.send("BLPOP cart:q 5\r\nRESET\r\n");
    client.expect("*-1\r\n+RESET\r\n");
    // And who then stays silent is dropped.
    client.expect_close();
}

#[test]
fn who_does_not_log_in_in_time_is_dropped() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .dedicated()
        .identities(PASSWORD)
        .listener("auth_timeout = \"3s\"")
        .start();
    let before = server.connected_clients();
    let mut good = proxy.client("cart");
    assert_eq!(
        good.call(&["AUTH", "cart-secret"]),
        Reply::Simple("OK".into())
    );
    let start = Instant::now();
    let mut slow = proxy.client("cart");
    slow.read_to_close();
    assert!(start.elapsed().as_millis() >= 500, "{:?}", start.elapsed());
    assert_eq!(good.call(&["PING"]), Reply::Simple("PONG".into()));
    drop(good);
    eventually("the upstream connections are closed", || {
        server.connected_clients() <= before
    });
}

#[test]
fn who_guesses_passwords_is_slowed_down_and_who_has_a_certificate_is_not() {
    const THROTTLED: &str = "ERR respgate: too many failed logins from this address or as this \
                             user, try again later";
    let identities = r#"
[[identity]]
match = { cn = "cart" }
user = "$auth"
auth = "password"

[[identity]]
match = { cn = "admin" }
user = "admin"
auth = "certificate"
"#;
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .identities(identities)
        .start();
    let mut guesser = proxy.client("cart");
    let wrong = command(&["AUTH", "admin", "wrong"]);
    let right = command(&["AUTH", "cart", "cart-secret"]);
    guesser.send([wrong.repeat(100), right].concat());
    let replies: Vec<Reply> = (0..101).map(|_| guesser.read_reply()).collect();
    assert!(replies[..20].iter().all(refuses_password));
    assert!(replies[20..].iter().any(|reply| reply.error() == THROTTLED));
    assert_eq!(replies[100].error(), THROTTLED, "the right one has to wait");
    assert_eq!(
        proxy.client("admin").call(&["SET", "any", "a"]),
        Reply::Simple("OK".into()),
        "a certificate is no guess"
    );
    let event = |event: &serde_json::Value| event["reason"] == "auth_throttled";
    assert_eq!(proxy.audit_when(event)[0]["command"], "auth");
    // Anybody could fill the log with them; those that were looked at are few.
    eventually("the log has those that were looked at", || {
        proxy.log_text().contains("reason=\"auth\"")
    });
    let log = proxy.log_text();
    assert!(!log.contains("auth_throttled"), "{log}");
    // A second later an attempt is looked at again.
    eventually("the right password is let in", || {
        proxy.client("cart").call(&["AUTH", "cart", "cart-secret"]) == Reply::Simple("OK".into())
    });
}

#[test]
fn login_errors_are_those_of_the_upstreams_version() {
    let identities = r#"
[[identity]]
match = { cn = "cart" }
user = "$auth"
auth = "password"

[[identity]]
match = { cn = "admin" }
user = "default"
auth = "certificate"
"#;
    let with_password: &[&[&str]] = &[
        &["AUTH"],
        &["AUTH", "wrong"],
        &["AUTH", "a", "b", "c"],
        &["AUTH", "pw"],
    ];
    // Before 6.0 there are no user names and no HELLO: there the proxy answers as newer ones do.
    let with_names: &[&[&str]] = &[
        &["AUTH", "default", "wrong"],
        &["AUTH", "nobody", "pw"],
        &["HELLO"],
        &["HELLO", "2"],
        &["HELLO", "2", "SETNAME", "x"],
        &["HELLO", "abc"],
        &["HELLO", "02"],
        &["HELLO", "4"],
        &["HELLO", "-1"],
        &["HELLO", "9223372036854775807"],
        &["HELLO", "9223372036854775808"],
        &["HELLO", "2", "FOO"],
        &["HELLO", "2", "AUTH", "default"],
        &["HELLO", "2", "SETNAME", "a b"],
        &["HELLO", "2", "SETNAME"],
        &["HELLO", "2", "AUTH", "default", "wrong"],
        &["AUTH", "default", "pw"],
    ];
    for version in ALL {
        let direct = RedisServer::start(version, &["--requirepass", "pw"]);
        let open = RedisServer::start(version, &[]);
        let closed = Proxy::builder()
            .upstream(&open)
            .identities(identities)
            .users("user default on >pw ~* &* +@all\n")
            .start();
        let legacy = version == Version::V5_0_6;
        let names = with_names.iter().filter(|_| !legacy);
        let mut here = closed.client("cart");
        let mut there = TestClient::tcp(direct.address()).unwrap();
        for args in names.chain(with_password) {
            assert_eq!(here.call(args), there.call(args), "{version:?} {args:?}");
        }
        let nopass = Proxy::builder()
            .upstream(&open)
            .identities(&identities[identities.rfind("[[").unwrap()..])
            .users("user default on nopass ~* &* +@all\n")
            .start();
        let (mut here, mut there) = (nopass.client("admin"), open.direct());
        assert_eq!(here.call(&["AUTH", "x"]), there.call(&["AUTH", "x"]));
        if !legacy {
            let args = ["AUTH", "default", "x"];
            assert_eq!(here.call(&args), there.call(&args), "{version:?}");
        }
    }
}
