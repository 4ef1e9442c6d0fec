//! Two hops: an application without TLS, a respgate beside it, mutual TLS, and a respgate before the
//! Redis, whose policy is its own.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::acl::{call, ok};
use crate::support::redis::{LEGACY_AND_CURRENT, fetched};
use crate::support::{
    Builder, Certs, Proxy, RedisServer, Reply, TestClient, Version, command, eventually, free_port,
};

/// The oldest and the newest: HELLO's answer comes from the far proxy before the one.
const FAR: [Version; 2] = [Version::V5_0_6, Version::V8_2_3];

/// What the far side lets our certificate do: neither INFO nor COMMAND.
const NARROW: &str =
    "user gateway on ~cart:* +@read +@write +@connection +@transaction -@dangerous -command\n";

const GATEWAY: &str = "[[identity]]\nmatch = { cn = \"gateway\" }\nuser = \"gateway\"\n";

/// The application's own side: whoever is on this host.
const LOOPBACK: &str =
    "[[identity]]\nmatch = { from = \"127.0.0.0/8\" }\nuser = \"app\"\nauth = \"address\"\n";

fn far(server: &RedisServer, users: &str) -> Proxy {
    Proxy::builder()
        .upstream(server)
        .identities(&format!(
            "{GATEWAY}[[identity]]\nmatch = {{ cn = \"admin\" }}\nuser = \"admin\"\n"
        ))
        .users(&format!("{users}user admin on ~* &* +@all\n"))
        .start()
}

fn near(address: &str) -> Builder {
    let certs = Certs::shared();
    let file = |name: &str| certs.file(name).display().to_string();
    Proxy::builder()
        .plaintext()
        .identities(LOOPBACK)
        .users("user app on ~* &* +@all\n")
        .upstream_named(
            "main",
            &format!(
                "address = \"{address}\"\n[upstream.main.tls]\nserver_name = \"localhost\"\n\
                 ca = \"{}\"\ncert = \"{}\"\nkey = \"{}\"\n",
                file("ca.pem"),
                file("gateway.pem"),
                file("gateway.key")
            ),
        )
}

fn app(proxy: &Proxy) -> TestClient {
    proxy.client("no certificate")
}

