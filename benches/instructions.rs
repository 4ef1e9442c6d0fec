//! Instructions an operation, counted by callgrind: what a noisy machine can't hide.
//!
//! `make instructions` prints them beside those of `benches/instructions.txt`, and `UPDATE=1` writes
//! that file. They depend on the compiler and a little on the C library, which chooses its memcpy by
//! the processor; nothing is asserted. Where there is no valgrind, nothing is counted.
//!
//! This program runs itself under callgrind, which counts while [`counted`] runs and writes a file
//! whenever [`workload_ended`] is called. `callgrind_annotate` tells where the instructions of such a
//! file went.

#![expect(clippy::print_stdout, reason = "the table is what a bench is for")]

#[path = "support/session.rs"]
mod session;
#[allow(dead_code, reason = "nothing is timed here")]
mod support;

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, io};

use respgate::resp::{Limits, ReplyScanner, RequestScanner, Scan};

use session::{Client, drain, feed, patterns, rules, verdict_of};
use support::request;

const KEY: &[u8] = b"user:1000:cart";
const VALUE: &[u8] = &[b'v'; 64];

/// What an application is given: categories and a prefix.
const USER: &str = "+@read +@write +@connection +@transaction -@dangerous ~user:*";

/// Until buffers and lists have their size.
const WARM_UP: u32 = 100;
/// The same happens each time; many make what a buffer's turn costs an average.
const TIMES: u32 = 1000;

/// More than this, in percent, is marked.
const TELLS: f64 = 5.0;

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

