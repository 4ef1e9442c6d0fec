//! The matrix of real clients: what an application does with each library, in front of each Redis.
//!
//! Each cell is one scenario: a Redis, the proxy with a policy as an application has, and a program that
//! connects over mutual TLS as the library does by default. A check that fails is tried once more on a
//! plain connection to the Redis itself: fails it there in the same words, then the Redis lacks it, or
//! the library with that Redis. The table of docs/clients.md is what was seen.
//!
//! All of it is done with `connections = "dedicated"`, and before one Redis with `"shared"` too (before
//! each by `make soak`). There the log tells how much of what a library sends rides on connections that
//! others use too.

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
    pub connections: Connections,
    pub server: Mutex<RedisServer>,
    pub proxy: Proxy,
}

/// Whose upstream connections the clients are on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Connections {
    Dedicated,
    Shared,
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
    /// Requests that went over connections which others use too, and over one of its own.
    pub rode: (u64, u64),
}

/// A row of the table.
pub struct Row {
    /// The way in which the library is used.
    how: &'static str,
    run: fn(&Place) -> Seen,
}

// === impl Place ===

impl Place {
    fn start(version: Version, connections: Connections) -> Self {
        let server = RedisServer::start(version, &[]);
        let (lines, log) = match connections {
            Connections::Dedicated => ("connections = \"dedicated\"", ""),
            Connections::Shared => ("connections = \"shared\"", "[log]\nlevel = \"debug\""),
        };
        let proxy = Proxy::builder()
            .upstream_with(&server, lines)
            .section(log)
            .users(USERS)
            .identities(IDENTITIES)
            // The Redis is restarted under it.
            .allow_error("upstream")
            .start();
        Self {
            connections,
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
            use super::{Connections, Index, seen, shared_versions};

            #[test]
            fn works_with_redis_5_0_6() {
                seen(Index::$name as usize, 0, Connections::Dedicated);
            }

            #[test]
            fn works_with_redis_6_2_14() {
                seen(Index::$name as usize, 1, Connections::Dedicated);
            }

            #[test]
            fn works_with_redis_7_0_15() {
                seen(Index::$name as usize, 2, Connections::Dedicated);
            }

            #[test]
            fn works_with_redis_8_2_3() {
                seen(Index::$name as usize, 3, Connections::Dedicated);
            }

            /// What passes and what is lacking is the same as on connections of its own.
            #[test]
            fn shares_connections() {
                for version in shared_versions() {
                    let shared = seen(Index::$name as usize, version, Connections::Shared);
                    let dedicated = seen(Index::$name as usize, version, Connections::Dedicated);
                    assert_eq!(shared.passed, dedicated.passed);
                    assert_eq!(shared.lacks, dedicated.lacks);
                    assert_eq!(shared.none, dedicated.none);
                }
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

/// Before which Redis the clients share connections: one of them is what a test run has time for.
fn shared_versions() -> Vec<usize> {
    if std::env::var_os("RESPGATE_TEST_SOAK").is_some() {
        (0..ALL.len()).collect()
    } else {
        vec![SHARED_VERSION]
    }
}

/// 7.0.15, which has all that libraries ask for, and few are behind it.
const SHARED_VERSION: usize = 2;

/// What was seen of a cell; whoever asks first runs it, and panics where it fails.
fn seen(row: usize, version: usize, connections: Connections) -> &'static Seen {
    static CELLS: [[[OnceLock<Seen>; 2]; ALL.len()]; ROWS.len()] =
        [const { [const { [const { OnceLock::new() }; 2] }; ALL.len()] }; ROWS.len()];
    CELLS[row][version][connections as usize].get_or_init(|| {
        let place = Place::start(ALL[version], connections);
        let mut seen = (ROWS[row].run)(&place);
        if connections == Connections::Shared {
            seen.rode = place.proxy.requests_by_connection();
        }
        seen
    })
}

#[test]
fn the_table_of_clients_in_the_documentation_is_what_was_seen() {
    let mut rows = Vec::new();
    for (row, Row { how, .. }) in ROWS.iter().enumerate() {
        let cells: Vec<&Seen> = (0..ALL.len())
            .map(|version| seen(row, version, Connections::Dedicated))
            .collect();
        let shared = seen(row, SHARED_VERSION, Connections::Shared);
        eprintln!("{} {how}: {:?}", shared.library, shared.rode);
        rows.push((*how, cells, shared));
    }
    let table = table::render(&rows);
    let page = include_str!("../../docs/clients.md");
    assert!(
        page.contains(&table),
        "docs/clients.md should have this table:\n\n{table}"
    );
}
