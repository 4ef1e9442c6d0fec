//! The balancer itself: its health checks, what it says for itself, and HAProxy.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{
    ALLOW, BALANCER, answers, behind, connect, local, proxy, refusals, refused, server, v1, v2,
    v2_raw,
};
use crate::support::redis::fetched;
use crate::support::{Proxy, TestClient, eventually, free_port, pong};

#[test]
fn health_checks_of_the_balancer_leave_no_word() {
    let server = server();
    for allow in ["allow = [\"127.0.0.1\"]", "allow = [\"127.0.0.0/8\"]"] {
        let proxy = proxy(&server)
            .listener(allow)
            .section("[log]\nlevel = \"debug\"\n")
            .start();
        let gone = || {
            let log = proxy.log_text();
            log.matches("gone before the handshake").count()
                + log.matches("gone during the handshake").count()
        };
        let before = gone();
        let warnings = proxy.log_text().matches(" WARN").count();
        let checks = [
            Vec::new(),
            local(),
            v2_raw(0x20, 0x11, &[0; 12]),
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ::1 ::1 1 2\r\n".to_vec(),
        ];
        for check in &checks {
            connect(&proxy).write_all(check).unwrap();
        }
        // HAProxy's own checks say this in version 1.
        let mut own = connect(&proxy);
        let port = own.local_addr().unwrap().port();
        let header = String::from_utf8(v1(BALANCER)).unwrap();
        let header = header.replace("4711", &port.to_string());
        own.write_all(header.as_bytes()).unwrap();
        drop(own);
        eventually("all have been seen", || gone() == before + checks.len() + 1);
        let log = proxy.log_text();
        assert!(!log.contains("connection refused"), "{log}");
        assert_eq!(log.matches(" WARN").count(), warnings, "{log}");
        assert!(proxy.audit().is_empty(), "{:#?}", proxy.audit());
    }
}

