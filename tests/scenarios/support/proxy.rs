//! The real program, with a configuration of the test's making.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    Certs, Namespace, PATIENCE, RedisServer, TestClient, failures, free_port, proc_status_bytes,
};

/// The users of a proxy that the test says nothing about.
pub const USERS: &str = "\
user cart on >cart-secret ~cart:* +@all -@dangerous -@admin
user admin on >admin-secret ~* &* +@all
user search on >search-secret %R~cart:* ~search:* +@read +@write +@connection +@transaction
";

/// And who they are.
const IDENTITIES: &str = r#"
[[identity]]
match = { cn = ["cart", "admin", "search"] }
user = "$cn"
auth = "certificate"
"#;

/// In place of those: who has a certificate still needs the password of the user it names.
pub const PASSWORD: &str = r#"
[[identity]]
match = { cn = ["cart", "admin"] }
user = "$cn"
auth = "password"
"#;

/// A running proxy. It dies with the value; a log line that the test did not announce fails it.
pub struct Proxy {
    child: Option<Child>,
    /// Where the configuration lies, until the proxy is gone.
    dir: TempDir,
    port: u16,
    log: Arc<Mutex<Vec<String>>>,
    audit: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    allowed: Vec<String>,
    tls: bool,
    certs: &'static Certs,
    /// Set by whoever ended the program on purpose.
    ended: bool,
}

/// How a proxy is to be configured. Each part replaces or adds to a working default.
#[derive(Clone)]
pub struct Builder {
    upstreams: String,
    dedicated: bool,
    listener: Vec<String>,
    tls: Option<Vec<String>>,
    bind: Vec<String>,
    others: Vec<(String, u16, String)>,
    identities: String,
    users: String,
    files: Vec<(String, String)>,
    extra: String,
    ready: Ready,
    allowed: Vec<String>,
    certs: &'static Certs,
    own_certificates: bool,
    /// Shell commands that the program is started behind.
    before: String,
    /// The words before all of that.
    within: Vec<String>,
    environment: Vec<(String, String)>,
    stdin: Option<Arc<OwnedFd>>,
}

