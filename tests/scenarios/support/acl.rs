//! ACL commands: asked in words, and what the proxy wrote about them.

use serde_json::Value;

pub use super::ok;
use super::{Proxy, Reply, TestClient};

pub fn words(line: &str) -> Vec<&str> {
    line.split(' ').filter(|word| !word.is_empty()).collect()
}

#[track_caller]
pub fn call(client: &mut TestClient, line: &str) -> Reply {
    client.call(&words(line))
}

pub fn denied(user: &str, command: &str) -> String {
    format!("NOPERM User {user} has no permissions to run the '{command}' command")
}

/// The audit's events about changes, as `(user, reason, detail)`.
pub fn changes(proxy: &Proxy) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = proxy.audit();
    let events = events
        .iter()
        .filter(|event| event["event"] == "acl_changed");
    events
        .map(|event| {
            assert!(event["peer"].is_string() && event["session"].is_u64());
            (
                text(&event["user"]),
                text(&event["reason"]),
                text(&event["detail"]),
            )
        })
        .collect()
}

/// Everything that the proxy ever wrote.
pub fn everything(proxy: &Proxy) -> String {
    let audit: Vec<String> = proxy.audit().iter().map(ToString::to_string).collect();
    format!("{}\n{}", proxy.log_text(), audit.join("\n"))
}

/// The entries of an ACL LOG, each as names and values.
pub fn entries(log: &Reply) -> Vec<Vec<(String, Reply)>> {
    let Reply::Array(entries) = log else {
        panic!("{log:?}");
    };
    let pairs = |entry: &Reply| match entry {
        Reply::Array(fields) => fields
            .chunks(2)
            .map(|pair| (pair[0].text(), pair[1].clone()))
            .collect(),
        other => panic!("{other:?}"),
    };
    entries.iter().map(pairs).collect()
}

pub fn field(entry: &[(String, Reply)], name: &str) -> Reply {
    entry
        .iter()
        .find(|(known, _)| known == name)
        .unwrap()
        .1
        .clone()
}
