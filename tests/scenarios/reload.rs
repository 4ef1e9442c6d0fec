//! The whole configuration read anew while sessions live.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::proxy::USERS;
use crate::support::{
    Builder, Certs, Proxy, RedisServer, Reply, TestClient, Version, eventually, free_port, ok,
    pipeline, pong,
};

const IN_FORCE: &str = "a new generation is in force";
const KEPT: &str = "reload failed: the old generation stays in force";

/// With certificates of its own, to be changed.
fn proxy(server: &RedisServer) -> Builder {
    Proxy::builder().upstream(server).own_certificates()
}

fn server() -> RedisServer {
    RedisServer::start(Version::V5_0_6, &[])
}

/// The reason why the session of this user was closed.
fn closed(proxy: &Proxy, user: &str) -> String {
    let like =
        |event: &serde_json::Value| event["event"] == "session_closed" && event["user"] == user;
    let events = proxy.audit_when(like);
    assert_eq!(events.len(), 1, "{events:?}");
    events[0]["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_renewed_certificate_is_shown_to_the_next_client_and_sessions_stay() {
    let server = server();
    let proxy = proxy(&server).start();
    let mut before = proxy.client("cart");
    assert_eq!(before.call(&["PING"]), pong());
    let renewed = proxy.certs().renewed();
    for file in ["server.pem", "server.key"] {
        std::fs::copy(renewed.file(file), proxy.directory().join(file)).unwrap();
    }
    proxy.reload_until(IN_FORCE);
    let mut after = proxy.client("cart");
    assert_eq!(after.call(&["PING"]), pong());
    assert_eq!(before.server_certificate(), proxy.certs().der("server"));
    assert_eq!(after.server_certificate(), renewed.der("server"));
    assert_eq!(before.call(&["PING"]), pong());
}

#[test]
fn an_emergency_off_survives_the_renewal_of_a_certificate() {
    let server = server();
    let users = USERS.replace("user admin on", "user admin on lethal=acl");
    let proxy = proxy(&server).users(&users).start();
    let (mut cart, mut admin) = (proxy.client("cart"), proxy.client("admin"));
    assert_eq!(cart.call(&["PING"]), pong());
    assert_eq!(admin.call(&["ACL", "SETUSER", "cart", "off"]), ok());
    cart.expect_close();
    let renewed = proxy.certs().renewed();
    for file in ["server.pem", "server.key"] {
        std::fs::copy(renewed.file(file), proxy.directory().join(file)).unwrap();
    }
    proxy.reload_until(IN_FORCE);
    assert_eq!(admin.call(&["PING"]), pong());
    let mut again = proxy.client("cart");
    assert!(again.read_reply().error().starts_with("NOPERM respgate"));
    // Other names for commands don't bring it back either.
    proxy.edit(
        "[policy]",
        "[rewrite]\nrename = { ECHO = \"\" }\n\n[policy]",
    );
    proxy.reload_until(IN_FORCE);
    let hidden = admin.call(&["ECHO", "a"]);
    assert!(
        hidden.error().starts_with("ERR unknown command `ECHO`"),
        "{hidden:?}"
    );
    assert!(proxy.client("cart").read_reply().is_error());
    // The file that says so does.
    proxy.write_users(&format!("{users}# changed\n"));
    proxy.edit("ECHO", "DEBUG");
    let lost = "a run-time change of this user was not saved, and is lost";
    proxy.reload_until(lost);
    assert_eq!(proxy.client("cart").call(&["PING"]), pong());
}

#[test]
fn whatever_is_broken_keeps_the_old_generation_and_is_told_whole() {
    let server = server();
    let builder = proxy(&server).tls("crl = [\"list.crl\"]");
    let list = Certs::shared().revocation_list(&["nobody"]);
    let proxy = builder
        .file("list.crl", &list)
        .allow_error("reload")
        .start();
    let mut cart = proxy.client("cart");
    assert_eq!(cart.call(&["SET", "cart:1", "a"]), ok());
    let read = |name: &str| std::fs::read_to_string(proxy.directory().join(name)).unwrap();
    let other = Certs::new();
    let other_key = std::fs::read_to_string(other.file("server.key")).unwrap();
    let damaged = [
        ("server.pem", "no certificate", "listener.main.tls.cert = "),
        (
            "server.key",
            &*other_key,
            "does not belong to the certificate",
        ),
        ("ca.pem", "", "listener.main.tls.client_ca = "),
        (
            "list.crl",
            "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
            "listener.main.tls.crl = ",
        ),
        (
            "users.acl",
            "user cart on +no-such-command\n",
            "no-such-command",
        ),
        ("respgate.toml", "[[listener]]\nnaem = 1\n", "naem"),
    ];
    for (name, content, told) in damaged {
        let good = read(name);
        // What else has changed stays out, too.
        proxy.write_users(&USERS.replace("~cart:*", "~other:*"));
        proxy.write_file(name, content);
        proxy.reload_until(KEPT);
        assert!(
            proxy.log_text().contains(told),
            "{told}: {}",
            proxy.log_text()
        );
        assert_eq!(cart.call(&["GET", "cart:1"]), Reply::bulk("a"), "{name}");
        assert_eq!(
            proxy.client("cart").call(&["GET", "cart:1"]),
            Reply::bulk("a")
        );
        proxy.write_file(name, &good);
        proxy.write_users(USERS);
        proxy.reload_until("reload: nothing has changed");
    }
    // All of it at once, in one report.
    for (name, content, _) in damaged.iter().filter(|one| one.0 != "respgate.toml") {
        proxy.write_file(name, content);
    }
    proxy.reload_until(KEPT);
    let failed = |event: &serde_json::Value| event["event"] == "reload_failed";
    let events = proxy.audit_when(failed);
    eventually("the last one is told", || {
        proxy.audit_when(failed).len() == damaged.len() + 1
    });
    drop(events);
    let events = proxy.audit_when(failed);
    let detail = events.last().unwrap()["detail"]
        .as_str()
        .unwrap()
        .to_owned();
    for told in [
        "tls.cert = ",
        "tls.client_ca = ",
        "tls.crl = ",
        "no-such-command",
    ] {
        assert!(detail.contains(told), "{told}: {detail}");
    }
    assert_eq!(cart.call(&["GET", "cart:1"]), Reply::bulk("a"));
}

#[test]
fn a_revoked_clients_live_session_ends_and_its_ticket_does_not_bring_it_back() {
    let server = server();
    let certs = Certs::shared();
    let proxy = proxy(&server)
        .tls("crl = [\"list.crl\"]")
        .file("list.crl", &certs.revocation_list(&[]))
        .start();
    for config in [
        certs.client_config(Some("cart")),
        certs.client_config_tls12(Some("cart")),
    ] {
        let connect = || TestClient::tls(proxy.address(), Arc::clone(&config)).unwrap();
        let mut first = connect();
        assert_eq!(first.call(&["PING"]), pong());
        let mut second = connect();
        assert_eq!(second.call(&["PING"]), pong());
        assert!(second.resumed(), "it has a ticket");
        let mut admin = proxy.client("admin");
        assert_eq!(admin.call(&["PING"]), pong());

        proxy.write_file("list.crl", &certs.revocation_list(&["cart"]));
        proxy.reload_until(IN_FORCE);
        first.expect_close();
        second.expect_close();
        assert_eq!(admin.call(&["PING"]), pong());
        if let Ok(mut third) = TestClient::tls(proxy.address(), Arc::clone(&config)) {
            let _ = third.try_send(b"*1\r\n$4\r\nPING\r\n");
            third.expect_close();
        }
        let refused = |event: &serde_json::Value| {
            event["event"] == "connection_refused"
                && event["reason"] == "revoked_client_certificate"
        };
        eventually("the third is refused for it, and named", || {
            let named = |event: &serde_json::Value| {
                let detail = event["detail"].as_str().unwrap();
                detail.contains("(shown: CN=cart") && detail.contains(", serial ")
            };
            let refused = proxy.audit_when(refused);
            !refused.is_empty() && refused.iter().all(named)
        });

        proxy.write_file("list.crl", &certs.revocation_list(&[]));
        proxy.reload_until(IN_FORCE);
        assert_eq!(connect().call(&["PING"]), pong());
    }
    let revoked = |event: &serde_json::Value| {
        event["event"] == "session_closed" && event["reason"] == "certificate_revoked"
    };
    eventually("each of them is told of", || {
        proxy.audit_when(revoked).len() == 4
    });
}

#[test]
fn a_session_does_not_outlive_the_root_or_the_source_or_the_identity_that_let_it_in() {
    let server = server();
    let other = Certs::new();
    let mut other_ca = std::fs::read_to_string(other.file("ca.pem")).unwrap();
    let ends = |reason: &str, change: &dyn Fn(&Proxy)| {
        let proxy = proxy(&server).start();
        let mut cart = proxy.client("cart");
        assert_eq!(cart.call(&["PING"]), pong());
        change(&proxy);
        proxy.reload_until(IN_FORCE);
        cart.expect_close();
        assert_eq!(closed(&proxy, "cart"), reason);
    };
    ends("certificate_untrusted", &|proxy| {
        proxy.write_file("ca.pem", &other_ca);
    });
    ends("source", &|proxy| {
        proxy.edit("[listener.tls]", "deny = [\"127.0.0.0/8\"]\n[listener.tls]");
    });
    ends("identity", &|proxy| {
        proxy.edit("\"cart\", \"admin\"", "\"admin\"");
    });
    ends("identity_changed", &|proxy| {
        proxy.edit("user = \"$cn\"", "user = \"search\"");
    });
    ends("identity_changed", &|proxy| {
        proxy.edit("auth = \"certificate\"", "auth = \"password\"");
    });
    // Where the new root comes beside the old one, nobody goes.
    let proxy = proxy(&server).start();
    let mut cart = proxy.client("cart");
    assert_eq!(cart.call(&["PING"]), pong());
    other_ca.push_str(&std::fs::read_to_string(proxy.certs().file("ca.pem")).unwrap());
    proxy.edit("user = \"$cn\"", "user = \"cart\"");
    proxy.write_file("ca.pem", &other_ca);
    proxy.reload_until(IN_FORCE);
    assert_eq!(cart.call(&["PING"]), pong());
    let config = proxy.certs().foreign_client_config(&other, "cart");
    let mut another = TestClient::tls(proxy.address(), config).unwrap();
    assert_eq!(another.call(&["PING"]), pong());
}

#[test]
fn a_session_ends_with_its_certificate() {
    let server = server();
    let proxy = proxy(&server).start();
    let config = proxy.certs().short_lived("cart", Duration::from_secs(6));
    let mut cart = TestClient::tls(proxy.address(), Arc::clone(&config)).unwrap();
    let mut admin = proxy.client("admin");
    assert_eq!(cart.call(&["PING"]), pong());
    assert_eq!(admin.call(&["PING"]), pong());
    cart.expect_close();
    assert_eq!(closed(&proxy, "cart"), "certificate_expired");
    assert_eq!(admin.call(&["PING"]), pong());
}

#[test]
fn a_hangup_while_it_starts_does_not_end_it() {
    let dir = tempfile::tempdir().unwrap();
    // Who is asked for a command that the table lacks, and takes his time.
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("address = \"{}\"", upstream.local_addr().unwrap());
    let path = Proxy::builder()
        .upstream_named("main", &address)
        .users("user cart on ~* +no.such\n")
        .write(dir.path(), free_port());
    let mut child = Command::new(env!("CARGO_BIN_EXE_respgate"))
        .args(["run", "--config"])
        .arg(path)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let asked = upstream.accept().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    drop((asked, upstream));
    // For want of the command, and not by the signal.
    assert_eq!(child.wait().unwrap().code(), Some(78));
}

#[test]
fn a_file_that_changes_is_read_by_itself() {
    let server = server();
    let proxy = proxy(&server)
        .section("[runtime]\nwatch_files = \"50ms\"\n")
        .start();
    let mut cart = proxy.client("cart");
    assert_eq!(cart.call(&["SET", "cart:1", "a"]), ok());
    proxy.swap_file("users.acl", &USERS.replace("-@admin", "-@admin -set"));
    eventually("the users are read", || {
        cart.call(&["SET", "cart:1", "b"]).is_error()
    });
    let reloads = |event: &serde_json::Value| event["event"] == "reload";
    let event = &proxy.audit_when(reloads)[0];
    assert!(
        event["detail"].as_str().unwrap().starts_with("file: "),
        "{event}"
    );
}

#[test]
fn what_could_not_be_read_for_a_moment_is_tried_again_and_told_once() {
    let server = RedisServer::start(Version::V7_0_15, &["--requirepass", "horse"]);
    let proxy = Proxy::builder()
        .upstream_with(&server, "password_file = \"password\"")
        .file("password", "horse\n")
        .section("[runtime]\nwatch_files = \"50ms\"\n")
        .allow_error("reload")
        .start();
    let mut cart = proxy.client("cart");
    assert_eq!(cart.call(&["SET", "cart:1", "a"]), ok());
    // Whoever renews it empties it first; and just then something else changes. That comes first here:
    // behind the other, it might be a second reload that fails.
    proxy.swap_file("users.acl", &USERS.replace("-@admin", "-@admin -set"));
    proxy.swap_file("password", "");
    let failed = |event: &serde_json::Value| event["event"] == "reload_failed";
    proxy.audit_when(failed);
    proxy.swap_file("password", "horse\n");
    eventually(
        "the users are read though no file has changed since",
        || cart.call(&["SET", "cart:1", "b"]).is_error(),
    );
    assert_eq!(proxy.audit_when(failed).len(), 1);
}

#[test]
fn a_script_that_changes_and_a_file_that_comes_late_are_read_by_themselves() {
    let server = server();
    // In a folder that nothing else is in.
    let elsewhere = tempfile::tempdir().unwrap();
    let script = elsewhere.path().join("one.lua");
    std::fs::write(&script, "return 1").unwrap();
    let users = format!(
        "user admin on ~* &* +@all\n\
         user search on ~* &* +@all\n\
         user cart on ~cart:* &* +@all -@dangerous script={}\n",
        script.display()
    );
    let proxy = proxy(&server)
        .users(&users)
        .section("[runtime]\nwatch_files = \"50ms\"\n")
        .allow_error("reload")
        .start();
    let mut cart = proxy.client("cart");
    let mut runs = |text: &str| cart.call(&["EVAL", text, "0"]);
    assert_eq!(runs("return 1"), Reply::Integer(1));
    assert!(runs("return 2").is_error());
    std::fs::write(&script, "return 2").unwrap();
    eventually("it is read", || runs("return 2") == Reply::Integer(2));
    // Who names it and who brings it are two, and the second comes later.
    proxy.edit("[listener.tls]", "[listener.tls]\ncrl = [\"late.crl\"]");
    eventually(KEPT, || proxy.log_text().contains(KEPT));
    let list = Certs::shared().revocation_list(&["nobody"]);
    proxy.write_file("late.crl", &list);
    let told = "changed=\"listener.main.tls\"";
    eventually(told, || proxy.log_text().contains(told));
}

#[test]
fn a_kubernetes_mount_is_swapped_as_one() {
    let server = server();
    let builder = proxy(&server).section("[runtime]\nwatch_files = \"50ms\"\n");
    // As a mounted secret: certs/NAME -> ..data/NAME, ..data -> a folder of the day.
    let proxy = builder.start();
    let at = |name: &str| proxy.directory().join(name);
    let lay = |day: &str, certs: &Certs| {
        std::fs::create_dir(at(day)).unwrap();
        for file in ["server.pem", "server.key", "ca.pem"] {
            std::fs::copy(certs.file(file), at(day).join(file)).unwrap();
        }
    };
    lay("day1", proxy.certs());
    let renewed = proxy.certs().renewed();
    lay("day2", &renewed);
    std::os::unix::fs::symlink("day1", at("..data")).unwrap();
    for file in ["server.pem", "server.key", "ca.pem"] {
        // It may be looked for at any time.
        std::os::unix::fs::symlink(format!("..data/{file}"), at("next")).unwrap();
        std::fs::rename(at("next"), at(file)).unwrap();
    }
    let mut before = proxy.client("cart");
    assert_eq!(before.call(&["PING"]), pong());
    std::os::unix::fs::symlink("day2", at("next")).unwrap();
    std::fs::rename(at("next"), at("..data")).unwrap();
    eventually("the new one is shown", || {
        proxy.client("cart").server_certificate() == renewed.der("server")
    });
    assert_eq!(before.call(&["PING"]), pong());
}

#[test]
fn a_reload_under_load_loses_no_command() {
    const CLIENTS: usize = 8;
    let server = server();
    let proxy = proxy(&server).start();
    let stop = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let (stop, proxy) = (&stop, &proxy);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn(move || {
                    let mut client = proxy.client("cart");
                    let key = format!("cart:{number}");
                    let mut count = 0_i64;
                    while !stop.load(Ordering::Relaxed) {
                        let incr = ["INCR", &key];
                        client.send(pipeline(&[&incr, &incr, &["GET", &key], &incr]));
                        for step in [1, 2, 0, 3] {
                            let expected = match step {
                                0 => Reply::bulk(&(count + 2).to_string()),
                                step => Reply::Integer(count + step),
                            };
                            assert_eq!(client.read_reply(), expected);
                        }
                        count += 3;
                    }
                    count
                })
            })
            .collect();
        for round in 0..20 {
            let renewed = (round % 5 == 0).then(|| proxy.certs().renewed());
            for file in ["server.pem", "server.key"] {
                if let Some(renewed) = &renewed {
                    std::fs::copy(renewed.file(file), proxy.directory().join(file)).unwrap();
                }
            }
            proxy.write_users(&format!("{USERS}user round{round} on\n"));
            proxy.reload_until(IN_FORCE);
            assert_eq!(proxy.client("cart").call(&["PING"]), pong());
        }
        stop.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect::<Vec<_>>()
    });
    let mut direct = server.direct();
    for (number, count) in sent.into_iter().enumerate() {
        assert!(count > 0);
        let stored = direct.call(&["GET", &format!("cart:{number}")]);
        assert_eq!(
            stored,
            Reply::bulk(&count.to_string()),
            "nothing lost, nothing twice"
        );
    }
}