/// Runs redis-cli as the application would: in plaintext, with commands by stdin.
#[track_caller]
fn redis_cli(proxy: &Proxy, input: &str) -> String {
    let mut child = Command::new(fetched("cli"))
        .args(["-p", &proxy.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn application_without_tls_reaches_a_redis_behind_another_respgate() {
    for version in FAR {
        let server = RedisServer::start(version, &[]);
        let far = far(&server, NARROW);
        let near = near(&far.address().to_string()).start();
        let said = redis_cli(&near, "SET cart:1 a\nGET cart:1\nGET other:1\nPING\n");
        assert_eq!(
            said,
            "OK\na\nNOPERM No permissions to access a key\n\nPONG\n"
        );
        assert_eq!(server.direct().call(&["GET", "cart:1"]), Reply::bulk("a"));
        // Who did what stands in the far side's audit.
        far.audit_when(|event| {
            event["certificate"] == "CN=gateway" && event["refused"] == "other:1"
        });
    }
}

#[test]
fn refusals_of_the_far_side_pass_unchanged_and_in_their_places() {
    for version in FAR {
        let server = RedisServer::start(version, &[]);
        let far = far(&server, NARROW);
        let near = near(&far.address().to_string())
            .users("user app on ~* &* +@all -lpush\n")
            .start();
        let mut client = app(&near);
        // One of the near side, two of the far side, and what both allow.
        client.send("SET cart:1 a\r\nLPUSH cart:l a\r\nGET other:1\r\nINFO\r\nGET cart:1\r\n");
        client.expect("+OK\r\n-NOPERM User app has no permissions to run the 'lpush' command\r\n");
        client.expect("-NOPERM No permissions to access a key\r\n");
        client.expect("-NOPERM User gateway has no permissions to run the 'info' command\r\n");
        client.expect("$1\r\na\r\n");
        // Either side's refusal spoils a transaction.
        for refused in ["LPUSH cart:l a", "GET other:1"] {
            client.send(format!("MULTI\r\nINCR cart:n\r\n{refused}\r\nEXEC\r\n"));
            client.expect("+OK\r\n+QUEUED\r\n");
            let rest = client.read_reply().error().to_owned();
            assert!(rest.starts_with("NOPERM "), "{rest}");
            client.expect("-EXECABORT Transaction discarded because of previous errors.\r\n");
        }
        client.send("MULTI\r\nINCR cart:n\r\nEXEC\r\n");
        client.expect("+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
        assert!(
            call(&mut client, "CONFIG GET dir")
                .error()
                .contains("'config|get'")
        );
    }
}

#[test]
fn far_side_that_hides_info_and_command_is_served_by_what_hello_tells() {
    for version in FAR {
        let server = RedisServer::start(version, &[]);
        let far = far(&server, NARROW);
        let near = near(&far.address().to_string()).start();
        let words = "the upstream does not tell its commands (COMMAND)";
        eventually(words, || near.log_text().contains(words));
        let log = near.log_text();
        assert!(
            log.contains(&format!("version={}", version.as_str())),
            "{log}"
        );
        assert!(!log.contains("tells its version neither"));
        // And so the near side speaks in the words of that version.
        let unknown = app(&near).call(&["NOSUCH", "a"]);
        assert_eq!(unknown.error(), version.unknown_command("NOSUCH", &["a"]));
    }
}

#[test]
fn far_side_that_tells_all_is_asked_for_all() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let users = "user gateway on ~* &* +@all\n";
    let far = far(&server, users);
    let near = near(&far.address().to_string())
        .section("[rewrite]\nsubstitute = { DEL = \"UNLINK\" }\n")
        .start();
    let log = near.log_text();
    assert!(!log.contains("does not tell"), "{log}");
    let mut client = app(&near);
    assert_eq!(client.call(&["SET", "k", "v"]), ok());
    assert_eq!(client.call(&["DEL", "k"]), Reply::Integer(1));
    let stats = server.direct().call(&["INFO", "commandstats"]).text();
    assert!(stats.contains("cmdstat_unlink:calls=1"), "{stats}");
}

/// Not even the version: a Redis that has renamed INFO and has no HELLO.
#[test]
fn upstream_that_tells_no_version_is_taken_for_the_oldest() {
    let hidden = [
        "--rename-command",
        "INFO",
        "",
        "--rename-command",
        "COMMAND",
        "",
    ];
    let server = RedisServer::start(Version::V5_0_6, &hidden);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users("user cart on ~* &* +@all\nuser admin on ~* &* +@all lethal=config\n")
        .start();
    for words in ["it is taken for the oldest", "unknown command `INFO`"] {
        eventually(words, || proxy.log_text().contains(words));
    }
    let mut client = proxy.client("cart");
    assert_eq!(client.call(&["SET", "cart:1", "a"]), ok());
    // On Redis 4 and older a script is a way to the machine.
    let script = client.call(&["EVAL", "return 1", "0"]);
    assert!(script.error().contains("script"), "{script:?}");
    let script = proxy.client("admin").call(&["EVAL", "return 1", "0"]);
    assert_eq!(script, Reply::Integer(1));
    // No HELLO 3 is promised; what HELLO 2 says can be read by any client.
    let Reply::Array(hello) = client.call(&["HELLO", "2"]) else {
        panic!("no answer to HELLO");
    };
    for text in ["0.0.0", "standalone", "master"] {
        assert!(hello.contains(&Reply::bulk(text)), "{hello:?}");
    }
    let hello = client.call(&["HELLO", "3"]);
    assert!(hello.error().contains("unknown command"), "{hello:?}");
}

/// An unknown command is told so before a password is asked for.
#[test]
fn redis_that_hides_info_and_wants_a_password_is_never_ready_without_one() {
    let hidden = ["--rename-command", "INFO", "", "--requirepass", "secret"];
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &hidden);
        let proxy = Proxy::builder()
            .upstream(&server)
            .ready_when_listening()
            .start();
        let asks = "the upstream asks for a password: set its password_file";
        eventually(asks, || proxy.log_text().contains(asks));
        assert!(!proxy.log_text().contains("is ready"));
    }
}

#[test]
fn redis_whose_user_may_not_ask_is_served_by_what_hello_tells() {
    let user = [
        "--user", "proxy", "on", ">secret", "~*", "+@read", "+@write",
    ];
    let server = RedisServer::start(Version::V7_0_15, &user);
    let proxy = Proxy::builder()
        .upstream_with(&server, "username = \"proxy\"\npassword_file = \"secret\"")
        .file("secret", "secret")
        .ready_when_listening()
        .start();
    // It may not even PING, and is alive all the same.
    eventually("it is ready", || {
        proxy.log_text().contains("the upstream is ready")
    });
    assert!(proxy.log_text().contains("version=7.0.15"));
    let mut client = proxy.client("cart");
    assert_eq!(client.call(&["SET", "cart:1", "a"]), ok());
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(
        !proxy.log_text().contains("is gone"),
        "{}",
        proxy.log_text()
    );
}

#[test]
fn far_side_that_knows_no_such_certificate_says_so_in_our_log() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let far = Proxy::builder().upstream(&server).start();
    let near = near(&far.address().to_string())
        .ready_when_listening()
        .start();
    let words = "NOPERM respgate: no user is mapped to this connection";
    eventually(words, || near.log_text().contains(words));
    assert_eq!(near.log_text().matches(words).count(), 1);
}

