//! What the operator's tools ask over HTTP: health, status, reload; and who may.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde_json::json;

use crate::support::cli::respgate;
use crate::support::http::{self, Answer, Scrape, ask, exchange, get, wait_for_owed};
use crate::support::{
    Builder, Proxy, RedisServer, TestClient, Version, command, eventually, free_port,
};

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A proxy that is configured with everything at one address, and health at another.
struct Ports {
    admin: SocketAddr,
    probe: SocketAddr,
}

fn with_admin(builder: Builder, more: &str) -> (Builder, Ports) {
    let ports = Ports {
        admin: address(free_port()),
        probe: address(free_port()),
    };
    let (admin, probe) = (ports.admin, ports.probe);
    let section = format!("[admin]\nbind = \"{admin}\"\nprobe = \"{probe}\"\n{more}");
    (builder.section(&section), ports)
}

#[test]
fn refused_requests_do_not_fill_the_log() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let (builder, ports) = with_token(Proxy::builder().upstream(&server));
    let proxy = builder.start();
    let refused = || exchange(ports.admin, "POST /reload HTTP/1.0\r\n\r\n").status;
    let told = || proxy.log_text().matches("admin: refused").count();
    let start = Instant::now();
    assert!((0..300).all(|_| refused() == 401));
    eventually("the first are told", || told() >= 20);
    let seconds = start.elapsed().as_secs() as usize;
    assert!(told() <= 20 + seconds + 1, "{} in {seconds} s", told());
    eventually("how many were not is told", || {
        refused();
        proxy.log_text().contains(" suppressed=")
    });
    // Nor do those that find the token's file gone.
    std::fs::remove_file(proxy.directory().join("token")).unwrap();
    let start = Instant::now();
    let head = format!("POST /reload HTTP/1.0\r\n{TOKEN}\r\n");
    assert!((0..300).all(|_| exchange(ports.admin, &head).status == 500));
    let told = || proxy.log_text().matches("admin.token_file can't").count();
    eventually("it is told", || told() > 0);
    let told = told();
    let seconds = start.elapsed().as_secs() as usize;
    assert!((1..=21 + seconds).contains(&told), "{told} in {seconds} s");
}

const TOKEN: &str = "Authorization: Bearer correct horse\r\n";

/// The token's file, for [`with_admin`].
fn with_token(builder: Builder) -> (Builder, Ports) {
    let builder = builder.file("token", "correct horse\n");
    with_admin(builder, "token_file = \"token\"")
}

#[test]
fn readiness_follows_the_upstream_and_liveness_does_not() {
    let mut server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, ports) = with_admin(Proxy::builder().upstream(&server), "");
    let _proxy = builder.start();
    let ready = |probe| get(probe, "/readyz").status == 200;
    for at in [ports.admin, ports.probe] {
        eventually("it is ready", || ready(at));
        assert_eq!(get(at, "/readyz").body, "ready\n");
        assert_eq!(get(at, "/healthz").expect(200).body, "ok\n");
    }
    server.kill();
    for at in [ports.admin, ports.probe] {
        eventually("it is not ready", || !ready(at));
        let answer = get(at, "/readyz").expect(503);
        assert_eq!(answer.body, "upstream main: no answer\n");
        get(at, "/healthz").expect(200);
    }
    let status = get(ports.admin, "/status").expect(200).json();
    assert_eq!(status["upstreams"][0]["state"], "down");
    assert_eq!(
        Scrape::of(ports.admin).count("respgate_upstream_up", &[]),
        0
    );
    server.restart();
    for at in [ports.admin, ports.probe] {
        eventually("it is ready again", || ready(at));
    }
    assert_eq!(
        Scrape::of(ports.admin).count("respgate_upstream_up", &[]),
        1
    );
}

