//! Commands that the table lacks, and names that the Redis knows otherwise: asked of real servers,
//! with real modules.

use crate::support::cli::{Outcome, respgate};
use crate::support::redis::{ALL, fetched};
use crate::support::{Builder, Proxy, RedisServer, Reply, Version, eventually};

/// RediSearch for the older servers, FalkorDB for the newest.
fn with_module(version: Version) -> RedisServer {
    let name = match version {
        Version::V8_2_3 => "falkordb",
        _ => "redisearch",
    };
    RedisServer::start(version, &["--loadmodule", fetched(name).to_str().unwrap()])
}

fn check(builder: &Builder, args: &[&str]) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let path = builder.write(dir.path(), 6380);
    respgate(&[&["check", "--config", path.to_str().unwrap()], args].concat())
}

fn users(rules: &str) -> String {
    format!("user cart on ~cart:* +@all -@dangerous {rules}\nuser admin on ~* &* +@all\n")
}

#[test]
fn check_tells_what_is_renamed_and_what_is_gone() {
    for version in ALL {
        let server = RedisServer::start(
            version,
            &[
                "--rename-command",
                "CONFIG",
                "admin-config",
                "--rename-command",
                "DEBUG",
                "",
            ],
        );
        let text = check(&Proxy::builder().upstream(&server), &["--upstream"])
            .expect_code(0)
            .text();
        assert!(text.contains("through respgate: config\n"), "{text}");
        assert!(text.contains("not built in): debug\n"), "{text}");
        let plain = RedisServer::start(version, &[]);
        let text = check(&Proxy::builder().upstream(&plain), &["--upstream"])
            .expect_code(0)
            .text();
        for word in ["renamed", "lacks", "learned", "runs"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
}

#[test]
fn substitute_that_the_server_has_renamed_is_refused() {
    for version in ALL {
        let server = RedisServer::start(version, &["--rename-command", "UNLINK", "x-unlink"]);
        let builder = || {
            Proxy::builder()
                .upstream(&server)
                .section("[rewrite]\nsubstitute = { DEL = \"UNLINK\" }\n")
        };
        let text = check(&builder(), &["--upstream"]).expect_code(1).text();
        assert!(text.contains("doesn't have 'unlink'"), "{text}");
        let proxy = builder().allow_error("").start();
        let mut client = proxy.client("cart");
        client.call(&["SET", "cart:1", "a"]);
        let error = client.call(&["DEL", "cart:1"]);
        assert!(
            error.error().contains("unknown to the upstream"),
            "{error:?}"
        );
        assert_eq!(client.call(&["GET", "cart:1"]), Reply::bulk("a"));
    }
}

/// Whoever may SET would flush everything.
#[test]
fn server_that_runs_one_command_under_the_name_of_another_is_not_served() {
    let swap = [
        "--rename-command",
        "SET",
        "",
        "--rename-command",
        "FLUSHALL",
        "SET",
    ];
    for version in ALL {
        let server = RedisServer::start(version, &swap);
        let text = check(&Proxy::builder().upstream(&server), &["--upstream"])
            .expect_code(1)
            .text();
        assert!(text.contains("runs 'flushall' for 'set'"), "{text}");
        let proxy = Proxy::builder()
            .upstream(&server)
            .ready_when_listening()
            .allow_error("")
            .start();
        let mut client = proxy.client("cart");
        let _ = client.try_send(b"*1\r\n$3\r\nSET\r\n");
        client.expect_close();
        eventually("the log says why", || {
            proxy.log_text().contains("runs 'flushall' for 'set'")
        });
    }
}

#[test]
fn commands_of_a_module_are_learned_where_the_files_name_them() {
    for version in ALL {
        let server = with_module(version);
        let (search, keyless) = match version {
            Version::V8_2_3 => ("graph.query", "learned graph.list: no keys"),
            // Before 7.0 the module's step of -1 for no key at all is told as it is.
            Version::V7_0_15 => ("ft.search", "learned ft.mget: no keys"),
            _ => ("ft.search", "learned ft.mget: keys unknown"),
        };
        let builder = Proxy::builder()
            .upstream(&server)
            .users(&users(&format!("+{search}")));
        let text = check(&builder, &["--upstream"]).expect_code(0).text();
        assert!(
            text.contains(&format!("learned {search}: keys 1..1")),
            "{text}"
        );
        assert!(text.contains(keyless), "{text}");
        // Alone, the files are refused, and the way out is named.
        let text = check(&builder, &[]).expect_code(78).text();
        assert!(
            text.contains(&format!("'+{search}': Unknown command")),
            "{text}"
        );
        assert!(
            text.contains("policy.extra_commands") && text.contains("check --upstream"),
            "{text}"
        );
        // A slip is one in front of the module, too.
        let slip = Proxy::builder()
            .upstream(&server)
            .users(&users(&format!("-{search}s")));
        let text = check(&slip, &["--upstream"]).expect_code(78).text();
        assert!(text.contains("Unknown command"), "{text}");
        assert!(!text.contains("extra_commands"), "{text}");
    }
}

#[test]
fn upstream_that_cannot_teach_is_named() {
    let builder = Proxy::builder()
        .upstream_named("far", "address = \"127.0.0.1:1\"")
        .users(&users("+ft.search"));
    let dir = tempfile::tempdir().unwrap();
    let path = builder.write(dir.path(), 6380);
    let path = path.to_str().unwrap();
    for args in [
        &["check", "--config", path, "--upstream"][..],
        &["run", "--config", path],
    ] {
        let text = respgate(args).expect_code(78).text();
        for word in [
            "ft.search",
            "upstream.far",
            "127.0.0.1:1",
            "policy.extra_commands",
        ] {
            assert!(text.contains(word), "no {word}: {text}");
        }
    }
}

#[test]
fn learned_commands_are_judged_by_their_keys() {
    let server = with_module(Version::V8_2_3);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(&users("+graph.query"))
        .start();
    let mut client = proxy.client("cart");
    let query = |key: &'static str| ["GRAPH.QUERY", key, "CREATE (:a)"];
    let created = client.call(&query("cart:g"));
    assert!(matches!(created, Reply::Array(_)), "{created:?}");
    let refused = client.call(&query("other:g"));
    assert_eq!(refused.error(), "NOPERM No permissions to access a key");
    assert_eq!(
        server.direct().call(&["EXISTS", "other:g"]),
        Reply::Integer(0)
    );
}

#[test]
fn what_no_file_names_is_learned_at_the_first_contact_and_stays_denied_to_the_narrow() {
    let server = with_module(Version::V8_2_3);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(
            "user admin on ~* &* +@all\nuser cart on ~* &* +@read +@write\n\
             user search on ~* &* +@all\n",
        )
        .start();
    let query = ["GRAPH.QUERY", "g", "CREATE (:a)"];
    let created = proxy.client("admin").call(&query);
    assert!(matches!(created, Reply::Array(_)), "{created:?}");
    let refused = proxy.client("cart").call(&query);
    assert_eq!(
        refused.error(),
        "NOPERM User cart has no permissions to run the 'graph.query' command"
    );
    // Logged behind that which a start waits for.
    eventually("the log says so", || {
        proxy.log_text().contains("learned what the table lacks")
    });
}

#[test]
fn declared_commands_win_over_what_the_module_says() {
    // It says that FT.MGET has no keys; it has, behind the index.
    let server = with_module(Version::V7_0_15);
    let builder = || {
        Proxy::builder()
            .upstream(&server)
            .users(&users("+ft.mget"))
            .section(
                "[policy.extra_commands]\n\
             \"FT.MGET\" = { first_key = 2, last_key = -1, write = false, arity = -3 }\n",
            )
    };
    check(&builder(), &[]).expect_code(0);
    let text = check(&builder(), &["--upstream"]).expect_code(0).text();
    assert!(
        text.contains("learned ft.search") && !text.contains("learned ft.mget"),
        "{text}"
    );
    let proxy = builder().start();
    let mut client = proxy.client("cart");
    let refused = client.call(&["FT.MGET", "idx", "cart:1", "other:1"]);
    assert_eq!(refused.error(), "NOPERM No permissions to access a key");
    let unknown = client.call(&["FT.MGET", "idx", "cart:1"]);
    assert!(!unknown.error().contains("NOPERM"), "{unknown:?}");
}

#[test]
fn what_was_learned_may_be_declared_while_it_runs_and_learned_again() {
    const IN_FORCE: &str = "a new generation is in force";
    let server = with_module(Version::V7_0_15);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(&users(""))
        .section("[rewrite]\n")
        .start();
    let mut client = proxy.client("cart");
    let mut mget = || client.call(&["FT.MGET", "idx", "other:1"]);
    // As the module tells it, it has no keys.
    assert!(!mget().error().contains("NOPERM"));
    let declared = "[policy.extra_commands]\n\
         \"FT.MGET\" = { first_key = 2, last_key = -1, write = false, arity = -3 }\n[rewrite]\n";
    proxy.edit("[rewrite]\n", declared);
    proxy.reload_until(IN_FORCE);
    assert_eq!(mget().error(), "NOPERM No permissions to access a key");
    proxy.edit(declared, "[rewrite]\n");
    proxy.reload_until(IN_FORCE);
    eventually("it is learned again", || {
        let reply = mget();
        let error = reply.error();
        !error.contains("NOPERM") && !error.contains("unknown command")
    });
}

#[test]
fn declarations_that_cannot_be_are_all_told() {
    let builder = Proxy::builder()
        .upstream_named("main", "address = \"127.0.0.1:6379\"")
        .section(
            "[policy.extra_commands]\n\
             GET = { first_key = 1 }\n\
             \"nobody|get\" = {}\n\
             \"config|new\" = {}\n\
             \"ft.add\" = { frist_key = 1 }\n",
        );
    let text = check(&builder, &[]).expect_code(78).text();
    for word in [
        "policy.extra_commands.get: the table has this command already",
        "policy.extra_commands.nobody|get: its container is unknown",
        "policy.extra_commands.ft.add.frist_key: unknown key",
    ] {
        assert!(text.contains(word), "no {word}: {text}");
    }
    assert!(!text.contains("config|new"), "{text}");
}
