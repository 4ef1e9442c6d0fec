//! Users who may use some databases only, before real servers: whatever a client sends, and however
//! it is cut, nothing is read or written in another.

use std::time::{Duration, SystemTime};

use crate::support::redis::{ALL, LEGACY_AND_CURRENT};
use crate::support::{Proxy, RedisServer, Reply, TestClient, Version, command};

/// `cart` may use 0 alone. `search` may select what it likes and use 2 and 9 alone. 99 is more than
/// the servers here have.
const USERS: &str = "\
user cart on nopass db=0 ~* +@all
user search on nopass ~* +select +multi +exec +discard +ping (db=2,9 ~* +@all)
user admin on nopass ~* &* +@all
";

const NO_DB: &str = "-NOPERM No permissions to access database\r\n";
const NO_SET: &str = "-NOPERM User search has no permissions to run the 'set' command\r\n";
const NO_GET: &str = "-NOPERM User search has no permissions to run the 'get' command\r\n";
const EXECABORT: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";
/// What a server with 12 databases says to SELECT 99.
const RANGE: &str = "-ERR DB index is out of range\r\n";

fn server(version: Version) -> RedisServer {
    let server = RedisServer::start(version, &["--databases", "12"]);
    let mut direct = server.direct();
    for database in ["0", "1", "2", "3", "9"] {
        direct.call(&["SELECT", database]);
        direct.call(&["SET", "k", &format!("in {database}")]);
    }
    server
}

fn proxy(server: &RedisServer) -> Proxy {
    Proxy::builder().upstream(server).users(USERS).start()
}

fn pipeline(lines: &[&str]) -> Vec<u8> {
    let commands = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    commands.flat_map(|words| command(&words)).collect()
}

/// Sends the lines at once, then one by one, then byte by byte, on connections of their own; all
/// must be answered like this.
#[track_caller]
fn expect(proxy: &Proxy, user: &str, lines: &[&str], replies: &[&str]) {
    assert_eq!(lines.len(), replies.len());
    let all = replies.concat();
    let mut client = proxy.client(user);
    client.send(pipeline(lines));
    client.expect(&all);
    let mut client = proxy.client(user);
    for (line, reply) in lines.iter().zip(replies) {
        client.send(pipeline(&[line]));
        client.expect(reply);
    }
    let mut client = proxy.client(user);
    for byte in pipeline(lines) {
        client.send([byte]);
    }
    client.expect(&all);
}

fn value(database: u32) -> String {
    let text = format!("in {database}");
    format!("${}\r\n{text}\r\n", text.len())
}

#[test]
fn a_transaction_cannot_reach_another_database() {
    for version in ALL {
        let server = server(version);
        let proxy = proxy(&server);
        expect(
            &proxy,
            "cart",
            &["MULTI", "SELECT 3", "GET k", "EXEC", "GET k"],
            &["+OK\r\n", NO_DB, "+QUEUED\r\n", EXECABORT, &value(0)],
        );
        // Nor can it by way of a database that it may select and not use.
        expect(
            &proxy,
            "search",
            &["MULTI", "SELECT 9", "GET k", "EXEC"],
            &["+OK\r\n", "+QUEUED\r\n", NO_GET, EXECABORT],
        );
    }
}

#[test]
fn a_select_that_fails_leads_nowhere() {
    for version in ALL {
        let server = server(version);
        let proxy = proxy(&server);
        // 6.0 and later have another text for it; 5.0.6's is in all of them.
        expect(
            &proxy,
            "search",
            &[
                "SELECT 9",
                "SET mine 1",
                "SELECT 99",
                "GET k",
                "SELECT 1",
                "GET k",
            ],
            &["+OK\r\n", "+OK\r\n", RANGE, &value(9), "+OK\r\n", NO_GET],
        );
        expect(
            &proxy,
            "search",
            &["SELECT 99", "SET k v", "GET k", "SELECT 2", "GET k"],
            &[RANGE, NO_SET, NO_GET, "+OK\r\n", &value(2)],
        );
    }
}

