//! The three users that production set-ups have, as Redis' documentation writes them, in front of a
//! Redis that has none.

use crate::support::redis::{ALL, LEGACY_AND_CURRENT};
use crate::support::{Proxy, RedisServer, Reply, TestClient};

/// Verbatim.
const USERS: &str = "\
user app_readonly on >password ~cache:* +get +mget +scan
user app_writer on >password ~* +@all -@dangerous
user admin on >strong-password ~* +@all
";

/// On one listener: a certificate that names one of the users is enough; any other certificate must
/// say AUTH.
const IDENTITIES: &str = r#"
[[identity]]
match = { cn = ["app_readonly", "app_writer", "admin"] }
user = "$cn"
auth = "certificate"

[[identity]]
match = { cn = "gateway" }
user = "$auth"
auth = "password"
"#;

/// What a user may and may not do.
struct Expected {
    name: &'static str,
    password: &'static str,
    allowed: &'static [&'static [&'static str]],
    refused: &'static [&'static [&'static str]],
}

const EXPECTED: &[Expected] = &[
    Expected {
        name: "app_readonly",
        password: "password",
        allowed: &[
            &["GET", "cache:1"],
            &["mget", "cache:1", "cache:2"],
            &["SCAN", "0"],
        ],
        refused: &[
            &["GET", "other"],
            &["MGET", "cache:1", "other"],
            &["SET", "cache:1", "x"],
            &["DEL", "cache:1"],
            &["TTL", "cache:1"],
            &["CONFIG", "GET", "*"],
            &["FLUSHALL"],
            &["EVAL", "return 1", "0"],
            &["SELECT", "1"],
        ],
    },
    Expected {
        name: "app_writer",
        password: "password",
        allowed: &[
            &["SET", "cache:1", "x"],
            &["GET", "any"],
            &["DEL", "any"],
            &["LPUSH", "list", "a"],
            &["EXPIRE", "list", "100"],
            &["PING"],
        ],
        refused: &[
            &["FLUSHALL"],
            &["KEYS", "*"],
            &["CONFIG", "SET", "maxmemory", "1"],
            &["DEBUG", "SLEEP", "0"],
            &["SHUTDOWN"],
            &["ACL", "SETUSER", "app_writer", "+@all"],
            // It may do less than a script may, and it has no channel.
            &["EVAL", "return redis.call('flushall')", "0"],
            &["PUBLISH", "news", "x"],
        ],
    },
    Expected {
        name: "admin",
        password: "strong-password",
        allowed: &[
            &["CONFIG", "SET", "maxmemory-samples", "5"],
            &["CONFIG", "GET", "maxmemory"],
            &["KEYS", "*"],
            &["CLIENT", "LIST"],
            &["SLOWLOG", "LEN"],
            &["FLUSHALL"],
        ],
        // `+@all` alone does not open the way from Redis to the machine.
        refused: &[
            &["CONFIG", "SET", "dir", "/tmp"],
            &["CONFIG", "SET", "dbfilename", "x.so"],
            &["MODULE", "LOAD", "/tmp/x.so"],
            &["SLAVEOF", "127.0.0.1", "1"],
            &["DEBUG", "SEGFAULT"],
            &["MIGRATE", "127.0.0.1", "1", "k", "0", "1"],
            &["SHUTDOWN", "NOSAVE"],
        ],
    },
];

fn assert_user(client: &mut TestClient, expected: &Expected, how: &str) {
    let name = expected.name;
    for args in expected.allowed {
        let reply = client.call(args);
        assert!(!reply.is_error(), "{name} {how} {args:?}: {reply:?}");
    }
    for args in expected.refused {
        let reply = client.call(args);
        assert!(
            reply.is_error() && reply.error().starts_with("NOPERM "),
            "{name} {how} {args:?}: {reply:?}"
        );
    }
}

fn in_front_of(server: &RedisServer) -> Proxy {
    Proxy::builder()
        .upstream(server)
        .identities(IDENTITIES)
        .users(USERS)
        .start()
}

#[test]
fn three_usual_users_work_verbatim_by_certificate_and_by_password() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = in_front_of(&server);
        for expected in EXPECTED {
            assert_user(&mut proxy.client(expected.name), expected, "by certificate");
            let mut gateway = proxy.client("gateway");
            assert_eq!(
                gateway.call(&["GET", "cache:1"]).error(),
                "NOAUTH Authentication required."
            );
            assert!(gateway.call(&["AUTH", expected.name, "guess"]).is_error());
            assert_eq!(
                gateway.call(&["AUTH", expected.name, expected.password]),
                Reply::Simple("OK".into())
            );
            assert_user(&mut gateway, expected, "by AUTH");
        }
    }
}

#[test]
fn one_connection_may_be_one_user_after_the_other() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = in_front_of(&server);
        let mut client = proxy.client("gateway");
        client.send(
            "AUTH app_writer password\r\nSET cache:1 a\r\nAUTH app_readonly password\r\n\
             SET cache:1 b\r\nGET cache:1\r\n",
        );
        client.expect("+OK\r\n+OK\r\n+OK\r\n");
        assert!(
            client
                .read_reply()
                .error()
                .starts_with("NOPERM User app_readonly")
        );
        client.expect("$1\r\na\r\n");
    }
}
