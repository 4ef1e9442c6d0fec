//! The Redis behind the proxy: its password, its socket, its death.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::redis::LEGACY_AND_CURRENT;
use crate::support::{
    PATIENCE, Proxy, RedisServer, Reply, TestClient, Version, eventually, free_port,
};

fn password_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// Whether `name` is served by now.
fn served(proxy: &Proxy, name: &str) -> bool {
    proxy.try_client(Some(name)).is_ok_and(|mut client| {
        client.try_send(b"*1\r\n$4\r\nPING\r\n").is_ok()
            && client.try_read_reply() == Ok(Reply::Simple("PONG".into()))
    })
}

#[test]
fn proxy_logs_in_with_the_legacy_password() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &["--requirepass", "upstream-secret"]);
        let file = password_file("upstream-secret\n");
        let proxy = Proxy::builder()
            .upstream_with(
                &server,
                &format!("password_file = \"{}\"", file.path().display()),
            )
            .start();
        let mut client = proxy.client("cart");
        client.send("SET cart:1 a\r\nGET cart:1\r\n");
        client.expect("+OK\r\n$1\r\na\r\n");
        assert!(!proxy.log_text().contains("upstream-secret"));
    }
}

#[test]
fn proxy_logs_in_as_a_user_of_the_servers_acl() {
    let acl = [
        "--user",
        "proxy",
        "on",
        ">upstream-secret",
        "~*",
        "&*",
        "+@all",
        "--user",
        "default",
        "off",
    ];
    let server = RedisServer::start(Version::V7_0_15, &acl);
    let file = password_file("upstream-secret");
    let proxy = Proxy::builder()
        .upstream_with(
            &server,
            &format!(
                "username = \"proxy\"\npassword_file = \"{}\"",
                file.path().display()
            ),
        )
        .start();
    assert_eq!(
        proxy.client("cart").call(&["SET", "cart:1", "a"]),
        Reply::Simple("OK".into())
    );
}

#[test]
fn wrong_upstream_password_is_our_fault_and_not_shown() {
    let server = RedisServer::start(Version::V5_0_6, &["--requirepass", "upstream-secret"]);
    let file = password_file("not-it\n");
    let proxy = Proxy::builder()
        .upstream_with(
            &server,
            &format!("password_file = \"{}\"", file.path().display()),
        )
        .ready_when_listening()
        .allow_error("")
        .start();
    for _ in 0..3 {
        let mut client = proxy.client("cart");
        let _ = client.try_send(b"*1\r\n$4\r\nPING\r\n");
        client.expect_close();
    }
    eventually("the log names the upstream", || {
        proxy.log_text().contains("main")
    });
    assert!(!proxy.log_text().contains("not-it"));
}

#[test]
fn server_that_repeats_what_it_was_sent_does_not_put_our_password_into_the_log() {
    // Where AUTH is renamed, the server's unknown-command error has the arguments in it.
    let renamed = RedisServer::start(Version::V5_0_6, &["--rename-command", "AUTH", "login"]);
    let echo = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = echo.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in echo.incoming().flatten() {
            let mut reader = stream.try_clone().unwrap();
            let mut writer = stream;
            std::thread::spawn(move || std::io::copy(&mut reader, &mut writer));
        }
    });
    let file = password_file("upstream-secret\n");
    for address in [renamed.upstream_address(), address.to_string()] {
        let proxy = Proxy::builder()
            .upstream_named(
                "main",
                &format!(
                    "address = \"{address}\"\npassword_file = \"{}\"",
                    file.path().display()
                ),
            )
            .ready_when_listening()
            .allow_error("")
            .start();
        eventually("the log names the upstream", || {
            proxy.log_text().contains("the upstream is not there")
        });
        assert!(!proxy.log_text().contains("upstream-secret"));
    }
}