#[test]
fn a_discarded_select_is_forgotten() {
    for version in LEGACY_AND_CURRENT {
        let server = server(version);
        let proxy = proxy(&server);
        expect(
            &proxy,
            "search",
            &["SELECT 9", "MULTI", "SELECT 1", "DISCARD", "GET k"],
            &["+OK\r\n", "+OK\r\n", "+QUEUED\r\n", "+OK\r\n", &value(9)],
        );
        expect(
            &proxy,
            "search",
            &["MULTI", "SELECT 9", "DISCARD", "GET k"],
            &["+OK\r\n", "+QUEUED\r\n", "+OK\r\n", NO_GET],
        );
    }
}

#[test]
fn after_exec_the_next_select_says_where_the_client_is() {
    for version in LEGACY_AND_CURRENT {
        let server = server(version);
        let proxy = proxy(&server);
        expect(
            &proxy,
            "search",
            &[
                "MULTI", "SELECT 9", "PING", "EXEC", "GET k", "SELECT 9", "GET k",
            ],
            &[
                "+OK\r\n",
                "+QUEUED\r\n",
                "+QUEUED\r\n",
                "*2\r\n+OK\r\n+PONG\r\n",
                NO_GET,
                "+OK\r\n",
                &value(9),
            ],
        );
        // Both may be used, so nothing has to be known.
        expect(
            &proxy,
            "search",
            &["SELECT 2", "MULTI", "SELECT 9", "EXEC", "GET k"],
            &[
                "+OK\r\n",
                "+OK\r\n",
                "+QUEUED\r\n",
                "*1\r\n+OK\r\n",
                &value(9),
            ],
        );
    }
}

#[test]
fn a_watch_that_fails_leaves_the_database() {
    let server = server(Version::V5_0_6);
    let proxy = proxy(&server);
    let mut client = proxy.client("search");
    client.send(pipeline(&["SELECT 9", "WATCH k"]));
    client.expect("+OK\r\n+OK\r\n");
    let mut direct = server.direct();
    direct.call(&["SELECT", "9"]);
    direct.call(&["SET", "k", "other"]);
    client.send(pipeline(&["MULTI", "SELECT 1", "EXEC", "GET k"]));
    client.expect("+OK\r\n+QUEUED\r\n*-1\r\n$5\r\nother\r\n");
}

#[test]
fn reset_leads_back_to_database_zero() {
    for version in LEGACY_AND_CURRENT {
        let server = server(version);
        let proxy = proxy(&server);
        expect(
            &proxy,
            "search",
            &["SELECT 9", "GET k", "RESET", "GET k", "SELECT 9", "RESET"],
            &[
                "+OK\r\n",
                &value(9),
                "+RESET\r\n",
                NO_GET,
                "+OK\r\n",
                "+RESET\r\n",
            ],
        );
    }
}

#[test]
fn numbers_that_versions_read_differently_are_refused() {
    let server = server(Version::V5_0_6);
    let proxy = proxy(&server);
    let mut client = proxy.client("cart");
    for number in ["+0", "00", "-0", " 0", "0\0x", "0x0", "1e0", ""] {
        let reply = client.call(&["SELECT", number]);
        assert_eq!(
            reply.error(),
            "NOPERM No permissions to access database",
            "{number:?}"
        );
    }
    assert_eq!(client.call(&["GET", "k"]), Reply::bulk("in 0"));
}

