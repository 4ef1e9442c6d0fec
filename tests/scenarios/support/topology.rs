//! Several servers that know each other: Redises that Sentinels watch, the nodes of a Cluster.
//!
//! All ask for a password that only they and the proxy know, so a client that goes around the proxy
//! gets nowhere.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::redis::fetched;
use super::{Builder, Certs, PATIENCE, Proxy, RedisServer, Reply, TestClient, Version};
use super::{eventually, free_port};

/// The password of every server here.
pub const PASSWORD: &str = "only-respgate-knows";

/// The name of the one master that the Sentinels watch.
pub const SHOP: &str = "shop";

/// A busy machine shall not look like a dead master to who needs none.
const SLOW_TO_DOUBT: u32 = 5000;
const QUICK_TO_DOUBT: u32 = 1000;

/// A master, two replicas, three Sentinels.
pub struct Sentinels {
    pub redis: Vec<RedisServer>,
    pub sentinels: Vec<Sentinel>,
}

/// One Sentinel. It dies with the value.
pub struct Sentinel {
    dir: TempDir,
    pub port: u16,
    child: Option<Child>,
}

/// Three masters, and a replica of each: node `n + 3` is the replica of node `n`.
pub struct Cluster {
    pub nodes: Vec<RedisServer>,
    /// By node.
    pub ids: Vec<String>,
}

/// One proxy before several servers, a listener for each.
pub struct Front {
    pub proxy: Proxy,
    /// By server.
    pub ports: Vec<u16>,
}

// === impl Sentinels ===

impl Sentinels {
    /// Starts them, and waits until each knows all others.
    #[track_caller]
    pub fn start(version: Version) -> Self {
        Self::start_with(version, SLOW_TO_DOUBT)
    }

    /// The same, of Sentinels that soon miss a master: for a test that kills it.
    #[track_caller]
    pub fn start_to_fail_over(version: Version) -> Self {
        Self::start_with(version, QUICK_TO_DOUBT)
    }

    /// `down_after`: how long a master is silent before it counts as down, milliseconds.
    #[track_caller]
    fn start_with(version: Version, down_after: u32) -> Self {
        // A replica that asks for a full copy is not kept waiting for others.
        let common = ["--requirepass", PASSWORD, "--masterauth", PASSWORD];
        let common = [&common[..], &["--repl-diskless-sync-delay", "0"]].concat();
        let master = RedisServer::start(version, &common);
        let port = master.address().port().to_string();
        let replica = [&common[..], &["--replicaof", "127.0.0.1", &port]].concat();
        let mut redis = vec![master];
        redis.extend((0..2).map(|_| RedisServer::start(version, &replica)));
        eventually("two replicas are online", || {
            let info = redis[0].direct().call(&["INFO", "replication"]).text();
            info.matches("state=online").count() == 2
        });
        let port = redis[0].address().port();
        let sentinels = (0..3)
            .map(|_| Sentinel::start(version, port, down_after))
            .collect();
        let all = Self { redis, sentinels };
        for sentinel in &all.sentinels {
            eventually("a Sentinel knows all others", || {
                let master = fields(&sentinel.direct().call(&["SENTINEL", "MASTER", SHOP]));
                master("num-slaves").as_deref() == Some("2")
                    && master("num-other-sentinels").as_deref() == Some("2")
            });
        }
        all
    }

    /// Where the Sentinels say that the master is.
    #[track_caller]
    pub fn master(&self) -> usize {
        let request = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SHOP];
        let Reply::Array(address) = self.sentinels[0].direct().call(&request) else {
            panic!("no master");
        };
        let port: u16 = address[1].text().parse().unwrap();
        let mut ports = self.redis.iter().map(|redis| redis.address().port());
        ports
            .position(|known| known == port)
            .expect("another master")
    }

    /// Kills the master, and waits until the Sentinels agree on another.
    #[track_caller]
    pub fn fail_over(&mut self) {
        let old = self.master();
        self.redis[old].kill();
        in_the_end("another master", || self.master() != old);
        let new = &self.redis[self.master()];
        in_the_end("it takes writes", || {
            new.direct().call(&["ROLE"]).array()[0].text() == "master"
        });
    }

    /// A proxy before all six: listeners `redis0` to `redis2` and `sentinel0` to `sentinel2`.
    #[track_caller]
    pub fn front(&self, builder: Builder) -> Front {
        let redis = self.redis.iter().map(|redis| redis.address().port());
        let sentinels = self.sentinels.iter().map(|sentinel| sentinel.port);
        let servers: Vec<(u16, &str)> = redis
            .map(|port| (port, "redis"))
            .chain(sentinels.map(|port| (port, "sentinel")))
            .collect();
        Front::start(builder, &servers, "localhost")
    }
}

