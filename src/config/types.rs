//! The validated configuration: what the rest of the program is given.
//!
//! Plain values; knows nothing of how the file spells them.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::command::Command;
use crate::identity::Rule;

/// Everything the file says, checked. See docs/configuration.md for each key.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// At least one.
    pub listeners: Vec<Listener>,
    /// At least one, sorted by name.
    pub upstreams: Vec<Upstream>,
    /// In the file's order: the first match wins.
    pub identities: Vec<Rule>,
    /// Files and directories, absolute or relative to the working directory, in the file's order.
    pub acl_files: Vec<PathBuf>,
    /// On whom the policy is only tried.
    pub shadow: Shadow,
    /// Commands that the table lacks, containers before their subcommands.
    pub extra_commands: Vec<Command>,
    /// Client name (folded to lower case) → the name that the upstream knows it by; "" hides it.
    pub rename: Vec<(String, String)>,
    /// Command (folded to lower case) → what is sent in its place, as written.
    pub substitute: Vec<(String, String)>,
    /// Where replies say that a Redis is → where the proxy before it is. No left side twice.
    pub addresses: Vec<(Address, Address)>,
    /// Bounds on what a peer may make us hold.
    pub limits: Limits,
    /// How the process lives.
    pub runtime: Runtime,
    /// Where the operator's own tools ask.
    pub admin: Admin,
    /// The audit.
    pub audit: Audit,
    /// The log.
    pub log: Log,
}

/// On whom the policy is only tried: what it denies them is told, and forwarded all the same.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shadow {
    /// On all users.
    pub everybody: bool,
    /// On these, in any case; an ACL file must define each.
    pub users: Vec<String>,
}

/// What `max_connections` is where the file doesn't say: Redis' own `maxclients`.
pub const DEFAULT_MAX_CONNECTIONS: usize = 10_000;

/// One `[[listener]]`.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Unique.
    pub name: String,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// What is behind it; the same for all listeners of an upstream.
    pub kind: ListenerKind,
    /// At least one.
    pub bind: Vec<Bind>,
    /// Sources that may connect; loopback only where the file says nothing, nobody where it is empty.
    pub allow: Vec<IpNet>,
    /// Sources that may not, whatever `allow` says.
    pub deny: Vec<IpNet>,
    /// Socket peers that must say by a PROXY header whom they speak for. From others it is refused.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Connections at once, all sources together.
    ///
    /// `None`: not said; then [`DEFAULT_MAX_CONNECTIONS`], or as many as the limit of open files
    /// leaves room for.
    pub max_connections: Option<usize>,
    /// Connections at once from one source address.
    pub max_connections_per_ip: usize,
    /// Connections at once that are not in yet, all sources together.
    pub max_handshakes: usize,
    /// The same from one source address.
    pub max_handshakes_per_ip: usize,
    /// From accept to the end of the TLS handshake, a PROXY header included.
    pub handshake_timeout: Duration,
    /// From the handshake to a successful AUTH, where the identity asks for one.
    pub auth_timeout: Duration,
    /// Between two requests; `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// A session is closed after it, a tenth more or less; `None`: never.
    pub max_lifetime: Option<Duration>,
    /// `None`: plaintext.
    pub tls: Option<ListenerTls>,
}

/// What a listener stands before.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ListenerKind {
    /// A Redis that holds data, alone or a node of a Cluster.
    #[default]
    Redis,
    /// A Sentinel.
    Sentinel,
}

/// One side of a pair in `rewrite.addresses`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Address {
    /// A name, lower case on the left side, or an address without brackets, as `IpAddr` writes it.
    pub host: String,
    /// Not 0.
    pub port: u16,
}

/// Where a listener listens.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Bind {
    /// An address and port.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// One `[listener.tls]`.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// The server's chain, PEM.
    pub cert: PathBuf,
    /// Its key: PKCS#8, PKCS#1 or SEC1, PEM.
    pub key: PathBuf,
    /// The roots that client certificates must chain to; `None` only with [`ClientAuth::None`].
    pub client_ca: Option<PathBuf>,
    /// Whether a client must show a certificate.
    pub client_auth: ClientAuth,
    /// Lists of revoked certificates, PEM, of all issuers that a chain may have; none: not asked.
    pub crl: Vec<PathBuf>,
    /// The oldest protocol version that is spoken.
    pub min_version: TlsVersion,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientAuth {
    /// No handshake without one.
    Required,
    /// One that is shown must be good.
    Optional,
    /// None is asked for.
    None,
}

