//! A service among others: the service manager, inherited sockets, dropped privileges, Landlock, and
//! the end.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::cli::respgate;
use crate::support::http::ask;
use crate::support::{
    Builder, Certs, PATIENCE, Proxy, RedisServer, Reply, TestClient, Version, command, eventually,
    free_port,
};

/// What systemd is to a service: a socket that hears.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        // A process of another user writes to it, too.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let everyone = fs::Permissions::from_mode(0o777);
        fs::set_permissions(dir.path().join("notify"), everyone).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, dir }
    }

    fn of(&self, builder: Builder) -> Builder {
        let path = self.dir.path().join("notify");
        builder.env("NOTIFY_SOCKET", path.to_str().unwrap())
    }

    /// The next thing that it is told, but for pings.
    #[track_caller]
    fn told(&self) -> String {
        let mut buffer = [0; 4096];
        loop {
            let len = self.socket.recv(&mut buffer).expect("nothing is told");
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if text != "WATCHDOG=1\n" {
                return text;
            }
        }
    }

    /// What is told already.
    fn all_told(&self) -> String {
        self.socket.set_nonblocking(true).unwrap();
        let mut all = String::new();
        let mut buffer = [0; 4096];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            all.push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
        self.socket.set_nonblocking(false).unwrap();
        all
    }
}

/// Starts what must not start; what it says.
#[track_caller]
fn refused(builder: Builder) -> String {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(builder.start())));
    *result
        .expect_err("it started")
        .downcast::<String>()
        .unwrap()
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can become another user");
    }
    is_root
}

#[track_caller]
fn ping(address: SocketAddr, proxy: &Proxy) {
    let config = proxy.certs().client_config(Some("cart"));
    let mut client = TestClient::tls(address, config).unwrap();
    assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
}

#[test]
fn the_service_manager_is_told_of_start_reload_and_end() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let manager = Manager::new();
    let builder = manager
        .of(Proxy::builder().upstream(&server))
        .allow_error("reload");
    let mut proxy = std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let first = manager.told();
            let (_, address) = first.split_once("STATUS=serving ").expect("what it serves");
            // Whoever waited for this word connects at once.
            let connected = TcpStream::connect(address.trim());
            (
                connected.map(drop).map_err(|error| error.to_string()),
                first,
            )
        });
        let proxy = builder.start();
        let (connected, first) = first.join().unwrap();
        assert_eq!(connected, Ok(()));
        assert!(first.starts_with("READY=1\n"), "{first}");
        proxy
    });

    proxy.reload("user cart on ~cart:* +@all\nuser admin on ~* +@all\nuser search on +ping\n");
    let begins = manager.told();
    let time = begins.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    let time = time.and_then(|rest| rest.lines().next()?.parse::<u64>().ok());
    assert!(time.is_some_and(|time| time > 0), "{begins}");
    assert!(manager.told().starts_with("READY=1\nSTATUS=serving\n"));

    proxy.write_users("user cart on +no-such-command\n");
    proxy.reload_until("reload failed");
    assert!(manager.told().starts_with("RELOADING=1\n"));
    let failed = manager.told();
    assert!(
        failed.starts_with("READY=1\n") && failed.contains("the last reload failed"),
        "{failed}"
    );

    proxy.terminate();
    let stopping = manager.told();
    assert!(
        stopping.starts_with("STOPPING=1\n") && stopping.contains("EXTEND_TIMEOUT_USEC=30000000"),
        "{stopping}"
    );
    assert_eq!(proxy.wait().code(), Some(0));
    assert_eq!(manager.all_told(), "");
}

#[test]
fn the_service_manager_is_told_of_a_reload_by_the_admin_address() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let manager = Manager::new();
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let section = format!("[admin]\nbind = \"{at}\"\ntoken_file = \"token\"\n");
    let builder = Proxy::builder().upstream(&server).section(&section);
    let _proxy = manager.of(builder.file("token", "horse")).start();
    assert!(manager.told().starts_with("READY=1\n"));
    let token = "Authorization: Bearer horse\r\n";
    ask(at, "POST", "/reload", token).expect(200);
    assert!(manager.told().starts_with("RELOADING=1\n"));
    assert!(manager.told().starts_with("READY=1\nSTATUS=serving\n"));
}

