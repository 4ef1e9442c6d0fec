//! What is refused, in which words, and at which place among the replies.

use crate::support::redis::{ALL, LEGACY_AND_CURRENT};
use crate::support::{Proxy, RedisServer, Reply, Version, command, pipeline};

const NO_FLUSHALL: &str = "NOPERM User cart has no permissions to run the 'flushall' command";
const NO_KEY: &str = "NOPERM No permissions to access a key";
const EXECABORT: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";

#[test]
fn denied_command_keeps_its_place_in_the_pipeline() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        client.send(pipeline(&[
            &["SET", "cart:1", "a"],
            &["FLUSHALL"],
            &["GET", "cart:1"],
            &["GET", "other:1"],
            &["GET", "cart:1"],
            &["PING"],
        ]));
        client.expect(format!(
            "+OK\r\n-{NO_FLUSHALL}\r\n$1\r\na\r\n-{NO_KEY}\r\n$1\r\na\r\n+PONG\r\n"
        ));
    }
}

#[test]
fn refusal_inside_multi_poisons_the_transaction() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        client.send(pipeline(&[
            &["MULTI"],
            &["SET", "cart:1", "a"],
            &["FLUSHALL"],
            &["GET", "other:1"],
            &["SET", "cart:2", "a"],
            &["EXEC"],
            &["EXISTS", "cart:1", "cart:2"],
        ]));
        client.expect(format!(
            "+OK\r\n+QUEUED\r\n-{NO_FLUSHALL}\r\n-{NO_KEY}\r\n+QUEUED\r\n{EXECABORT}:0\r\n"
        ));
        // The next transaction is clean.
        client.send(pipeline(&[
            &["MULTI"],
            &["SET", "cart:1", "b"],
            &["EXEC"],
            &["GET", "cart:1"],
        ]));
        client.expect("+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n$1\r\nb\r\n");
    }
}

#[test]
fn refusal_inside_multi_sent_step_by_step_poisons_it_too() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        assert_eq!(client.call(&["MULTI"]), Reply::Simple("OK".into()));
        assert_eq!(client.call(&["FLUSHALL"]).error(), NO_FLUSHALL);
        assert_eq!(
            client.call(&["SET", "cart:1", "a"]),
            Reply::Simple("QUEUED".into())
        );
        client.send_args(&["EXEC"]);
        client.expect(EXECABORT);
        assert_eq!(client.call(&["GET", "cart:1"]), Reply::Nil);
    }
}

#[test]
fn discard_after_a_refusal_leaves_a_clean_session() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        client.send(pipeline(&[
            &["MULTI"],
            &["FLUSHALL"],
            &["DISCARD"],
            &["FLUSHALL"],
            &["MULTI"],
            &["PING"],
            &["EXEC"],
        ]));
        client.expect(format!(
            "+OK\r\n-{NO_FLUSHALL}\r\n+OK\r\n-{NO_FLUSHALL}\r\n+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n"
        ));
    }
}

#[test]
fn allowed_denied_and_queued_commands_keep_their_order() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        client.send(pipeline(&[
            &["SET", "cart:1", "a"],
            &["FLUSHALL"],
            &["GET", "cart:1"],
            &["MULTI"],
            &["FLUSHALL"],
            &["EXEC"],
            &["GET", "cart:1"],
        ]));
        client.expect(format!(
            "+OK\r\n-{NO_FLUSHALL}\r\n$1\r\na\r\n+OK\r\n-{NO_FLUSHALL}\r\n{EXECABORT}$1\r\na\r\n"
        ));
    }
}

#[test]
fn key_outside_the_pattern_is_refused() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    for args in [
        &["GET", "other:1"][..],
        &["SET", "other:1", "x"],
        &["MSET", "cart:1", "a", "other:1", "b"],
        &["DEL", "cart:1", "other:1"],
        &["RENAME", "cart:1", "other:1"],
        &["SUNIONSTORE", "other:1", "cart:1"],
        &["ZUNIONSTORE", "cart:1", "2", "cart:2", "other:1"],
        &["EVAL", "return 1", "1", "other:1"],
        &["WATCH", "other:1"],
        &["OBJECT", "ENCODING", "other:1"],
        &["BITOP", "AND", "other:1", "cart:1"],
        &[
            "XREAD", "COUNT", "1", "STREAMS", "cart:1", "other:1", "0", "0",
        ],
    ] {
        assert_eq!(client.call(args).error(), NO_KEY, "{args:?}");
    }
    assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
    assert_eq!(server.direct().call(&["DBSIZE"]), Reply::Integer(0));
}

