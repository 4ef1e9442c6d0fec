//! Files that are renamed, pipes that nobody reads, disks that are full.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::proxy::USERS;
use crate::support::{
    Builder, Proxy, RedisServer, Reply, TestClient, Version, eventually, pipeline, under_load,
};

const MISCONF: &str =
    "MISCONF respgate can't write its audit, and is configured to refuse commands then";

/// What the log says once when it can't be written.
pub(super) const TOLD: &str = "the audit can't be written";

/// Requests of one write.
pub(super) const BATCH: usize = 500;

/// A proxy that writes everything to this file.
pub(super) fn builder(server: &RedisServer, path: &Path, lines: &str) -> Builder {
    let path = path.display();
    Proxy::builder().upstream(server).section(&format!(
        "[audit]\npath = \"{path}\"\ndecisions = \"all\"\nconnections = false\n{lines}\n"
    ))
}

fn make_pipe(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("audit.pipe");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

/// Opens it for reading, whether anybody writes or not.
fn reader(pipe: &Path) -> File {
    let flags = rustix::fs::OFlags::NONBLOCK;
    let nonblocking = flags.bits().cast_signed();
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(nonblocking).open(pipe);
    let file = file.unwrap();
    let now = rustix::fs::fcntl_getfl(&file).unwrap();
    rustix::fs::fcntl_setfl(&file, now - flags).unwrap();
    file
}

/// One batch of GETs; how many of them were served, and the rest was refused for the audit's sake.
#[track_caller]
pub(super) fn batch(client: &mut TestClient) -> usize {
    let requests = [&["GET", "cart:1"][..]; BATCH];
    client.send(pipeline(&requests));
    let replies = (0..BATCH).map(|_| client.read_reply());
    let served = |reply: &Reply| match reply {
        Reply::Nil => true,
        reply => {
            assert_eq!(reply.error(), MISCONF);
            false
        }
    };
    replies.filter(served).count()
}

/// What lines say: how many allow, refuse, and were dropped.
#[derive(Debug, Default)]
struct Count {
    allowed: usize,
    refused: usize,
    dropped: usize,
}

impl Count {
    fn add(&mut self, line: &str) {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        if line["event"] == "audit_dropped" {
            self.dropped += line["count"].as_u64().unwrap() as usize;
        }
        if line["user"] == "cart" {
            self.allowed += usize::from(line["verdict"] == "allow");
            self.refused += usize::from(line["verdict"] == "deny");
        }
    }
}

fn count(text: &str) -> Count {
    let mut count = Count::default();
    text.lines().for_each(|line| count.add(line));
    count
}

#[test]
fn rotation_by_rename_and_sighup_loses_no_line() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let proxy = builder(&server, &path, "").start();
    let mut client = proxy.client("cart");
    let mut served = 0;
    let load = || {
        served += batch(&mut client);
        // So that a busy machine's writer keeps up: nothing may be dropped here.
        std::thread::sleep(Duration::from_millis(100));
    };
    under_load(load, || {
        for turn in 0..5 {
            eventually("something is written", || {
                fs::metadata(&path).is_ok_and(|data| data.len() > 10_000)
            });
            fs::rename(&path, folder.path().join(format!("audit.log.{turn}"))).unwrap();
            proxy.reload_until("the audit goes on in a new file");
        }
    });
    assert!(served > 0);
    let mut text = String::new();
    eventually("every request has its line", || {
        text.clear();
        for file in fs::read_dir(folder.path()).unwrap() {
            text.push_str(&fs::read_to_string(file.unwrap().path()).unwrap());
            // The last line may be half written.
            text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        }
        text.matches("\"user\":\"cart\"").count() >= served
    });
    let count = count(&text);
    assert_eq!(count.allowed, served, "{count:?}");
    assert_eq!((count.refused, count.dropped), (0, 0));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 6);
}

#[test]
fn a_reload_between_the_rename_and_sighup_of_a_rotation_works() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let watch = "[runtime]\nwatch_files = \"50ms\"\n";
    let proxy = builder(&server, &path, watch).start();
    let mut client = proxy.client("cart");
    client.call(&["GET", "cart:1"]);
    let old = folder.path().join("audit.log.1");
    fs::rename(&path, &old).unwrap();
    proxy.swap_file("users.acl", &format!("{USERS}user late off\n"));
    eventually("the new users are in force", || {
        proxy.log_text().contains("a new generation is in force")
    });
    client.call(&["GET", "cart:2"]);
    eventually("it goes on in the old file", || {
        count(&fs::read_to_string(&old).unwrap()).allowed == 2
    });
    proxy.reload_until("the audit goes on in a new file");
    client.call(&["GET", "cart:3"]);
    eventually("it goes on in the new file", || {
        count(&fs::read_to_string(&path).unwrap()).allowed == 1
    });
}