#[test]
fn limits_change_for_those_who_are_here() {
    let server = server();
    let proxy = proxy(&server)
        .listener("max_connections = 2")
        .section("[limits]\nmax_bulk = \"1MB\"\n")
        .start();
    let (mut cart, mut second) = (proxy.client("cart"), proxy.client("cart"));
    assert_eq!(cart.call(&["PING"]), pong());
    assert_eq!(second.call(&["PING"]), pong());
    proxy.edit(
        "max_connections = 2",
        "max_connections = 3\nidle_timeout = \"5s\"",
    );
    proxy.edit("max_bulk = \"1MB\"", "max_bulk = \"1KB\"");
    proxy.reload_until(IN_FORCE);
    assert_eq!(proxy.client("cart").call(&["PING"]), pong());
    let long = "x".repeat(2000);
    let refused = cart.call(&["SET", "cart:1", &long]);
    assert!(
        refused.error().starts_with("ERR Protocol error"),
        "{refused:?}"
    );
    cart.expect_close();
    // It was here before there was a limit on idleness.
    second.expect_close();
}

#[test]
fn the_log_says_more_and_less() {
    let server = server();
    let proxy = proxy(&server).section("[log]\nlevel = \"info\"\n").start();
    let opened = |count: usize| proxy.log_text().matches("session opened").count() == count;
    assert_eq!(proxy.client("cart").call(&["PING"]), pong());
    proxy.edit("level = \"info\"", "level = \"debug\"");
    proxy.reload_until(IN_FORCE);
    assert!(opened(0));
    assert_eq!(proxy.client("cart").call(&["PING"]), pong());
    eventually("it is told", || opened(1));
    proxy.edit("level = \"debug\"", "level = \"info\"");
    proxy.reload_until(IN_FORCE);
    assert_eq!(proxy.client("cart").call(&["PING"]), pong());
    proxy.reload_until("reload: nothing has changed");
    assert!(opened(1));
}

