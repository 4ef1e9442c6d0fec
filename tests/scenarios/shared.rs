//! Clients that share upstream connections: each rule of it has a test that fails without it.
//!
//! One worker, so all clients of a proxy here are on the same connections. What went where is told by
//! the Redis (how many connections it has seen, and who they are), and by the debug log.

mod borrowed;
mod databases;
mod desync;
mod errands;
mod policy;
mod requests;
mod slow;
mod transactions;
mod upstream;

use crate::support::proxy::{Builder, log_number};
use crate::support::{Proxy, RedisServer, Reply, TestClient, eventually, ok};

/// Everything is open: what is refused here is refused for another reason than policy.
pub const USERS: &str = "\
user cart on ~* &* +@all lethal=* script=any
user admin on ~* &* +@all lethal=* script=any
user search on ~search:* +@all lethal=* script=any
";

/// Who asks the Redis itself, on one connection, so that it isn't counted as anything new.
pub struct Witness(TestClient);

// === impl Witness ===

impl Witness {
    pub fn of(server: &RedisServer) -> Self {
        Self(server.direct())
    }

    pub fn call(&mut self, args: &[&str]) -> Reply {
        self.0.call(args)
    }

    fn info(&mut self, field: &str) -> u64 {
        let text = self.0.call(&["INFO"]).text();
        let prefix = format!("{field}:");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.expect("a field of INFO").parse().expect("a number")
    }

    /// Connections that it has seen since it started.
    pub fn opened(&mut self) -> u64 {
        self.info("total_connections_received")
    }

    /// Connections now, without this one.
    pub fn open(&mut self) -> u64 {
        self.info("connected_clients") - 1
    }

    pub fn blocked(&mut self) -> u64 {
        self.info("blocked_clients")
    }

    /// Waits until so many clients are blocked.
    #[track_caller]
    pub fn wait_for_blocked(&mut self, count: u64) {
        eventually("clients are blocked", || self.blocked() == count);
    }

    pub fn clients(&mut self) -> String {
        self.0.call(&["CLIENT", "LIST"]).text()
    }
}

/// Clients of a proxy made so share their connections.
pub fn builder(server: &RedisServer) -> Builder {
    builder_with(server, "")
}

/// The same, with more lines of the upstream.
pub fn builder_with(server: &RedisServer, lines: &str) -> Builder {
    apart(Proxy::builder().upstream_with(server, &format!("connections = \"shared\"\n{lines}")))
}

/// With everything but the upstream.
pub fn apart(builder: Builder) -> Builder {
    builder
        .users(USERS)
        .section("[runtime]\nworkers = 1\n[log]\nlevel = \"debug\"")
}

pub fn start(server: &RedisServer) -> Proxy {
    builder(server).start()
}

/// Waits until the proxy has found its upstream for the second time. Who asks before that is closed.
#[track_caller]
pub fn ready_again(proxy: &Proxy) {
    eventually("the upstream is there again", || proxy.times_ready() == 2);
}

/// What of a client's requests rode, and what didn't, once it is gone.
#[track_caller]
pub fn rode_of(proxy: &Proxy, client: TestClient) -> (u64, u64) {
    // By the number of its session: others may end meanwhile.
    let peer = format!(" peer=\"127.0.0.1:{}\" ", client.local_port());
    let mut session = 0;
    eventually("the log tells of the session", || {
        let log = proxy.log_text();
        let opened = |line: &&str| line.contains("session opened") && line.contains(&peer);
        let line = log.lines().rfind(opened);
        line.map(|line| session = log_number(line, "session"))
            .is_some()
    });
    drop(client);
    let mut counts = (0, 0);
    eventually("the session ends", || {
        let log = proxy.log_text();
        let ended = |line: &&str| {
            line.contains("requests by connection") && log_number(line, "session") == session
        };
        let line = log.lines().find(ended);
        line.map(|line| counts = (log_number(line, "shared"), log_number(line, "own")))
            .is_some()
    });
    counts
}
