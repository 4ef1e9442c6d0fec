//! Behind a balancer that says by a PROXY header whom it speaks for.
//!
//! The balancer is 127.0.0.2. Who comes from 127.0.0.1 comes directly.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::redis::fetched;
use crate::support::{
    Builder, Proxy, RedisServer, Reply, TestClient, Version, command, eventually, free_port, ok,
    pong,
};

const BALANCER: &str = "127.0.0.2";

const START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Who comes from where is who.
const IDENTITIES: &str = r#"
[[identity]]
match = { cn = "cart", from = ["10.1.0.0/16", "2001:db8::/32"] }
user = "search"

[[identity]]
match = { cn = "cart", from = "127.0.0.2" }
user = "balancer"

[[identity]]
match = { cn = ["cart", "admin"] }
user = "$cn"
"#;

const USERS: &str = "\
user cart on ~cart:* +@all -@dangerous
user search on ~search:* +@all -@dangerous
user balancer on +@connection +acl|whoami
user admin on ~* &* +@all
";

fn server() -> RedisServer {
    RedisServer::start(Version::V5_0_6, &[])
}

fn proxy(server: &RedisServer) -> Builder {
    Proxy::builder()
        .upstream(server)
        .listener("proxy_protocol_from = [\"127.0.0.2\"]")
        .identities(IDENTITIES)
        .users(USERS)
}

/// The balancer itself is not let in, nor need it be.
const ALLOW: &str =
    "allow = [\"127.0.0.1\", \"10.0.0.0/8\", \"2001:db8::/32\"]\ndeny = [\"10.6.0.0/16\"]";

fn v1(source: &str) -> Vec<u8> {
    let (family, destination) = match source.contains(':') {
        true => ("TCP6", "::1"),
        false => ("TCP4", "127.0.0.1"),
    };
    format!("PROXY {family} {source} {destination} 4711 6380\r\n").into_bytes()
}

fn v2_raw(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [START, &[command, family], &length, rest].concat()
}

/// With a name, an id and some of the balancer's own, as TLVs.
fn v2(source: &str) -> Vec<u8> {
    let (family, address) = match source.parse().unwrap() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let ports = [4711_u16.to_be_bytes(), 6380_u16.to_be_bytes()].concat();
    let tlvs = b"\x02\x00\x09localhost\x05\x00\x03abc\xea\x00\x02\x01\x00";
    v2_raw(
        0x21,
        family,
        &[&address[..], &address, &ports, tlvs].concat(),
    )
}

fn local() -> Vec<u8> {
    v2_raw(0x20, 0x00, b"")
}

fn connect(proxy: &Proxy) -> TcpStream {
    try_connect(proxy).unwrap()
}

fn try_connect(proxy: &Proxy) -> io::Result<TcpStream> {
    TestClient::connect_from(Some(BALANCER), proxy.address())
}

/// A client behind the balancer: the header and TLS' beginning in one segment.
fn behind(proxy: &Proxy, header: &[u8]) -> io::Result<TestClient> {
    let config = proxy.certs().client_config(Some("cart"));
    TestClient::tls_over(try_connect(proxy)?, header, config)
}

fn answers(proxy: &Proxy, header: &[u8]) -> bool {
    behind(proxy, header).is_ok_and(|mut client| {
        client.try_send(b"*1\r\n$4\r\nPING\r\n").is_ok()
            && client.try_read_reply().is_ok_and(|reply| reply == pong())
    })
}

fn refused(reason: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == "connection_refused" && event["reason"] == reason
}

/// Waits for so many refusals, which must be all of this reason.
#[track_caller]
fn refusals(proxy: &Proxy, reason: &'static str, count: usize) -> Vec<Value> {
    let all = || -> Vec<Value> {
        let events = proxy.audit().into_iter();
        events
            .filter(|event| event["event"] == "connection_refused")
            .collect()
    };
    eventually("as many refusals as connections", || all().len() >= count);
    let events = all();
    assert!(
        events.len() == count && events.iter().all(refused(reason)),
        "{count} of {reason} expected: {events:#?}"
    );
    events
}