#[test]
fn what_needs_a_restart_says_so_and_the_rest_is_in_force() {
    let server = server();
    let proxy = proxy(&server)
        .section("[runtime]\nworkers = 1\n")
        .allow_error("that needs a restart")
        .start();
    let mut cart = proxy.client("cart");
    assert_eq!(cart.call(&["PING"]), pong());
    proxy.edit("workers = 1", "workers = 2");
    proxy.edit("bind = [", "bind = [\"127.0.0.1:1\", ");
    proxy.edit(
        "[upstream.main]",
        "[upstream.main]\nconnect_timeout = \"9s\"",
    );
    proxy.edit("[policy]", "[admin]\nbind = \"127.0.0.1:2\"\n\n[policy]");
    proxy.write_users(&USERS.replace("-@admin", "-@admin -set"));
    proxy.reload_until(IN_FORCE);
    let changed = "changed=\"listener.main, policy.acl_files\"";
    assert!(proxy.log_text().contains(changed), "{changed}");
    for key in ["runtime", "listener.main.bind", "upstream.main", "admin"] {
        let told = format!("{key} has changed: that needs a restart");
        assert!(proxy.log_text().contains(&told), "{told}");
    }
    assert!(cart.call(&["SET", "cart:1", "b"]).is_error());
}

#[test]
fn a_listener_that_is_taken_out_serves_nobody() {
    let server = server();
    let proxy = proxy(&server).allow_error("that needs a restart").start();
    let mut cart = proxy.client("cart");
    assert_eq!(cart.call(&["PING"]), pong());
    proxy.edit("name = \"main\"", "name = \"other\"");
    proxy.edit("bind = [\"127.0.0.1:", "bind = [\"127.0.0.2:");
    proxy.reload_until(IN_FORCE);
    cart.expect_close();
    assert_eq!(closed(&proxy, "cart"), "listener_removed");
    if let Ok(mut client) = proxy.try_client(Some("cart")) {
        let _ = client.try_send(b"*1\r\n$4\r\nPING\r\n");
        client.expect_close();
    }
}
