//! How many requests are taken at once where a rate says so.

use super::*;

#[test]
fn no_more_requests_are_taken_than_are_allowed_and_the_rest_stays_in_order() {
    let mut it = Harness::cart();
    it.session.allow(2);
    let lines = ["GET cart:1", "FLUSHALL", "GET cart:2", "GET cart:3"];
    assert_eq!(it.commands(&lines), ["GET cart:1"], "and a refusal");
    assert_eq!(it.session.allowance(), 0);
    assert!(it.commands(&["GET cart:4"]).is_empty());
    it.session.allow(2);
    assert_eq!(it.commands(&[]), ["GET cart:2", "GET cart:3"]);
    it.session.allow(u64::MAX);
    assert_eq!(it.commands(&["GET cart:5"]), ["GET cart:4", "GET cart:5"]);
    let refused = "-NOPERM User cart has no permissions to run the 'flushall' command\r\n";
    assert_eq!(
        it.upstream("$1\r\n1\r\n$1\r\n2\r\n"),
        format!("$1\r\n1\r\n{refused}$1\r\n2\r\n")
    );
}

#[test]
fn a_request_that_streams_by_is_taken_to_its_end() {
    let mut it = Harness::cart();
    it.session.allow(1);
    let value = "v".repeat(40_000);
    let request = encode(&format!("SET cart:1 {value}"));
    let (first, rest) = request.split_at(20_000);
    let mut sent = it.client(first);
    assert!(it.session.is_streaming() && !sent.is_empty());
    assert_eq!(it.session.allowance(), 0);
    let next = encode("GET cart:1");
    sent.push_str(&it.client(&[rest, &next].concat()));
    assert_eq!(sent.as_bytes(), request);
    it.session.allow(1);
    assert_eq!(it.commands(&[]), ["GET cart:1"]);
}

/// Half of it on a connection that others use would be everybody's end.
#[test]
fn a_transaction_that_rides_is_not_parted() {
    let mut it = Harness::cart();
    it.session.share();
    it.session.ride();
    it.session.allow(2);
    let lines = ["MULTI", "INCR cart:1", "INCR cart:2", "EXEC", "GET cart:1"];
    assert_eq!(it.commands(&lines), lines[..4]);
    assert!(!it.session.is_parted());
    it.session.allow(1);
    assert_eq!(it.commands(&[]), ["GET cart:1"]);
}