/// The connection must end without a byte. A reset is an end too.
#[track_caller]
fn expect_end(mut stream: TcpStream) {
    let mut rest = Vec::new();
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    }
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
}

#[test]
fn the_source_that_a_header_names_is_the_clients() {
    let server = server();
    let proxy = proxy(&server).listener(ALLOW).start();
    let whoami = |client: &mut TestClient| client.call(&["ACL", "WHOAMI"]).text();
    for (source, user, peer) in [
        ("10.1.2.3", "search", "10.1.2.3:4711"),
        ("10.2.2.3", "cart", "10.2.2.3:4711"),
        ("2001:db8::7", "search", "[2001:db8::7]:4711"),
        ("::ffff:10.1.2.4", "search", "10.1.2.4:4711"),
    ] {
        for header in [v1(source), v2(source)] {
            let mut client = behind(&proxy, &header).unwrap();
            assert_eq!(whoami(&mut client), user, "{source}");
            // And byte by byte, with TLS only when all of it is there.
            let mut stream = connect(&proxy);
            for byte in &header {
                stream.write_all(&[*byte]).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
            let config = proxy.certs().client_config(Some("cart"));
            let mut slow = TestClient::tls_over(stream, b"", config).unwrap();
            assert_eq!(whoami(&mut slow), user, "{source}");
            // Large enough to be read in many pieces: not a byte of TLS is lost.
            let value = "x".repeat(1 << 20);
            let key = format!("{user}:1");
            assert_eq!(client.call(&["SET", &key, &value]), ok());
            assert_eq!(slow.call(&["GET", &key]), Reply::bulk(&value));
            assert!(slow.call(&["FLUSHALL"]).is_error());
        }
        let like = |event: &Value| event["peer"] == peer && event["event"] == "refused";
        let refusals = || -> Vec<Value> { proxy.audit().into_iter().filter(like).collect() };
        eventually("both are told of", || refusals().len() == 2);
        let events = refusals();
        for event in &events {
            let balancer = event["proxy"].as_str().unwrap();
            assert!(balancer.starts_with("127.0.0.2:"), "{event:#?}");
        }
    }
    // Who comes directly has no balancer.
    assert!(proxy.client("cart").call(&["FLUSHALL"]).is_error());
    let direct = |event: &Value| {
        event["peer"]
            .as_str()
            .is_some_and(|peer| peer.starts_with("127.0.0.1:"))
    };
    assert!(proxy.audit_when(direct)[0]["proxy"].is_null());
}

#[test]
fn the_source_that_a_header_names_is_judged_by_allow_and_deny() {
    let server = server();
    let proxy = proxy(&server).listener(ALLOW).start();
    assert!(answers(&proxy, &v1("10.5.0.1")));
    let others = [
        "10.6.0.1",
        "11.0.0.1",
        "127.0.0.2",
        "::ffff:10.6.0.2",
        "2001:db9::1",
    ];
    for source in others {
        assert!(!answers(&proxy, &v1(source)), "{source}");
        assert!(!answers(&proxy, &v2(source)), "{source}");
    }
    let events = refusals(&proxy, "source", 2 * others.len());
    let denied = |event: &&Value| event["peer"] == "10.6.0.1:4711";
    let denied = events.iter().find(denied).unwrap();
    assert!(denied["proxy"].as_str().unwrap().starts_with("127.0.0.2:"));
    assert!(answers(&proxy, &v2("10.5.0.1")));
}

#[test]
fn connections_are_counted_by_the_source_that_a_header_names() {
    let server = server();
    let proxy = proxy(&server)
        .listener(ALLOW)
        .listener("max_connections_per_ip = 2")
        .start();
    let mut clients = Vec::new();
    for source in ["10.1.0.1", "10.1.0.2", "10.1.0.3"] {
        for header in [v1(source), v2(source)] {
            let mut client = behind(&proxy, &header).unwrap();
            assert_eq!(client.call(&["PING"]), pong());
            clients.push(client);
        }
    }
    assert!(!answers(&proxy, &v1("10.1.0.1")));
    assert!(!answers(&proxy, &v2("::ffff:10.1.0.2")));
    refusals(&proxy, "connections_per_ip", 2);
    clients.clear();
    eventually("there is room again", || answers(&proxy, &v2("10.1.0.1")));
}

#[test]
fn handshakes_are_counted_by_the_source_that_a_header_names() {
    let server = server();
    let proxy = proxy(&server)
        .listener(ALLOW)
        .listener("max_handshakes_per_ip = 2\nhandshake_timeout = \"60s\"")
        .start();
    // More of the balancer's own than one address may have: they have named nobody yet.
    let _unnamed: Vec<_> = (0..5).map(|_| connect(&proxy)).collect();
    let held: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = connect(&proxy);
            stream.write_all(&v2("10.1.0.1")).unwrap();
            stream
        })
        .collect();
    eventually("both hold their places", || {
        !answers(&proxy, &v1("10.1.0.1"))
    });
    proxy.audit_when(refused("handshakes_per_ip"));
    assert!(answers(&proxy, &v1("10.1.0.2")));
    drop(held);
    eventually("there is room again", || answers(&proxy, &v1("10.1.0.1")));
}