#[test]
fn only_upstreams_that_a_listener_needs_make_it_unready() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let nobody = format!("address = \"127.0.0.1:{}\"", free_port());
    let builder = Proxy::builder()
        .upstream(&server)
        .upstream_named("spare", &nobody)
        .listener("upstream = \"main\"");
    let (builder, ports) = with_admin(builder, "");
    let _proxy = builder.start();
    eventually("it is ready", || get(ports.probe, "/readyz").status == 200);
    let status = get(ports.admin, "/status").json();
    let states: Vec<_> = [0, 1]
        .map(|index| &status["upstreams"][index])
        .map(|upstream| (upstream["name"].clone(), upstream["state"].clone()))
        .into();
    assert_eq!(
        states,
        [
            (json!("main"), json!("up")),
            (json!("spare"), json!("down"))
        ]
    );
}

#[test]
fn a_listener_that_was_taken_out_of_the_file_makes_nobody_unready_and_refuses_audibly() {
    let mut old = RedisServer::start(Version::V5_0_6, &[]);
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let port = free_port();
    let builder = Proxy::builder()
        .upstream(&server)
        .upstream_named("old", &format!("address = \"{}\"", old.address()))
        .listener("upstream = \"main\"")
        .another_listener("old", port, "upstream = \"old\"");
    let (builder, ports) = with_admin(builder, "");
    let proxy = builder.start();
    let readiness = || get(ports.probe, "/readyz").status;
    eventually("it is ready", || readiness() == 200);
    let path = proxy.directory().join("respgate.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let (begin, rest) = text.split_once("[[listener]]\nname = \"old\"").unwrap();
    let (_, rest) = rest.split_once("[upstream.main]").unwrap();
    proxy.write_file("respgate.toml", &format!("{begin}[upstream.main]{rest}"));
    proxy.reload_until("a new generation is in force");
    old.kill();
    eventually("it is noticed", || {
        let status = get(ports.admin, "/status").json();
        status["upstreams"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["state"] == "down")
    });
    assert_eq!(readiness(), 200);
    let config = proxy.certs().client_config(Some("cart"));
    assert!(TestClient::tls(address(port), config).is_err());
    let refused = |event: &serde_json::Value| event["reason"] == "listener_removed";
    assert_eq!(proxy.audit_when(refused)[0]["event"], "connection_refused");
}

#[test]
fn a_wrong_credential_is_not_ready_and_strangers_are_not_told_why() {
    let server = RedisServer::start(Version::V7_0_15, &["--requirepass", "right"]);
    let builder = Proxy::builder()
        .upstream_with(&server, "password_file = \"password\"")
        .file("password", "wrong\n")
        .ready_when_listening();
    let (builder, ports) = with_admin(builder, "");
    let proxy = builder.start();
    eventually("the upstream has refused us", || {
        let status = get(ports.admin, "/status").json();
        let reason = status["upstreams"][0]["reason"].as_str();
        reason.is_some_and(|reason| reason.contains("refuses our AUTH"))
    });
    let answer = get(ports.probe, "/readyz").expect(503);
    assert_eq!(answer.body, "upstream main: no answer\n");
    let failures = [("upstream", "main"), ("reason", "credential")];
    let scrape = Scrape::of(ports.admin);
    assert!(scrape.count("respgate_upstream_failures_total", &failures) > 0);
    proxy.write_file("password", "right\n");
    eventually("it is ready", || get(ports.probe, "/readyz").status == 200);
}

#[test]
fn a_server_that_serves_nobody_just_now_is_not_ready() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, ports) = with_admin(Proxy::builder().upstream(&server), "");
    let _proxy = builder.start();
    eventually("it is ready", || get(ports.probe, "/readyz").status == 200);
    let mut busy = server.direct();
    busy.call(&["CONFIG", "SET", "busy-reply-threshold", "50"]);
    busy.send_args(&["EVAL", "while true do end", "0"]);
    eventually("it is busy", || {
        let answer = get(ports.probe, "/readyz");
        answer.status == 503 && answer.body == "upstream main: busy\n"
    });
    let status = get(ports.admin, "/status").json();
    assert_eq!(status["upstreams"][0]["state"], "busy");
    server.direct().call(&["SCRIPT", "KILL"]);
    eventually("it is ready again", || {
        get(ports.probe, "/readyz").status == 200
    });
}

