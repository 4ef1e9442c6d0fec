//! Our keys beside those of a real server: `COMMAND GETKEYSANDFLAGS` of Redis 7.0 and later.
//!
//! Runs where `RESPGATE_TEST_REDIS_7` or `RESPGATE_TEST_REDIS_8` names a redis-server.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use super::*;
use crate::command::{Resolved, Table};
use crate::resp::OwnedArgs;

/// Valid requests, one or more of every command with keys; `""` is an empty argument, `|` stands
/// between two.
const REQUESTS: &str = include_str!("requests.txt");

/// Where Redis' own key search is wrong (redis pull request 15478): up to 8.2 it looks for a keyword
/// that the command itself takes for a value. First the request, then our keys, which are those that
/// the command uses.
const WRONG_IN_REDIS: &[(&str, &[(&str, Access)])] = &[
    (
        "sort a STORE BY STORE forb",
        &[("a", Access::READ), ("forb", Access::WRITE)],
    ),
    (
        "georadius a 0 0 1 m STORE ok STORE forb",
        &[("a", Access::READ), ("forb", Access::WRITE)],
    ),
    (
        "georadiusbymember a m 1 m STORE ok STOREDIST forb",
        &[("a", Access::READ), ("forb", Access::WRITE)],
    ),
    (
        "xreadgroup NOACK GROUP g STREAMS STREAMS forb >",
        &[("forb", Access::READ)],
    ),
];

/// Has keys for us, and none for Redis' ACL; or is not in these versions.
const NOT_ASKED: &[&str] = &["debug", "stralgo", "msetex"];

/// Name and access, sorted: Redis lists the destination of some commands first.
type Found = Vec<(String, Access)>;

struct Server {
    process: Child,
    stream: BufReader<TcpStream>,
}

enum Reply {
    Text(String),
    Error(String),
    Many(Vec<Reply>),
}

#[test]
fn a_request_of_every_command_with_keys_is_listed() {
    let table = Table::builtin();
    let listed: HashSet<_> = requests()
        .map(|line| resolve(&table, line).name.to_string())
        .collect();
    for (_, command) in table.iter().filter(|(_, c)| c.keys != Keys::None) {
        let name = &*command.name;
        assert!(listed.contains(name) || NOT_ASKED.contains(&name), "{name}");
    }
    for line in requests() {
        assert!(
            !ours(&table, line).is_empty() || line.contains(" s 0"),
            "{line}"
        );
        let len = request(line).as_args().len();
        assert!(resolve(&table, line).arity_fits(len), "{line}");
    }
}

#[test]
fn the_keys_of_redis_7_are_ours() {
    compare("RESPGATE_TEST_REDIS_7");
}

#[test]
fn the_keys_of_redis_8_are_ours() {
    compare("RESPGATE_TEST_REDIS_8");
}

#[allow(clippy::print_stderr)] // A test that did not run says so.
fn compare(variable: &str) {
    let Some(binary) = std::env::var_os(variable) else {
        eprintln!("skipped: {variable} names no redis-server");
        return;
    };
    let table = Table::builtin();
    let mut server = Server::start(&binary);
    let (mut asked, mut wrong) = (0, Vec::new());
    for line in requests() {
        // None: this server does not know the command, or finds other flags than a later one.
        let Some(theirs) = server.keys_of(line) else {
            continue;
        };
        asked += 1;
        let ours = ours(&table, line);
        if ours != theirs {
            wrong.push(format!("{line}: ours {ours:?}, theirs {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(asked > 150, "only {asked} requests were known");
    for (line, expected) in WRONG_IN_REDIS {
        let expected: Found = expected
            .iter()
            .map(|(k, a)| ((*k).to_owned(), *a))
            .collect();
        assert_eq!(ours(&table, line), expected, "{line}");
        if expected.iter().any(|(_, access)| access.writes()) {
            server.run("FLUSHALL");
            server.run("RPUSH a 1");
            if line.starts_with("geo") {
                server.run("DEL a");
                server.run("GEOADD a 0 0 m");
            }
            server.run(line);
            let exists = server.run("EXISTS forb");
            assert!(matches!(exists, Reply::Text(n) if n == "1"), "{line}");
        }
        // A server with the mistake mended agrees with us: then this line moves to the others.
        assert_ne!(server.keys_of(line), Some(expected), "{line}");
    }
}

fn requests() -> impl Iterator<Item = &'static str> {
    REQUESTS
        .lines()
        .flat_map(|line| line.split('|'))
        .filter(|line| !line.is_empty())
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
        .map(|word| if word == "\"\"" { "" } else { word })
}

fn request(line: &str) -> OwnedArgs {
    words(line).collect()
}

fn resolve<'t>(table: &'t Table, line: &str) -> &'t Command {
    match table.resolve(&request(line).as_args()) {
        Resolved::Command(id) => table.command(id),
        other => panic!("{line}: {other:?}"),
    }
}

fn ours(table: &Table, line: &str) -> Found {
    let mut found = Found::new();
    let result = touches(
        resolve(table, line),
        &request(line).as_args(),
        &mut |touch| {
            if let Touch::Key { name, access, .. } = touch {
                found.push((String::from_utf8_lossy(name).into_owned(), access));
            }
            ControlFlow::Continue(())
        },
    );
    assert_eq!(result, Ok(()), "{line}");
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

// === impl Server ===

impl Server {
    fn start(binary: &std::ffi::OsStr) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Process::new(binary)
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stream = (0..100)
            .find_map(|_| {
                std::thread::sleep(Duration::from_millis(50));
                TcpStream::connect(("127.0.0.1", port)).ok()
            })
            .expect("the server listens within five seconds");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self {
            process,
            stream: BufReader::new(stream),
        }
    }

    fn keys_of(&mut self, line: &str) -> Option<Found> {
        let mut found: Found = match self.run(&format!("COMMAND GETKEYSANDFLAGS {line}")) {
            Reply::Many(keys) => keys.iter().map(Reply::key).collect(),
            Reply::Error(text) if text.contains("no key arguments") => Found::new(),
            Reply::Error(text) if text.contains("Invalid command specified") => return None,
            Reply::Error(text) | Reply::Text(text) => panic!("{line}: {text}"),
        };
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Some(found)
    }

    fn run(&mut self, line: &str) -> Reply {
        let mut out = format!("*{}\r\n", words(line).count());
        for word in words(line) {
            out += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.get_mut().write_all(out.as_bytes()).unwrap();
        self.reply()
    }

    fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "+" | ":" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            "*" => Reply::Many((0..rest.parse().unwrap()).map(|_| self.reply()).collect()),
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.stream.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Text(String::from_utf8(bytes).unwrap())
            }
            _ => panic!("{line:?}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A failure leaves a process behind, and has no better place to be told.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// === impl Reply ===

impl Reply {
    fn key(&self) -> (String, Access) {
        let Self::Many(pair) = self else { panic!() };
        let [Self::Text(name), Self::Many(flags)] = pair.as_slice() else {
            panic!()
        };
        let access = flags.iter().fold(Access::NONE, |access, flag| {
            let Self::Text(flag) = flag else { panic!() };
            access
                | match &**flag {
                    "access" => Access::READ,
                    "insert" | "update" | "delete" => Access::WRITE,
                    _ => Access::NONE,
                }
        });
        (name.clone(), access)
    }
}
