//! Peers that nobody wants.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::support::{Certs, TestClient, command};

use super::{Dice, Soak};

/// The first bytes of a TLS 1.3 ClientHello that never goes on.
const HALF_A_HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
];

/// Comes again and again, each time with another evil.
pub(super) fn run(soak: &Soak<'_>, mut dice: Dice) {
    let foreign = Certs::new();
    let certs = soak.proxy.certs();
    let outsider = certs.foreign_client_config(&foreign, "cart");
    let insider = certs.client_config(Some("cart"));
    // Held open for a while, so that many are there at once.
    let (mut silent, mut slow) = (Vec::new(), Vec::new());
    while soak.goes_on() {
        let mut address = soak.proxy.address();
        if dice.one_in(2) {
            address.set_port(soak.dedicated);
        }
        soak.counts.hostile.fetch_add(1, Ordering::Relaxed);
        match dice.below(8) {
            0 => drop(say(address, b"GET / HTTP/1.1\r\nHost: redis\r\n\r\n")),
            1 => silent.extend(say(address, HALF_A_HELLO)),
            2 => silent.extend(say(address, b"")),
            3 => drop(say(address, &garbage(&mut dice))),
            4 => drop(TestClient::tls(address, Arc::clone(&outsider))),
            5 => inside(&insider, address, &garbage(&mut dice)),
            6 => inside(&insider, address, b"*1048576\r\n$536870912\r\nxxxx"),
            _ => slow.extend(never_reads(&insider, address)),
        }
        if silent.len() > 20 {
            silent.clear();
        }
        if slow.len() > 4 {
            slow.clear();
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn garbage(dice: &mut Dice) -> Vec<u8> {
    (0..dice.below(2000)).map(|_| dice.next() as u8).collect()
}

fn say(address: SocketAddr, bytes: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(bytes).ok()?;
    Some(stream)
}

/// With a good certificate, and bad manners.
fn inside(config: &Arc<tokio_rustls::rustls::ClientConfig>, address: SocketAddr, bytes: &[u8]) {
    if let Ok(mut client) = TestClient::tls(address, Arc::clone(config)) {
        let _ = client.try_send(bytes);
        client.close_without_notify();
    }
}

/// Asks for more than anybody holds, and takes nothing.
fn never_reads(
    config: &Arc<tokio_rustls::rustls::ClientConfig>,
    address: SocketAddr,
) -> Option<TestClient> {
    let mut client = TestClient::tls(address, Arc::clone(config)).ok()?;
    let long = "x".repeat(200_000);
    client
        .try_send(&command(&["SET", "cart:long", &long]))
        .ok()?;
    client.try_read_reply().ok()?;
    let asking = command(&["GET", "cart:long"]).repeat(50);
    client.try_send(&asking).ok()?;
    Some(client)
}