#[test]
fn while_it_drains_it_is_not_ready_and_says_so() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, ports) = with_admin(Proxy::builder().upstream(&server), "");
    let mut proxy = builder.start();
    let mut client = proxy.client("admin");
    client.call(&["PING"]);
    // Its reply is owed until the server goes on.
    server.direct().call(&["CLIENT", "PAUSE", "8000", "ALL"]);
    client.send_args(&["SET", "k", "v"]);
    wait_for_owed(ports.admin, 1);
    proxy.terminate();
    eventually("it drains", || {
        let answer = get(ports.probe, "/readyz");
        answer.status == 503 && answer.body.contains("draining\n")
    });
    get(ports.probe, "/healthz").expect(200);
    assert_eq!(get(ports.admin, "/status").json()["draining"], true);
    assert_eq!(client.read_reply().text(), "OK");
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(TcpStream::connect(ports.admin).is_err());
}

#[test]
fn every_change_needs_the_token() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, without) = with_admin(Proxy::builder().upstream(&server), "");
    let _proxy = builder.start();
    for path in ["/reload", "/metrics", "/nothing"] {
        ask(without.admin, "POST", path, "").expect(403);
        ask(without.admin, "POST", path, TOKEN).expect(403);
    }
    let (builder, ports) = with_token(Proxy::builder().upstream(&server));
    let proxy = builder.start();
    let post = |headers: &str| ask(ports.admin, "POST", "/reload", headers);
    let missing = post("").expect(401);
    assert_eq!(missing.headers["www-authenticate"], "Bearer");
    post("Authorization: Bearer correct\r\n").expect(401);
    post("Authorization: Bearer \r\n").expect(401);
    post(TOKEN).expect(200);
    proxy.write_file("token", "battery staple");
    post(TOKEN).expect(401);
    post("Authorization: Bearer battery staple\r\n").expect(200);
    proxy.write_file("token", "\n");
    post("Authorization: Bearer \r\n").expect(500);
    get(ports.admin, "/metrics").expect(200);
    // What the client sends behind it is nobody's.
    proxy.write_file("token", "correct horse\n");
    let body = "x".repeat(4096);
    let length = format!("{TOKEN}Content-Length: {}\r\n", body.len());
    let head = format!("POST /reload HTTP/1.1\r\nHost: localhost\r\n{length}\r\n");
    exchange(ports.admin, &format!("{head}{body}")).expect(200);
}

