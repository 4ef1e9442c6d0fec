//! The spelling of single values.

use std::path::Path;
use std::time::Duration;

use crate::config::parse::{
    bind, duration, integer, is_local, nearest, network, size, upstream_address,
};

#[test]
fn durations_are_a_number_and_a_unit() {
    for (text, milliseconds) in [
        ("0s", 0),
        ("0ms", 0),
        ("200ms", 200),
        ("5s", 5_000),
        ("1m", 60_000),
        ("2h", 7_200_000),
        ("8760h", 31_536_000_000),
    ] {
        assert_eq!(
            duration(text),
            Ok(Duration::from_millis(milliseconds)),
            "{text}"
        );
    }
    for text in [
        "",
        "5",
        "s",
        "5 s",
        " 5s",
        "5s ",
        "-5s",
        "+5s",
        "1.5s",
        "05s",
        "5S",
        "5sec",
        "1d",
        "1m30s",
        "8761h",
        "99999999999999999999s",
        "18446744073709551615h",
        "٥s",
    ] {
        assert!(duration(text).is_err(), "{text}");
    }
}

#[test]
fn sizes_count_in_powers_of_1024() {
    for (text, bytes) in [
        ("0", 0),
        ("65536", 65_536),
        ("64KB", 65_536),
        ("64MB", 67_108_864),
        ("2GB", 2_147_483_648),
    ] {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
    for text in [
        "",
        "MB",
        "64mb",
        "64 MB",
        "64MiB",
        "64M",
        "6.4MB",
        "-1",
        "064",
        "1TB",
        "18446744073709551615KB",
    ] {
        assert!(size(text).is_err(), "{text}");
    }
}

#[test]
fn integers_are_plain_decimals() {
    assert_eq!(integer("0"), Some(0));
    assert_eq!(integer("42"), Some(42));
    for text in ["", "yes", "3.7", "-1", "+1", "0x10", "1_000", "007", "1 "] {
        assert_eq!(integer(text), None, "{text}");
    }
}

#[test]
fn networks_are_addresses_or_have_no_host_bits() {
    for (text, shown) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::1", "::1/128"),
        ("fd00::/8", "fd00::/8"),
        ("::/0", "::/0"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
    ] {
        assert_eq!(
            network(text).map(|network| network.to_string()).as_deref(),
            Ok(shown)
        );
    }
    assert_eq!(
        network("10.0.0.1/8").unwrap_err(),
        "has host bits beyond its prefix; the network is \"10.0.0.0/8\""
    );
    for text in [
        "",
        "localhost",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "10.0.0.0/",
        "10.0.0/8",
        "010.0.0.0/8",
        "::/129",
        "10.0.0.0/8 ",
        "10.0.0.0/255.0.0.0",
        "::ffff:10.0.0.1/104",
        "fe80::1%eth0",
    ] {
        assert!(network(text).is_err(), "{text}");
    }
}

#[test]
fn binds_are_literal_addresses_or_unix_paths() {
    let base = Path::new("/etc/respgate");
    for text in [
        "127.0.0.1:6380",
        "[::1]:6380",
        "0.0.0.0:0",
        "unix:/run/a",
        "unix:a",
    ] {
        assert!(bind(text, base).is_ok(), "{text}");
    }
    for text in [
        "",
        "6380",
        ":6380",
        "localhost:6380",
        "::1:6380",
        "unix:",
        "127.0.0.1:65536",
    ] {
        assert!(bind(text, base).is_err(), "{text}");
    }
}

#[test]
fn an_upstream_is_local_only_where_nothing_can_resolve_to_another_host() {
    let base = Path::new("");
    for (text, local) in [
        ("127.0.0.1:6379", true),
        ("127.9.9.9:6379", true),
        ("[::1]:6379", true),
        ("[::ffff:127.0.0.1]:6379", true),
        ("localhost:6379", true),
        ("LocalHost:6379", true),
        ("unix:/run/redis.sock", true),
        ("10.0.0.1:6379", false),
        ("[fd00::1]:6379", false),
        ("0.0.0.0:6379", false),
        ("127.1:6379", false),
        ("localhost.example:6379", false),
        ("redis_1.internal:6379", false),
    ] {
        let address = upstream_address(text, base).expect(text);
        assert_eq!(is_local(&address), local, "{text}");
    }
    for text in [
        "",
        "redis",
        "redis:",
        "redis:0",
        "redis:65536",
        "redis:06379",
        ":6379",
        "::1:6379",
        "[::1]",
        "[redis]:6379",
        "[::1:6379",
        "redis://redis:6379",
        "user@redis:6379",
        "unix:",
        "re dis:6379",
        "redis:+6379",
    ] {
        assert!(upstream_address(text, base).is_err(), "{text}");
    }
}

#[test]
fn the_nearest_word_is_near() {
    let words = ["bind", "allow", "deny", "max_connections"];
    assert_eq!(nearest("alow", words), Some("allow"));
    assert_eq!(nearest("max_conections", words), Some("max_connections"));
    assert_eq!(nearest("dent", words), Some("deny"));
    assert_eq!(nearest("bnid", words), Some("bind"));
    assert_eq!(nearest("colour", words), None);
    assert_eq!(nearest("", words), None);
}