#[test]
fn wrong_passwords_are_counted_by_the_source_that_a_header_names() {
    let server = server();
    let proxy = proxy(&server)
        .listener(ALLOW)
        .users("user cart on >cart-secret ~* +@all\nuser search on >search-secret ~* +@all\nuser admin on ~* &* +@all\n")
        .identities(
            "[[identity]]\nmatch = { cn = \"cart\" }\nuser = \"$auth\"\nauth = \"password\"\n\n\
             [[identity]]\nmatch = { cn = \"admin\" }\nuser = \"admin\"\nauth = \"certificate\"\n",
        )
        .start();
    let mut guesser = behind(&proxy, &v2("10.1.0.1")).unwrap();
    let wrong = command(&["AUTH", "cart", "wrong"]).repeat(100);
    let right = ["AUTH", "search", "search-secret"];
    guesser.send([wrong, command(&right)].concat());
    let last = (0..101).map(|_| guesser.read_reply()).last().unwrap();
    assert!(last.error().contains("too many failed logins"), "{last:?}");
    // Another one behind the same balancer has guessed nothing.
    let mut other = behind(&proxy, &v1("10.1.0.2")).unwrap();
    assert_eq!(other.call(&right), ok());
}

#[test]
fn what_is_no_header_is_refused_where_one_is_asked_for() {
    let server = server();
    let proxy = proxy(&server).start();
    let config = proxy.certs().client_config(Some("cart"));
    let (_, hello) = TestClient::client_hello(config).unwrap();
    let wrong: Vec<Vec<u8>> = vec![
        hello,
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        b"PING\r\n".to_vec(),
        b"proxy TCP4 127.0.0.1 127.0.0.1 1 2\r\n".to_vec(),
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\n".to_vec(),
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 +2\r\n".to_vec(),
        b"PROXY TCP4 127.0.0.1\r\n".to_vec(),
        b"PROXY TCP4 localhost localhost 1 2\r\n".to_vec(),
        [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat(),
        v2_raw(0x21, 0x11, b"\x7f\0\0\x01"),
        v2_raw(0x21, 0x12, &[127; 12]),
        v2_raw(0x21, 0x00, b""),
        v2_raw(0x21, 0x31, &[b'/'; 216]),
        v2_raw(0x23, 0x11, &[127; 12]),
        v2_raw(0x31, 0x11, &[127; 12]),
        v2_raw(0x21, 0x11, &[127; 5000]),
        v2_raw(0x20, 0x00, &[0; 5000]),
    ];
    for bytes in &wrong {
        let mut stream = connect(&proxy);
        // A reset may come before all of it is sent.
        let _ = stream.write_all(bytes);
        expect_end(stream);
    }
    // One that ends in the middle.
    let mut cut = connect(&proxy);
    cut.write_all(&v2("127.0.0.1")[..20]).unwrap();
    drop(cut);
    let events = refusals(&proxy, "proxy_header", wrong.len() + 1);
    let details: Vec<_> = events.iter().map(|event| &event["detail"]).collect();
    assert!(
        details[0].as_str().unwrap().starts_with("no PROXY header"),
        "{details:#?}"
    );
    assert!(answers(&proxy, &v1("127.0.0.1")));
}

#[test]
fn a_header_is_refused_from_whom_none_is_asked() {
    let server = server();
    let proxy = proxy(&server).start();
    for header in [v1("127.0.0.1"), v2("127.0.0.1"), local()] {
        let config = proxy.certs().client_config(Some("cart"));
        let stream = TestClient::connect_from(None, proxy.address()).unwrap();
        assert!(TestClient::tls_over(stream, &header, config).is_err());
    }
    let events = refusals(&proxy, "not_tls", 3);
    assert!(
        events[0]["detail"].to_string().contains("PROXY header"),
        "{events:#?}"
    );
}

#[test]
fn a_header_is_refused_on_plaintext_from_whom_none_is_asked() {
    let server = server();
    let proxy = Proxy::builder()
        .upstream(&server)
        .plaintext()
        .listener("proxy_protocol_from = [\"127.0.0.2\"]")
        .identities("[[identity]]\nmatch = { from = [\"127.0.0.0/8\", \"10.0.0.0/8\"] }\nuser = \"admin\"\nauth = \"address\"\n")
        .listener(ALLOW)
        .start();
    for header in [
        v1("10.1.2.3"),
        v2("10.1.2.3"),
        local(),
        b"PROXY UNKNOWN\r\n".to_vec(),
    ] {
        let mut client = TestClient::tcp(proxy.address()).unwrap();
        client.send([&header[..], b"SET cart:1 a\r\n"].concat());
        client.expect_close();
    }
    let headers = |event: &Value| event["reason"] == "proxy_header";
    eventually("each is told of", || {
        proxy.audit().into_iter().filter(headers).count() == 4
    });
    assert_eq!(server.direct().call(&["DBSIZE"]), Reply::Integer(0));
    // Where it is asked for, plaintext follows it.
    for header in [v1("10.1.2.3"), v2("10.1.2.3")] {
        let mut stream = connect(&proxy);
        stream
            .write_all(&[&header[..], b"SET cart:1 a\r\n"].concat())
            .unwrap();
        let mut reply = [0; 5];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"+OK\r\n");
    }
    let mut stream = connect(&proxy);
    stream.write_all(b"SET cart:2 a\r\n").unwrap();
    expect_end(stream);
    assert_eq!(server.direct().call(&["DBSIZE"]), Reply::Integer(1));
}

#[test]
fn a_slow_header_is_dropped_at_the_deadline_of_the_handshake() {
    let server = server();
    let proxy = proxy(&server)
        .listener("handshake_timeout = \"1s\"")
        .start();
    let mut live = behind(&proxy, &v2("127.0.0.1")).unwrap();
    let silent = connect(&proxy);
    let mut half = connect(&proxy);
    half.write_all(b"PROXY TCP4 127.0").unwrap();
    // The deadline is one for both.
    let mut named = connect(&proxy);
    named.write_all(&v2("127.0.0.1")).unwrap();
    let mut trickle = connect(&proxy);
    let start = Instant::now();
    for byte in [b"PROXY UNKNOWN".to_vec(), vec![b' '; 90]].concat() {
        if trickle.write_all(&[byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "a trickle moves the deadline"
    );
    for stream in [silent, half, named, trickle] {
        expect_end(stream);
    }
    refusals(&proxy, "handshake_timeout", 4);
    assert_eq!(live.call(&["PING"]), pong());
    assert!(answers(&proxy, &v1("127.0.0.1")));
}

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
