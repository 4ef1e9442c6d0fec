//! Everything that the tour needs: a folder, certificates, a Redis, the proxy. Dropped, it is gone.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::resp::Reply;
use crate::tls::ClientTls;
use crate::tls::authority::make_certificates;

use super::client::Client;
use super::props::{Folder, Process, random_hex};
use super::{DemoError, failed};

/// The scene of the tour. Fields are dropped in this order: who uses something goes before it.
pub(super) struct Scene {
    proxy: Process,
    redis: Process,
    folder: Folder,
    address: SocketAddr,
    password: String,
    version: String,
}

/// What the renamed CONFIG is called.
pub(super) const CONFIG_NAME: &str = "CONFIG_b840fc02";

/// A start takes milliseconds; on a busy machine it may take its time.
const START_WITHIN: Duration = Duration::from_secs(20);
const START_STEP: Duration = Duration::from_millis(20);

// === impl Scene ===

impl Scene {
    /// Makes and starts everything.
    pub(super) async fn set() -> Result<Self, DemoError> {
        let server = find_redis()?;
        let folder = Folder::make().map_err(|error| failed("the temporary folder", error))?;
        let password = random_hex().map_err(|error| failed("/dev/urandom", error))?;
        let (redis, version) = start_redis(&server, &folder, &password).await?;

        let clients = ["cart", "ops"].map(str::to_owned);
        make_certificates(&folder.path("certs"), &clients, &[])
            .map_err(|error| DemoError::Certificates(error.to_string()))?;
        let address = free_address().map_err(|error| failed("a free port", error))?;
        folder.write("redis.password", &format!("{password}\n"))?;
        folder.write("users.acl", &acl())?;
        folder.write(
            "respgate.toml",
            &configuration(address, has_unlink(&version)),
        )?;
        let proxy = start_proxy(&folder)?;
        let mut scene = Self {
            proxy,
            redis,
            folder,
            address,
            password,
            version,
        };
        scene.wait_for_proxy().await?;
        Ok(scene)
    }

    /// Where the proxy listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The Redis' version.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Whether that version has UNLINK.
    pub(super) fn has_unlink(&self) -> bool {
        has_unlink(&self.version)
    }

    /// Whether that version has users.
    pub(super) fn has_users(&self) -> bool {
        major(&self.version) >= 6
    }

    /// A file of the certificates' folder.
    pub(super) fn certificate(&self, name: &str) -> PathBuf {
        self.folder.path("certs").join(name)
    }

    /// The audit's file.
    pub(super) fn audit(&self) -> PathBuf {
        self.folder.path("audit.log")
    }

    /// The proxy's configuration.
    pub(super) fn config(&self) -> PathBuf {
        self.folder.path("respgate.toml")
    }

    /// Its ACL file.
    pub(super) fn acl(&self) -> PathBuf {
        self.folder.path("users.acl")
    }

    /// The Redis' socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path("redis.sock")
    }

    /// The folder of it all.
    pub(super) fn folder(&self) -> &Path {
        self.folder.root()
    }

    /// The password that only the proxy has; and the tour, to ask the Redis itself.
    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// A TLS client that shows the certificate of `user`, or none.
    pub(super) fn tls(&self, user: Option<&str>) -> Result<ClientTls, DemoError> {
        let pair = user.map(|user| {
            (
                self.certificate(&format!("{user}.pem")),
                self.certificate(&format!("{user}.key")),
            )
        });
        let pair = pair.as_ref().map(|(cert, key)| (&**cert, &**key));
        ClientTls::load(&self.certificate("ca.pem"), pair).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            DemoError::Certificates(lines.join("; "))
        })
    }

    /// Notes a process that has ended by itself.
    pub(super) fn look_after(&mut self) -> Result<(), DemoError> {
        self.proxy.look_after()?;
        self.redis.look_after()
    }

    async fn wait_for_proxy(&mut self) -> Result<(), DemoError> {
        let tls = self.tls(Some("ops"))?;
        let deadline = Instant::now() + START_WITHIN;
        loop {
            self.look_after()?;
            let answer = async {
                let mut client = Client::tls(&tls, self.address, None).await?;
                client.ask(&["PING"]).await
            };
            match answer.await {
                Ok(Reply::Status(_)) => return Ok(()),
                _ if Instant::now() < deadline => tokio::time::sleep(START_STEP).await,
                Ok(other) => return Err(self.proxy.failed(format!("answers {other:?} to PING"))),
                Err(error) => return Err(self.proxy.failed(format!("does not serve: {error}"))),
            }
        }
    }
}