/// When a proxy counts as started.
#[derive(Clone)]
enum Ready {
    /// This client gets an answer.
    Answers(&'static str),
    /// The port accepts.
    Listens,
}

// === impl Builder ===

impl Builder {
    fn new() -> Self {
        Self {
            upstreams: String::new(),
            dedicated: false,
            listener: Vec::new(),
            tls: Some(vec![r#"client_auth = "required""#.to_owned()]),
            bind: Vec::new(),
            others: Vec::new(),
            identities: IDENTITIES.to_owned(),
            users: USERS.to_owned(),
            files: Vec::new(),
            extra: String::new(),
            ready: Ready::Answers("admin"),
            allowed: Vec::new(),
            certs: Certs::shared(),
            own_certificates: false,
            before: String::new(),
            within: Vec::new(),
            environment: Vec::new(),
            stdin: None,
        }
    }

    pub fn upstream(self, server: &RedisServer) -> Self {
        self.upstream_with(server, "")
    }

    /// An upstream named main, with more lines in its table.
    pub fn upstream_with(mut self, server: &RedisServer, lines: &str) -> Self {
        self.upstreams.push_str(&format!(
            "[upstream.main]\naddress = \"{}\"\n{lines}\n",
            server.upstream_address()
        ));
        self
    }

    /// An upstream with all its lines.
    pub fn upstream_named(mut self, name: &str, lines: &str) -> Self {
        self.upstreams
            .push_str(&format!("[upstream.{name}]\n{lines}\n"));
        self
    }

    /// Each client has an upstream connection of its own. For what tells of connections, or is tied to
    /// one; else they are shared, as they are where nobody says otherwise.
    pub fn dedicated(mut self) -> Self {
        self.dedicated = true;
        self
    }

    /// A line of `[[listener]]`.
    pub fn listener(mut self, line: &str) -> Self {
        self.listener.push(line.to_owned());
        self
    }

    /// A second `[[listener]]`, with the same certificates.
    pub fn another_listener(mut self, name: &str, port: u16, lines: &str) -> Self {
        self.others.push((name.to_owned(), port, lines.to_owned()));
        self
    }

    /// What is bound beside the port of [`Proxy::address`].
    pub fn also_bind(mut self, address: &str) -> Self {
        self.bind.push(address.to_owned());
        self
    }

    /// The lines of `[listener.tls]` beyond the certificates.
    pub fn tls(mut self, lines: &str) -> Self {
        self.tls = Some(vec![lines.to_owned()]);
        self
    }

    /// The server's certificate, its key and the CA as files beside the configuration, to be changed.
    pub fn own_certificates(mut self) -> Self {
        self.own_certificates = true;
        self
    }

    pub fn plaintext(mut self) -> Self {
        self.tls = None;
        self
    }

    /// Replaces every `[[identity]]`.
    pub fn identities(mut self, text: &str) -> Self {
        self.identities = text.to_owned();
        self
    }

    /// Replaces the ACL file.
    pub fn users(mut self, text: &str) -> Self {
        self.users = text.to_owned();
        self
    }

    /// One more file beside the configuration.
    pub fn file(mut self, name: &str, content: &str) -> Self {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// More tables at the end of the file.
    pub fn section(mut self, text: &str) -> Self {
        self.extra.push_str(text);
        self.extra.push('\n');
        self
    }

    /// The test expects log lines of level ERROR that contain this.
    pub fn allow_error(mut self, text: &str) -> Self {
        self.allowed.push(text.to_owned());
        self
    }

    /// The proxy has started when it accepts, though nobody is answered.
    pub fn ready_when_listening(mut self) -> Self {
        self.ready = Ready::Listens;
        self
    }

    /// How many files the process may have open.
    pub fn open_files(mut self, count: u64) -> Self {
        self.before.push_str(&format!("ulimit -n {count} && "));
        self
    }

    /// Certificates of its own.
    pub fn certs(mut self, certs: &'static Certs) -> Self {
        self.certs = certs;
        self
    }

    /// A shell command that is run before it, where the configuration is.
    pub fn before(mut self, text: &str) -> Self {
        self.before.push_str(&format!("{text} && "));
        self
    }

    /// It runs in there, with the machine's network and files.
    pub fn within(mut self, namespace: &Namespace) -> Self {
        self.within = namespace.enter().to_vec();
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A listening socket that the program finds as descriptor 3, under this name.
    pub fn inherits(mut self, socket: impl Into<OwnedFd>, name: &str) -> Self {
        self.stdin = Some(Arc::new(socket.into()));
        self.before.push_str(&format!(
            "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES='{name}' && exec 3<&0 0</dev/null && "
        ));
        self
    }

    /// Writes the files into `dir` and returns the configuration's path.
    pub fn write(&self, dir: &Path, port: u16) -> PathBuf {
        let mut binds = vec![format!("\"127.0.0.1:{port}\"")];
        binds.extend(self.bind.iter().map(|address| format!("\"{address}\"")));
        let mut text = format!(
            "[[listener]]\nname = \"main\"\nbind = [{}]\n",
            binds.join(", ")
        );
        for line in &self.listener {
            text.push_str(&format!("{line}\n"));
        }
        if !self
            .listener
            .iter()
            .any(|line| line.starts_with("max_connections ="))
        {
            // The default is more than a usual limit of open files allows.
            text.push_str("max_connections = 400\n");
        }
        if let Some(lines) = &self.tls {
            text.push_str("\n[listener.tls]\n");
            text.push_str(&self.certificate_lines());
            for line in lines {
                text.push_str(&format!("{line}\n"));
            }
        }
        for (name, port, lines) in &self.others {
            text.push_str(&format!(
                "\n[[listener]]\nname = \"{name}\"\nbind = [\"127.0.0.1:{port}\"]\nmax_connections = 100\n{lines}\n"
            ));
            text.push_str(&format!(
                "[listener.tls]\n{}client_auth = \"required\"\n",
                self.certificate_lines()
            ));
        }
        text.push_str(&format!(
            "\n{}\n{}\n",
            self.upstream_tables(),
            self.identities
        ));
        text.push_str("[policy]\nacl_files = [\"users.acl\"]\n\n");
        // A test changes files one by one, and says itself when they are to be read.
        let mut extra = self.extra.clone();
        if !extra.contains("[runtime]") {
            extra.push_str("[runtime]\n");
        }
        if !extra.contains("watch_files") {
            extra = extra.replace("[runtime]\n", "[runtime]\nwatch_files = \"0s\"\n");
        }
        text.push_str(&extra);
        std::fs::write(dir.join("users.acl"), &self.users).unwrap();
        for (name, content) in &self.files {
            std::fs::write(dir.join(name), content).unwrap();
        }
        if self.own_certificates {
            for file in ["server.pem", "server.key", "ca.pem"] {
                std::fs::copy(self.certs.file(file), dir.join(file)).unwrap();
            }
        }
        let path = dir.join("respgate.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn upstream_tables(&self) -> String {
        // `make soak` has all of them so, but where the test says which it means.
        let wanted =
            std::env::var("RESPGATE_TEST_CONNECTIONS").is_ok_and(|value| value == "dedicated");
        let dedicated = self.dedicated || wanted && !self.upstreams.contains("\nconnections =");
        let mut text = String::new();
        for line in self.upstreams.lines() {
            text.push_str(&format!("{line}\n"));
            // And not that of a table inside it.
            let begins = line.starts_with("[upstream.") && line.matches('.').count() == 1;
            if begins && dedicated {
                text.push_str("connections = \"dedicated\"\n");
            }
        }
        text
    }

    fn certificate_lines(&self) -> String {
        [
            ("cert", "server.pem"),
            ("key", "server.key"),
            ("client_ca", "ca.pem"),
        ]
        .map(|(key, file)| match self.own_certificates {
            true => format!("{key} = \"{file}\"\n"),
            false => format!("{key} = \"{}\"\n", self.certs.file(file).display()),
        })
        .concat()
    }

    #[track_caller]
    pub fn start(self) -> Proxy {
        failures::remember();
        let start = Instant::now();
        loop {
            let dir = tempfile::tempdir().unwrap();
            let port = free_port();
            let config = self.write(dir.path(), port);
            match self.spawn(dir, port, &config) {
                Ok(proxy) => return proxy,
                // Another test may have taken the port.
                Err(log) if log.to_lowercase().contains("in use") && start.elapsed() < PATIENCE => {
                }
                Err(log) => panic!(
                    "the proxy does not start:\n{log}\n{}",
                    std::fs::read_to_string(&config).unwrap_or_default()
                ),
            }
        }
    }

    fn spawn(&self, dir: TempDir, port: u16, config: &Path) -> Result<Proxy, String> {
        let mut words = self.within.clone();
        if !self.before.is_empty() {
            let text = format!("{}exec \"$0\" \"$@\"", self.before);
            words.extend(["sh".to_owned(), "-c".to_owned(), text]);
        }
        words.push(env!("CARGO_BIN_EXE_respgate").to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        let stdin = match &self.stdin {
            None => Stdio::null(),
            Some(socket) => Stdio::from(socket.try_clone().unwrap()),
        };
        let mut child = command
            .arg("run")
            .arg("--config")
            .arg(config)
            .current_dir(dir.path())
            .env("NO_COLOR", "1")
            .envs(self.environment.iter().cloned())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let audit = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![
            collect(child.stderr.take().unwrap(), Arc::clone(&log)),
            collect(child.stdout.take().unwrap(), Arc::clone(&audit)),
        ];
        let mut proxy = Proxy {
            child: Some(child),
            dir,
            port,
            log,
            audit,
            readers,
            allowed: self.allowed.clone(),
            tls: self.tls.is_some(),
            certs: self.certs,
            ended: false,
        };
        let start = Instant::now();
        loop {
            let exited = proxy.child.as_mut().unwrap().try_wait().unwrap();
            if exited.is_some() || start.elapsed() > PATIENCE {
                proxy.ended = true;
                proxy.stop_now();
                let state =
                    exited.map_or("not ready in time".to_owned(), |status| status.to_string());
                return Err(format!("{state}\n{}", proxy.log_text()));
            }
            if proxy.is_ready(&self.ready) {
                return Ok(proxy);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

// === impl Proxy ===

impl Proxy {
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The default proxy in front of a server.
    #[track_caller]
    pub fn start(server: &RedisServer) -> Proxy {
        Self::builder().upstream(server).start()
    }

    fn is_ready(&self, ready: &Ready) -> bool {
        match ready {
            Ready::Listens => TestClient::tcp(self.address()).is_ok(),
            Ready::Answers(name) => {
                let client = if self.tls {
                    TestClient::tls(self.address(), self.certs.client_config(Some(name)))
                } else {
                    TestClient::tcp(self.address())
                };
                // Until the proxy knows its upstream it closes clients without a word.
                let is_served = client.is_ok_and(|mut client| {
                    client.try_send(b"*1\r\n$4\r\nPING\r\n").is_ok()
                        && client.try_read_reply().is_ok()
                });
                // The log comes by threads of its own. What was told until now is in hand then.
                is_served && self.times_ready() > 0
            }
        }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the proxy was ended").id()
    }

    /// Whether it has a thread of this name just now.
    pub fn has_thread(&self, name: &str) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        threads.flatten().any(|thread| {
            let path = thread.path().join("comm");
            std::fs::read_to_string(path).is_ok_and(|comm| comm.trim_end() == name)
        })
    }

    pub fn certs(&self) -> &'static Certs {
        self.certs
    }

    /// A client with the certificate of this name (plaintext where the listener is).
    #[track_caller]
    pub fn client(&self, name: &str) -> TestClient {
        match self.try_client(Some(name)) {
            Ok(client) => client,
            Err(error) => panic!("{name} cannot connect: {error}\n{}", self.log_text()),
        }
    }

    /// The same; `None`: without a certificate.
    pub fn try_client(&self, name: Option<&str>) -> std::io::Result<TestClient> {
        if self.tls {
            TestClient::tls(self.address(), self.certs.client_config(name))
        } else {
            TestClient::tcp(self.address())
        }
    }

    /// Every audit event so far.
    #[track_caller]
    pub fn audit(&self) -> Vec<Value> {
        let lines = self.audit.lock().unwrap();
        lines
            .iter()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("no JSON on stdout: {line}: {error}"))
            })
            .collect()
    }

    /// Waits for an audit event like this, and returns all that are.
    #[track_caller]
    pub fn audit_when(&self, like: impl Fn(&Value) -> bool) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let events: Vec<Value> = self.audit().into_iter().filter(&like).collect();
            if !events.is_empty() {
                return events;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "no such event: {:#?}",
                self.audit()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for `count` audit events of this user, and returns them.
    #[track_caller]
    pub fn audit_of(&self, user: &str, count: usize) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let events: Vec<Value> = self
                .audit()
                .into_iter()
                .filter(|event| event["user"] == user)
                .collect();
            if events.len() >= count {
                assert_eq!(
                    events.len(),
                    count,
                    "more audit events than expected: {events:#?}"
                );
                return events;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{} of {count} audit events: {events:#?}",
                events.len()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn log_text(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// How many requests of the sessions so far went over connections that others use too, and how many
    /// over one of their own. For a log of level debug, and when the clients are gone.
    #[track_caller]
    pub fn requests_by_connection(&self) -> (u64, u64) {
        // What was logged until now is in hand when this is.
        let marker = TestClient::connect_from(None, self.address()).unwrap();
        let peer = format!("peer=\"{}\"", marker.local_addr().unwrap());
        drop(marker);
        super::eventually("the log is read up to here", || {
            let log = self.log_text();
            log.lines()
                .any(|line| line.contains("gone during the handshake") && line.contains(&peer))
        });
        super::eventually("every session has ended", || {
            let log = self.log_text();
            log.matches("session opened").count() == log.matches("session closed").count()
        });
        let log = self.log_text();
        let lines = log
            .lines()
            .filter(|line| line.contains("requests by connection"));
        lines.fold((0, 0), |(shared, own), line| {
            (
                shared + log_number(line, "shared"),
                own + log_number(line, "own"),
            )
        })
    }

    /// How often it has found an upstream, of all that it has.
    pub fn times_ready(&self) -> usize {
        self.log_text().matches("the upstream is ready").count()
    }

    /// The most memory that the process ever held, bytes.
    pub fn peak_memory(&self) -> u64 {
        proc_status_bytes(self.pid(), "VmHWM:")
    }

    pub fn open_file_count(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// Sends SIGTERM.
    pub fn terminate(&mut self) {
        self.ended = true;
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("the proxy is gone");
    }

    /// Where the configuration and the ACL file lie.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces the ACL file, without a word to the proxy.
    pub fn write_users(&self, users: &str) {
        self.write_file("users.acl", users);
    }

    /// Replaces a file beside the configuration.
    pub fn write_file(&self, name: &str, content: &str) {
        std::fs::write(self.dir.path().join(name), content).unwrap();
    }

    /// The same at one blow, for a proxy that may look at it meanwhile.
    pub fn swap_file(&self, name: &str, content: &str) {
        let next = self.dir.path().join(format!(".{name}.next"));
        std::fs::write(&next, content).unwrap();
        std::fs::rename(&next, self.dir.path().join(name)).unwrap();
    }

    /// Replaces a part of the configuration, which must be there.
    #[track_caller]
    pub fn edit(&self, from: &str, to: &str) {
        let path = self.dir.path().join("respgate.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from:?} is not in:\n{text}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    }

    /// Sends SIGHUP and waits until one more log line than before has this in it.
    #[track_caller]
    pub fn reload_until(&self, text: &str) {
        let count = || self.log_text().matches(text).count();
        let before = count();
        self.signal(Signal::HUP);
        super::eventually(text, || count() > before);
    }

    /// Replaces the ACL file and waits until it is in force.
    #[track_caller]
    pub fn reload(&self, users: &str) {
        self.write_users(users);
        self.reload_until("a new generation is in force");
    }

    pub fn has_exited(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                // Its last words may be on their way yet.
                self.readers
                    .drain(..)
                    .for_each(|reader| reader.join().unwrap());
                return status;
            }
            assert!(
                start.elapsed() < 2 * PATIENCE,
                "the proxy does not end:\n{}",
                self.log_text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop_now(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }

    /// Log lines that no test may cause without saying so.
    fn unexpected_lines(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        let bad = |line: &&String| {
            (line.contains("ERROR") || line.contains("panicked"))
                && !self.allowed.iter().any(|allowed| line.contains(allowed))
        };
        log.iter().filter(bad).cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let died = !self.ended
            && self
                .child
                .as_mut()
                .is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()));
        self.stop_now();
        if std::thread::panicking() {
            eprintln!("--- the proxy's log ---\n{}", self.log_text());
            // A log may be longer than what a terminal, or a report of the run, shows.
            eprintln!("--- what had failed ---\n{}", failures::said());
            return;
        }
        let unexpected = self.unexpected_lines();
        assert!(
            unexpected.is_empty(),
            "unexpected log lines:\n{}",
            unexpected.join("\n")
        );
        assert!(!died, "the proxy died:\n{}", self.log_text());
    }
}

/// A field of a log line.
#[track_caller]
pub fn log_number(line: &str, field: &str) -> u64 {
    let prefix = format!("{field}=");
    let mut words = line.split(' ');
    let value = words.find_map(|word| word.strip_prefix(&prefix));
    value.expect("the field").parse().expect("a number")
}

/// Collects lines until the end of the stream.
fn collect(
    stream: impl std::io::Read + Send + 'static,
    into: Arc<Mutex<Vec<String>>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { break };
            into.lock()
                .unwrap()
                .push(String::from_utf8_lossy(&line).into_owned());
        }
    })
}
