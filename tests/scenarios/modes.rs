//! What changes the meaning of the bytes that follow: RESP3, MONITOR, CLIENT REPLY, tracking,
//! blocking commands; and what old servers are spared.

use std::time::{Duration, Instant};

use crate::support::redis::{ALL, LEGACY_AND_CURRENT};
use crate::support::{PATIENCE, Proxy, RedisServer, Reply, Version, pipeline};

const MODERN: [Version; 3] = [Version::V6_2_14, Version::V7_0_15, Version::V8_2_3];

#[test]
fn every_type_of_resp3_passes_as_it_is() {
    let types = [
        "string", "integer", "double", "null", "array", "set", "map", "attrib", "push", "verbatim",
        "true", "false", "bignum",
    ];
    for version in MODERN {
        let extra: &[&str] = match version {
            Version::V6_2_14 => &[],
            _ => &["--enable-debug-command", "yes"],
        };
        let server = RedisServer::start(version, extra);
        let users = "user admin on ~* &* +@all lethal=debug\n";
        let proxy = Proxy::builder().upstream(&server).users(users).start();
        let mut direct = server.direct();
        let mut client = proxy.client("admin");
        for one in [&mut direct, &mut client] {
            one.hello(&["3"]);
        }
        for name in types {
            let conversation = pipeline(&[&["DEBUG", "PROTOCOL", name], &["ECHO", "the end"]]);
            let end = "$7\r\nthe end\r\n";
            direct.send(&conversation);
            client.send(&conversation);
            assert_eq!(client.read_until(end), direct.read_until(end), "{name}");
        }
    }
}

#[test]
fn credentials_in_hello_are_ours_and_the_rest_is_the_upstreams() {
    for version in MODERN {
        let server = RedisServer::start(version, &[]);
        let users = "user cart on >cart-secret ~* &* +@all -@scripting\nuser admin on ~* &* +@all\n\
                     user search on\n";
        let proxy = Proxy::builder()
            .upstream(&server)
            .users(users)
            .dedicated()
            .start();
        server
            .direct()
            .call(&["ACL", "SETUSER", "other", "on", ">its-own"]);
        let mut client = proxy.client("cart");
        client.send(pipeline(&[
            &["SET", "k", "v"],
            &["HELLO", "3", "AUTH", "cart", "wrong"],
            &["HELLO", "3", "AUTH", "other", "its-own"],
        ]));
        client.expect("+OK\r\n");
        assert!(client.read_reply().error().starts_with("WRONGPASS"));
        assert!(client.read_reply().error().starts_with("WRONGPASS"));
        let hello = client.hello(&["3", "AUTH", "default", "cart-secret", "SETNAME", "me"]);
        assert!(hello.starts_with("%7\r\n"), "{hello}");
        let id = server.info_of_client("me", "id");
        assert!(hello.contains(&format!("$2\r\nid\r\n:{id}\r\n")), "{hello}");
        client.send(pipeline(&[&["GET", "nothing"], &["ACL", "WHOAMI"]]));
        client.expect("_\r\n$4\r\ncart\r\n");
    }
}

#[test]
fn monitor_streams_until_the_client_resets_or_leaves() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let users = "user cart on ~* &* +@all -monitor\nuser admin on ~* &* +@all lethal=monitor\n\
                     user search on ~* &* +@all\n";
        let proxy = Proxy::builder().upstream(&server).users(users).start();
        assert!(proxy.client("cart").call(&["MONITOR"]).is_error());
        let refused = proxy.client("search").call(&["MONITOR"]).is_error();
        // There it shows the proxy's own password.
        assert_eq!(refused, version == Version::V5_0_6);
        let mut client = proxy.client("admin");
        // Redis doesn't answer a second one.
        client.send(pipeline(&[&["MONITOR"], &["MONITOR"], &["NOPE"]]));
        client.expect("+OK\r\n");
        assert!(
            client
                .read_reply()
                .error()
                .starts_with("ERR unknown command")
        );
        for number in 0..100 {
            server.direct().call(&["SET", "k", &number.to_string()]);
        }
        let lines = client.read_until("\"SET\" \"k\" \"99\"\r\n");
        assert_eq!(lines.matches("\"SET\" \"k\"").count(), 100);
        // Up to 6.0 a script's status could pass for a line of its own.
        client.send(pipeline(&[&["EVAL", "return{ok='1.5'}", "0"]]));
        client.read_until(" with the keyspace\r\n");
        client.send(pipeline(&[&["RESET"], &["SET", "k", "v"]]));
        client.read_until("+RESET\r\n");
        client.expect("+OK\r\n");
        client.expect_silence(Duration::from_millis(100));
    }
}

