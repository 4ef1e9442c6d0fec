//! Accepting, counting and stopping.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, getrlimit, prlimit};

use crate::metrics::with_metrics;
use crate::support::http::wait_for_owed;
use crate::support::{Proxy, RedisServer, Reply, TestClient, Version, eventually, free_port};

fn served(proxy: &Proxy) -> bool {
    proxy.try_client(Some("cart")).is_ok_and(|mut client| {
        client.try_send(b"*1\r\n$4\r\nPING\r\n").is_ok() && client.try_read_reply().is_ok()
    })
}

#[test]
fn connections_over_the_limit_are_closed_and_the_others_live() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .listener("max_connections = 5")
        .start();
    let mut clients = Vec::new();
    eventually("five clients are served", || {
        clients = (0..5)
            .filter_map(|_| proxy.try_client(Some("cart")).ok())
            .collect();
        clients.len() == 5
            && clients
                .iter_mut()
                .all(|client| client.call(&["PING"]) == Reply::Simple("PONG".into()))
    });
    assert!(!served(&proxy), "a sixth is served");
    for client in &mut clients {
        assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
    }
    clients.pop();
    eventually("there is room again", || served(&proxy));
}

#[test]
fn addresses_of_a_listener_share_its_places_to_the_last() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let other = free_port();
    let proxy = Proxy::builder()
        .upstream(&server)
        .listener("max_connections = 1")
        .also_bind(&format!("127.0.0.1:{other}"))
        .start();
    // Each in turn, and one more than once: wherever the one place is asked for, it is to be had.
    for port in [other, other, proxy.port(), proxy.port(), other] {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let config = proxy.certs().client_config(Some("cart"));
        let mut client = TestClient::tls(address, config).unwrap();
        assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
    }
}

#[test]
fn one_address_cannot_take_every_connection() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .listener("max_connections_per_ip = 3")
        .start();
    let mut clients = Vec::new();
    eventually("three clients are served", || {
        clients = (0..3)
            .filter_map(|_| proxy.try_client(Some("cart")).ok())
            .collect();
        clients.len() == 3
            && clients
                .iter_mut()
                .all(|client| client.call(&["PING"]) == Reply::Simple("PONG".into()))
    });
    assert!(!served(&proxy), "a fourth is served");
    let mut other = TestClient::tls_from(
        Some("127.0.0.9"),
        proxy.address(),
        proxy.certs().client_config(Some("cart")),
    )
    .unwrap();
    assert_eq!(other.call(&["PING"]), Reply::Simple("PONG".into()));
}

#[test]
fn running_out_of_files_does_not_stop_the_proxy() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    // Our own process opens many, too; the soft limit may be a low one.
    let proxy = Proxy::builder().upstream(&server).allow_error("").start();
    let mut first = proxy.client("cart");
    assert_eq!(first.call(&["PING"]), Reply::Simple("PONG".into()));
    let mut limit = getrlimit(Resource::Nofile);
    let room = proxy.open_file_count() as u64 + 10;
    limit.current = Some(room);
    let pid = Pid::from_raw(proxy.pid().cast_signed()).unwrap();
    let before = prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    let crowd: Vec<_> = (0..60)
        .filter_map(|_| TestClient::connect_from(None, proxy.address()).ok())
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        first.call(&["PING"]),
        Reply::Simple("PONG".into()),
        "who was there goes on"
    );
    drop(crowd);
    eventually("new clients are served", || served(&proxy));
    prlimit(Some(pid), Resource::Nofile, before).unwrap();
    eventually("new clients are served with the old limit", || {
        served(&proxy)
    });
}

#[test]
fn more_connections_than_files_is_refused_at_the_start() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let builder = Proxy::builder()
        .upstream(&server)
        .listener("max_connections = 10000")
        .open_files(200);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(builder.start())));
    let text = *result
        .expect_err("it started")
        .downcast::<String>()
        .unwrap();
    assert!(text.contains("max_connections"), "{text}");
}