#[test]
fn login_that_is_forgotten_makes_the_upstream_unready() {
    let mut server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut direct = server.direct();
    // Redis 5 asks connections too that came before.
    assert_eq!(call(&mut direct, "CONFIG SET requirepass new"), ok());
    let words = "the upstream has forgotten our login: NOAUTH";
    eventually(words, || proxy.log_text().contains(words));
    let asks = "the upstream asks for a password: set its password_file";
    eventually(asks, || proxy.log_text().contains(asks));
    let mut client = proxy.client("cart");
    let _ = client.try_send(&command(&["PING"]));
    client.expect_close();
    server.kill();
}

#[test]
fn large_values_and_pipelines_pass_two_hops() {
    const LENGTH: usize = 20 << 20;
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let far = far(&server, NARROW);
    let near = near(&far.address().to_string()).start();
    let mut client = app(&near);
    let value: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    assert_eq!(client.call_bytes(&[b"SET", b"cart:big", &value]), ok());
    let mut pipeline = command(&["GET", "cart:big"]);
    for _ in 0..10_000 {
        pipeline.extend(command(&["INCR", "cart:n"]));
        pipeline.extend(command(&["INCR", "other"]));
    }
    client.send(pipeline);
    client.expect(format!("${LENGTH}\r\n"));
    let mut at = 0;
    client.consume(LENGTH as u64, |bytes| {
        assert!(bytes == &value[at..at + bytes.len()], "other bytes at {at}");
        at += bytes.len();
    });
    client.expect("\r\n");
    for number in 1..=10_000 {
        client.expect(format!(":{number}\r\n"));
        client.expect("-NOPERM No permissions to access a key\r\n");
    }
}

#[test]
fn dead_redis_closes_the_application_two_hops_away() {
    for version in LEGACY_AND_CURRENT {
        let mut server = RedisServer::start(version, &[]);
        let far = far(&server, NARROW);
        let near = near(&far.address().to_string()).start();
        let mut client = app(&near);
        client.send("SET cart:1 a\r\nBLPOP cart:q 0\r\nGET cart:1\r\n");
        client.expect("+OK\r\n");
        server.kill();
        client.expect_close();
        server.restart();
        eventually("it is served again", || {
            near.try_client(None).is_ok_and(|mut client| {
                client.try_send(&command(&["PING"])).is_ok()
                    && client.try_read_reply() == Ok(Reply::Simple("PONG".into()))
            })
        });
    }
}

