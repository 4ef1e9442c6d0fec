//! The two that are compared: Redis with TLS of its own, and respgate in front of the same Redis.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::ClientConfig;

use crate::support::{Certs, Proxy, RedisServer, Reply, TestClient, Version, command, free_port};
use crate::wire::{Wire, overdue};

/// Where clients connect to, and the server that answers in the end.
pub struct Side {
    pub name: &'static str,
    address: SocketAddr,
    /// A plaintext connection to the server itself.
    admin: TestClient,
    configs: HashMap<&'static str, Arc<ClientConfig>>,
    /// Connections that the server has when no client is there, and keeps.
    idle: i64,
    /// Where clients share connections, these stay for a while.
    mode: Mode,
    _server: RedisServer,
    _proxy: Option<Proxy>,
}

/// The upstream connections that respgate has for its clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// One for each client.
    Dedicated,
    /// Some that clients share, and others for what can't be shared.
    Shared,
}

/// A user: its name, which is its certificate's too, and its rules.
pub struct User {
    pub name: &'static str,
    pub rules: &'static str,
}

/// What the policy of respgate is, where Redis has the users' own rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// The same.
    Same,
    /// Nobody may do anything, and it is only tried.
    Shadow,
}

/// Both servers are started alike. Protected mode takes any address but 127.0.0.1 for a stranger's.
const SETTINGS: [&str; 4] = ["--enable-debug-command", "yes", "--protected-mode", "no"];

/// What no conversation may find from an earlier one.
const CLEAN: [&[&str]; 6] = [
    &["CLIENT", "UNPAUSE"],
    &["FLUSHALL"],
    &["SCRIPT", "FLUSH"],
    &["FUNCTION", "FLUSH"],
    &["CONFIG", "RESETSTAT"],
    &["CONFIG", "SET", "maxmemory-samples", "5"],
];

/// What a connection looks like, in CLIENT LIST, that nothing of a client is left on: no transaction, no
/// subscription, not blocked, not watching what has changed, not tracking, not monitoring; it is a unix socket.
const AT_REST: [&str; 6] = [
    "flags=U", "sub=0", "psub=0", "ssub=0", "multi=-1", "redir=-1",
];

/// What a barrier says: nobody else sends it, so MONITOR's lines of it can be told.
pub const BARRIER: &str = "@barrier@";

/// What respgate keeps at most of connections that one to three clients had: shared ones and idle ones,
/// for each of its threads, database and protocol.
const MOST_KEPT: usize = 2 * 3 * 2 * (2 + 3);

// === impl Mode ===

impl Mode {
    fn lines(self) -> &'static str {
        match self {
            Self::Dedicated => "connections = \"dedicated\"",
            Self::Shared => "connections = \"shared\"",
        }
    }
}

// === impl User ===

impl User {
    pub fn password(&self) -> String {
        password(self.name)
    }
}

/// The password of a user.
pub fn password(name: &str) -> String {
    format!("{name}-secret")
}

/// Whether a line of CLIENT LIST shows a connection that nothing of a client is left on.
fn is_at_rest(line: &str) -> bool {
    let has = |word: &&str| line.split(' ').any(|field| field == *word);
    AT_REST.iter().all(has)
}

/// The id in a line of CLIENT LIST.
fn id_of(line: &str) -> u64 {
    let mut words = line.split_whitespace();
    let id = words.find_map(|word| word.strip_prefix("id="));
    id.and_then(|id| id.parse().ok()).unwrap()
}

// === impl Side ===

impl Side {
    pub fn native(users: &[User]) -> Self {
        let port = free_port();
        let certs = Certs::shared();
        let file = |name: &str| certs.file(name).display().to_string();
        let (port_text, cert, key, ca) = (
            port.to_string(),
            file("server.pem"),
            file("server.key"),
            file("ca.pem"),
        );
        let mut settings = SETTINGS.to_vec();
        settings.extend(["--tls-port", &port_text, "--tls-cert-file", &cert]);
        settings.extend(["--tls-key-file", &key, "--tls-ca-cert-file", &ca]);
        let server = RedisServer::start_unix(Version::V7_0_15, &settings);
        let mut admin = server.direct();
        for user in users {
            let password = format!(">{}", user.password());
            let mut args = vec!["ACL", "SETUSER", user.name, "on", &password];
            args.extend(user.rules.split(' '));
            assert_eq!(admin.call(&args), Reply::Simple("OK".into()), "{args:?}");
        }
        drop(admin);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self::new("Redis", address, server, None, users, Mode::Dedicated)
    }

