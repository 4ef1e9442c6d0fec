//! The whole path: redis-benchmark over mutual TLS, through respgate with a policy in front of a
//! plaintext Redis, beside the same Redis' own TLS, and beside no TLS at all.
//!
//! The candidates take turns within one run, so a busy machine is busy for all of them. The table
//! gives operations a second and their ratio to Redis' own TLS; only the ratio carries over to other
//! machines. Nothing is asserted about time.
//!
//! Needs Redis 7 and redis-benchmark, which `make bench` fetches.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that can't start its servers has nothing to say"
)]
#![allow(clippy::print_stdout, reason = "the table is what a bench is for")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Turns of each candidate; the median of them counts.
const ROUNDS: usize = 5;

const USERS: &str = "user bench on nopass ~key:* +@read +@write +@fast -@dangerous +ping\n";

/// One way to load a server: name, clients, pipeline, size of values, requests. (No large values:
/// over TLS redis-benchmark itself spends 40 ms on each, whatever serves it.)
const LOADS: &[(&str, u32, u32, u32, u32)] = &[
    ("50 clients, no pipeline", 50, 1, 64, 50_000),
    ("50 clients, pipeline 16", 50, 16, 64, 400_000),
    ("8 clients, pipeline 64", 8, 64, 64, 600_000),
    ("500 clients, no pipeline", 500, 1, 64, 50_000),
];

struct Process(Child);

struct Candidate {
    name: &'static str,
    port: u16,
    tls: bool,
    processes: Vec<u32>,
    rates: Vec<f64>,
    /// CPU microseconds an operation, of all its processes.
    costs: Vec<f64>,
}

// === impl Process ===

impl Process {
    fn start(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    // `cargo test` runs benches too, to see that they still start; measuring is not its business.
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("relay: not measured: run it with cargo bench");
        return;
    }
    let Some((redis, benchmark)) = servers() else {
        println!("relay: not measured: Redis 7 and redis-benchmark are missing: run make bench");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    let respgate = env!("CARGO_BIN_EXE_respgate");
    let made = Command::new(respgate)
        .args(["certs", "--client", "bench", "--out"])
        .arg(&certs)
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success());

    let (plain, own_tls, gate) = (free_port(), free_port(), free_port());
    let cert = |name: &str| certs.join(name).display().to_string();
    let server = Process::start(Command::new(&redis).args([
        "--port",
        &plain.to_string(),
        "--tls-port",
        &own_tls.to_string(),
        "--save",
        "",
        "--tls-cert-file",
        &cert("server.pem"),
        "--tls-key-file",
        &cert("server.key"),
        "--tls-ca-cert-file",
        &cert("ca.pem"),
    ]));
    let config = dir.path().join("respgate.toml");
    fs::write(dir.path().join("users.acl"), USERS).unwrap();
    fs::write(&config, configuration(gate, plain)).unwrap();
    wait_for(plain);
    let proxy = Process::start(
        Command::new(respgate)
            .args(["run", "--config"])
            .arg(&config),
    );
    wait_for(gate);
    sleep(Duration::from_millis(500));

    println!("\nwhole path: SET and GET in turns, {ROUNDS} rounds, median\n");
    for &(load, clients, pipeline, size, requests) in LOADS {
        let candidate = |name, port, tls, processes: &[u32]| Candidate {
            name,
            port,
            tls,
            processes: processes.to_vec(),
            rates: Vec::new(),
            costs: Vec::new(),
        };
        let mut candidates = [
            candidate("Redis' own TLS", own_tls, true, &[server.id()]),
            candidate(
                "respgate, mutual TLS, policy on",
                gate,
                true,
                &[server.id(), proxy.id()],
            ),
            candidate("plain Redis, no TLS", plain, false, &[server.id()]),
        ];
        for _ in 0..ROUNDS {
            for one in &mut candidates {
                let before = cpu_time(&one.processes);
                let mut command = Command::new(&benchmark);
                command.args(["-t", "set,get", "--csv", "-r", "10000"]);
                for (flag, value) in [
                    ("-c", clients),
                    ("-P", pipeline),
                    ("-d", size),
                    ("-n", requests),
                ] {
                    command.args([flag, &value.to_string()]);
                }
                command.args(["-p", &one.port.to_string()]);
                if one.tls {
                    command.args(["--tls", "--cacert", &cert("ca.pem"), "--cert"]);
                    command.args([&cert("bench.pem"), "--key", &cert("bench.key")]);
                }
                let output = command.output().unwrap();
                one.rates
                    .push(rate(&String::from_utf8_lossy(&output.stdout)));
                let spent = cpu_time(&one.processes) - before;
                one.costs.push(spent / f64::from(requests * 2) * 1e6);
            }
        }
        let base = median(&mut candidates[0].rates);
        println!("{load}");
        for one in &mut candidates {
            let (rate, cost) = (median(&mut one.rates), median(&mut one.costs));
            let ratio = rate / base;
            println!(
                "  {:<34}{rate:>10.0} op/s  {ratio:>5.2} ×  {cost:>6.2} µs CPU/op",
                one.name
            );
        }
        println!();
    }
}

fn configuration(port: u16, upstream: u16) -> String {
    format!(
        "[[listener]]\nname = \"main\"\nbind = [\"127.0.0.1:{port}\"]\nmax_connections = 1000\n\
         [listener.tls]\ncert = \"certs/server.pem\"\nkey = \"certs/server.key\"\n\
         client_ca = \"certs/ca.pem\"\n[upstream.main]\naddress = \"127.0.0.1:{upstream}\"\n\
         [[identity]]\nmatch = {{ cn = \"bench\" }}\nuser = \"bench\"\n\
         [policy]\nacl_files = [\"users.acl\"]\n"
    )
}

/// The paths of Redis 7 and redis-benchmark, where the tests' servers are.
fn servers() -> Option<(PathBuf, PathBuf)> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers");
    let folder = std::env::var_os("RESPGATE_SERVERS").map_or(target, PathBuf::from);
    let list: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("servers.json")).ok()?).ok()?;
    let path = |name: &str| list[name]["path"].as_str().map(PathBuf::from);
    Some((path("7.0.15")?, path("benchmark")?))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn wait_for(port: u16) {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "nobody listens on {port}"
        );
        sleep(Duration::from_millis(20));
    }
}

/// CPU seconds that these processes have used, from /proc. (Fields 14 and 15, in ticks of 10 ms.)
fn cpu_time(processes: &[u32]) -> f64 {
    let ticks = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let field = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
        field(11).unwrap_or(0.0) + field(12).unwrap_or(0.0)
    };
    processes.iter().map(ticks).sum::<f64>() / 100.0
}

/// Operations a second of a SET and GET run: the two together, each as many.
fn rate(csv: &str) -> f64 {
    let seconds: f64 = csv
        .lines()
        .skip(1)
        .filter_map(|line| line.split("\",\"").nth(1)?.parse::<f64>().ok())
        .map(|rate| 1.0 / rate)
        .sum();
    assert!(seconds > 0.0, "redis-benchmark says: {csv}");
    2.0 / seconds
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