#[test]
fn a_monitor_that_may_not_be_one_any_more_is_cut() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let users = |rule| format!("user cart on\nuser search on\nuser admin on ~* &* +@all {rule}\n");
    let proxy = Proxy::builder().upstream(&server).users(&users("")).start();
    let mut client = proxy.client("admin");
    client.call(&["MONITOR"]);
    proxy.reload(&users("-monitor"));
    client.read_to_close();
    proxy.audit_when(|event| event["reason"] == "command_lost");
}

#[test]
fn replies_that_are_not_wanted_do_not_come() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        client.send(pipeline(&[
            &["CLIENT", "REPLY", "OFF"],
            &["SET", "cart:k", "v"],
            &["FLUSHALL"],
            &["MULTI"],
            &["INCR", "cart:n"],
            &["EXEC"],
            &["NOPE"],
            &["CLIENT", "REPLY", "ON"],
            &["CLIENT", "REPLY", "SKIP"],
            &["GET", "cart:k"],
            &["GET", "cart:k"],
            &["CLIENT", "REPLY", "SKIP"],
            &["FLUSHALL"],
            &["GET", "cart:n"],
        ]));
        client.expect("+OK\r\n$1\r\nv\r\n$1\r\n1\r\n");
        client.send(pipeline(&[
            &["CLIENT", "REPLY", "OFF"],
            &["PING"],
            &["QUIT"],
        ]));
        client.expect_close();
    }
}

#[test]
fn invalidations_reach_who_tracks() {
    for version in MODERN {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut writer = proxy.client("admin");
        let mut client = proxy.client("admin");
        client.hello(&["3"]);
        client.send(pipeline(&[&["CLIENT", "TRACKING", "ON"], &["GET", "k"]]));
        client.expect("+OK\r\n_\r\n");
        writer.call(&["SET", "k", "v"]);
        client.expect(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
        client.send(pipeline(&[
            &["CLIENT", "TRACKING", "OFF"],
            &["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "a:"],
        ]));
        client.expect("+OK\r\n+OK\r\n");
        writer.call(&["SET", "a:1", "v"]);
        client.expect(">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\na:1\r\n");
        client.send(pipeline(&[
            &["CLIENT", "TRACKING", "OFF"],
            &["CLIENT", "TRACKING", "ON", "OPTIN"],
            &["GET", "o"],
            &["CLIENT", "CACHING", "YES"],
            &["GET", "p"],
        ]));
        client.expect("+OK\r\n+OK\r\n_\r\n+OK\r\n_\r\n");
        writer.call(&["MSET", "o", "1", "p", "2"]);
        client.expect(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\np\r\n");
        // In RESP2, another connection is told, by its number: Redis knows that of one's own.
        let proxy = Proxy::builder().upstream(&server).dedicated().start();
        let mut writer = proxy.client("admin");
        let mut told = proxy.client("admin");
        let Reply::Integer(id) = told.call(&["CLIENT", "ID"]) else {
            panic!("no id");
        };
        told.call(&["SUBSCRIBE", "__redis__:invalidate"]);
        let mut client = proxy.client("admin");
        client.call(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id.to_string()]);
        client.call(&["GET", "r"]);
        writer.call(&["SET", "r", "v"]);
        told.expect("*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nr\r\n");
    }
}

#[test]
fn blocking_commands_wait_as_long_as_they_are_told_to() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder()
            .upstream(&server)
            .listener("idle_timeout = \"1s\"")
            .start();
        let mut client = proxy.client("admin");
        // All at once: between two of them the client would be idle.
        client.send(pipeline(&[
            &["PING"],
            &["BLPOP", "list", "0"],
            &["FLUSHALL", "x", "y"],
            &["PING"],
            &["BLPOP", "list", "3"],
        ]));
        client.expect("+PONG\r\n");
        client.expect_silence(Duration::from_millis(2200));
        server.direct().call(&["RPUSH", "list", "v"]);
        client.expect("*2\r\n$4\r\nlist\r\n$1\r\nv\r\n");
        assert!(client.read_reply().is_error());
        client.expect("+PONG\r\n*-1\r\n");
    }
}