// === impl Sentinel ===

impl Sentinel {
    #[track_caller]
    fn start(version: Version, master: u16, down_after: u32) -> Self {
        let start = Instant::now();
        loop {
            let dir = tempfile::tempdir().unwrap();
            let port = free_port();
            let lines = format!(
                "port {port}\nbind 127.0.0.1\nlogfile log\nrequirepass {PASSWORD}\n\
                 sentinel monitor {SHOP} 127.0.0.1 {master} 2\n\
                 sentinel auth-pass {SHOP} {PASSWORD}\n\
                 sentinel down-after-milliseconds {SHOP} {down_after}\n\
                 sentinel failover-timeout {SHOP} 4000\n"
            );
            std::fs::write(dir.path().join("sentinel.conf"), lines).unwrap();
            let child = Command::new(fetched(version.as_str()))
                .args(["sentinel.conf", "--sentinel"])
                .current_dir(dir.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut sentinel = Self {
                dir,
                port,
                child: Some(child),
            };
            if sentinel.comes_up() {
                return sentinel;
            }
            let log = std::fs::read_to_string(sentinel.log()).unwrap_or_default();
            // Another test may have taken the port.
            let again = log.contains("in use") && start.elapsed() < PATIENCE;
            assert!(again, "a Sentinel does not start:\n{log}");
        }
    }

    fn comes_up(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let child = self.child.as_mut().unwrap();
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if TestClient::tcp(([127, 0, 0, 1], self.port).into()).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// A plaintext client, logged in.
    #[track_caller]
    pub fn direct(&self) -> TestClient {
        logged_in(self.port)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

// === impl Cluster ===

impl Cluster {
    /// Starts six nodes and waits until each finds the state to be ok. What `extra` adds stands in
    /// every node's command line.
    #[track_caller]
    pub fn start(version: Version, extra: &[&str]) -> Self {
        let common = [
            "--cluster-enabled",
            "yes",
            "--cluster-config-file",
            "nodes.conf",
            // Shorter, and a busy machine would see failures where there are none.
            "--cluster-node-timeout",
            "5000",
            "--requirepass",
            PASSWORD,
            "--masterauth",
            PASSWORD,
            "--repl-diskless-sync-delay",
            "0",
        ];
        let args = [&common[..], extra].concat();
        let nodes: Vec<_> = (0..6).map(|_| RedisServer::start(version, &args)).collect();
        let mut clients: Vec<_> = nodes.iter().map(RedisServer::direct).collect();
        for (node, client) in clients.iter_mut().enumerate() {
            if node < 3 {
                let first = 16_384 * node / 3;
                let next = 16_384 * (node + 1) / 3;
                let slots: Vec<String> = (first..next).map(|slot| slot.to_string()).collect();
                let mut request = vec!["CLUSTER", "ADDSLOTS"];
                request.extend(slots.iter().map(String::as_str));
                assert_eq!(client.call(&request), Reply::Simple("OK".into()));
            }
            let epoch = (node + 1).to_string();
            client.call(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
        }
        let port = nodes[0].address().port().to_string();
        for client in &mut clients[1..] {
            let meet = client.call(&["CLUSTER", "MEET", "127.0.0.1", &port]);
            assert_eq!(meet, Reply::Simple("OK".into()));
        }
        eventually("all nodes have met", || {
            clients.iter_mut().all(|client| {
                let info = client.call(&["CLUSTER", "INFO"]).text();
                info.contains("cluster_known_nodes:6\r\n")
            })
        });
        let ids: Vec<String> = clients
            .iter_mut()
            .map(|client| client.call(&["CLUSTER", "MYID"]).text())
            .collect();
        for node in 0..3 {
            // Until gossip has told it that this is a master, it refuses.
            eventually("a replica has its master", || {
                let answer = clients[node + 3].call(&["CLUSTER", "REPLICATE", &ids[node]]);
                answer == Reply::Simple("OK".into())
            });
        }
        let cluster = Self { nodes, ids };
        eventually("the cluster is ok, and every replica follows", || {
            clients.iter_mut().enumerate().all(|(node, client)| {
                let state = client.call(&["CLUSTER", "INFO"]).text();
                let nodes = client.call(&["CLUSTER", "NODES"]).text();
                let role = client.call(&["INFO", "replication"]).text();
                state.contains("cluster_state:ok")
                    && nodes.matches("slave ").count() == 3
                    && match node {
                        0..3 => role.contains("state=online"),
                        _ => role.contains("master_link_status:up"),
                    }
            })
        });
        cluster
    }

    /// The node that another node takes for the master of a slot, once it is there.
    #[track_caller]
    pub fn owner(&self, slot: u16, asked: usize) -> usize {
        let Reply::Array(ranges) = self.nodes[asked].direct().call(&["CLUSTER", "SLOTS"]) else {
            panic!("no slots");
        };
        for range in &ranges {
            let range = range.array();
            let (Reply::Integer(first), Reply::Integer(last)) = (&range[0], &range[1]) else {
                panic!("{range:?}");
            };
            if (*first..=*last).contains(&i64::from(slot)) {
                let id = range[2].array()[2].text();
                return self.ids.iter().position(|known| *known == id).unwrap();
            }
        }
        panic!("nobody has slot {slot}");
    }

    /// Kills a master, and waits until all others take its replica for the master.
    #[track_caller]
    pub fn fail_over(&mut self, master: usize) {
        let slot = u16::try_from(16_384 * master / 3).unwrap();
        self.nodes[master].kill();
        let others = (0..6).filter(|node| *node != master);
        for node in others {
            in_the_end("its replica is master", || {
                self.owner(slot, node) == master + 3
            });
        }
    }

    /// A proxy before all six: listeners `redis0` to `redis5`.
    #[track_caller]
    pub fn front(&self, builder: Builder) -> Front {
        let ports = self.nodes.iter().map(|node| node.address().port());
        let servers: Vec<_> = ports.map(|port| (port, "redis")).collect();
        // redis-py resolves "localhost" in one place and not in another, and then misses the node
        // that an ASK names.
        Front::start(builder, &servers, "127.0.0.1")
    }
}

// === impl Front ===

impl Front {
    /// Starts the proxy and waits until every listener answers. The address map leads from every
    /// server to its listener at `host`.
    #[track_caller]
    fn start(builder: Builder, servers: &[(u16, &str)], host: &str) -> Self {
        let ports: Vec<u16> = servers.iter().map(|_| free_port()).collect();
        let mut builder = builder.file("redis.password", PASSWORD);
        let mut map = "[rewrite.addresses]\n".to_owned();
        for (at, ((server, kind), port)) in servers.iter().zip(&ports).enumerate() {
            let upstream = format!("u{at}");
            builder = builder
                .upstream_named(
                    &upstream,
                    &format!(
                        "address = \"127.0.0.1:{server}\"\npassword_file = \"redis.password\""
                    ),
                )
                .another_listener(
                    &format!("{kind}{at}"),
                    *port,
                    &format!("upstream = \"{upstream}\"\nkind = \"{kind}\""),
                );
            map.push_str(&format!("\"127.0.0.1:{server}\" = \"{host}:{port}\"\n"));
        }
        let proxy = builder
            .listener("upstream = \"u0\"")
            .listener("max_connections = 20")
            .section(&map)
            .start();
        let front = Self { proxy, ports };
        for at in 0..servers.len() {
            eventually("every listener answers", || {
                front.try_client(at, "admin").is_ok_and(|mut client| {
                    client.try_send(b"*1\r\n$4\r\nPING\r\n").is_ok()
                        && client.try_read_reply().is_ok()
                })
            });
        }
        front
    }

    /// A client with this certificate, at the listener before this server.
    pub fn try_client(&self, server: usize, name: &str) -> std::io::Result<TestClient> {
        self.try_client_at(self.ports[server], name)
    }

    /// The same, by the listener's port, as a reply names it.
    pub fn try_client_at(&self, port: u16, name: &str) -> std::io::Result<TestClient> {
        let config = Certs::shared().client_config(Some(name));
        TestClient::tls(([127, 0, 0, 1], port).into(), config)
    }

    #[track_caller]
    pub fn client(&self, server: usize, name: &str) -> TestClient {
        match self.try_client(server, name) {
            Ok(client) => client,
            Err(error) => panic!("{name}: {error}\n{}", self.proxy.log_text()),
        }
    }
}

// === helpers ===

/// As [`eventually`], for what servers settle among themselves: that takes an election, or several.
#[track_caller]
fn in_the_end(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < 3 * PATIENCE,
            "not within {:?}: {what}",
            3 * PATIENCE
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A plaintext client of a server here, logged in.
#[track_caller]
fn logged_in(port: u16) -> TestClient {
    let mut client = TestClient::tcp(([127, 0, 0, 1], port).into()).expect("the server is gone");
    let answer = client.call(&["AUTH", PASSWORD]);
    assert_eq!(answer, Reply::Simple("OK".into()));
    client
}

/// The fields of an instance, by name.
pub fn fields(reply: &Reply) -> impl Fn(&str) -> Option<String> + use<> {
    let pairs: Vec<(String, String)> = match reply {
        Reply::Array(items) => items
            .chunks(2)
            .map(|pair| (pair[0].text(), pair[1].text()))
            .collect(),
        _ => Vec::new(),
    };
    move |name| {
        let found = pairs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    }
}
