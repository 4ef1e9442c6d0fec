//! redis-py's own tests: what passes on a Redis itself passes through the proxy.

use std::path::Path;
use std::process::Command;

use super::Connections;
use crate::support::redis::fetched;
use crate::support::{Proxy, RedisServer, Version};

/// Everything is open: what fails here is not the policy's doing.
const USERS: &str = "user admin on ~* &* +@all lethal=* script=any\n";

/// The parts are what a minute has time for; `make soak` runs all on both.
#[test]
fn redis_py_s_own_tests_about_commands_pass() {
    run(Version::V7_0_15, "commands", Connections::Dedicated);
}

#[test]
fn redis_py_s_own_tests_about_publishing_pass() {
    run(Version::V8_2_3, "pubsub", Connections::Dedicated);
}

#[test]
fn redis_py_s_own_tests_about_commands_pass_on_shared_connections() {
    run(Version::V7_0_15, "commands", Connections::Shared);
}

#[test]
fn redis_py_s_own_tests_about_publishing_pass_beside_shared_connections() {
    run(Version::V8_2_3, "pubsub", Connections::Shared);
}

fn run(version: Version, part: &str, connections: Connections) {
    let all = std::env::var_os("RESPGATE_TEST_SOAK").is_some();
    let (server, direct) = (
        RedisServer::start(version, &[]),
        RedisServer::start(version, &[]),
    );
    let shares = connections == Connections::Shared;
    let lines = if shares {
        "connections = \"shared\""
    } else {
        "connections = \"dedicated\""
    };
    let proxy = Proxy::builder()
        .upstream_with(&server, lines)
        .users(USERS)
        .start();
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let output = Command::new(fetched("python-8"))
        .arg(clients.join("redis_py_own_tests.py"))
        .arg(proxy.port().to_string())
        .arg(proxy.certs().dir())
        .arg(fetched("redis-py-tests"))
        .arg(direct.address().to_string())
        .arg(if all { "all" } else { part })
        .arg(if shares { "shared" } else { "dedicated" })
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // `make soak` shows it.
    eprintln!("Redis {}: {text}", version.as_str());
}
