//! Clients that are programs of their own: `tests/clients/matrix.py` says how they tell what they saw.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Connections, Place, Seen};
use crate::support::redis::fetched;

pub fn python(place: &Place, venv: &str, args: &[&str]) -> Seen {
    let mut command = Command::new(fetched(venv));
    command
        .arg(clients().join("matrix_redis_py.py"))
        .args(address(place))
        .args(args);
    run(place, command)
}

pub fn node(place: &Place, script: &str, args: &[&str]) -> Seen {
    let mut command = Command::new(fetched("node"));
    command
        .env("NODE_PATH", fetched("node-clients").join("node_modules"))
        .arg(clients().join("node").join(script))
        .args(address(place))
        .args(args);
    run(place, command)
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn address(place: &Place) -> [String; 3] {
    [
        place.proxy.port().to_string(),
        place.proxy.certs().dir().display().to_string(),
        place.upstream(),
    ]
}

/// Runs a program to its end, and reads what it says of its checks.
fn run(place: &Place, mut command: Command) -> Seen {
    if place.connections == Connections::Shared {
        command.env("MATRIX_SHARED", "1");
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut errors = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = errors.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut input = child.stdin.take().unwrap();
    let mut seen = Seen::default();
    let mut output = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "restart" {
            place.restart();
            let _ = input.write_all(b"done\n");
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "library" => rest.clone_into(&mut seen.library),
            "pass" => seen.passed.push(rest.to_owned()),
            "none" => seen.none.push(rest.to_owned()),
            "lacks" => {
                let (check, why) = rest.split_once(": ").unwrap();
                seen.lacks.push((check.to_owned(), why.to_owned()));
            }
            _ => {
                output.push_str(&line);
                output.push('\n');
            }
        }
    }
    let status = child.wait().unwrap();
    let errors = errors.join().unwrap();
    assert!(
        status.success() && output.ends_with("passed\n"),
        "{command:?}: {status}\n{output}\n{errors}"
    );
    seen
}