    /// `extra` are rules that Redis doesn't have.
    pub fn proxied(users: &[User], extra: &str, mode: Mode, policy: Policy) -> Self {
        let server = RedisServer::start_unix(Version::V7_0_15, &SETTINGS);
        let line = |user: &User| {
            let name = user.name;
            let rules = match policy {
                Policy::Same => user.rules,
                // ACL is the proxy's own, and so enforced.
                Policy::Shadow => "-@all +acl|whoami db=7",
            };
            format!("user {name} on >{} {rules} {extra}\n", user.password())
        };
        let lines: String = users.iter().map(line).collect();
        let proxy = Proxy::builder()
            .upstream_with(&server, mode.lines())
            .users(&lines)
            .identities(
                "[[identity]]\nmatch = { cn = \"*\" }\nuser = \"$cn\"\nauth = \"certificate\"\n",
            )
            .section(match policy {
                Policy::Same => "",
                Policy::Shadow => "mode = \"shadow\"",
            })
            // Each refusal would be a line that nobody reads.
            .section("[audit]\ndecisions = \"none\"")
            .start();
        let address = proxy.address();
        Self::new("respgate", address, server, Some(proxy), users, mode)
    }

    fn new(
        name: &'static str,
        address: SocketAddr,
        server: RedisServer,
        proxy: Option<Proxy>,
        users: &[User],
        mode: Mode,
    ) -> Self {
        let config = |user: &User| (user.name, Certs::shared().client_config(Some(user.name)));
        Self {
            name,
            address,
            admin: server.direct(),
            configs: users.iter().map(config).collect(),
            // The one that asks, and the proxy's control connection.
            idle: 1 + i64::from(proxy.is_some()),
            mode,
            _server: server,
            _proxy: proxy,
        }
    }

    /// Throttling of logins goes by address: each conversation has its own.
    pub fn connect(&self, user: &str, source: &str) -> Wire {
        let config = Arc::clone(&self.configs[user]);
        Wire::connect(source, self.address, config)
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", self.name))
    }

    /// The server's event loop goes round, so what had reached it before has been read, some of it
    /// at least, and answered.
    pub fn turn(&mut self) {
        for _ in 0..2 {
            self.admin.call(&["ECHO", BARRIER]);
        }
    }

    pub fn blocked_clients(&mut self) -> i64 {
        self.clients("blocked_clients")
    }

    fn clients(&mut self, field: &str) -> i64 {
        let text = self.admin.call(&["INFO", "clients"]).text();
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.strip_prefix(':'));
        number.and_then(|number| number.parse().ok()).unwrap()
    }

    /// What is in the database, in one number; times to live don't count in it.
    pub fn digest(&mut self) -> String {
        self.admin.call(&["DEBUG", "DIGEST"]).text()
    }

    /// The same for each key: its database, its type and a number.
    pub fn data(&mut self) -> BTreeMap<String, String> {
        let mut data = BTreeMap::new();
        for database in ["0", "1", "2"] {
            self.admin.call(&["SELECT", database]);
            let Reply::Array(keys) = self.admin.call(&["KEYS", "*"]) else {
                panic!("KEYS has no reply");
            };
            for key in keys {
                let Reply::Bulk(name) = key else { continue };
                let kind = self.admin.call_bytes(&[b"TYPE", &name]);
                let value = self.admin.call_bytes(&[b"DEBUG", b"DIGEST-VALUE", &name]);
                let place = format!("{database}: {}", name.escape_ascii());
                data.insert(place, format!("{} {value:?}", kind.text()));
            }
        }
        self.admin.call(&["SELECT", "0"]);
        data
    }

    /// The clients that are there though they have gone: all but ours and the proxy's own.
    fn left_behind(&mut self) -> Vec<u64> {
        if self.clients("connected_clients") <= self.idle {
            return Vec::new();
        }
        let clients = self.admin.call(&["CLIENT", "LIST"]).text();
        let mut lines: Vec<&str> = clients.lines().collect();
        // The oldest ones are the proxy's and ours.
        lines.sort_by_key(|line| id_of(line));
        match self.mode {
            Mode::Dedicated => drop(lines.drain(..self.idle as usize)),
            Mode::Shared if lines.len() > MOST_KEPT => {}
            // Ours is asking just now.
            Mode::Shared => {
                lines.retain(|line| !is_at_rest(line) && !line.contains("cmd=client|list"))
            }
        }
        lines.into_iter().map(id_of).collect()
    }

    /// Waits until the server's clients have gone.
    ///
    /// # Errors
    /// Those that stay, which are killed then.
    pub fn wait_for_goodbyes(&mut self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let left = self.left_behind();
            if left.is_empty() {
                return Ok(());
            }
            if start.elapsed() > overdue() {
                let clients = self.admin.call(&["CLIENT", "LIST"]).text();
                for id in &left {
                    self.admin.call(&["CLIENT", "KILL", "ID", &id.to_string()]);
                }
                return Err(format!(
                    "{}: clients {left:?} don't go:\n{clients}",
                    self.name
                ));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Makes the server what it was at its start.
    pub fn clean(&mut self) {
        let all: Vec<u8> = CLEAN.iter().flat_map(|args| command(args)).collect();
        self.admin.send(all);
        for args in CLEAN {
            let reply = self.admin.read_reply();
            assert_eq!(reply, Reply::Simple("OK".into()), "{args:?}");
        }
    }
}
