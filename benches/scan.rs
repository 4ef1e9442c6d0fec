//! The scanners beside `redis-protocol` on the same bytes.
//!
//! `decode_range` is that crate's cheapest decoder: it finds where the values are and copies
//! nothing. `cargo bench --bench scan`.

mod support;

use std::hint::black_box;

use respgate::resp::{Limits, ReplyScanner, RequestScanner, Scan};

use support::{Group, decode, request};

fn main() {
    let key = b"user:1000:cart";
    let get = request(&[b"GET", key]);
    let set = request(&[b"SET", key, &[b'v'; 64]]);
    let pipeline = [get.as_slice(), &set].concat().repeat(8);
    let keys: Vec<String> = (0..100).map(|n| format!("user:{n}:cart")).collect();
    let mut mset = vec![&b"MSET"[..]];
    keys.iter()
        .for_each(|key| mset.extend([key.as_bytes(), b"0123456789"]));
    let mset = request(&mset);
    let large = request(&[b"SET", key, &[b'v'; 16 * 1024]]);

    requests("request: SET key <64 B>", 1, &set);
    requests("request: GET key", 1, &get);
    requests("request: pipeline of 16, a request", 16, &pipeline);
    requests("request: MSET of 100 keys", 1, &mset);
    requests("request: SET key <16 KB>", 1, &large);

    let value = [b"$64\r\n".as_slice(), &[b'v'; 64], b"\r\n"].concat();
    let array = [b"*100\r\n".to_vec(), b"$10\r\n0123456789\r\n".repeat(100)].concat();

    replies("reply: $64", 1, &value);
    replies(
        "reply: +OK, 16 of them, a reply",
        16,
        &b"+OK\r\n".repeat(16),
    );
    replies("reply: array of 100", 1, &array);
}

fn requests(title: &'static str, count: u32, bytes: &[u8]) {
    let mut scanner = RequestScanner::new(Limits::default());
    let mut group = Group::new(title);
    group.add("redis-protocol decode_range", count, || decode(bytes));
    group.add("RequestScanner", count, move || {
        let mut rest = black_box(bytes);
        let mut arguments = 0;
        while scanner.scan(rest) == Ok(Scan::Request) {
            arguments += black_box(scanner.args(rest)).present();
            rest = &rest[scanner.consumed()..];
            scanner.reset();
        }
        assert!(rest.is_empty());
        arguments
    });
    group.run();
}

fn replies(title: &'static str, count: u32, bytes: &[u8]) {
    let mut scanner = ReplyScanner::default();
    let mut group = Group::new(title);
    group.add("redis-protocol decode_range", count, || decode(bytes));
    group.add("ReplyScanner", count, move || {
        let mut rest = black_box(bytes);
        while let Ok(step) = scanner.advance(rest)
            && step.done.is_some()
        {
            rest = &rest[step.consumed..];
        }
        assert!(rest.is_empty());
    });
    group.run();
}