/// A TLS protocol version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsVersion {
    /// 1.2
    V1_2,
    /// 1.3
    V1_3,
}

/// One `[upstream.NAME]`.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The table's name.
    pub name: String,
    /// Where it is, in the file's order; never empty. Of several, the master is used.
    pub addresses: Vec<UpstreamAddress>,
    /// `None`: AUTH with the password alone.
    pub username: Option<String>,
    /// As it stood in `password_file` at the start; `None`: no AUTH at all.
    pub password: Option<Secret>,
    /// Where the password stands, to be read again at every connect: tokens are short-lived.
    pub password_file: Option<PathBuf>,
    /// `None`: plaintext.
    pub tls: Option<UpstreamTls>,
    /// Whether clients share a few connections, or have one each.
    pub connections: Connections,
    /// The most connections at once, of one process.
    pub max_connections: usize,
    /// Name look-up, connect, TLS handshake and the answer to our AUTH, together.
    pub connect_timeout: Duration,
}

/// Whose the connections to an upstream are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Connections {
    /// Each client has one of its own.
    Dedicated,
    /// Clients share a few, but for what needs one of its own.
    #[default]
    Shared,
}

/// One `[upstream.NAME.tls]`.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// The roots that the upstream's certificate must chain to; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// Our own chain and its key, both PEM; `None`: we show no certificate.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name or address that the certificate must hold, for each of the upstream's addresses.
    pub server_names: Vec<String>,
}

/// Where an upstream is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UpstreamAddress {
    /// Host name or address (without brackets), and port; the name is resolved at every connect.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// A password of our own. Its `Debug` says nothing.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

/// The longest password or token of ours. Those of cloud providers are some 2 KB; what is far
/// longer is another file.
const MAX_SECRET: u64 = 64 * 1024;

/// `[limits]`: bounds on what a peer may make us hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest bulk string of a request, bytes.
    pub max_bulk: u64,
    /// The most arguments of a request, its name included.
    pub max_args: u32,
    /// What one request may hold back until its keys are known, bytes.
    pub max_inspect_buffer: usize,
    /// What one client may leave unread where it shares connections, before the others' replies wait
    /// for it; bytes.
    pub max_reply_buffer: usize,
    /// What all clients together may make us hold, bytes; no less than one of them may.
    pub memory: usize,
    /// A client that takes nothing for so long is cut.
    pub write_timeout: Duration,
    /// What each user and each address may have.
    pub quotas: Quotas,
    /// How often passwords may be wrong.
    pub auth: AuthLimits,
}

/// `[limits.auth]`: failed logins of one address. A user has five times as many, and gets them back ten
/// times as fast, from all addresses together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuthLimits {
    /// At once.
    pub attempts: u32,
    /// Then one in so much time.
    pub interval: Duration,
}

/// `[limits.user.*]` and `[limits.address]`.
#[derive(Clone, Debug, Default)]
pub struct Quotas {
    /// By the user's name.
    pub users: HashMap<String, Quota>,
    /// Each user that isn't named.
    pub others: Option<Quota>,
    /// Each source address.
    pub address: Option<Quota>,
}

/// What one user, or one address, may have of all sessions together; `None`: what it likes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quota {
    /// Connections at once.
    pub max_connections: Option<usize>,
    /// Requests.
    pub commands_per_second: Option<NonZeroU64>,
    /// Requests and replies together.
    pub bytes_per_second: Option<NonZeroU64>,
}

/// `[runtime]`: how the process lives.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Worker threads; 0 lets the program choose.
    pub workers: usize,
    /// After SIGTERM, what is not done by then is cut.
    pub drain_timeout: Duration,
    /// Who the process is from before its first thread on; `None`: who started it.
    pub user: Option<Account>,
    /// `None`: that user's own. Only with a user.
    pub group: Option<Account>,
    /// How often files are looked at for changes; `None`: never.
    pub watch_files: Option<Duration>,
    /// Whether it shuts itself in by Landlock, where the kernel has that.
    pub landlock: bool,
}

