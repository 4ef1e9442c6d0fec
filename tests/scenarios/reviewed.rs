//! Where parts meet that were made apart: what one of them asks while another one is in the middle.

use std::net::SocketAddr;
use std::time::Duration;

use crate::metrics::with_metrics;
use crate::support::http::{Scrape, wait_for_owed};
use crate::support::{
    Proxy, RedisServer, Reply, TestClient, Version, command, eventually, free_port,
};

/// More than sockets and the proxy hold between them: most of it stays with the proxy.
const LARGE: usize = 8 << 20;

/// Asks for a large value again and again, and takes nothing of it.
fn ask_and_take_nothing(client: &mut TestClient) {
    for _ in 0..8 {
        client.send(command(&["GET", "cart:large"]));
    }
}

#[test]
fn who_is_sent_away_once_and_takes_nothing_is_not_sent_away_again() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .own_certificates()
        .start();
    let value = "x".repeat(LARGE);
    proxy.client("cart").call(&["SET", "cart:large", &value]);
    let config = proxy.certs().short_lived("cart", Duration::from_secs(6));
    let mut cart = TestClient::tls(proxy.address(), config).unwrap();
    ask_and_take_nothing(&mut cart);
    let closed = |event: &serde_json::Value| event["event"] == "session_closed";
    let events = proxy.audit_when(closed);
    assert_eq!(events[0]["reason"], "certificate_expired");
    // It is waited for: until the write timeout, and not in a circle.
    std::thread::sleep(Duration::from_secs(1));
    let events = proxy.audit_when(closed);
    assert_eq!(events.len(), 1, "{} times", events.len());
}

#[test]
fn a_script_that_changes_is_read_by_itself() {
    const BEFORE: &str = "return 1";
    const AFTER: &str = "return 22";
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users("user cart on ~cart:* +@all script=lua/get.script\nuser admin on ~* +@all\n")
        .before("mkdir lua && mv get.script lua")
        .file("get.script", BEFORE)
        .section("[runtime]\nwatch_files = \"50ms\"\n")
        .start();
    let mut cart = proxy.client("cart");
    assert_eq!(cart.call(&["EVAL", BEFORE, "0"]), Reply::Integer(1));
    assert!(cart.call(&["EVAL", AFTER, "0"]).is_error());
    // At one blow: it may be read at any time.
    let folder = proxy.directory().join("lua");
    std::fs::write(folder.join("next"), AFTER).unwrap();
    std::fs::rename(folder.join("next"), folder.join("get.script")).unwrap();
    eventually("the new one may run", || {
        cart.call(&["EVAL", AFTER, "0"]) == Reply::Integer(22)
    });
    assert!(cart.call(&["EVAL", BEFORE, "0"]).is_error());
}

#[test]
fn who_is_turned_away_for_its_users_limit_is_counted() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let section = format!("[admin]\nbind = \"{at}\"\n[limits.user.cart]\nmax_connections = 1\n");
    let proxy = Proxy::builder().upstream(&server).section(&section).start();
    let mut first = proxy.client("cart");
    assert_eq!(first.call(&["PING"]).text(), "PONG");
    let mut second = proxy.client("cart");
    assert!(second.read_reply().is_error());
    let reason = [("reason", "user_connections")];
    let count = Scrape::of(at).count("respgate_connections_refused_total", &reason);
    assert_eq!(count, 1);
}

#[test]
fn sessions_that_the_end_of_a_drain_cuts_have_their_last_line_too() {
    for mode in ["shared", "dedicated"] {
        let server = RedisServer::start(Version::V5_0_6, &[]);
        let builder = Proxy::builder()
            .upstream_with(&server, &format!("connections = \"{mode}\""))
            .section("[runtime]\ndrain_timeout = \"300ms\"\n[audit]\nconnections = true\n");
        let (builder, at) = with_metrics(builder);
        let mut proxy = builder.start();
        let mut clients: Vec<_> = (0..4).map(|_| proxy.client("cart")).collect();
        for client in &mut clients {
            assert_eq!(client.call(&["PING"]).text(), "PONG");
        }
        server.freeze();
        for client in &mut clients {
            client.send_args(&["GET", "cart:1"]);
        }
        // They are taken, and can't be answered.
        wait_for_owed(at, 4);
        proxy.terminate();
        assert_eq!(proxy.wait().code(), Some(0));
        let closed = |event: &serde_json::Value| {
            event["event"] == "connection_closed" && event["user"] == "cart"
        };
        eventually("each has one", || proxy.audit_when(closed).len() == 4);
        for event in proxy.audit_when(closed) {
            assert_eq!(event["reason"], "dropped", "{mode}");
        }
    }
}

#[test]
fn a_reload_that_waits_for_an_upstream_holds_up_no_session() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let users = "user cart on ~cart:* +@all\nuser admin on ~* &* +@all lethal=acl\n";
    let proxy = Proxy::builder()
        .upstream(&server)
        .listener("upstream = \"main\"")
        .users(users)
        .section("[runtime]\nworkers = 1\nwatch_files = \"0s\"\nlandlock = false\n")
        .allow_error("reload")
        .start();
    let (mut admin, mut cart) = (proxy.client("admin"), proxy.client("cart"));
    assert_eq!(admin.call(&["ACL", "LOAD"]), Reply::Simple("OK".into()));
    // It accepts, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let at = silent.local_addr().unwrap();
    proxy.edit(
        "[[listener]]",
        &format!("[upstream.silent]\naddress = \"{at}\"\nconnect_timeout = \"60s\"\n[[listener]]"),
    );
    // What it may have to teach is asked for.
    proxy.write_users(&format!("{users}user more on +module.of.theirs\n"));
    proxy.signal(rustix::process::Signal::HUP);
    let mut asking = None;
    eventually("it is asked", || {
        asking = silent.accept().ok();
        asking.is_some()
    });
    let told = admin.call(&["ACL", "LOAD"]);
    assert!(told.error().contains("module.of.theirs"), "{told:?}");
    proxy.write_users(&users.replace("+@all\nuser admin", "+@all -set\nuser admin"));
    assert_eq!(admin.call(&["ACL", "LOAD"]), Reply::Simple("OK".into()));
    assert!(cart.call(&["SET", "cart:1", "a"]).is_error());
    let over = "a new generation is in force";
    let before = proxy.log_text().matches(over).count();
    // What was read before that is not put in force over it.
    drop((asking, silent));
    eventually("it is over", || {
        proxy.log_text().matches(over).count() > before
    });
    assert!(cart.call(&["SET", "cart:1", "a"]).is_error());
}