#[test]
fn health_checks_on_plaintext_need_be_nobody() {
    let server = server();
    let proxy = Proxy::builder()
        .upstream(&server)
        .plaintext()
        .listener("proxy_protocol_from = [\"127.0.0.2\"]")
        .identities(
            "[[identity]]\nmatch = { from = \"127.0.0.1\" }\nuser = \"admin\"\nauth = \"address\"\n",
        )
        .section("[log]\nlevel = \"debug\"\n")
        .start();
    let headers = [local(), b"PROXY UNKNOWN\r\n".to_vec()];
    for (number, header) in headers.into_iter().enumerate() {
        let gone = || {
            proxy
                .log_text()
                .matches("gone before the handshake")
                .count()
        };
        let before = gone();
        connect(&proxy).write_all(&header).unwrap();
        eventually("it has been seen", || gone() == before + 1);
        let log = proxy.log_text();
        let refusals = log.matches("connection refused").count();
        assert_eq!(refusals, number, "{log}");
        // Who goes on is judged.
        let mut stream = connect(&proxy);
        stream
            .write_all(&[&header[..], b"PING\r\n"].concat())
            .unwrap();
        let mut reply = String::new();
        let _ = stream.read_to_string(&mut reply);
        assert!(reply.starts_with("-NOPERM respgate"), "{reply}");
    }
    let events = proxy.audit_when(refused("identity"));
    assert!(
        events[0]["peer"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.2:")
    );
}

#[test]
fn the_balancer_that_speaks_for_itself_is_judged_by_its_own_address() {
    let server = server();
    let strict = proxy(&server).listener(ALLOW).start();
    assert!(!answers(&strict, &local()));
    assert!(!answers(&strict, b"PROXY UNKNOWN\r\n"));
    let events = refusals(&strict, "source", 2);
    for event in &events {
        assert!(event["peer"].as_str().unwrap().starts_with("127.0.0.2:"));
        assert!(event["proxy"].is_null());
    }
    let open = proxy(&server).start();
    for header in [local(), b"PROXY UNKNOWN\r\n".to_vec()] {
        let mut client = behind(&open, &header).unwrap();
        assert_eq!(client.call(&["ACL", "WHOAMI"]).text(), "balancer");
    }
}

#[test]
fn a_balancer_that_is_trusted_no_more_takes_its_sessions_with_it() {
    let server = server();
    let proxy = proxy(&server).listener(ALLOW).start();
    let mut through = behind(&proxy, &v2("10.2.0.1")).unwrap();
    let mut direct = proxy.client("cart");
    assert_eq!(through.call(&["PING"]), pong());
    assert_eq!(direct.call(&["PING"]), pong());
    // The header's source, which is denied now.
    proxy.edit("10.6.0.0/16", "10.2.0.0/16");
    proxy.reload_until("a new generation is in force");
    through.expect_close();
    let like = |event: &Value| event["event"] == "session_closed";
    let events = proxy.audit_when(like);
    assert_eq!(events[0]["reason"], "source");
    assert_eq!(events[0]["peer"], "10.2.0.1:4711");
    let mut through = behind(&proxy, &v2("10.3.0.1")).unwrap();
    assert_eq!(through.call(&["PING"]), pong());
    // The balancer.
    proxy.edit(
        "proxy_protocol_from = [\"127.0.0.2\"]",
        "proxy_protocol_from = [\"127.0.0.3\"]",
    );
    proxy.reload_until("a new generation is in force");
    through.expect_close();
    let events = proxy.audit_when(|event| like(event) && event["reason"] == "proxy_header");
    assert_eq!(events[0]["peer"], "10.3.0.1:4711");
    assert_eq!(direct.call(&["PING"]), pong());
    assert!(!answers(&proxy, &v2("10.3.0.1")));
    // And who was nobody's balancer must say from now on whom it speaks for.
    proxy.edit("[\"127.0.0.3\"]", "[\"127.0.0.3\", \"127.0.0.1\"]");
    proxy.reload_until("a new generation is in force");
    direct.expect_close();
    proxy.audit_when(|event| like(event) && event["peer"].as_str().unwrap().starts_with("127."));
}

/// HAProxy, until it is dropped.
struct Balancer(Child, u16);

impl Balancer {
    fn start(proxy: &Proxy, header: &str) -> Self {
        let port = free_port();
        let path = proxy.directory().join(format!("haproxy-{port}.cfg"));
        let backend = proxy.port();
        let config = format!(
            "global\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  \
             timeout server 60s\nlisten redis\n  bind 127.0.0.1:{port}\n  server redis \
             127.0.0.1:{backend} source 127.0.0.2 {header} check inter 50ms\n"
        );
        std::fs::write(&path, config).unwrap();
        let child = Command::new(fetched("haproxy"))
            .args(["-db", "-f"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child, port)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn haproxy_passes_on_who_its_clients_are() {
    let server = server();
    let proxy = proxy(&server)
        .listener("allow = [\"127.0.0.1\", \"127.0.0.9\"]")
        .section("[log]\nlevel = \"debug\"\n")
        .start();
    let gone = || {
        proxy
            .log_text()
            .matches("gone before the handshake")
            .count()
    };
    for header in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options unique-id,crc32c",
    ] {
        let balancer = Balancer::start(&proxy, header);
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], balancer.1));
        let through = || {
            let config = proxy.certs().client_config(Some("cart"));
            let mut client = TestClient::tls_from(Some("127.0.0.9"), address, config).ok()?;
            client.try_send(b"*1\r\n$8\r\nFLUSHALL\r\n").ok()?;
            client.try_read_reply().ok()
        };
        let mut reply = None;
        eventually("HAProxy serves", || {
            reply = through();
            reply.is_some()
        });
        assert!(reply.unwrap().is_error());
        // Its checks go on meanwhile.
        let before = gone();
        eventually("HAProxy has looked after us", || gone() > before);
    }
    eventually("each is told of", || proxy.audit().len() >= 3);
    let events = proxy.audit();
    assert_eq!(events.len(), 3, "{events:#?}");
    for event in &events {
        let starts = |key: &str, start| {
            event[key]
                .as_str()
                .is_some_and(|text| text.starts_with(start))
        };
        assert!(
            starts("peer", "127.0.0.9:") && starts("proxy", "127.0.0.2:"),
            "{event:#?}"
        );
        assert_eq!(event["event"], "refused");
    }
}
