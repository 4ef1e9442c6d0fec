//! What is counted as allowed: each request once, however it comes, and for whom it was judged.

use super::*;

fn counts(harness: &Harness) -> Vec<(String, &'static str, u32)> {
    let allowed = &harness.notes.3.allowed;
    let lines = allowed
        .iter()
        .map(|((user, class), count)| (user.clone(), *class, *count));
    lines.collect()
}

fn of(user: &str, counts: &[(&'static str, u32)]) -> Vec<(String, &'static str, u32)> {
    let lines = counts.iter();
    lines
        .map(|(class, count)| (user.to_owned(), *class, *count))
        .collect()
}

#[test]
fn each_request_counts_once_in_whatever_pieces_it_comes() {
    let mut bytes = Vec::new();
    for line in [
        "GET cart:1",
        "SET cart:1 v",
        "FLUSHALL",
        "GET other",
        "ACL WHOAMI",
    ] {
        bytes.extend(encode(line));
    }
    // Inline, and nothing at all.
    bytes.extend_from_slice(b"PING\r\n\r\n*0\r\n");
    // One that streams, and one that is refused while it does.
    bytes.extend(encode(&format!("SET cart:2 {}", "v".repeat(100_000))));
    bytes.extend(encode(&format!("SET other {}", "v".repeat(100_000))));
    for line in ["MULTI", "GET cart:1", "EXEC", "QUIT"] {
        bytes.extend(encode(line));
    }
    for piece in [1000, 4096, usize::MAX] {
        let mut it = Harness::cart();
        it.notes.3.user = Some("cart".to_owned());
        for piece in bytes.chunks(piece) {
            it.client(piece);
        }
        let expected = [
            ("connection", 2),
            ("other", 1),
            ("read", 2),
            ("transaction", 2),
            ("write", 2),
        ];
        assert_eq!(counts(&it), of("cart", &expected), "in pieces of {piece}");
        let refused: Vec<_> = it.notes.0.iter().map(|note| note.2).collect();
        assert_eq!(refused, ["command", "key", "key"]);
    }
}

#[test]
fn a_request_that_is_held_counts_when_it_is_taken() {
    let mut it = Harness::cart();
    it.notes.3.user = Some("cart".to_owned());
    // What the proxy answers itself waits for the reply to MULTI.
    it.commands(&["MULTI", "ACL WHOAMI", "GET cart:1"]);
    assert_eq!(counts(&it), of("cart", &[("transaction", 1)]));
    it.upstream("-ERR no\r\n");
    let expected = [("other", 1), ("read", 1), ("transaction", 1)];
    assert_eq!(counts(&it), of("cart", &expected));
}

#[test]
fn what_comes_behind_a_login_or_a_reset_is_another_users() {
    let mut it = Harness::new(Who::Chosen, AuthKind::Password, rules(&[], &[]));
    let lines = [
        "AUTH cart cart-pw",
        "GET cart:1",
        "AUTH admin wrong",
        "GET cart:1",
    ];
    it.commands(&lines);
    it.commands(&["AUTH admin admin-pw", "GET cart:1", "RESET"]);
    it.upstream("$-1\r\n$-1\r\n$-1\r\n");
    it.commands(&["GET cart:1"]);
    let mut expected = of("", &[("connection", 1)]);
    expected.extend(of("admin", &[("connection", 1), ("read", 1)]));
    expected.extend(of("cart", &[("connection", 1), ("read", 2)]));
    assert_eq!(counts(&it), expected);
    let refused: Vec<_> = it.notes.0.iter().map(|note| note.2).collect();
    assert_eq!(refused, ["auth", "not_authenticated"]);
}
