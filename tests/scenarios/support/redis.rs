//! Real Redis servers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{PATIENCE, Reply, TestClient, free_port};

/// The servers that `make test` fetches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(non_camel_case_types, reason = "they are version numbers")]
pub enum Version {
    /// The legacy case: no ACL, no TLS, no RESP3, no HELLO.
    V5_0_6,
    V6_2_14,
    V7_0_15,
    V8_2_3,
}

/// Every version, for what must hold in front of each.
pub const ALL: [Version; 4] = [
    Version::V5_0_6,
    Version::V6_2_14,
    Version::V7_0_15,
    Version::V8_2_3,
];

/// The two that every scenario about the protocol runs on.
pub const LEGACY_AND_CURRENT: [Version; 2] = [Version::V5_0_6, Version::V7_0_15];

/// A running server. It dies with the value.
pub struct RedisServer {
    version: Version,
    dir: TempDir,
    port: u16,
    unix: bool,
    extra: Vec<String>,
    password: Option<String>,
    child: Option<Child>,
}

/// The path of something that `tests/servers/fetch.py` fetched: a version, `cli`, `python`.
#[track_caller]
pub fn fetched(name: &str) -> PathBuf {
    static INDEX: OnceLock<Result<serde_json::Value, String>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let folder = match std::env::var_os("RESPGATE_SERVERS") {
            Some(folder) => PathBuf::from(folder),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers"),
        };
        let file = folder.join("servers.json");
        let text = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))
    });
    match index {
        Ok(index) => match index[name]["path"].as_str() {
            Some(path) => PathBuf::from(path),
            None => panic!("{name} has not been fetched: run make test"),
        },
        Err(why) => panic!("{why}: run make test"),
    }
}

// === impl Version ===

impl Version {
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V5_0_6 => "5.0.6",
            Version::V6_2_14 => "6.2.14",
            Version::V7_0_15 => "7.0.15",
            Version::V8_2_3 => "8.2.3",
        }
    }

    /// What this version says to a command that it does not know, without the arguments' part.
    pub fn unknown_command(self, name: &str, args: &[&str]) -> String {
        let (open, close) = if self as u8 <= Version::V6_2_14 as u8 {
            ('`', '`')
        } else {
            ('\'', '\'')
        };
        let mut text =
            format!("ERR unknown command {open}{name}{close}, with args beginning with: ");
        for arg in args {
            text.push_str(&format!(
                "{open}{arg}{close}{}",
                if open == '`' { ", " } else { " " }
            ));
        }
        text
    }
}

// === impl RedisServer ===

impl RedisServer {
    /// On a port of the loopback interface.
    #[track_caller]
    pub fn start(version: Version, extra: &[&str]) -> Self {
        Self::start_on(version, false, extra)
    }

    /// On a unix socket alone.
    #[track_caller]
    pub fn start_unix(version: Version, extra: &[&str]) -> Self {
        Self::start_on(version, true, extra)
    }

    #[track_caller]
    fn start_on(version: Version, unix: bool, extra: &[&str]) -> Self {
        let password = extra
            .iter()
            .position(|arg| *arg == "--requirepass")
            .map(|at| extra[at + 1].to_owned());
        let mut server = Self {
            version,
            dir: tempfile::tempdir().unwrap(),
            port: 0,
            unix,
            extra: extra.iter().map(|&arg| arg.to_owned()).collect(),
            password,
            child: None,
        };
        let start = Instant::now();
        loop {
            server.port = if unix { 0 } else { free_port() };
            match server.spawn(true) {
                Ok(()) => return server,
                // Another test may have taken the port.
                Err(log) if log.contains("in use") && start.elapsed() < PATIENCE => {}
                Err(log) => panic!("Redis {} does not start:\n{log}", version.as_str()),
            }
        }
    }

    /// `ready`: with its data loaded.
    fn spawn(&mut self, ready: bool) -> Result<(), String> {
        let log = self.dir.path().join("log");
        let mut command = Command::new(fetched(self.version.as_str()));
        command
            .current_dir(self.dir.path())
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--logfile", "log"])
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if self.unix {
            command.arg("--unixsocket").arg(self.socket());
        }
        let _ = std::fs::remove_file(&log);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let start = Instant::now();
        loop {
            let exited = child.try_wait().unwrap().is_some();
            if exited || start.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                return Err(std::fs::read_to_string(&log).unwrap_or_default());
            }
            if let Ok(mut client) = self.connect() {
                client.send_args(&["PING"]);
                // Any answer will do (-NOAUTH, -NOPERM) but that it is still loading.
                if client
                    .try_read_reply()
                    .is_ok_and(|reply| !ready || !format!("{reply:?}").contains("LOADING"))
                {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child = Some(child);
        Ok(())
    }

    fn connect(&self) -> std::io::Result<TestClient> {
        if self.unix {
            TestClient::unix(&self.socket())
        } else {
            TestClient::tcp(self.address())
        }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// What stands in the proxy's configuration.
    pub fn upstream_address(&self) -> String {
        if self.unix {
            format!("unix:{}", self.socket().display())
        } else {
            self.address().to_string()
        }
    }

    /// A plaintext client of the server itself, logged in where it asks for a password.
    #[track_caller]
    pub fn direct(&self) -> TestClient {
        let mut client = self.connect().expect("the server is gone");
        if let Some(password) = &self.password {
            assert_eq!(client.call(&["AUTH", password]), Reply::Simple("OK".into()));
        }
        client
    }

    /// A field of INFO.
    #[track_caller]
    pub fn info(&self, field: &str) -> String {
        let text = self.direct().call(&["INFO"]).text();
        let prefix = format!("{field}:");
        let line = text.lines().find(|line| line.starts_with(&prefix));
        line.unwrap_or_else(|| panic!("no {field} in INFO"))[prefix.len()..].to_owned()
    }

    /// A field of the client of this name in CLIENT LIST.
    #[track_caller]
    pub fn info_of_client(&self, name: &str, field: &str) -> String {
        let list = self.direct().call(&["CLIENT", "LIST"]).text();
        let name = format!("name={name}");
        let mut lines = list.lines().map(|line| line.split(' '));
        let line = lines.find(|fields| fields.clone().any(|field| field == name));
        let mut fields = line.unwrap_or_else(|| panic!("no {name} in {list}"));
        let prefix = format!("{field}=");
        let value = fields.find_map(|field| field.strip_prefix(&prefix));
        value
            .unwrap_or_else(|| panic!("no {field} in {list}"))
            .to_owned()
    }

    pub fn connected_clients(&self) -> usize {
        // The one that asks is not counted.
        self.info("connected_clients").parse::<usize>().unwrap() - 1
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// From now on it does nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the server was killed");
        kill_process(Pid::from_child(child), signal).expect("the server is gone");
    }

    /// Kills it and starts an empty one at the same address.
    #[track_caller]
    pub fn restart(&mut self) {
        self.start_again(true);
    }

    /// The same, and while it loads its data.
    pub fn restart_loading(&mut self) {
        self.start_again(false);
    }

    fn start_again(&mut self, ready: bool) {
        self.kill();
        let _ = std::fs::remove_file(self.socket());
        if let Err(log) = self.spawn(ready) {
            panic!(
                "Redis {} does not start again:\n{log}",
                self.version.as_str()
            );
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