#[test]
fn a_start_that_fails_is_never_ready() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let manager = Manager::new();
    let builder = manager.of(Proxy::builder().upstream(&server));
    // No retry: that is for a port that another test has.
    let text = refused(builder.also_bind("unix:/nonexistent/s"));
    assert!(text.contains("unix:/nonexistent/s"), "{text}");
    assert_eq!(manager.all_told(), "");
}

/// Stops one thread of a process and holds it until its input ends.
const HOLD: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
def ptrace(request):
    if libc.ptrace(request, int(sys.argv[1]), None, None) != 0:
        print("refused:", os.strerror(ctypes.get_errno()), flush=True)
        sys.exit()
ptrace(0x4206)  # PTRACE_SEIZE
ptrace(0x4207)  # PTRACE_INTERRUPT
os.waitpid(int(sys.argv[1]), 0x40000000)  # __WALL
print("held", flush=True)
sys.stdin.read()
"#;

#[test]
fn the_watchdog_is_fed_only_while_every_worker_responds() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let manager = Manager::new();
    let proxy = manager
        .of(Proxy::builder().upstream(&server))
        .env("WATCHDOG_USEC", "1000000")
        .section("[runtime]\nworkers = 2")
        .allow_error("the watchdog isn't told any more")
        .start();
    eventually("a ping", || manager.all_told().contains("WATCHDOG=1"));

    let tasks = fs::read_dir(format!("/proc/{}/task", proxy.pid())).unwrap();
    let worker = tasks
        .map(|task| task.unwrap().path())
        .find(|task| fs::read_to_string(task.join("comm")).unwrap().trim() == "worker-1")
        .expect("a worker");
    let mut holder = Command::new("python3")
        .args(["-c", HOLD])
        .arg(worker.file_name().unwrap())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(holder.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    if line.starts_with("refused") {
        eprintln!("skipped: no thread of another process can be held here: {line}");
        holder.wait().unwrap();
        return;
    }
    assert_eq!(line, "held\n");
    eventually("it is noticed", || {
        proxy
            .log_text()
            .contains("the watchdog isn't told any more")
    });
    manager.all_told();
    // Three intervals of the watchdog, each with two pings if there were any.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(manager.all_told(), "");

    // Let go, it serves on, and says so.
    drop(holder.stdin.take());
    holder.wait().unwrap();
    eventually("a ping", || manager.all_told().contains("WATCHDOG=1"));
    ping(proxy.address(), &proxy);
}

#[test]
fn an_inherited_socket_is_served_by_its_address_and_outlives_the_process() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let builder = || {
        Proxy::builder()
            .upstream(&server)
            .also_bind(&address.to_string())
            .inherits(socket.try_clone().unwrap(), "")
    };
    let mut proxy = builder().start();
    ping(address, &proxy);
    ping(proxy.address(), &proxy);
    proxy.terminate();
    assert_eq!(proxy.wait().code(), Some(0));
    // Between two processes nobody is turned away: the socket is there, and who comes waits.
    let mut waiting = TcpStream::connect(address).unwrap();
    let _proxy = builder().start();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    waiting.write_all(b"this is no TLS").unwrap();
    let mut alert = [0];
    waiting.read_exact(&mut alert).unwrap();
    assert_eq!(alert, [0x15], "an alert of TLS");
}

#[test]
fn an_inherited_socket_is_served_by_the_name_of_a_listener() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let elsewhere = free_port();
    let proxy = Proxy::builder()
        .upstream(&server)
        .another_listener("second", elsewhere, "")
        .inherits(socket, "second")
        .start();
    ping(address, &proxy);
    let instead = SocketAddr::from(([127, 0, 0, 1], elsewhere));
    assert!(
        TcpStream::connect(instead).is_err(),
        "it is bound all the same"
    );
}