#[test]
fn reading_and_writing_are_judged_apart() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    server.direct().call(&["SET", "cart:1", "a"]);
    let proxy = Proxy::start(&server);
    let mut search = proxy.client("search");
    assert_eq!(search.call(&["GET", "cart:1"]), Reply::bulk("a"));
    for args in [
        &["SET", "cart:1", "b"][..],
        &["DEL", "cart:1"],
        &["GETEX", "cart:1"],
        &["GETDEL", "cart:1"],
        &["EXPIRE", "cart:1", "1"],
        &["COPY", "search:1", "cart:1"],
    ] {
        assert_eq!(search.call(args).error(), NO_KEY, "{args:?}");
    }
    assert_eq!(
        search.call(&["COPY", "cart:1", "search:1"]),
        Reply::Integer(1)
    );
    assert_eq!(search.call(&["GET", "cart:1"]), Reply::bulk("a"));
}

#[test]
fn set_with_get_needs_the_right_to_read() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    server.direct().call(&["SET", "cart:1", "secret"]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users("user cart on %W~cart:* +@all\nuser admin on ~* +@all\n")
        .start();
    let mut client = proxy.client("cart");
    assert_eq!(client.call(&["SET", "cart:1", "a", "GET"]).error(), NO_KEY);
    assert_eq!(
        client.call(&["SET", "cart:1", "a", "EX", "100"]),
        Reply::Simple("OK".into())
    );
    assert_eq!(client.call(&["GET", "cart:1"]).error(), NO_KEY);
}

#[test]
fn unknown_command_answers_in_the_servers_own_words() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        for args in [&["NOSUCH"][..], &["NoSuch", "a", "b c"], &["NOSUCH", "x"]] {
            let own = server.direct().call(args);
            assert_eq!(client.call(args), own, "Redis {}", version.as_str());
        }
        assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
    }
}

#[test]
fn wrong_number_of_arguments_answers_in_the_servers_own_words() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        for args in [
            &["GET"][..],
            &["SET", "cart:1"],
            &["get", "a", "b"],
            &["ECHO"],
        ] {
            assert_eq!(
                client.call(args),
                server.direct().call(args),
                "Redis {} {args:?}",
                version.as_str()
            );
        }
    }
}

#[test]
fn refused_subcommand_is_named_with_its_container() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    assert_eq!(
        client.call(&["CONFIG", "GET", "*"]).error(),
        "NOPERM User cart has no permissions to run the 'config|get' command"
    );
}

#[test]
fn the_script_debugger_is_not_supported_and_the_session_lives() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("admin");
        let reply = client.call(&["SCRIPT", "DEBUG", "YES"]);
        assert!(
            reply.error().starts_with("ERR respgate: not supported yet"),
            "{reply:?}"
        );
        assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
    }
}

#[test]
fn name_with_a_nul_opens_nothing() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        server.direct().call(&["SET", "victim", "x"]);
        let dir = server.direct().call(&["CONFIG", "GET", "dir"]);
        let proxy = Proxy::builder()
            .upstream(&server)
            .users("user cart on ~* +@all -flushall -quit -config|set\nuser admin on ~* &* +@all\n")
            .start();
        let mut client = proxy.client("cart");
        assert!(client.call(&["CONFIG", "SET\0", "dir", "/"]).is_error());
        assert!(
            proxy
                .client("admin")
                .call(&["CONFIG", "SET\0", "dir", "/"])
                .is_error()
        );
        for suffix in 0..200_u8 {
            for stem in [b"FLUSHALL\0".as_slice(), b"FLUSHALL\0aa"] {
                assert!(client.call_bytes(&[&[stem, &[suffix]].concat()]).is_error());
            }
        }
        // Newer servers remember a connection's last command, and compare as C strings do.
        client.call(&["DEL", "nothing"]);
        assert!(client.call(&["DEL\0x", "victim"]).is_error());
        assert!(client.call(&["QUIT\0"]).is_error());
        assert_eq!(
            client.call(&["GET", "victim"]),
            Reply::bulk("x"),
            "Redis {}",
            version.as_str()
        );
        assert_eq!(server.direct().call(&["CONFIG", "GET", "dir"]), dir);
    }
}

