//! What the service manager is told, and what its unit files say.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Manager, ping, refused};
use crate::support::cli::respgate;
use crate::support::http::ask;
use crate::support::{Proxy, RedisServer, Version, eventually, free_port};

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
