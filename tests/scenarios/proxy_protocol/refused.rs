//! What is no header, comes late, or comes from whom none is asked.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::{ALLOW, answers, behind, connect, local, proxy, refusals, server, v1, v2, v2_raw};
use crate::support::{Proxy, Reply, TestClient, eventually, pong};

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
        .listener("handshake_timeout = \"3s\"")
        .start();
    let mut live = behind(&proxy, &v2("127.0.0.1")).unwrap();
    let silent = connect(&proxy);
    let mut half = connect(&proxy);
    half.write_all(b"PROXY TCP4 127.0").unwrap();
    // The deadline is one for both.
    let mut named = connect(&proxy);
    named.write_all(&v2("127.0.0.1")).unwrap();
    let mut trickle = connect(&proxy);
    // Not longer than a header may be, and ten seconds' worth.
    let bytes = [b"PROXY UNKNOWN".to_vec(), vec![b' '; 90]].concat();
    let is_cut = bytes.into_iter().any(|byte| {
        std::thread::sleep(Duration::from_millis(100));
        trickle.write_all(&[byte]).is_err()
    });
    assert!(is_cut, "a trickle moves the deadline");
    for stream in [silent, half, named, trickle] {
        expect_end(stream);
    }
    refusals(&proxy, "handshake_timeout", 4);
    assert_eq!(live.call(&["PING"]), pong());
    // On a busy machine it may have too little time itself.
    eventually("others are served", || answers(&proxy, &v1("127.0.0.1")));
}