#[test]
fn wait_waits_where_a_client_has_its_own_connection() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder().upstream(&server).dedicated().start();
        let mut writer = proxy.client("admin");
        writer.call(&["SET", "k", "v"]);
        assert_eq!(writer.call(&["WAIT", "1", "100"]), Reply::Integer(0));
    }
}

#[test]
fn who_leaves_a_blocking_command_takes_nothing_with_it() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        for graceful in [true, false] {
            let mut client = proxy.client("admin");
            client.send(pipeline(&[&["BLPOP", "list", "0"]]));
            wait_until(|| server.info("blocked_clients") == "1");
            match graceful {
                true => drop(client),
                false => client.close_without_notify(),
            }
            wait_until(|| server.info("blocked_clients") == "0");
            server.direct().call(&["RPUSH", "list", "v"]);
            let left = server.direct().call(&["LPOP", "list"]);
            assert_eq!(left, Reply::bulk("v"), "nobody has taken it");
        }
    }
}

#[test]
fn a_blocked_client_that_has_said_its_last_is_seen_to_leave() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        for last in [&b"QUIT\r\n"[..], b"RESET\r\n", b"*1x\r\n"] {
            let mut client = proxy.client("admin");
            client.send(pipeline(&[&["BLPOP", "list", "0"]]));
            client.send(last);
            wait_until(|| server.info("blocked_clients") == "1");
            drop(client);
            wait_until(|| server.info("blocked_clients") == "0");
        }
    }
}

#[track_caller]
fn wait_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it doesn't come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn clients_find_and_wake_and_kill_each_other() {
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder().upstream(&server).dedicated().start();
        let mut admin = proxy.client("admin");
        let mut client = proxy.client("admin");
        client.call(&["CLIENT", "SETNAME", "me"]);
        let Reply::Integer(id) = client.call(&["CLIENT", "ID"]) else {
            panic!("no id");
        };
        let id = id.to_string();
        let list = admin.call(&["CLIENT", "LIST"]).text();
        assert!(list.contains(&format!("id={id} ")) && list.contains("name=me "));
        client.send(pipeline(&[&["BLPOP", "list", "0"]]));
        wait_until(|| admin.call(&["CLIENT", "UNBLOCK", &id]) == Reply::Integer(1));
        client.expect("*-1\r\n");
        assert_eq!(
            admin.call(&["CLIENT", "PAUSE", "50"]),
            Reply::Simple("OK".into())
        );
        assert_eq!(client.call(&["GET", "k"]), Reply::Nil);
        let killed = admin.call(&["CLIENT", "KILL", "ID", &id]);
        assert_eq!(killed, Reply::Integer(1));
        client.expect_close();
        // One's own.
        let mut own = proxy.client("admin");
        let Reply::Integer(id) = own.call(&["CLIENT", "ID"]) else {
            panic!("no id");
        };
        own.send(pipeline(&[
            &["PING"],
            &["CLIENT", "KILL", "ID", &id.to_string(), "SKIPME", "no"],
            &["PING"],
        ]));
        own.expect("+PONG\r\n:1\r\n");
        own.expect_close();
    }
}