#[test]
fn a_file_that_cannot_be_opened_anew_is_written_on() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let folder = tempfile::tempdir().unwrap();
    let (here, away) = (folder.path().join("log"), folder.path().join("old"));
    fs::create_dir(&here).unwrap();
    let proxy = builder(&server, &here.join("audit.log"), "")
        .allow_error("the audit's file can't be opened anew")
        .allow_error("reload")
        .start();
    let mut client = proxy.client("cart");
    client.call(&["GET", "cart:1"]);
    fs::rename(&here, &away).unwrap();
    proxy.reload_until("the audit's file can't be opened anew");
    client.call(&["GET", "cart:2"]);
    eventually("both are in the old one", || {
        let text = fs::read_to_string(away.join("audit.log")).unwrap();
        count(&text).allowed == 2
    });
}

#[test]
fn behind_a_pipe_that_nobody_reads_lines_are_dropped_and_counted_and_commands_go_on() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let folder = tempfile::tempdir().unwrap();
    let pipe = make_pipe(folder.path());
    let unread = reader(&pipe);
    let mut proxy = builder(&server, &pipe, "").start();
    let mut client = proxy.client("cart");
    // Some 400 bytes each, so several times what may wait.
    let sent = 40_000;
    for _ in 0..sent / BATCH {
        assert_eq!(batch(&mut client), BATCH);
    }
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        BufReader::new(unread).read_to_string(&mut text).unwrap();
        text
    });
    // Whatever waits is written before it ends.
    proxy.terminate();
    assert!(proxy.wait().success());
    let text = reading.join().unwrap();
    let count = count(&text);
    // The line of the client that looked whether it is ready has been written long before.
    assert_eq!(count.allowed + count.dropped, sent, "{count:?}");
    assert!(count.dropped > 0 && count.allowed > 1_000, "{count:?}");
}

#[test]
fn behind_a_pipe_that_nobody_reads_commands_are_refused_where_that_was_asked_for() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let folder = tempfile::tempdir().unwrap();
    let pipe = make_pipe(folder.path());
    let unread = reader(&pipe);
    let proxy = builder(&server, &pipe, "when_full = \"refuse\"").start();
    let mut client = proxy.client("cart");
    let (mut served, mut sent) = (0, 0);
    loop {
        let some = batch(&mut client);
        served += some;
        sent += BATCH;
        assert!(sent < 200_000, "never full");
        if some == 0 {
            break;
        }
    }
    // Nothing went through that has no line; who comes anew is told so, and may leave.
    let mut newcomer = proxy.client("admin");
    assert_eq!(newcomer.call(&["PING"]).error(), MISCONF);
    newcomer.send(pipeline(&[&["MULTI"], &["SET", "a", "b"], &["QUIT"]]));
    newcomer.expect(format!("-{MISCONF}\r\n-{MISCONF}\r\n+OK\r\n"));
    newcomer.expect_close();
    let (lines, taken) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        for line in BufReader::new(unread).lines() {
            let _ = lines.send(line.unwrap());
        }
    });
    eventually("it is served again", || {
        let some = batch(&mut client);
        served += some;
        sent += BATCH;
        some == BATCH
    });
    let mut count = Count::default();
    eventually("each request has its line, or is counted", || {
        taken.try_iter().for_each(|line| count.add(&line));
        count.allowed == served
    });
    drop(proxy);
    reading.join().unwrap();
    taken.try_iter().for_each(|line| count.add(&line));
    assert_eq!(count.allowed, served);
    // Of refusals there is room for many, and those for which there was none are counted. (The
    // newcomer's three are among the dropped, or not.)
    let refused = sent - served;
    let told = count.refused + count.dropped;
    assert!(
        (refused..=refused + 3).contains(&told),
        "{count:?} {refused}"
    );
}

#[test]
fn what_waits_is_written_though_a_second_signal_ends_the_drain() {
    let server = RedisServer::start(Version::V8_2_3, &["--enable-debug-command", "yes"]);
    let folder = tempfile::tempdir().unwrap();
    let pipe = make_pipe(folder.path());
    let unread = reader(&pipe);
    let mut proxy = builder(&server, &pipe, "when_full = \"refuse\"").start();
    let mut client = proxy.client("cart");
    // More than the pipe holds.
    let served: usize = (0..6).map(|_| batch(&mut client)).sum();
    assert_eq!(served, 6 * BATCH);
    // It is owed a reply, so the drain waits.
    let mut hung = server.direct();
    hung.send(pipeline(&[&["DEBUG", "SLEEP", "5"]]));
    eventually("it sleeps", || {
        let mut other = server.direct();
        other.set_patience(std::time::Duration::from_millis(200));
        other.send(pipeline(&[&["PING"]]));
        other.try_read_reply().is_err()
    });
    client.send(pipeline(&[&["GET", "cart:1"]]));
    proxy.terminate();
    eventually("the drain", || proxy.log_text().contains("draining"));
    proxy.signal(rustix::process::Signal::TERM);
    // It has two seconds for that: read first, look then.
    let mut text = String::new();
    BufReader::new(unread).read_to_string(&mut text).unwrap();
    assert_eq!(proxy.wait().code(), Some(0));
    let count = count(&text);
    assert!(count.allowed >= served, "{count:?}");
    assert_eq!(count.dropped, 0);
}