#[test]
fn a_reload_says_what_it_has_done_or_all_that_is_wrong() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let builder = Proxy::builder().upstream(&server).allow_error("reload");
    let (builder, ports) = with_token(builder);
    let proxy = builder.start();
    let reload = || ask(ports.admin, "POST", "/reload", TOKEN);
    let reloads = |result| {
        let scrape = Scrape::of(ports.admin);
        scrape.count("respgate_reloads_total", &[("result", result)])
    };
    let status = || get(ports.admin, "/status").expect(200).json();
    assert_eq!(status().get("last_reload"), None);
    let before = status();
    assert_eq!(reload().expect(200).json()["unchanged"], true);
    assert_eq!(status()["generation"], before["generation"]);

    let users = "user admin on ~* +@all\nuser cart on ~c:* +@all\nuser search on ~s:* +@all\n";
    proxy.write_users(users);
    let done = reload().expect(200).json();
    assert_eq!(
        (&done["reloaded"], &done["unchanged"]),
        (&json!(true), &json!(false))
    );
    let now = status();
    assert_ne!(now["policy"], before["policy"]);
    assert_eq!(now["policy"], done["policy"]);
    assert_eq!(now["generation"], done["generation"]);
    assert_eq!(done["changed"], json!(["policy.acl_files"]));
    assert_eq!(done["needs_restart"], json!([]));
    let line = "connect_timeout = \"9s\"";
    proxy.edit("[upstream.main]", &format!("[upstream.main]\n{line}"));
    let restart = reload().expect(200).json();
    let lines = restart["needs_restart"].as_array().unwrap();
    let told = "upstream.main has changed: that needs a restart";
    assert!(
        lines.len() == 1 && lines[0].as_str().unwrap().ends_with(told),
        "{lines:?}"
    );
    let now = status();
    assert_eq!(now["last_reload"]["ok"], true);
    let scrape = Scrape::of(ports.admin);
    let hash = now["policy"].as_str().unwrap();
    assert_eq!(scrape.count("respgate_policy_info", &[("hash", hash)]), 1);
    let generation = now["generation"].as_u64().unwrap();
    assert_eq!(scrape.count("respgate_generation", &[]), generation);

    proxy.write_users("user admin on ~* +@nothing\nuser cart on %X~c +@all\n");
    let failed = reload().expect(409).json();
    let problems = failed["problems"].as_array().unwrap();
    assert!(problems.len() >= 2, "{problems:?}");
    let kept = status();
    assert_eq!(kept["policy"], now["policy"]);
    assert_eq!(kept["last_reload"]["ok"], false);
    assert_eq!(kept["last_reload"]["problems"], failed["problems"]);
    assert_eq!((reloads("ok"), reloads("failed")), (3, 1));
}

#[test]
fn a_page_in_a_browser_gets_nothing() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, ports) = with_token(Proxy::builder().upstream(&server));
    let _proxy = builder.start();
    let named = |host: &str, more: &str| -> Answer {
        exchange(
            ports.admin,
            &format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"),
        )
    };
    named("localhost", "").expect(200);
    named("evil.example", "").expect(403);
    named("evil.example", TOKEN).expect(200);
    named("localhost", "Origin: http://localhost\r\n").expect(403);
    named("localhost", "Origin: null\r\n").expect(403);
    let bare = "GET /metrics HTTP/1.1\r\n\r\n";
    exchange(ports.admin, bare).expect(400);
    let old = "GET /readyz HTTP/1.0\r\n\r\n";
    exchange(ports.admin, old).expect(200);
    // A kubelet asks by the pod's address, a balancer by any name.
    let probed = "GET /readyz HTTP/1.1\r\nHost: evil.example\r\nOrigin: x\r\n\r\n";
    exchange(ports.probe, probed).expect(200);
}

#[test]
fn methods_and_paths_are_what_http_says() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, ports) = with_token(Proxy::builder().upstream(&server));
    let _proxy = builder.start();
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/status", 200),
    ] {
        let head = ask(ports.admin, "HEAD", path, "").expect(status);
        assert_eq!(head.body, "");
        assert!(head.headers["content-length"].parse::<usize>().unwrap() > 0);
        let wrong = ask(ports.admin, "POST", path, TOKEN).expect(405);
        assert_eq!(wrong.headers["allow"], "GET, HEAD");
    }
    let wrong = get(ports.admin, "/reload").expect(405);
    assert_eq!(wrong.headers["allow"], "POST");
    for path in ["/", "/metrics/", "/readyz/x", "/debug/pprof"] {
        get(ports.admin, path).expect(404);
    }
    get(ports.admin, "/readyz?verbose").expect(200);
    for path in ["/metrics", "/status", "/reload", "/"] {
        get(ports.probe, path).expect(404);
        ask(ports.probe, "POST", path, TOKEN).expect(404);
    }
    ask(ports.probe, "POST", "/readyz", TOKEN).expect(405);
    let long = format!("X-Long: {}\r\n", "x".repeat(20_000));
    let answer = ask(ports.admin, "GET", "/readyz", &long);
    assert!((400..500).contains(&answer.status), "{answer:?}");
}

