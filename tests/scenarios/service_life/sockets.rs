//! Sockets that were bound before the program began.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;

use super::{ping, refused};
use crate::support::{PATIENCE, Proxy, RedisServer, TestClient, Version, free_port};

#[test]
fn an_inherited_socket_is_served_by_its_address_and_outlives_the_process() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let builder = || {
        Proxy::builder()
            .upstream(&server)
            .also_bind(&address.to_string())
            .inherits(socket.try_clone().unwrap(), "")
    };
    let mut proxy = builder().start();
    ping(address, &proxy);
    ping(proxy.address(), &proxy);
    proxy.terminate();
    assert_eq!(proxy.wait().code(), Some(0));
    // Between two processes nobody is turned away: the socket is there, and who comes waits.
    let mut waiting = TcpStream::connect(address).unwrap();
    let _proxy = builder().start();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    waiting.write_all(b"this is no TLS").unwrap();
    let mut alert = [0];
    waiting.read_exact(&mut alert).unwrap();
    assert_eq!(alert, [0x15], "an alert of TLS");
}

#[test]
fn an_inherited_socket_is_served_by_the_name_of_a_listener() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let elsewhere = free_port();
    let proxy = Proxy::builder()
        .upstream(&server)
        .another_listener("second", elsewhere, "")
        .inherits(socket, "second")
        .start();
    ping(address, &proxy);
    let instead = SocketAddr::from(([127, 0, 0, 1], elsewhere));
    assert!(
        TcpStream::connect(instead).is_err(),
        "it is bound all the same"
    );
}

#[test]
fn an_inherited_socket_that_nobody_wants_is_an_error_with_its_address() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let text = refused(
        Proxy::builder()
            .upstream(&server)
            .inherits(socket, "no-listener"),
    );
    assert!(
        text.contains(&format!("the inherited socket {address}")) && text.contains("no-listener"),
        "{text}"
    );
    // What is no socket at all, and plaintext that would leave this host.
    let text = refused(
        Proxy::builder()
            .upstream(&server)
            .inherits(fs::File::open("/dev/null").unwrap(), ""),
    );
    assert!(text.contains("LISTEN_FDS"), "{text}");
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    let text = refused(
        Proxy::builder()
            .upstream(&server)
            .plaintext()
            .inherits(socket, "main"),
    );
    assert!(text.contains("the inherited socket 0.0.0.0:"), "{text}");
}

#[test]
fn the_file_of_an_inherited_unix_socket_is_left_alone() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let socket = UnixListener::bind(&path).unwrap();
    let mut proxy = Proxy::builder()
        .upstream(&server)
        .also_bind(&format!("unix:{}", path.display()))
        .inherits(socket, "")
        .start();
    TestClient::unix(&path).unwrap();
    proxy.terminate();
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(path.exists());
}
