//! Imports run one way: what each module may name of the others, and which crates only one module
//! may name.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't read the sources has failed"
)]
#![allow(clippy::panic, reason = "that is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and the modules that it may import. Nothing is allowed that isn't here.
const ALLOWED: &[(&str, &[&str])] = &[
    ("resp", &[]),
    ("command", &["resp"]),
    ("identity", &[]),
    ("policy", &["command", "resp"]),
    ("rewrite", &["command", "resp"]),
    (
        "session",
        &["command", "identity", "policy", "resp", "rewrite"],
    ),
    ("config", &["command", "identity"]),
    ("telemetry", &["config"]),
    ("net", &["config"]),
    ("tls", &["config", "identity"]),
    (
        "proxy",
        &[
            "command",
            "config",
            "identity",
            "net",
            "policy",
            "resp",
            "rewrite",
            "session",
            "telemetry",
            "tls",
        ],
    ),
    ("admin", &["config", "net", "proxy", "telemetry"]),
    (
        "app",
        &[
            "admin",
            "command",
            "config",
            "identity",
            "net",
            "policy",
            "proxy",
            "resp",
            "rewrite",
            "session",
            "telemetry",
            "tls",
        ],
    ),
    ("demo", &["resp", "tls"]),
    (
        "cli",
        &[
            "admin", "app", "config", "demo", "policy", "resp", "session", "tls",
        ],
    ),
    ("main", &["cli"]),
];

/// Crates that only one module may name, so that they can be exchanged in one place.
const OWNED: &[(&str, &str)] = &[
    ("rustls", "tls"),
    ("tokio_rustls", "tls"),
    ("rustls_native_certs", "tls"),
    ("webpki", "tls"),
    ("x509_parser", "tls"),
    ("rcgen", "tls"),
    ("redis_protocol", "resp"),
    ("clap", "cli"),
    ("landlock", "app"),
    ("nix", "app"),
    ("sd_notify", "app"),
    ("sd_listen_fds", "net"),
    ("hyper", "admin"),
    ("hyper_util", "admin"),
    ("prometheus_client", "telemetry"),
];

/// The core takes bytes and time and returns values.
const SANS_IO: &[&str] = &[
    "resp", "command", "identity", "policy", "rewrite", "session",
];

/// What a core that does no input or output has no use for.
const IMPURE: &[&str] = &[
    "tokio",
    "tracing",
    "std::net::Tcp",
    "std::fs",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "static mut",
    "OnceLock",
    "LazyLock",
    "thread_local",
];

/// Every source file with the module that it belongs to, without its comments and unit tests.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let is_test = ["tests", "fixtures", "oracle", "properties"]
                .iter()
                .any(|word| inside.contains(word));
            if !inside.ends_with(".rs") || is_test || inside == "lib.rs" {
                continue;
            }
            let module = inside.split(['/', '.']).next().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code: Vec<&str> = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect();
            found.push((module, path, code.join("\n")));
        }
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

/// The modules that a text names through `crate::`.
fn imports(text: &str) -> Vec<String> {
    text.match_indices("crate::")
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .map(|(at, path)| {
            let rest = &text[at + path.len()..];
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}

#[test]
fn imports_run_one_way() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (module, path, text) in sources() {
        let may = allowed
            .get(&*module)
            .unwrap_or_else(|| panic!("{module} has no row in the table"));
        for import in imports(&text) {
            seen += 1;
            if import != module && !may.contains(&&*import) {
                wrong.push(format!(
                    "{}: {module} must not import {import}",
                    path.display()
                ));
            }
        }
    }
    assert!(seen > 50, "no imports were found: the test sees nothing");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    let mut done: Vec<&str> = Vec::new();
    while done.len() < ALLOWED.len() {
        let next = ALLOWED.iter().find(|(module, imports)| {
            !done.contains(module) && imports.iter().all(|import| done.contains(import))
        });
        let (module, _) = next.expect("the rest of the table imports itself");
        done.push(module);
    }
}

#[test]
fn some_crates_are_named_in_one_module_only() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        for (name, owner) in OWNED {
            let named = text.contains(&format!("use {name}"))
                || text.match_indices(&format!("{name}::")).any(|(at, _)| {
                    // Not the end of another name: `unix::` is no `nix::`.
                    let before = text[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                });
            if named && module != *owner {
                wrong.push(format!("{}: only {owner} may name {name}", path.display()));
            }
        }
        // The module `config` has the name of the crate that it alone reads with.
        if module != "config" && text.contains("::config::Config::builder") {
            wrong.push(format!(
                "{}: only config may name the crate config",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_core_does_no_input_or_output() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        if !SANS_IO.contains(&&*module) {
            continue;
        }
        for word in IMPURE.iter().filter(|word| text.contains(**word)) {
            wrong.push(format!("{}: the core must not name {word}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names under `[dependencies]` and `[dev-dependencies]`.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut is_wanted = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_wanted = matches!(line, "[dependencies]" | "[dev-dependencies]");
        } else if is_wanted && let Some((name, _)) = line.split_once(" = ") {
            names.insert(name.to_owned());
        }
    }
    names
}

#[test]
fn every_crate_stands_in_the_readme_with_its_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let readme = read("README.md");
    let (_, table) = readme.split_once("| crate | why |\n").unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let named: BTreeSet<String> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split([',', ' ']))
        // What stands between names; the provider comes with a feature of tokio-rustls.
        .filter(|word| !["", "with", "aws-lc-rs", "(none)"].contains(word))
        .map(str::to_owned)
        .collect();
    let used = dependencies(&read("Cargo.toml"));
    assert!(used.len() > 20, "Cargo.toml was not read: {used:?}");
    let missing: Vec<_> = used.difference(&named).collect();
    let unused: Vec<_> = named.difference(&used).collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
    assert!(unused.is_empty(), "not in Cargo.toml: {unused:?}");
}