#[test]
fn an_inherited_socket_that_nobody_wants_is_an_error_with_its_address() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let text = refused(
        Proxy::builder()
            .upstream(&server)
            .inherits(socket, "no-listener"),
    );
    assert!(
        text.contains(&format!("the inherited socket {address}")) && text.contains("no-listener"),
        "{text}"
    );
    // What is no socket at all, and plaintext that would leave this host.
    let text = refused(
        Proxy::builder()
            .upstream(&server)
            .inherits(fs::File::open("/dev/null").unwrap(), ""),
    );
    assert!(text.contains("LISTEN_FDS"), "{text}");
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    let text = refused(
        Proxy::builder()
            .upstream(&server)
            .plaintext()
            .inherits(socket, "main"),
    );
    assert!(text.contains("the inherited socket 0.0.0.0:"), "{text}");
}

#[test]
fn the_file_of_an_inherited_unix_socket_is_left_alone() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let socket = UnixListener::bind(&path).unwrap();
    let mut proxy = Proxy::builder()
        .upstream(&server)
        .also_bind(&format!("unix:{}", path.display()))
        .inherits(socket, "")
        .start();
    TestClient::unix(&path).unwrap();
    proxy.terminate();
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(path.exists());
}

/// A field of `/proc/PID/task/*/status`, of each thread.
fn of_each_thread(pid: u32, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let statuses =
        tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    statuses
        .map(|status| {
            let line = status.lines().find(|line| line.starts_with(field)).unwrap();
            line.split_whitespace()
                .skip(1)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

/// Certificates of a test that lets others read them.
fn own_certs() -> &'static Certs {
    Box::leak(Box::new(Certs::new()))
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let readable = fs::Permissions::from_mode(0o644);
        fs::set_permissions(entry.unwrap().path(), readable).unwrap();
    }
}

#[test]
fn root_is_dropped_in_every_thread_and_a_reload_works_without_it() {
    if !is_root() {
        return;
    }
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[runtime]\nworkers = 2\nuser = 64001\ngroup = \"64002\"")
        .certs(own_certs())
        .before("chmod 600 users.acl")
        .allow_error("reload")
        .start();
    let pid = proxy.pid();
    ping(proxy.address(), &proxy);
    for (field, expected) in [
        ("Uid:", "64001 64001 64001 64001"),
        ("Gid:", "64002 64002 64002 64002"),
        ("Groups:", "64002"),
        ("CapPrm:", "0000000000000000"),
        ("CapEff:", "0000000000000000"),
        ("NoNewPrivs:", "1"),
    ] {
        let found = of_each_thread(pid, field);
        assert!(found.len() >= 5, "{found:?}");
        assert!(
            found.iter().all(|value| value == expected),
            "{field} {found:?}"
        );
    }
    assert!(proxy.log_text().contains("privileges are dropped"));
    // The file is root's alone.
    let log = proxy.log_text();
    let warned = |line: &str| {
        line.contains("users.acl: can't be read") && line.contains("a reload will fail")
    };
    assert!(log.lines().any(warned), "{log}");
    proxy.reload_until("the old generation stays in force");
    ping(proxy.address(), &proxy);
    open_to_all(proxy.directory());
    open_to_all(proxy.certs().dir());
    proxy.reload("user cart on ~* +@all\nuser admin on ~* +@all\nuser search on +ping\n");
}