#[test]
fn option_with_a_nul_moves_no_key() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        server.direct().call(&["RPUSH", "cart:l", "1"]);
        server.direct().call(&["GEOADD", "cart:g", "0", "0", "a"]);
        let proxy = Proxy::builder()
            .upstream(&server)
            .users("user cart on ~cart:* +@all\nuser admin on ~* +@all\n")
            .start();
        let mut client = proxy.client("cart");
        assert!(
            client
                .call(&["SORT", "cart:l", "STORE\0", "forbidden"])
                .is_error()
        );
        assert!(
            client
                .call(&[
                    "GEORADIUS",
                    "cart:g",
                    "0",
                    "0",
                    "1",
                    "m",
                    "STORE\0",
                    "forbidden"
                ])
                .is_error()
        );
        assert_eq!(
            server.direct().call(&["EXISTS", "forbidden"]),
            Reply::Integer(0),
            "Redis {}",
            version.as_str()
        );
    }
}

#[test]
fn last_destination_wins_and_is_judged() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let mut direct = server.direct();
        direct.call(&["RPUSH", "cart:l", "1"]);
        direct.call(&["GEOADD", "cart:g", "0", "0", "a"]);
        direct.call(&["XADD", "forbidden:s", "1-1", "f", "v"]);
        direct.call(&["XGROUP", "CREATE", "forbidden:s", "g", "0"]);
        let proxy = Proxy::builder()
            .upstream(&server)
            .users("user cart on ~cart:* +@all\nuser admin on ~* +@all\n")
            .start();
        let mut client = proxy.client("cart");
        for args in [
            &["SORT", "cart:l", "STORE", "BY", "STORE", "forbidden"][..],
            &["SORT", "cart:l", "STORE", "cart:ok", "STORE", "forbidden"],
            &[
                "GEORADIUS",
                "cart:g",
                "0",
                "0",
                "1",
                "m",
                "STORE",
                "cart:ok",
                "STORE",
                "forbidden",
            ],
            &[
                "GEORADIUS",
                "cart:g",
                "0",
                "0",
                "1",
                "m",
                "STORE",
                "cart:ok",
                "STOREDIST",
                "forbidden",
            ],
            &[
                "XREADGROUP",
                "NOACK",
                "GROUP",
                "g",
                "STREAMS",
                "STREAMS",
                "forbidden:s",
                ">",
            ],
            &["MSETEX", "2", "cart:ok", "v", "forbidden", "v"],
            &[
                "EVAL",
                "return redis.call('set', 'forbidden', 1)",
                "+1",
                "cart:a",
            ],
            &[
                "EVAL",
                "return redis.call('set', 'forbidden', 1)",
                "99",
                "cart:a",
            ],
            &[
                "MIGRATE",
                "127.0.0.1",
                "1",
                "",
                "0",
                "1",
                "COPY",
                "AUTH",
                "KEYS",
                "KEYS",
                "forbidden:s",
            ],
        ] {
            assert!(
                client.call(args).is_error(),
                "Redis {} {args:?}",
                version.as_str()
            );
        }
        assert_eq!(
            direct.call(&["EXISTS", "forbidden"]),
            Reply::Integer(0),
            "Redis {}",
            version.as_str()
        );
        assert_eq!(
            direct.call(&["XINFO", "GROUPS", "forbidden:s"]),
            fresh_group(&mut server.direct())
        );
    }
}

