//! The matrix of real clients: what an application does with each library, in front of each Redis.
//!
//! Each cell is one scenario: a Redis, the proxy with a policy as an application has, and a program that
//! connects over mutual TLS as the library does by default. A check that fails is tried once more on a
//! plain connection to the Redis itself: fails it there in the same words, then the Redis lacks it, or
//! the library with that Redis. The README's table is what was seen.

mod fred;
mod in_process;
mod own_tests;
mod programs;
mod redis_rs;
mod redis_rs_async;
mod table;
mod tools;

use std::sync::{Mutex, OnceLock};

use crate::support::redis::ALL;
use crate::support::{Proxy, RedisServer, Version};

/// An application's user, and an operator. `cart:p*` is there because PSUBSCRIBE is judged by the pattern's own
/// text, `lethal=monitor` because MONITOR shows passwords before Redis 5.0.10.
const USERS: &str = "\
user cart on ~cart:* &cart:* &cart:p* +@all -@dangerous script=any
user admin on ~* &* +@all lethal=monitor
";
const IDENTITIES: &str = r#"
[[identity]]
match = { cn = ["cart", "admin"] }
user = "$cn"
auth = "certificate"
"#;

/// Where a client of the matrix works.
pub struct Place {
    pub server: Mutex<RedisServer>,
    pub proxy: Proxy,
}

/// What was seen of one client in front of one Redis.
#[derive(Debug, Default)]
pub struct Seen {
    /// The library and its version.
    pub library: String,
    /// The checks that passed.
    pub passed: Vec<String>,
    /// The checks that the Redis lacks something for, and its words.
    pub lacks: Vec<(String, String)>,
    /// The checks that this library has nothing for.
    pub none: Vec<String>,
}

/// A row of the table.
pub struct Row {
    /// The way in which the library is used.
    how: &'static str,
    run: fn(&Place) -> Seen,
}

// === impl Place ===

impl Place {
    fn start(version: Version) -> Self {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder()
            .upstream(&server)
            .users(USERS)
            .identities(IDENTITIES)
            // The Redis is restarted under it.
            .allow_error("upstream")
            .start();
        Self {
            server: Mutex::new(server),
            proxy,
        }
    }

    /// Kills the Redis and starts an empty one at the same address.
    pub fn restart(&self) {
        self.server.lock().unwrap().restart();
    }

    pub fn upstream(&self) -> String {
        self.server.lock().unwrap().address().to_string()
    }
}

/// One scenario a row and version, and all rows for the table.
macro_rules! matrix {
    ($($name:ident: $how:literal, $run:expr;)+) => {
        static ROWS: &[Row] = &[$(Row { how: $how, run: $run }),+];

        #[allow(non_camel_case_types, reason = "they are the rows' names")]
        #[derive(Clone, Copy)]
        enum Index { $($name),+ }

        $(mod $name {
            use super::{Index, seen};

            #[test]
            fn works_with_redis_5_0_6() {
                seen(Index::$name as usize, 0);
            }

            #[test]
            fn works_with_redis_6_2_14() {
                seen(Index::$name as usize, 1);
            }

            #[test]
            fn works_with_redis_7_0_15() {
                seen(Index::$name as usize, 2);
            }

            #[test]
            fn works_with_redis_8_2_3() {
                seen(Index::$name as usize, 3);
            }
        })+
    };
}

matrix! {
    redis_py_8: "defaults (RESP3)", |place| programs::python(place, "python-8", &["sync", "default"]);
    redis_py_8_resp2: "RESP2", |place| programs::python(place, "python-8", &["sync", "2"]);
    redis_py_8_asyncio: "asyncio, defaults (RESP3)", |place| programs::python(place, "python-8", &["asyncio", "default"]);
    redis_py_8_asyncio_resp2: "asyncio, RESP2", |place| programs::python(place, "python-8", &["asyncio", "2"]);
    redis_py_7: "defaults (RESP2)", |place| programs::python(place, "python", &["sync", "default"]);
    redis_py_7_asyncio_resp3: "asyncio, RESP3", |place| programs::python(place, "python", &["asyncio", "3"]);
    redis_py_5: "defaults (RESP2)", |place| programs::python(place, "python-5", &["sync", "default"]);
    redis_py_5_asyncio_resp3: "asyncio, RESP3", |place| programs::python(place, "python-5", &["asyncio", "3"]);
    ioredis_6: "defaults (RESP3 where there is)", |place| programs::node(place, "ioredis.js", &["ioredis", "default"]);
    ioredis_6_autopipelining: "autopipelining", |place| programs::node(place, "ioredis.js", &["ioredis", "autopipelining"]);
    ioredis_5: "defaults (RESP2)", |place| programs::node(place, "ioredis.js", &["ioredis-5", "default"]);
    node_redis_6: "defaults (RESP3)", |place| programs::node(place, "node_redis.js", &["redis", "default"]);
    node_redis_6_resp2: "RESP2", |place| programs::node(place, "node_redis.js", &["redis", "2"]);
    node_redis_4: "defaults (RESP2)", |place| programs::node(place, "node_redis.js", &["redis-4", "default"]);
    redis_rs_blocking: "blocking", |place| redis_rs::run(place, 2);
    redis_rs_blocking_resp3: "blocking, RESP3", |place| redis_rs::run(place, 3);
    redis_rs_multiplexed: "async, multiplexed", |place| redis_rs_async::run(place, 2);
    redis_rs_multiplexed_resp3: "async, multiplexed, RESP3", |place| redis_rs_async::run(place, 3);
    fred_resp2: "defaults (RESP2)", |place| fred::run(place, 2);
    fred_resp3: "RESP3", |place| fred::run(place, 3);
    redis_cli: "defaults (RESP2)", |place| tools::redis_cli(place, 2);
    redis_cli_resp3: "RESP3 (`-3`)", |place| tools::redis_cli(place, 3);
    redis_benchmark: "all tests, pipeline of 16", |place| tools::redis_benchmark(place, 2);
    redis_benchmark_resp3: "RESP3 (`-3`), pipeline of 16", |place| tools::redis_benchmark(place, 3);
}

/// What was seen of a cell; whoever asks first runs it, and panics where it fails.
fn seen(row: usize, version: usize) -> &'static Seen {
    static CELLS: [[OnceLock<Seen>; ALL.len()]; ROWS.len()] =
        [const { [const { OnceLock::new() }; ALL.len()] }; ROWS.len()];
    CELLS[row][version].get_or_init(|| (ROWS[row].run)(&Place::start(ALL[version])))
}

#[test]
fn the_readme_s_table_of_clients_is_what_was_seen() {
    let mut rows = Vec::new();
    for (row, Row { how, .. }) in ROWS.iter().enumerate() {
        let cells: Vec<&Seen> = (0..ALL.len()).map(|version| seen(row, version)).collect();
        rows.push((*how, cells));
    }
    let table = table::render(&rows);
    let readme = include_str!("../../README.md");
    assert!(
        readme.contains(&table),
        "the README's table of clients should be:\n\n{table}"
    );
}