#[test]
fn an_address_beyond_the_host_needs_a_token() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let dir = tempfile::tempdir().unwrap();
    let builder = Proxy::builder().upstream(&server);
    let open = builder.clone().section("[admin]\nbind = \"0.0.0.0:9180\"");
    let path = open.write(dir.path(), free_port());
    let outcome = respgate(&["check", "--config", path.to_str().unwrap()]).expect_code(78);
    for word in ["admin.bind = \"0.0.0.0:9180\"", "admin.token_file"] {
        assert!(outcome.stderr.contains(word), "{outcome:#?}");
    }
    let port = free_port();
    let section = format!("[admin]\nbind = \"0.0.0.0:{port}\"\ntoken_file = \"token\"");
    let _proxy = builder
        .file("token", "correct horse")
        .section(&section)
        .start();
    get(address(port), "/metrics").expect(401);
    get(address(port), "/status").expect(401);
    ask(address(port), "GET", "/metrics", TOKEN).expect(200);
    get(address(port), "/healthz").expect(200);
    get(address(port), "/readyz").expect(200);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let section = format!("[admin]\nprobe = \"{bind}\"");
    let builder = Proxy::builder().upstream(&server).section(&section);
    let path = builder.write(dir.path(), free_port());
    let outcome = respgate(&["run", "--config", path.to_str().unwrap()]).expect_code(1);
    let told = format!("admin.probe = \"{bind}\": ");
    assert!(outcome.stderr.contains(&told), "{outcome:#?}");
}

#[test]
fn a_unix_socket_serves_the_same() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let section = "[admin]\nbind = \"unix:admin.sock\"";
    let proxy = Proxy::builder().upstream(&server).section(section).start();
    let socket = proxy.directory().join("admin.sock");
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: respgate\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let scrape = Scrape::parse(&http::parse(&text).expect(200).body);
    assert_eq!(scrape.count("respgate_build_info", &[]), 1);
    let config = proxy.directory().join("respgate.toml");
    eventually("it is ready", || {
        let outcome = respgate(&["healthcheck", "--config", config.to_str().unwrap()]);
        outcome.code == Some(0)
    });
}

#[test]
fn the_health_check_ends_with_what_the_proxy_says() {
    let mut server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, ports) = with_admin(Proxy::builder().upstream(&server), "");
    let mut proxy = builder.start();
    let config = proxy.directory().join("respgate.toml");
    let config = config.to_str().unwrap();
    let check = |more: &[&str]| {
        let args = [&["healthcheck", "--config", config], more].concat();
        respgate(&args)
    };
    eventually("it is ready", || get(ports.probe, "/readyz").status == 200);
    assert_eq!(check(&[]).expect_code(0).stdout, "ready\n");
    assert_eq!(check(&["--live"]).expect_code(0).stdout, "ok\n");
    server.kill();
    eventually("it is not ready", || {
        let outcome = check(&[]);
        outcome.code == Some(1) && outcome.stderr.contains("upstream main: no answer")
    });
    check(&["--live"]).expect_code(0);
    // The file is being changed, and wrong just now: that is no fault of the process.
    let text = std::fs::read_to_string(config).unwrap();
    proxy.write_file("respgate.toml", &text.replace("[policy]", "[policies]"));
    check(&["--live"]).expect_code(0);
    proxy.write_file("respgate.toml", "[policy");
    check(&["--live"]).expect_code(78);
    let address = ports.probe.to_string();
    let by_address = ["healthcheck", "--address", &address, "--live"];
    respgate(&by_address).expect_code(0);
    proxy.write_file("respgate.toml", &text);
    proxy.terminate();
    proxy.wait();
    check(&["--live"]).expect_code(1);
    respgate(&by_address).expect_code(1);

    let silent = std::net::TcpListener::bind(ports.probe).unwrap();
    let outcome = check(&[]).expect_code(1);
    assert!(outcome.stderr.contains("timed out"), "{outcome:#?}");
    drop(silent);

    proxy.write_file("respgate.toml", text.split("[admin]").next().unwrap());
    let outcome = check(&[]).expect_code(78);
    assert!(outcome.stderr.contains("admin.probe"), "{outcome:#?}");
    respgate(&["healthcheck", "--config", "/nonexistent"]).expect_code(78);
}