/// `RESPGATE_REDIS_SERVER`, or else the first redis-server of PATH.
fn find_redis() -> Result<PathBuf, DemoError> {
    if let Some(path) = std::env::var_os("RESPGATE_REDIS_SERVER").filter(|path| !path.is_empty()) {
        // Absolute: it is started from another folder. Not with its links resolved: Debian's
        // redis-server is a link to redis-check-rdb, which looks at how it was called.
        let path = std::path::absolute(&path).unwrap_or_else(|_| path.into());
        return if path.is_file() {
            Ok(path)
        } else {
            Err(DemoError::NoSuchRedis(path))
        };
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .filter_map(|folder| std::path::absolute(folder.join("redis-server")).ok())
        .find(|path| path.is_file())
        .ok_or(DemoError::NoRedis)
}

/// A Redis as an operator would lock it in: a socket, no port, a password.
async fn start_redis(
    server: &Path,
    folder: &Folder,
    password: &str,
) -> Result<(Process, String), DemoError> {
    // In a file and not on the command line, which every user of the machine can read.
    let settings = format!(
        "port 0\nunixsocket redis.sock\nunixsocketperm 700\nrequirepass {password}\n\
         save \"\"\nappendonly no\ndaemonize no\n"
    );
    folder.write("redis.conf", &settings)?;
    let mut redis = Process::start("the Redis", server, &["redis.conf".as_ref()], folder)?;
    let deadline = Instant::now() + START_WITHIN;
    let ask = async || {
        let mut client = Client::unix(&folder.path("redis.sock")).await?;
        client.ask(&["AUTH", password]).await?;
        client.ask(&["INFO", "server"]).await
    };
    loop {
        redis.look_after()?;
        match ask().await {
            Ok(Reply::Bulk(info)) => {
                let info = String::from_utf8_lossy(&info);
                let version = info
                    .lines()
                    .find_map(|line| line.strip_prefix("redis_version:"));
                return match version {
                    Some(version) => Ok((redis, version.to_owned())),
                    None => Err(redis.failed("tells no version".to_owned())),
                };
            }
            _ if Instant::now() < deadline => tokio::time::sleep(START_STEP).await,
            Ok(other) => return Err(redis.failed(format!("answers {other:?} to INFO"))),
            Err(error) => return Err(redis.failed(format!("does not serve: {error}"))),
        }
    }
}

/// The proxy, as anybody would start it.
fn start_proxy(folder: &Folder) -> Result<Process, DemoError> {
    let program = std::env::current_exe().map_err(|error| failed("this program", error))?;
    let config = folder.path("respgate.toml");
    let args = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
    Process::start("the proxy", &program, &args, folder)
}

fn configuration(address: SocketAddr, has_unlink: bool) -> String {
    let substitute = if has_unlink {
        "substitute = { DEL = \"UNLINK\" }          # frees the memory in the background\n"
    } else {
        ""
    };
    format!(
        r#"# The configuration of `respgate demo`.

[[listener]]
name = "main"
bind = ["{address}"]
allow = ["127.0.0.1/32"]                   # nobody else, not even 127.0.0.2

[listener.tls]
cert = "certs/server.pem"
key = "certs/server.key"
client_ca = "certs/ca.pem"                 # no certificate of this CA, no connection

[upstream.main]
address = "unix:redis.sock"                # the Redis has no port
password_file = "redis.password"           # and a password that only the proxy knows

[[identity]]                               # the certificate's CN says who it is
match = {{ cn = "cart" }}
user = "cart"

[[identity]]
match = {{ cn = "ops" }}
user = "ops"

[policy]
acl_files = ["users.acl"]

[rewrite]
rename = {{ CONFIG = "{CONFIG_NAME}" }}
{substitute}
[audit]
path = "audit.log"
"#
    )
}

fn acl() -> String {
    "# An application: its own keys, nothing dangerous.\n\
     user cart on ~cart:* &cart:* +@read +@write +@connection +@transaction +@pubsub -@dangerous\n\
     # Operators: everything but what can't be undone.\n\
     user ops on ~* &* +@all -flushall -flushdb -shutdown -debug\n"
        .to_owned()
}

fn major(version: &str) -> u32 {
    let major = version.split('.').next().unwrap_or_default();
    major.parse().unwrap_or(0)
}

fn has_unlink(version: &str) -> bool {
    major(version) >= 4
}

/// A port that was free a moment ago.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