fn main() -> io::Result<()> {
    let said = |word: &str| env::args().any(|arg| arg == word);
    if said("--workloads") {
        Workloads::run(WARM_UP, TIMES);
        return Ok(());
    }
    // All of them once, to see that they work; this tells their names, too.
    let workloads = Workloads::run(0, 1);
    if !said("--bench") {
        return Ok(());
    }
    let valgrind = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !valgrind.is_ok_and(|status| status.success()) {
        println!("\ninstructions are not counted: there is no valgrind (apt-get install valgrind)");
        return Ok(());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    let counts = workloads.count(&folder)?;
    let baseline = fs::read_to_string(BASELINE)?;
    println!(
        "\n{:52}{:>10}{:>10}",
        "instructions an operation", "now", "baseline"
    );
    for (name, count) in &counts {
        println!("{}", line(name, *count, known(&baseline, name)));
    }
    println!("callgrind_annotate tells where: {}/", folder.display());
    let compiler = compiler();
    if said("--update") {
        return update(&counts, &compiler);
    }
    if !baseline.contains(&compiler) {
        println!("another compiler than the baseline's: {compiler}");
    }
    Ok(())
}

/// What callgrind looks at.
#[inline(never)]
fn counted(operation: &mut dyn FnMut()) {
    operation();
    black_box(());
}

/// Callgrind writes down what it has counted, and begins again.
#[inline(never)]
fn workload_ended(name: &'static str) {
    black_box(name);
}

/// What is run and counted, one after the other.
struct Workloads {
    warm_up: u32,
    times: u32,
    /// Each with how many operations one call of it is.
    ended: Vec<(&'static str, u32)>,
}

// === impl Workloads ===

impl Workloads {
    fn run(warm_up: u32, times: u32) -> Self {
        let mut workloads = Self {
            warm_up,
            times,
            ended: Vec::new(),
        };
        workloads.add("nothing: the harness alone", 1, || counted(&mut || {}));
        scanning(&mut workloads);
        deciding(&mut workloads);
        receiving(&mut workloads);
        answering(&mut workloads);
        workloads
    }

    /// `call` calls [`counted`] once.
    fn add(&mut self, name: &'static str, operations: u32, mut call: impl FnMut()) {
        (0..self.warm_up).for_each(|_| call());
        workload_ended("warm-up");
        (0..self.times).for_each(|_| call());
        workload_ended(name);
        self.ended.push((name, operations));
    }

    /// Instructions an operation of each, by a run of this very program under callgrind, whose files
    /// stay in `folder`.
    fn count(self, folder: &Path) -> io::Result<Vec<(&'static str, f64)>> {
        // Those of a run before would be taken for ours.
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let out = folder.join("callgrind");
        let log = folder.join("log");
        let done = Command::new("valgrind")
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(format!("--log-file={}", log.display()))
            .arg("--collect-atstart=no")
            .arg("--toggle-collect=instructions::counted")
            .arg("--dump-before=instructions::workload_ended")
            .arg(env::current_exe()?)
            .arg("--workloads")
            .status()?;
        if !done.success() {
            return Err(io::Error::other(fs::read_to_string(log)?));
        }
        let calls = f64::from(TIMES);
        let count = |(at, (name, operations)): (usize, (&'static str, u32))| {
            // Numbered from 1, and each workload's is behind that of its warm-up.
            let dump = folder.join(format!("callgrind.{}", 2 * at + 2));
            let total = total(&fs::read_to_string(&dump)?);
            let total = total.ok_or_else(|| io::Error::other(format!("no total: {dump:?}")))?;
            Ok((name, total / calls / f64::from(operations)))
        };
        self.ended.into_iter().enumerate().map(count).collect()
    }
}

/// The reading of requests; nothing is judged.
fn scanning(workloads: &mut Workloads) {
    let keys: Vec<String> = (0..10).map(|n| format!("user:{n}:cart")).collect();
    let mut mget = vec![&b"MGET"[..]];
    mget.extend(keys.iter().map(String::as_bytes));
    let get = request(&[b"GET", KEY]);
    let set = request(&[b"SET", KEY, VALUE]);
    let pipeline = [get.as_slice(), &set].concat().repeat(8);
    for (name, operations, bytes) in [
        ("scan: GET", 1, &get),
        ("scan: SET of 64 B", 1, &set),
        ("scan: MGET of 10", 1, &request(&mget)),
        ("scan: a pipeline of 16, a request", 16, &pipeline),
    ] {
        let mut scanner = RequestScanner::new(Limits::default());
        workloads.add(name, operations, || {
            counted(&mut || {
                let mut rest = black_box(bytes.as_slice());
                while scanner.scan(rest) == Ok(Scan::Request) {
                    black_box(scanner.args(rest));
                    rest = &rest[scanner.consumed()..];
                    scanner.reset();
                }
                assert!(rest.is_empty());
            });
        });
    }
    let bulk = [b"$64\r\n".as_slice(), VALUE, b"\r\n"].concat();
    for (name, operations, bytes) in [
        ("scan: a reply of 64 B", 1, bulk),
        ("scan: 16 replies +OK, a reply", 16, b"+OK\r\n".repeat(16)),
        (
            "scan: a reply of 100 elements",
            1,
            [b"*100\r\n".to_vec(), b"$10\r\n0123456789\r\n".repeat(100)].concat(),
        ),
    ] {
        let mut scanner = ReplyScanner::default();
        workloads.add(name, operations, || {
            counted(&mut || {
                let mut rest = black_box(bytes.as_slice());
                while let Ok(step) = scanner.advance(rest)
                    && step.done.is_some()
                {
                    rest = &rest[step.consumed..];
                }
                assert!(rest.is_empty());
            });
        });
    }
}

/// Names, table and policy.
fn deciding(workloads: &mut Workloads) {
    let set = request(&[b"SET", KEY, VALUE]);
    let config = request(&[b"CONFIG", b"GET", b"maxmemory"]);
    let many = format!("+@all {} ~user:*", patterns("app"));
    let selectors = "+@read ~user:* (+@write ~app:*) (+set ~user:*)";
    for (name, user, bytes, allowed) in [
        ("decide: SET, all keys", "+@all ~*", &set, true),
        ("decide: SET, categories and a prefix", USER, &set, true),
        ("decide: SET, the last of 100 patterns", &many, &set, true),
        (
            "decide: SET, the last of 3 selectors",
            selectors,
            &set,
            true,
        ),
        ("decide: CONFIG GET, refused", USER, &config, false),
    ] {
        let mut verdict = verdict_of(rules(user), "app", bytes, allowed);
        workloads.add(name, 1, || {
            counted(&mut || {
                black_box(verdict());
            });
        });
    }
}

/// From the client's bytes to the upstream's.
fn receiving(workloads: &mut Workloads) {
    let get = request(&[b"GET", KEY]);
    let set = request(&[b"SET", KEY, VALUE]);
    let pipeline = [get.as_slice(), &set].concat().repeat(8);
    let (multi, exec) = (request(&[b"MULTI"]), request(&[b"EXEC"]));
    let transaction = [multi.as_slice(), &set, &get, &exec].concat();
    for (name, operations, bytes, replies) in [
        ("receive: GET", 1, &get, "$-1\r\n".to_owned()),
        ("receive: SET of 64 B", 1, &set, "+OK\r\n".to_owned()),
        (
            "receive: a pipeline of 16, a request",
            16,
            &pipeline,
            "$-1\r\n+OK\r\n".repeat(8),
        ),
        (
            "receive: MULTI, SET, GET, EXEC, a request",
            4,
            &transaction,
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n$-1\r\n".to_owned(),
        ),
    ] {
        let mut client = Client::new(USER);
        workloads.add(name, operations, || {
            feed(&mut client.up, bytes);
            counted(&mut || client.receive());
            drain(&mut client.up, bytes.len());
            feed(&mut client.down, replies.as_bytes());
            client.answer();
            drain(&mut client.down, replies.len());
        });
    }
    let mut client = Client::new(USER);
    let refused = request(&[b"FLUSHALL"]);
    workloads.add("receive: FLUSHALL, refused", 1, || {
        feed(&mut client.up, &refused);
        counted(&mut || client.receive());
        drain(&mut client.up, 0);
        client.answer();
        assert!(client.down.writable().starts_with(b"-NOPERM"));
        let len = client.down.waiting();
        drain(&mut client.down, len);
    });
}

/// From the upstream's bytes to the client's.
fn answering(workloads: &mut Workloads) {
    let get = request(&[b"GET", KEY]);
    let bulk = [b"$64\r\n".as_slice(), VALUE, b"\r\n"].concat();
    let both = [bulk.as_slice(), b"+OK\r\n"].concat();
    for (name, operations, replies) in [
        ("answer: 64 B", 1, bulk),
        ("answer: +OK", 1, b"+OK\r\n".to_vec()),
        ("answer: a pipeline of 16, a reply", 16, both.repeat(8)),
    ] {
        let mut client = Client::new(USER);
        let requests = get.repeat(operations as usize);
        workloads.add(name, operations, || {
            feed(&mut client.up, &requests);
            client.receive();
            drain(&mut client.up, requests.len());
            feed(&mut client.down, &replies);
            counted(&mut || client.answer());
            drain(&mut client.down, replies.len());
        });
    }
}

/// What a file of callgrind's says was counted in all.
fn total(dump: &str) -> Option<f64> {
    let total = |line: &str| line.strip_prefix("totals:")?.trim().parse().ok();
    dump.lines().find_map(total)
}

/// What the baseline has for a workload.
fn known(baseline: &str, name: &str) -> Option<f64> {
    let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    baseline.lines().find_map(value)
}

fn line(name: &str, count: f64, known: Option<f64>) -> String {
    let Some(known) = known else {
        return format!("{name:52}{count:10.1}{:>10}", "new");
    };
    let percent = (count / known - 1.0) * 100.0;
    let mark = if percent > TELLS { "  <-- grew" } else { "" };
    format!("{name:52}{count:10.1}{known:10.1}{percent:+8.1} %{mark}")
}

fn compiler() -> String {
    let asked = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()))
        .arg("--version")
        .output();
    let version = asked.map_or_else(
        |_| "an unknown rustc".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    format!("{version}, {}", env::consts::ARCH)
}

fn update(counts: &[(&str, f64)], compiler: &str) -> io::Result<()> {
    let lines = counts
        .iter()
        .map(|(name, count)| format!("{name:52}{count:10.1}\n"));
    let head = format!(
        "# Instructions an operation, as `make instructions UPDATE=1` has counted them.\n# {compiler}\n"
    );
    fs::write(BASELINE, head + &lines.collect::<String>())
}