#[test]
fn on_a_full_disk_commands_go_on_and_the_log_says_so_once() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let proxy = builder(&server, Path::new("/dev/full"), "")
        .allow_error(TOLD)
        .start();
    let mut client = proxy.client("cart");
    for _ in 0..20 {
        assert_eq!(batch(&mut client), BATCH);
    }
    eventually("it is told", || proxy.log_text().contains(TOLD));
    for _ in 0..20 {
        assert_eq!(batch(&mut client), BATCH);
    }
    assert_eq!(proxy.log_text().matches(TOLD).count(), 1);
}

#[test]
fn on_a_full_disk_commands_are_refused_where_that_was_asked_for() {
    for decisions in ["all", "deny"] {
        let server = RedisServer::start(Version::V5_0_6, &[]);
        let section = format!(
            "[audit]\npath = \"/dev/full\"\ndecisions = \"{decisions}\"\nwhen_full = \"refuse\"\n"
        );
        let proxy = Proxy::builder()
            .upstream(&server)
            .section(&section)
            .allow_error(TOLD)
            .start();
        let mut client = proxy.client("cart");
        // A line has to be written for it to be noticed.
        client.call(&["FLUSHALL"]);
        eventually("it is told", || proxy.log_text().contains(TOLD));
        for line in [
            &["GET", "cart:1"][..],
            &["SET", "cart:1", "a"],
            &["PING"],
            &["AUTH", "cart-secret"],
            &["HELLO", "3"],
            &["ACL", "WHOAMI"],
        ] {
            assert_eq!(client.call(line).error(), MISCONF, "{line:?}");
        }
        let denied = "NOPERM User cart has no permissions to run the 'flushall' command";
        assert_eq!(client.call(&["FLUSHALL"]).error(), denied);
        assert_eq!(
            server.direct().call(&["EXISTS", "cart:1"]),
            Reply::Integer(0)
        );
        let mut newcomer = proxy.client("search");
        assert_eq!(newcomer.call(&["PING"]).error(), MISCONF);
    }
}

#[test]
fn a_pipe_whose_reader_has_gone_is_written_on_when_another_one_comes() {
    for (lines, is_strict) in [("", false), ("when_full = \"refuse\"", true)] {
        let server = RedisServer::start(Version::V8_2_3, &[]);
        let folder = tempfile::tempdir().unwrap();
        let pipe = make_pipe(folder.path());
        let first = reader(&pipe);
        let proxy = builder(&server, &pipe, lines).allow_error(TOLD).start();
        let mut client = proxy.client("cart");
        let mut served = usize::from(client.call(&["GET", "cart:1"]) == Reply::Nil);
        let mut first = BufReader::new(first);
        let mut line = String::new();
        while !line.contains("\"user\":\"cart\"") {
            line.clear();
            first.read_line(&mut line).unwrap();
        }
        drop(first);
        // The next line finds nobody.
        client.call(&["FLUSHALL"]);
        eventually("it is told", || proxy.log_text().contains(TOLD));
        let refused = match client.call(&["GET", "cart:1"]) {
            Reply::Nil => 0,
            reply => {
                assert_eq!(reply.error(), MISCONF);
                1
            }
        };
        assert_eq!(refused == 1, is_strict);
        served += 1 - refused;
        let mut second = BufReader::new(reader(&pipe));
        eventually("it is written again", || {
            proxy.log_text().contains("the audit is written again")
        });
        served += usize::from(client.call(&["GET", "cart:1"]) == Reply::Nil);
        let mut all = count(&line);
        while all.allowed < served {
            line.clear();
            assert_ne!(second.read_line(&mut line).unwrap(), 0);
            all.add(&line);
        }
        assert_eq!(served, 3 - refused);
        // The FLUSHALL, too, and what was refused for the audit's sake.
        assert_eq!((all.allowed, all.refused), (served, 1 + refused));
        assert_eq!(all.dropped, 0);
    }
}

#[test]
fn a_pipe_that_has_no_reader_yet_does_not_keep_the_proxy_from_starting() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let folder = tempfile::tempdir().unwrap();
    let pipe = make_pipe(folder.path());
    let proxy = builder(&server, &pipe, "when_full = \"refuse\"")
        .allow_error(TOLD)
        .start();
    let mut client = proxy.client("cart");
    eventually("it is told", || proxy.log_text().contains(TOLD));
    assert_eq!(client.call(&["PING"]).error(), MISCONF);
    let _reader = reader(&pipe);
    eventually("it is served", || !client.call(&["PING"]).is_error());
}
