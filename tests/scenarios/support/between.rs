//! Who stands between a Redis and the proxy.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// An address at which `server` answers, behind somebody who passes on its replies: `replies` reads them
/// from the first and writes to the second, until one is closed. Requests pass as they are.
pub fn between(
    server: SocketAddr,
    replies: impl Fn(&mut TcpStream, &mut TcpStream) + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let replies = Arc::new(replies);
    thread::spawn(move || {
        for downstream in listener.incoming() {
            let Ok(mut downstream) = downstream else {
                return;
            };
            let Ok(mut upstream) = TcpStream::connect(server) else {
                continue;
            };
            downstream.set_nodelay(true).unwrap();
            upstream.set_nodelay(true).unwrap();
            let (mut from, mut to) = (
                downstream.try_clone().unwrap(),
                upstream.try_clone().unwrap(),
            );
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let replies = Arc::clone(&replies);
            thread::spawn(move || {
                replies(&mut upstream, &mut downstream);
                let _ = downstream.shutdown(Shutdown::Both);
            });
        }
    });
    address
}