#[test]
fn slow_peers_keep_nobody_out() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, ports) = with_admin(Proxy::builder().upstream(&server), "");
    let proxy = builder.start();
    eventually("it is ready", || get(ports.probe, "/readyz").status == 200);
    for at in [ports.admin, ports.probe] {
        let mut slow: Vec<TcpStream> = Vec::new();
        for number in 0..200 {
            let mut stream = TcpStream::connect(at).unwrap();
            if number % 2 == 0 {
                // The one who is put out for a newer one may have lost his connection already.
                let _ = stream.write_all(b"GET /readyz HTTP/1.1\r\nX-");
            }
            slow.push(stream);
        }
        for _ in 0..20 {
            get(at, "/readyz").expect(200);
        }
        assert!(proxy.open_file_count() < 200, "no more than some are kept");
        drop(slow);
    }
}

#[test]
fn status_tells_what_is_served() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let (builder, ports) = with_admin(Proxy::builder().upstream(&server), "");
    let proxy = builder.start();
    eventually("it is ready", || get(ports.probe, "/readyz").status == 200);
    let mut clients = ["cart", "admin"].map(|name| proxy.client(name));
    clients.iter_mut().for_each(|client| {
        client.call(&["PING"]);
    });
    eventually("two sessions", || {
        let status = get(ports.admin, "/status").expect(200).json();
        status["listeners"][0]["sessions"] == 2
    });
    let status = get(ports.admin, "/status").json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["draining"], false);
    assert!(status["uptime_seconds"].is_u64() && status["generation"].is_u64());
    assert_eq!(status["policy"].as_str().unwrap().len(), 64);
    let listener = &status["listeners"][0];
    assert_eq!(listener["name"], "main");
    assert_eq!(listener["bind"][0], proxy.address().to_string());
    let upstream = &status["upstreams"][0];
    assert_eq!(
        *upstream,
        json!({
            "name": "main",
            "address": server.upstream_address(),
            "state": "up",
            "version": "7.0.15",
            "role": "master",
            "mode": "standalone",
        })
    );
}

#[test]
fn a_peer_that_closes_before_its_first_byte_is_no_news() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    for plaintext in [false, true] {
        let builder = Proxy::builder().upstream(&server);
        let builder = match plaintext {
            true => builder.plaintext().identities(
                "[[identity]]\nmatch = { from = \"127.0.0.1\" }\nuser = \"admin\"\nauth = \"address\"\n",
            ),
            false => builder,
        };
        let (builder, ports) = with_admin(builder, "");
        let proxy = builder.start();
        eventually("it is ready", || get(ports.probe, "/readyz").status == 200);
        let lines = || proxy.log_text().lines().count();
        let before = lines();
        for at in [proxy.address(), ports.admin, ports.probe] {
            for reset in [false, true] {
                let stream = TcpStream::connect(at).unwrap();
                if reset {
                    let linger = Some(std::time::Duration::ZERO);
                    socket2::SockRef::from(&stream).set_linger(linger).unwrap();
                }
                drop(stream);
            }
        }
        // One more, behind them, has been served when they have been noticed.
        for at in [ports.admin, ports.probe] {
            get(at, "/healthz").expect(200);
        }
        let mut client = proxy.client("admin");
        client.send(command(&["PING"]));
        client.read_reply();
        assert_eq!(lines(), before, "{}", proxy.log_text());
    }
}