#[test]
fn old_servers_are_spared_what_libraries_ask_when_they_connect() {
    let connect: [&[&str]; 8] = [
        &["HELLO", "2", "SETNAME", "me"],
        &["CLIENT", "SETINFO", "LIB-NAME", "x"],
        &["CLIENT", "SETINFO", "lib-ver", "1.0"],
        &["CLIENT", "ID"],
        &["CLIENT", "NO-TOUCH", "on"],
        &["COMMAND", "DOCS"],
        &["ACL", "WHOAMI"],
        &["RESET"],
    ];
    for version in ALL {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("admin");
        for command in connect {
            client.send(pipeline(&[command, &["ECHO", "the end"]]));
            let got = client.read_until("the end\r\n");
            assert!(!got.starts_with('-'), "{command:?}: {got}");
        }
        // Policy first.
        let users = "user cart on +ping\nuser admin on\nuser search on\n";
        proxy.reload(users);
        let mut client = proxy.client("cart");
        for command in &connect[1..6] {
            let error = client.call(command).error().to_owned();
            // What it doesn't have, Redis 7 doesn't judge.
            let unknown = version == Version::V7_0_15
                && error.starts_with("ERR unknown subcommand")
                && (command[1] == "SETINFO" || command[1] == "NO-TOUCH");
            assert!(
                unknown || error.starts_with("NOPERM"),
                "{command:?}: {error}"
            );
        }
    }
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("admin");
    client.send(pipeline(&[
        &["HELLO", "3"],
        &["MULTI"],
        &["CLIENT", "SETINFO", "LIB-NAME", "x"],
        &["DISCARD"],
    ]));
    client.expect("-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n+OK\r\n");
    let in_multi = client.read_reply();
    assert_ne!(
        in_multi,
        Reply::Simple("OK".into()),
        "Redis itself has said that"
    );
    client.expect("+OK\r\n");
}

#[test]
fn million_arguments_pass() {
    for version in [Version::V5_0_6, Version::V8_2_3] {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder()
            .upstream(&server)
            .section("[limits]\nmax_inspect_buffer = \"32MB\"\n")
            .start();
        let mut client = proxy.client("admin");
        let mut args = vec!["RPUSH", "list"];
        args.resize(1_000_000, "x");
        assert_eq!(client.call(&args), Reply::Integer(999_998));
        args[0] = "DEL";
        assert_eq!(client.call(&args), Reply::Integer(1));
    }
}

#[test]
fn libraries_of_functions_and_scripts_run() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = Proxy::start(&server);
    let mut client = proxy.client("admin");
    let code = "#!lua name=lib\nredis.register_function('f', function() return 7 end)";
    assert_eq!(client.call(&["FUNCTION", "LOAD", code]).text(), "lib");
    assert_eq!(client.call(&["FCALL", "f", "0"]), Reply::Integer(7));
    let sha = client
        .call(&["SCRIPT", "LOAD", "return {1,{2,'x'}}"])
        .text();
    client.send(pipeline(&[
        &["EVALSHA", &sha, "0"],
        &["EVAL", "return {err='MY own'}", "0"],
    ]));
    client.expect("*2\r\n:1\r\n*2\r\n:2\r\n$1\r\nx\r\n-MY own\r\n");
}

#[test]
fn a_drain_waits_for_nobody_who_only_listens() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let users = "user admin on ~* &* +@all lethal=monitor\nuser cart on\nuser search on\n";
        let mut proxy = Proxy::builder().upstream(&server).users(users).start();
        let mut clients: Vec<_> = (0..4).map(|_| proxy.client("admin")).collect();
        clients[0].call(&["SUBSCRIBE", "a"]);
        clients[1].call(&["MONITOR"]);
        clients[2].send(pipeline(&[&["BLPOP", "list", "0"]]));
        clients[3].send(pipeline(&[&["SYNC"]]));
        clients[3].read_until("REDIS");
        wait_until(|| server.info("blocked_clients") == "1");
        proxy.terminate();
        // Its deadline comes later than our patience ends.
        assert!(proxy.wait().success());
        for client in &mut clients {
            client.read_to_close();
        }
        server.direct().call(&["RPUSH", "list", "v"]);
        let left = server.direct().call(&["LPOP", "list"]);
        assert_eq!(left, Reply::bulk("v"), "nobody has taken it");
    }
}