/// XINFO GROUPS of the stream in question, on which no consumer has ever read.
fn fresh_group(direct: &mut crate::support::TestClient) -> Reply {
    direct.call(&["XADD", "twin", "1-1", "f", "v"]);
    direct.call(&["XGROUP", "CREATE", "twin", "g", "0"]);
    direct.call(&["XINFO", "GROUPS", "twin"])
}

#[test]
fn refused_large_value_is_drained_and_the_session_lives() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    let value = "x".repeat(20 << 20);
    client.send(command(&["SET", "other:1", &value]));
    client.send_args(&["PING"]);
    client.expect(format!("-{NO_KEY}\r\n+PONG\r\n"));
    client.send(command(&["FLUSHALL", &value]));
    client.send_args(&["PING"]);
    assert!(client.read_reply().is_error());
    client.expect("+PONG\r\n");
    assert_eq!(server.direct().call(&["DBSIZE"]), Reply::Integer(0));
}

#[test]
fn refusal_leaves_one_audit_line_that_says_why() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    client.call(&["SET", "cart:1", "top-secret-value"]);
    client.call(&["FLUSHALL"]);
    client.call(&["SET", "other:1", "top-secret-value"]);
    client.call(&["AUTH", "top-secret-password"]);
    let events: Vec<_> = proxy
        .audit_of("cart", 3)
        .into_iter()
        .filter(|event| {
            event["command"]
                .as_str()
                .is_some_and(|name| !name.eq_ignore_ascii_case("auth"))
        })
        .collect();
    assert_eq!(events.len(), 2, "{events:#?}");
    for event in &events {
        for field in [
            "time",
            "event",
            "user",
            "peer",
            "certificate",
            "command",
            "rule",
            "reason",
        ] {
            assert!(!event[field].is_null(), "no {field} in {event:#}");
        }
        assert!(
            event["peer"].as_str().unwrap().starts_with("127.0.0.1"),
            "{event:#}"
        );
        assert!(
            event["certificate"].to_string().contains("cart"),
            "{event:#}"
        );
    }
    assert!(
        events[0]["command"]
            .as_str()
            .unwrap()
            .eq_ignore_ascii_case("flushall")
    );
    assert!(
        events[1]["command"]
            .as_str()
            .unwrap()
            .eq_ignore_ascii_case("set")
    );
    assert!(
        events[1]["keys"].to_string().contains("other:1"),
        "{:#}",
        events[1]
    );
    let all = format!("{:?}{}", proxy.audit(), proxy.log_text());
    assert!(
        !all.contains("top-secret"),
        "a value or a password was logged"
    );
}

#[test]
fn errors_come_in_the_order_of_redis_own_checks() {
    // The same user here and there; 8.2.3 has the words that the proxy uses.
    let rules = [
        "on",
        ">pw",
        "~a:*",
        "&a",
        "+get",
        "+mget",
        "+publish",
        "+config|get",
        "(+set",
        "~b:*)",
    ];
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let mut direct = server.direct();
    let mut setuser = vec!["ACL", "SETUSER", "cart"];
    setuser.extend(rules);
    assert_eq!(direct.call(&setuser), Reply::Simple("OK".into()));
    assert_eq!(
        direct.call(&["AUTH", "cart", "pw"]),
        Reply::Simple("OK".into())
    );
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(&format!(
            "user cart {}\nuser admin on ~* +@all\nuser search on\n",
            rules.join(" ")
        ))
        .start();
    let mut client = proxy.client("cart");
    for line in [
        "NOSUCH",
        "NOSUCH a b",
        "CONFIG",
        "CONFIG NOSUCH",
        "CONFIG SET dir",
        "CONFIG SET dir x",
        "CONFIG GET",
        "GET",
        "GET a:1 b",
        "GET b:1",
        "GET x",
        "MGET a:1 x",
        "SET a:1 v",
        "SET b:1",
        "SET x v",
        "FLUSHALL",
        "PUBLISH b x",
        "PUBLISH b",
        "SHUTDOWN x y z w",
        "EVAL x",
        "ACL",
        "ACL SETUSER",
        "ACL SETUSER x",
        "MULTI x",
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        assert_eq!(client.call(&args), direct.call(&args), "{line}");
    }
}