/// A server that isn't reached over TCP has no name of its own: it must be said.
#[test]
fn tls_may_be_spoken_over_a_unix_socket() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("far.sock");
    let address = format!("unix:{}", socket.display());
    let far = Proxy::builder()
        .upstream(&server)
        .also_bind(&address)
        .identities(GATEWAY)
        .users(NARROW)
        .ready_when_listening()
        .start();
    let near = near(&address).ready_when_listening().start();
    eventually("it is ready", || {
        near.log_text().contains("the upstream is ready")
    });
    assert_eq!(app(&near).call(&["SET", "cart:1", "a"]), ok());
    drop(far);
}

/// `check --upstream` on the near side tells what the far side keeps to itself.
#[test]
fn check_tells_what_the_far_side_hides() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let far = far(&server, NARROW);
    let dir = tempfile::tempdir().unwrap();
    let path = near(&far.address().to_string()).write(dir.path(), free_port());
    let args = ["check", "--upstream", "--config", path.to_str().unwrap()];
    let outcome = crate::support::cli::respgate(&args).expect_code(0);
    let text = outcome.text();
    assert!(text.contains("Redis 8.2.3 (standalone, master)"), "{text}");
    assert!(text.contains("COMMAND can't be asked"), "{text}");
    // It asks for a certificate, so it isn't open to anybody.
    assert!(!text.contains("is open"), "{text}");
}

#[test]
fn a_replica_without_tls_follows_its_master_through_the_tunnel() {
    for version in FAR {
        let master = RedisServer::start(version, &[]);
        master.direct().call(&["SET", "k", "before"]);
        let far = far(
            &master,
            "user gateway on ~* &* +psync +sync +replconf +ping\n",
        );
        let near = near(&far.address().to_string()).start();
        let replica = RedisServer::start(version, &[]);
        let port = near.port().to_string();
        replica.direct().call(&["REPLICAOF", "127.0.0.1", &port]);
        eventually("the replica has its master's data", || {
            replica.direct().call(&["GET", "k"]) == Reply::bulk("before")
        });
        let mut writer = master.direct();
        writer.call(&["SET", "k", "after"]);
        // What it has, it acknowledges through both.
        assert_eq!(writer.call(&["WAIT", "1", "10000"]), Reply::Integer(1));
        assert_eq!(replica.direct().call(&["GET", "k"]), Reply::bulk("after"));
        // One side lets it replicate no more.
        far.reload("user gateway on ~* &* +ping\nuser admin on ~* &* +@all\n");
        eventually("the link is cut", || {
            replica.info("master_link_status") == "down"
        });
    }
}

#[test]
fn subscribers_and_blocked_clients_wait_through_the_tunnel() {
    for version in FAR {
        let server = RedisServer::start(version, &[]);
        let far = far(&server, "user gateway on ~* &* +@all\n");
        let near = near(&far.address().to_string()).start();
        let (mut subscriber, mut blocked) = (app(&near), app(&near));
        subscriber.call(&["SUBSCRIBE", "a"]);
        blocked.send(command(&["BLPOP", "list", "0"]));
        eventually("it is blocked", || server.info("blocked_clients") == "1");
        let mut client = app(&near);
        client.call(&["PUBLISH", "a", "m"]);
        subscriber.expect("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n");
        drop(blocked);
        eventually("it has left", || server.info("blocked_clients") == "0");
        assert_eq!(client.call(&["RPUSH", "list", "v"]), Reply::Integer(1));
        assert_eq!(client.call(&["LPOP", "list"]), Reply::bulk("v"));
    }
}