#[test]
fn unix_sockets_are_those_of_the_user_that_it_becomes() {
    if !is_root() {
        return;
    }
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .also_bind("unix:own.sock")
        .section("[runtime]\nuser = 64001\ngroup = 64002")
        .section("[admin]\nbind = \"unix:admin.sock\"\nprobe = \"unix:probe.sock\"")
        .before("umask 007")
        .start();
    let dir = proxy.directory();
    for name in ["own.sock", "admin.sock", "probe.sock"] {
        let found = fs::metadata(dir.join(name)).unwrap();
        let found = (found.uid(), found.gid(), found.mode() & 0o777);
        assert_eq!(found, (64001, 64002, 0o770), "{name}");
    }
    // The user itself asks how it is, and who shares its group.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.join("respgate");
    fs::copy(env!("CARGO_BIN_EXE_respgate"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let configuration = dir.join("respgate.toml");
    fs::set_permissions(&configuration, fs::Permissions::from_mode(0o644)).unwrap();
    for (uid, gid) in [(64001, 64001), (64003, 64002)] {
        let mut other = Command::new(&program);
        other.args(["healthcheck", "--config"]).arg(&configuration);
        std::os::unix::process::CommandExt::uid(&mut other, uid);
        std::os::unix::process::CommandExt::gid(&mut other, gid);
        let output = other.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
fn each_file_of_an_acl_folder_and_each_script_that_the_user_cannot_read_is_warned_of() {
    if !is_root() {
        return;
    }
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let users =
        "user cart on ~cart:* +@all script=kept.lua script=open.lua\nuser admin on ~* +@all\n";
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[runtime]\nuser = 64001\ngroup = 64002")
        .certs(own_certs())
        .users(users)
        .file("kept.acl", "user search on +ping\n")
        .file("kept.lua", "return 1")
        .file("open.lua", "return 2")
        // A folder by the name of the file.
        .before("mkdir -m 755 all && mv *.acl *.lua all && mv all users.acl")
        .before("chmod 755 . && chmod 644 users.acl/* && chmod 600 users.acl/kept.*")
        .allow_error("reload")
        .start();
    let log = proxy.log_text();
    let warned: Vec<_> = ["kept.acl", "kept.lua", "open.lua", "users.acl/users.acl"]
        .into_iter()
        .filter(|name| log.contains(&format!("{name}: can't be read")))
        .collect();
    assert_eq!(warned, ["kept.acl", "kept.lua"], "{log}");
    proxy.reload_until("the old generation stays in force");
    open_to_all(&proxy.directory().join("users.acl"));
    open_to_all(proxy.certs().dir());
    let configuration = proxy.directory().join("respgate.toml");
    fs::set_permissions(configuration, fs::Permissions::from_mode(0o644)).unwrap();
    proxy.reload_until("reload: nothing has changed");
}

#[test]
fn who_is_known_by_name_gets_the_groups_that_the_system_says() {
    if !is_root() {
        return;
    }
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[runtime]\nuser = \"nobody\"")
        .start();
    let id = |option| {
        let output = Command::new("id")
            .args([option, "nobody"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (user, group, groups) = (id("-u"), id("-g"), id("-G"));
    let four = |id: String| vec![id; 4].join(" ");
    let all = |field, expected: String| {
        let found = of_each_thread(proxy.pid(), field);
        assert!(found.iter().all(|value| *value == expected), "{found:?}");
    };
    all("Uid:", four(user));
    all("Gid:", four(group));
    all("Groups:", groups);
}

#[test]
fn a_user_that_cannot_be_had_is_an_error() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let text = refused(
        Proxy::builder()
            .upstream(&server)
            .section("[runtime]\nuser = \"no-such-user\""),
    );
    assert!(text.contains("runtime.user = \"no-such-user\""), "{text}");
    if !is_root() {
        return;
    }
    // What is read at every connect must be readable for that user from the start.
    let builder = Proxy::builder()
        .upstream_with(&server, "password_file = \"secret\"")
        .file("secret", "x")
        .section("[runtime]\nuser = 64001\ngroup = 64001");
    let text = refused(builder);
    assert!(text.contains("upstream.main.password_file"), "{text}");
    // Who isn't root becomes nobody else.
    let dir = tempfile::tempdir().unwrap();
    let certs = own_certs();
    let path = Proxy::builder()
        .upstream(&server)
        .certs(certs)
        .section("[runtime]\nuser = 64001\ngroup = 64001\nlandlock = false")
        .write(dir.path(), free_port());
    open_to_all(dir.path());
    open_to_all(certs.dir());
    let program = dir.path().join("respgate");
    fs::copy(env!("CARGO_BIN_EXE_respgate"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut other = Command::new(&program);
    std::os::unix::process::CommandExt::uid(&mut other, 64003);
    let output = other.args(["run", "--config"]).arg(&path).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("only root can become user 64001"), "{text}");
    // But who is that user already may.
    let mut same = Command::new(program);
    std::os::unix::process::CommandExt::uid(&mut same, 64001);
    std::os::unix::process::CommandExt::gid(&mut same, 64001);
    same.args(["run", "--config"]).arg(&path);
    let mut child = same.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut lines = std::io::BufRead::lines(log).map(Result::unwrap);
    let serves = lines.any(|line| line.contains("respgate serves"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(serves);
}

/// Makes the kernel one without Landlock, by a filter of system calls, and becomes the program.
const WITHOUT_LANDLOCK: &str = r#"
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7FFF0000)]
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
program = Program(len(code), ctypes.addressof(text))
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
if libc.prctl(22, 2, ctypes.byref(program), 0, 0) != 0:  # PR_SET_SECCOMP
    print("no filter of system calls here", file=sys.stderr)
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// Starts a proxy and makes its ACL file a link to `target`.
fn linked(server: &RedisServer, target: &Path, change: impl Fn(Builder) -> Builder) -> Proxy {
    fs::write(target, crate::support::proxy::USERS).unwrap();
    let address = format!("address = \"localhost:{}\"", server.address().port());
    let builder = Proxy::builder()
        .upstream_named("main", &address)
        .section("[audit]\npath = \"audit.jsonl\"")
        .allow_error("reload");
    let proxy = change(builder).start();
    let link = proxy.directory().join("users.acl");
    fs::remove_file(&link).unwrap();
    symlink(target, &link).unwrap();
    proxy
}

#[test]
fn without_landlock_it_says_so_and_serves() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("users.acl");
    let without = |builder: Builder| {
        builder
            .file("without_landlock.py", WITHOUT_LANDLOCK)
            .before("exec python3 without_landlock.py \"$0\" \"$@\"")
    };
    let proxy = linked(&server, &target, without);
    if proxy.log_text().contains("no filter of system calls here") {
        eprintln!("skipped: system calls can't be filtered here");
        return;
    }
    let log = proxy.log_text();
    assert!(log.contains("WARN landlock: not available"), "{log}");
    // Not shut in, it follows the link wherever that leads.
    proxy.reload_until("reload: nothing has changed");
    let off = linked(&server, &target, |builder| {
        builder.section("[runtime]\nlandlock = false")
    });
    assert!(off.log_text().contains("landlock: off"));
    off.reload_until("reload: nothing has changed");
}

#[test]
fn landlock_lets_it_do_its_work_and_nothing_beside_it() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("users.acl");

    let proxy = linked(&server, &target, |builder| builder);
    if proxy.log_text().contains("landlock: not available") {
        eprintln!("skipped: this kernel has no Landlock");
        return;
    }
    assert!(proxy.log_text().contains("landlock: in force"));
    proxy.reload_until("reload failed");
    let log = proxy.log_text();
    assert!(
        log.contains("users.acl") && log.contains("landlock: where permissions allow it"),
        "{log}"
    );

    // Its own files are reloaded, also when they are replaced by rename; names resolve, the audit is
    // written, and users are saved.
    let own = proxy.directory().join("users.acl");
    fs::remove_file(&own).unwrap();
    proxy.reload("user cart on ~* +@all -flushall\nuser admin on ~* +@all\nuser search on +ping\n");
    let mut cart = proxy.client("cart");
    assert!(cart.call(&["FLUSHALL"]).is_error());
    let mut admin = proxy.client("admin");
    let ok = Reply::Simple("OK".into());
    assert_eq!(admin.call(&["ACL", "SETUSER", "search", "+get"]), ok);
    assert_eq!(admin.call(&["ACL", "SAVE"]), ok);
    assert!(fs::read_to_string(&own).unwrap().contains("+get"));
    let audit = proxy.directory().join("audit.jsonl");
    eventually("the audit", || {
        fs::read_to_string(&audit).is_ok_and(|text| text.contains("flushall"))
    });
}

#[test]
fn an_audit_that_is_a_link_to_what_is_not_there_yet_is_written() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("audit.jsonl");
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[audit]\npath = \"audit.jsonl\"")
        .before(&format!("ln -s '{}' audit.jsonl", target.display()))
        .start();
    assert!(proxy.client("cart").call(&["FLUSHALL"]).is_error());
    eventually("the audit", || {
        fs::read_to_string(&target).is_ok_and(|text| text.contains("flushall"))
    });
}

/// Commands that wait for a Redis that sleeps; who sent them.
fn owed(proxy: &Proxy, server: &RedisServer, seconds: &str) -> Vec<TestClient> {
    let mut clients: Vec<TestClient> = (0..8).map(|_| proxy.client("cart")).collect();
    for client in &mut clients {
        client.call(&["SET", "cart:n", "0"]);
    }
    let mut direct = server.direct();
    direct.send_args(&["DEBUG", "SLEEP", seconds]);
    std::thread::sleep(Duration::from_millis(200));
    for client in &mut clients {
        client.send(command(&["INCR", "cart:n"]).repeat(100));
    }
    // They are on their way to the Redis, and it has answered none.
    std::thread::sleep(Duration::from_millis(200));
    clients
}

#[test]
fn a_drain_finishes_what_is_owed_and_a_reload_in_it_does_no_harm() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let manager = Manager::new();
    let mut proxy = manager.of(Proxy::builder().upstream(&server)).start();
    let mut idle = proxy.client("cart");
    idle.call(&["PING"]);
    let clients = owed(&proxy, &server, "2");
    manager.all_told();
    proxy.terminate();
    assert!(manager.told().starts_with("STOPPING=1\n"));
    idle.expect_close();
    assert!(
        TestClient::tcp(proxy.address()).is_err(),
        "it still accepts"
    );
    proxy.reload_until("reload: nothing has changed");
    assert!(!proxy.has_exited());
    let mut numbers = Vec::new();
    for mut client in clients {
        for _ in 0..100 {
            let reply = client.read_reply();
            let Reply::Integer(number) = reply else {
                panic!("{reply:?}")
            };
            numbers.push(number);
        }
        client.expect_close();
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=800).collect::<Vec<_>>());
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(proxy.log_text().contains("cut=0"), "{}", proxy.log_text());
    assert!(!manager.all_told().contains("RELOADING"));
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let mut proxy = Proxy::builder()
        .upstream(&server)
        .section("[runtime]\ndrain_timeout = \"500ms\"")
        .start();
    let clients = owed(&proxy, &server, "30");
    proxy.terminate();
    assert_eq!(proxy.wait().code(), Some(0));
    let log = proxy.log_text();
    assert!(
        log.contains("deadline=500ms") && log.contains("cut=8"),
        "{log}"
    );
    drop(clients);
}

