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
    /// Connections that the server has when no client is there.
    idle: i64,
    _server: RedisServer,
    _proxy: Option<Proxy>,
}

/// A user: its name, which is its certificate's too, and its rules.
pub struct User {
    pub name: &'static str,
    pub rules: &'static str,
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

/// What a barrier says: nobody else sends it, so MONITOR's lines of it can be told.
pub const BARRIER: &str = "@barrier@";

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
        Self::new("Redis", address, server, None, users)
    }

    /// `extra` are rules that Redis doesn't have.
    pub fn proxied(users: &[User], extra: &str) -> Self {
        let server = RedisServer::start_unix(Version::V7_0_15, &SETTINGS);
        let line = |user: &User| {
            let (name, rules) = (user.name, user.rules);
            format!("user {name} on >{} {rules} {extra}\n", user.password())
        };
        let lines: String = users.iter().map(line).collect();
        let proxy = Proxy::builder()
            .upstream(&server)
            .users(&lines)
            .identities(
                "[[identity]]\nmatch = { cn = \"*\" }\nuser = \"$cn\"\nauth = \"certificate\"\n",
            )
            // Each refusal would be a line that nobody reads.
            .section("[audit]\ndecisions = \"none\"")
            .start();
        let address = proxy.address();
        Self::new("respgate", address, server, Some(proxy), users)
    }

    fn new(
        name: &'static str,
        address: SocketAddr,
        server: RedisServer,
        proxy: Option<Proxy>,
        users: &[User],
    ) -> Self {
        let config = |user: &User| (user.name, Certs::shared().client_config(Some(user.name)));
        Self {
            name,
            address,
            admin: server.direct(),
            configs: users.iter().map(config).collect(),
            // The one that asks, and the proxy's control connection.
            idle: 1 + i64::from(proxy.is_some()),
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

    /// Waits until the server's clients have gone.
    ///
    /// # Errors
    /// Those that stay, which are killed then.
    pub fn wait_for_goodbyes(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while self.clients("connected_clients") > self.idle {
            if start.elapsed() > overdue() {
                let clients = self.admin.call(&["CLIENT", "LIST"]).text();
                // The oldest ones are the proxy's and ours.
                let mut ids: Vec<u64> = clients
                    .split_whitespace()
                    .filter_map(|word| word.strip_prefix("id="))
                    .map(|id| id.parse().unwrap())
                    .collect();
                ids.sort_unstable();
                for id in ids.split_off(self.idle as usize) {
                    self.admin.call(&["CLIENT", "KILL", "ID", &id.to_string()]);
                }
                return Err(format!("{}: clients don't go:\n{clients}", self.name));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
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