#[test]
fn full_server_tells_a_silent_client_so_as_it_would_without_a_proxy() {
    let server = RedisServer::start(Version::V5_0_6, &["--maxclients", "20"]);
    let proxy = Proxy::builder().upstream(&server).dedicated().start();
    let mut all = Vec::new();
    // The place of a connection that ends meanwhile is taken too.
    eventually("a client that says nothing is told", || {
        all.extend((0..20).map(|_| TcpStream::connect(server.address())));
        let mut client = proxy.client("cart");
        client.set_patience(Duration::from_millis(200));
        client.try_read_reply() == Ok(Reply::Error("ERR max number of clients reached".into())) && {
            client.set_patience(PATIENCE);
            client.expect_close();
            true
        }
    });
    drop(all);
    // No reply was out of step: nothing is logged as an error.
    eventually("there is room again", || served(&proxy, "cart"));
}

#[test]
fn upstream_may_be_a_unix_socket() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start_unix(version, &[]);
        let proxy = Proxy::start(&server);
        assert_eq!(
            proxy.client("cart").call(&["SET", "cart:1", "a"]),
            Reply::Simple("OK".into())
        );
        assert_eq!(server.direct().call(&["GET", "cart:1"]), Reply::bulk("a"));
    }
}

#[test]
fn dead_upstream_closes_the_client_after_its_complete_replies() {
    for version in LEGACY_AND_CURRENT {
        let mut server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder().upstream(&server).allow_error("").start();
        let mut client = proxy.client("cart");
        client.send("SET cart:1 a\r\nGET cart:1\r\nBLPOP cart:q 0\r\nGET cart:1\r\nFLUSHALL\r\n");
        client.expect("+OK\r\n$1\r\na\r\n");
        server.kill();
        // No error is made up for what is owed, not even the refusal that waits behind it.
        client.expect_close();
    }
}

#[test]
fn idle_client_of_a_dead_upstream_is_closed() {
    let mut server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .dedicated()
        .allow_error("")
        .start();
    let mut client = proxy.client("cart");
    assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
    server.kill();
    client.expect_close();
}

#[test]
fn restarted_upstream_is_served_again_and_nothing_is_sent_twice() {
    let mut server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder().upstream(&server).allow_error("").start();
    let mut client = proxy.client("cart");
    client.send("INCR cart:n\r\nBLPOP cart:q 0\r\nINCR cart:n\r\n");
    client.expect(":1\r\n");
    // Who has sent nothing yet may well go on with the new one.
    eventually("it waits there", || server.info("blocked_clients") == "1");
    server.restart();
    client.expect_close();
    eventually("a new client is served", || served(&proxy, "cart"));
    assert_eq!(
        server.direct().call(&["EXISTS", "cart:n"]),
        Reply::Integer(0)
    );
}

#[test]
fn client_of_an_upstream_that_is_not_there_is_closed_after_the_handshake() {
    let port = free_port();
    let proxy = Proxy::builder()
        .upstream_named(
            "main",
            &format!("address = \"127.0.0.1:{port}\"\nconnect_timeout = \"1s\""),
        )
        .ready_when_listening()
        .allow_error("")
        .start();
    let mut client = proxy.client("cart");
    let _ = client.try_send(b"*1\r\n$4\r\nPING\r\n");
    client.expect_close();
}

#[test]
fn upstream_that_comes_late_is_found() {
    let mut server = RedisServer::start(Version::V5_0_6, &[]);
    server.kill();
    let proxy = Proxy::builder()
        .upstream(&server)
        .ready_when_listening()
        .allow_error("")
        .start();
    assert!(!served(&proxy, "cart"));
    server.restart();
    eventually("the proxy serves", || served(&proxy, "cart"));
}

