//! Behind a balancer that says by a PROXY header whom it speaks for.
//!
//! The balancer is 127.0.0.2. Who comes from 127.0.0.1 comes directly.

mod balancer;
mod refused;
mod sources;

use std::io;
use std::net::{IpAddr, TcpStream};

use serde_json::Value;

use crate::support::{Builder, Proxy, RedisServer, TestClient, Version, eventually, pong};

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