#[test]
fn commands_that_name_a_database_are_judged_by_it() {
    for version in LEGACY_AND_CURRENT {
        let server = server(version);
        let proxy = proxy(&server);
        let mut client = proxy.client("cart");
        let mut refused = vec![
            "MOVE k 1",
            "SWAPDB 0 1",
            "SWAPDB 1 0",
            "FLUSHALL",
            "FLUSHALL ASYNC",
            "SELECT 1",
        ];
        if version == Version::V7_0_15 {
            refused.extend([
                "COPY k k DB 1",
                "COPY k k REPLACE DB 1",
                "COPY k k DB 0 DB 1",
            ]);
        }
        for line in refused {
            let words: Vec<&str> = line.split(' ').collect();
            let reply = client.call(&words);
            assert_eq!(
                reply.error(),
                "NOPERM No permissions to access database",
                "{line}"
            );
        }
        // Their own forms go through.
        assert_eq!(
            client.call(&["SWAPDB", "0", "0"]),
            Reply::Simple("OK".into())
        );
        if version == Version::V7_0_15 {
            let copied = client.call(&["COPY", "k", "l", "DB", "0"]);
            assert_eq!(copied, Reply::Integer(1));
        }
        let events = proxy.audit_when(|event| event["command"] == "select");
        assert_eq!(events[0]["databases"], serde_json::json!([0]));
        assert_eq!(events[0]["refused"], "1");
        assert_eq!(events[0]["rule"], "db=0");
        assert_untouched(&server, &["1", "3", "9"]);
    }
}

/// A database that nobody may use holds what was put there and nothing else.
#[track_caller]
fn assert_untouched(server: &RedisServer, databases: &[&str]) {
    let mut direct = server.direct();
    for database in databases {
        direct.call(&["SELECT", database]);
        assert_eq!(
            direct.call(&["KEYS", "*"]),
            Reply::Array(vec![Reply::bulk("k")]),
            "{database}"
        );
        assert_eq!(
            direct.call(&["GET", "k"]),
            Reply::bulk(&format!("in {database}"))
        );
    }
}

/// Random numbers that can be had again (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// Random pipelines in random pieces: whatever order they come in, the servers' other databases
/// stay untouched and untold.
#[test]
fn no_pipeline_reaches_a_closed_database() {
    let seed: u64 = match std::env::var("RESPGATE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .subsec_nanos()
            .into(),
    };
    eprintln!("RESPGATE_SEED={seed}");
    let mut dice = Dice(seed | 1);
    for version in LEGACY_AND_CURRENT {
        let server = server(version);
        let proxy = proxy(&server);
        let mut written = 0;
        for round in 0..60 {
            let mut client = proxy.client("search");
            for _ in 0..4 {
                written += random_pipeline(&mut client, &mut dice, round);
            }
        }
        assert!(written > 20, "{written} writes came through");
        assert_untouched(&server, &["0", "1", "3"]);
    }
}

/// Returns how many writes were done at once.
fn random_pipeline(client: &mut TestClient, dice: &mut Dice, round: usize) -> usize {
    const WORDS: [&str; 16] = [
        "SELECT 0",
        "SELECT 1",
        "SELECT 2",
        "SELECT 2",
        "SELECT 3",
        "SELECT 9",
        "SELECT 9",
        "SELECT 99",
        "SELECT 01",
        "MULTI",
        "EXEC",
        "DISCARD",
        "GET k",
        "SET x 1",
        "SET y 1",
        "DEL k",
    ];
    let count = 1 + dice.roll(14);
    let lines: Vec<&str> = (0..count).map(|_| WORDS[dice.roll(WORDS.len())]).collect();
    // `k` in 2 and 9 comes back, so that there is something to read.
    let bytes = pipeline(&lines);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let len = match dice.roll(3) {
            0 => rest.len(),
            1 => 1 + dice.roll(rest.len()),
            _ => 1 + dice.roll(rest.len().min(30)),
        };
        let (piece, behind) = rest.split_at(len);
        client.send(piece);
        rest = behind;
        if dice.roll(4) == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    let mut done = 0;
    for line in &lines {
        let reply = client.read_reply();
        let told = format!("{reply:?}");
        for closed in ["in 0", "in 1", "in 3"] {
            assert!(
                !told.contains(closed),
                "round {round}: {lines:?}: {line}: {told}"
            );
        }
        done += usize::from(line.starts_with("SET") && reply == Reply::Simple("OK".into()));
    }
    done
}
