//! Where parts meet that were made apart: what one of them asks while another one is in the middle.

use std::time::Duration;

use crate::support::{Proxy, RedisServer, TestClient, Version, command};

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
    let config = proxy.certs().short_lived("cart", Duration::from_secs(3));
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