#[test]
fn upstreams_are_told_apart_by_name() {
    let one = RedisServer::start(Version::V5_0_6, &[]);
    let two = RedisServer::start(Version::V7_0_15, &[]);
    let port = free_port();
    let proxy = Proxy::builder()
        .upstream_named("one", &format!("address = \"{}\"", one.upstream_address()))
        .upstream_named("two", &format!("address = \"{}\"", two.upstream_address()))
        .listener("upstream = \"one\"")
        .another_listener("second", port, "upstream = \"two\"")
        .start();
    let config = proxy.certs().client_config(Some("cart"));
    let mut second = None;
    eventually("the second listener serves", || {
        second = TestClient::tls(([127, 0, 0, 1], port).into(), config.clone()).ok();
        second.as_mut().is_some_and(|client| {
            client.try_send(b"PING\r\n").is_ok() && client.try_read_reply().is_ok()
        })
    });
    proxy.client("cart").call(&["SET", "cart:1", "one"]);
    second.unwrap().call(&["SET", "cart:1", "two"]);
    assert_eq!(one.direct().call(&["GET", "cart:1"]), Reply::bulk("one"));
    assert_eq!(two.direct().call(&["GET", "cart:1"]), Reply::bulk("two"));
}

#[test]
fn client_that_goes_away_frees_its_upstream_connection() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder().upstream(&server).dedicated().start();
    // The proxy's own.
    let before = 1;
    eventually("who asked first is gone", || {
        server.connected_clients() == before
    });
    let mut clients: Vec<_> = (0..10).map(|_| proxy.client("cart")).collect();
    for client in &mut clients {
        client.call(&["PING"]);
    }
    // One of them waits for ever.
    clients[0].send_args(&["BLPOP", "cart:q", "0"]);
    assert!(server.connected_clients() >= before + 10);
    drop(clients);
    eventually("the upstream connections are closed", || {
        server.connected_clients() <= before
    });
    server.direct().call(&["RPUSH", "cart:q", "1"]);
    assert_eq!(
        server.direct().call(&["LLEN", "cart:q"]),
        Reply::Integer(1),
        "popped for a client that has gone"
    );
}

#[test]
fn databases_are_a_sessions_own() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    let mut one = proxy.client("cart");
    let mut two = proxy.client("cart");
    one.send("SELECT 3\r\nSET cart:1 a\r\nSELECT 99\r\nGET cart:1\r\n");
    one.expect("+OK\r\n+OK\r\n-ERR DB index is out of range\r\n$1\r\na\r\n");
    assert_eq!(two.call(&["GET", "cart:1"]), Reply::Nil);
}

#[test]
fn select_inside_a_transaction_takes_effect_when_it_runs() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::start(&server);
        let mut client = proxy.client("cart");
        client.send("SET cart:1 zero\r\nMULTI\r\nSELECT 3\r\nDISCARD\r\nGET cart:1\r\n");
        client.expect("+OK\r\n+OK\r\n+QUEUED\r\n+OK\r\n$4\r\nzero\r\n");
        client.send("MULTI\r\nSELECT 3\r\nSET cart:1 three\r\nEXEC\r\nGET cart:1\r\n");
        client.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n$5\r\nthree\r\n");
    }
}

/// While the upstream hangs with a full pipe the client isn't read, so its end can't be read either.
#[test]
fn client_that_resets_frees_its_place_while_the_upstream_hangs() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .plaintext()
        .identities("[[identity]]\nmatch = {}\nuser = \"cart\"\nauth = \"address\"\n")
        .section("[log]\nlevel = \"debug\"\n")
        .start();
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    stream.read_exact(&mut [0; 7]).unwrap();
    server.freeze();
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    // Until nobody takes any more: neither the upstream nor the proxy.
    let _ = stream.write_all(&b"SET cart:1 abcdefghijklmnopqrstuvwxyz\r\n".repeat(1 << 20));
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
    let start = std::time::Instant::now();
    while !proxy.log_text().contains("end=\"client\"") {
        let waited = start.elapsed();
        if waited > Duration::from_secs(25) {
            server.thaw();
            panic!("its place is held after {waited:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    server.thaw();
}
