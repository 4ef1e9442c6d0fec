//! What the scenarios share: servers, the proxy, clients, certificates.

pub mod acl;
pub mod between;
pub mod certs;
pub mod cli;
pub mod client;
pub mod failures;
pub mod http;
pub mod namespace;
pub mod proxy;
pub mod redis;
pub mod topology;

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub use between::between;
pub use certs::Certs;
pub use client::{Reply, TestClient, command, ok, pipeline, pong};
pub use namespace::{Daemon, Namespace};
pub use proxy::{Builder, Proxy};
pub use redis::{RedisServer, Version};

/// How long anything may take that should happen at once. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A port that nobody listens on, below the range that the kernel takes for outgoing connections,
/// so only another test could take it between here and its use; start-up retries for that case.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 18_000;
    const COUNT: u16 = 14_000;
    let start = (std::process::id() % 97) as u16 * 140;
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// Asks until the answer is yes, or panics with `what` when patience runs out.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Does `load` again and again beside `play`, until that has ended, well or not.
pub fn under_load(mut load: impl FnMut() + Send, play: impl FnOnce()) {
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                load();
            }
        });
        let _end = End(&ended);
        play();
    });
}

/// A line of `/proc/PID/status` that holds a size, in bytes.
pub fn proc_status_bytes(pid: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("process is gone");
    let line = text
        .lines()
        .find(|line| line.starts_with(field))
        .unwrap_or_else(|| panic!("no {field} in /proc/{pid}/status"));
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}