#[test]
fn termination_finishes_what_is_owed_and_then_ends() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let (builder, at) = with_metrics(Proxy::builder().upstream(&server));
    let mut proxy = builder.start();
    let mut waiting = proxy.client("cart");
    let mut idle = proxy.client("cart");
    assert_eq!(idle.call(&["PING"]), Reply::Simple("PONG".into()));
    // Not for a blocking command: who waits in one is cut before the others.
    server.freeze();
    waiting.send_args(&["GET", "cart:q"]);
    wait_for_owed(at, 1);
    proxy.terminate();
    eventually("nobody is accepted any more", || {
        TestClient::tcp(proxy.address()).is_err()
    });
    assert!(
        !proxy.has_exited(),
        "it did not wait for the reply that is owed"
    );
    let start = Instant::now();
    server.thaw();
    waiting.expect("$-1\r\n");
    waiting.expect_close();
    idle.expect_close();
    let status = proxy.wait();
    assert_eq!(status.code(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn termination_does_not_wait_for_a_blocking_command() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let mut proxy = Proxy::start(&server);
    let mut client = proxy.client("cart");
    client.send_args(&["BLPOP", "cart:q", "0"]);
    std::thread::sleep(Duration::from_millis(100));
    proxy.terminate();
    assert_eq!(proxy.wait().code(), Some(0));
    client.expect_close();
}

#[test]
fn log_that_nobody_reads_holds_up_no_session() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let (log, pipe) = std::io::pipe().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = Proxy::builder().upstream(&server).write(dir.path(), port);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_respgate"))
        .arg("run")
        .arg("--config")
        .arg(config)
        .stdout(std::process::Stdio::null())
        .stderr(pipe)
        .spawn()
        .unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let certs = crate::support::Certs::shared();
    let client = || TestClient::tls(address, certs.client_config(Some("cart")));
    let served = || {
        client().is_ok_and(|mut client| {
            client.try_send(b"PING\r\n").is_ok() && client.try_read_reply().is_ok()
        })
    };
    eventually("the proxy serves", served);
    // Each leaves a line; a pipe holds 64 KB.
    for _ in 0..1000 {
        let mut nobody = TestClient::tcp(address).unwrap();
        nobody.send("no TLS at all\r\n\r\n");
        nobody.read_to_close();
    }
    assert!(served());
    child.kill().unwrap();
    child.wait().unwrap();
    drop(log);
}

#[test]
fn audit_that_is_read_late_is_whole_all_the_same() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("audit");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    // Open in both directions: the proxy's end opens at once, and nobody reads yet.
    let mut reader = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo)
        .unwrap();
    let mut proxy = Proxy::builder()
        .upstream(&server)
        .section(&format!("[audit]\npath = \"{}\"", fifo.display()))
        .start();
    let mut client = proxy.client("cart");
    client.send(crate::support::command(&["FLUSHALL"]).repeat(3000));
    for _ in 0..3000 {
        assert!(client.read_reply().is_error());
    }
    let reading = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        let (mut text, mut piece) = (Vec::new(), vec![0; 1 << 16]);
        while text.iter().filter(|&&byte| byte == b'\n').count() < 3000 {
            let read = std::io::Read::read(&mut reader, &mut piece).unwrap();
            text.extend_from_slice(&piece[..read]);
        }
    });
    proxy.terminate();
    eventually("every line is there", || reading.is_finished());
    reading.join().unwrap();
}

#[test]
fn unix_socket_is_a_listener_too() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("proxy.sock");
    let identities = r#"
[[identity]]
match = { listener = "main" }
user = "cart"
auth = "password"
"#;
    let mut proxy = Proxy::builder()
        .upstream(&server)
        .plaintext()
        .identities(identities)
        .also_bind(&format!("unix:{}", socket.display()))
        .start();
    let mut client = TestClient::unix(&socket).unwrap();
    assert_eq!(
        client.call(&["GET", "cart:1"]).error(),
        "NOAUTH Authentication required."
    );
    assert_eq!(
        client.call(&["AUTH", "cart-secret"]),
        Reply::Simple("OK".into())
    );
    assert_eq!(client.call(&["GET", "cart:1"]), Reply::Nil);
    drop(client);
    proxy.terminate();
    proxy.wait();
    assert!(!socket.exists(), "the socket's file is left behind");
}

#[test]
fn several_listeners_serve_at_once() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let port = crate::support::free_port();
    let proxy = Proxy::builder()
        .upstream(&server)
        .also_bind(&format!("127.0.0.1:{port}"))
        .start();
    let config = proxy.certs().client_config(Some("cart"));
    let mut second = TestClient::tls(([127, 0, 0, 1], port).into(), config).unwrap();
    second.call(&["SET", "cart:1", "a"]);
    assert_eq!(
        proxy.client("cart").call(&["GET", "cart:1"]),
        Reply::bulk("a")
    );
}