/// A user or a group of the system. Not root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Account {
    /// As the system's databases know it.
    Name(String),
    /// Its number.
    Number(u32),
}

/// `[admin]`
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Admin {
    /// Serves everything. One that isn't loopback comes with a token file.
    pub bind: Option<Bind>,
    /// Serves the health paths, to anybody.
    pub probe: Option<Bind>,
    /// Where the token stands that every change needs; it is read again at each use.
    pub token_file: Option<PathBuf>,
}

/// `[audit]`
#[derive(Clone, Debug)]
pub struct Audit {
    /// Where it goes.
    pub sink: AuditSink,
    /// What it says.
    pub settings: AuditSettings,
}

/// Where the audit goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuditSink {
    /// To stdout.
    Stdout,
    /// To a file, which is appended to; or to a pipe.
    File(PathBuf),
    /// To the system's log, through its local socket.
    Syslog,
    /// To systemd's journal, with fields.
    Journal,
}

/// What the audit says, and what happens where it can't.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuditSettings {
    /// Which decisions are written.
    pub decisions: AuditDecisions,
    /// How keys are written.
    pub keys: AuditKeys,
    /// Whether begins and ends of sessions are written.
    pub connections: bool,
    /// Whether commands are refused while their lines can't be written; or else lines are dropped.
    pub refuse: bool,
}

/// Which decisions the audit holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuditDecisions {
    /// All.
    All,
    /// Refusals.
    Deny,
    /// Nothing.
    None,
}

/// How the audit writes keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuditKeys {
    /// As they are.
    Plain,
    /// Their SHA-256.
    Sha256,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// The least severe level that is written.
    pub level: LogLevel,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogLevel {
    /// Something the operator must mend.
    Error,
    /// Something went wrong and was handled.
    Warn,
    /// Starts, stops and refusals.
    Info,
    /// Each session.
    Debug,
}

// === impl ListenerKind ===

impl ListenerKind {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Sentinel => "sentinel",
        }
    }

    /// Whether a server of this `redis_mode` (`standalone`, `cluster`, `sentinel`) is what it means.
    pub fn is_mode(self, mode: &str) -> bool {
        (self == Self::Sentinel) == (mode == "sentinel")
    }
}

// === impl Address ===

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

// === impl Bind ===

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

// === impl Account ===

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => number.fmt(f),
        }
    }
}

// === impl Upstream ===

impl Upstream {
    /// All addresses in one line, for messages.
    pub fn shown_addresses(&self) -> String {
        let shown: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        shown.join(", ")
    }
}

// === impl UpstreamAddress ===

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

// === impl Secret ===

impl Secret {
    /// Wraps a password.
    pub fn new(password: String) -> Self {
        Self(password)
    }

    /// The content of a `password_file`, as it is but for one line end.
    ///
    /// # Errors
    /// It can't be read, is empty or far too long: a text that names the file and nothing of what
    /// is in it.
    pub fn read(path: &Path) -> Result<Self, String> {
        // The path as resolved: "relative to the file" is easily taken for "to where I stand".
        let mut content = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_SECRET + 1).read_to_string(&mut content))
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if content.len() as u64 > MAX_SECRET {
            return Err(format!("{} is longer than 64 KB", path.display()));
        }
        let password = content
            .strip_suffix("\r\n")
            .or_else(|| content.strip_suffix('\n'))
            .unwrap_or(&content);
        if password.is_empty() {
            return Err(format!("{} is empty", path.display()));
        }
        Ok(Self::new(password.to_owned()))
    }

    /// The same of a token, which has no blanks around it: a header's are none of its value.
    ///
    /// # Errors
    /// As [`Secret::read`]'s.
    pub fn read_token(path: &Path) -> Result<Self, String> {
        match Self::read(path)?.0.trim_ascii() {
            "" => Err(format!("{} is blank", path.display())),
            token => Ok(Self::new(token.to_owned())),
        }
    }

    /// The password itself: for the upstream's AUTH and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