#[test]
fn a_second_signal_ends_a_drain() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let mut proxy = Proxy::builder()
        .upstream(&server)
        .section("[runtime]\ndrain_timeout = \"10m\"")
        .start();
    let clients = owed(&proxy, &server, "30");
    proxy.terminate();
    eventually("the drain", || proxy.log_text().contains("draining"));
    proxy.signal(Signal::TERM);
    let start = Instant::now();
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert!(proxy.log_text().contains("second signal"));
    drop(clients);
}

/// The values of a key in a unit file.
fn unit(name: &str) -> impl Fn(&str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config/deploy")
        .join(name);
    let text = fs::read_to_string(path).unwrap();
    move |key| {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let meant = pairs.filter(|(name, _)| *name == key);
        meant.map(|(_, value)| value.to_owned()).collect()
    }
}

#[test]
fn the_unit_file_agrees_with_the_program() {
    let service = unit("respgate.service");
    let start = service("ExecStart");
    let words: Vec<&str> = start[0].split(' ').collect();
    assert_eq!(words[0], "/usr/local/bin/respgate");
    // The file isn't there, or isn't in order, and that is all that is wrong with the words.
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("respgate.toml");
    let mut args = words[1..].to_vec();
    let at = args.iter().position(|word| word.starts_with('/')).unwrap();
    args[at] = missing.to_str().unwrap();
    let outcome = respgate(&args).expect_code(78);
    assert!(
        outcome.stderr.contains("respgate.toml: cannot be read"),
        "{outcome:#?}"
    );
    // systemd sends SIGHUP of its own accord, and waits for READY.
    assert_eq!(service("Type"), ["notify-reload"]);
    assert_eq!(service("ExecReload"), [""; 0]);
    // Longer than the drain.
    let seconds: u64 = service("TimeoutStopSec")[0].parse().unwrap();
    assert!(seconds > 25);
    // Room for the default of max_connections.
    let files: u64 = service("LimitNOFILE")[0].parse().unwrap();
    assert!(files >= 2 * 10_000 + 128);
    // The socket unit's addresses are the shipped example's, and it is for this service.
    let socket = unit("respgate.socket");
    assert_eq!(socket("Accept"), [""; 0]);
    assert!(!socket("ListenStream").is_empty());
}
