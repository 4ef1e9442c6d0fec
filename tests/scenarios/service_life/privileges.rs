//! Root becomes another user, in every thread and for good.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use super::{ping, refused};
use crate::support::{Certs, Proxy, RedisServer, Version, free_port};

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can become another user");
    }
    is_root
}

/// A field of `/proc/PID/task/*/status`, of each thread.
fn of_each_thread(pid: u32, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let statuses =
        tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    statuses
        .map(|status| {
            let line = status.lines().find(|line| line.starts_with(field)).unwrap();
            line.split_whitespace()
                .skip(1)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

/// Certificates of a test that lets others read them.
fn own_certs() -> &'static Certs {
    Box::leak(Box::new(Certs::new()))
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let readable = fs::Permissions::from_mode(0o644);
        fs::set_permissions(entry.unwrap().path(), readable).unwrap();
    }
}

#[test]
fn root_is_dropped_in_every_thread_and_a_reload_works_without_it() {
    if !is_root() {
        return;
    }
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[runtime]\nworkers = 2\nuser = 64001\ngroup = \"64002\"")
        .certs(own_certs())
        .before("chmod 600 users.acl")
        .allow_error("reload")
        .start();
    let pid = proxy.pid();
    ping(proxy.address(), &proxy);
    for (field, expected) in [
        ("Uid:", "64001 64001 64001 64001"),
        ("Gid:", "64002 64002 64002 64002"),
        ("Groups:", "64002"),
        ("CapPrm:", "0000000000000000"),
        ("CapEff:", "0000000000000000"),
        ("NoNewPrivs:", "1"),
    ] {
        let found = of_each_thread(pid, field);
        assert!(found.len() >= 5, "{found:?}");
        assert!(
            found.iter().all(|value| value == expected),
            "{field} {found:?}"
        );
    }
    assert!(proxy.log_text().contains("privileges are dropped"));
    // The file is root's alone.
    let log = proxy.log_text();
    let warned = |line: &str| {
        line.contains("users.acl: can't be read") && line.contains("a reload will fail")
    };
    assert!(log.lines().any(warned), "{log}");
    proxy.reload_until("the old generation stays in force");
    ping(proxy.address(), &proxy);
    open_to_all(proxy.directory());
    open_to_all(proxy.certs().dir());
    proxy.reload("user cart on ~* +@all\nuser admin on ~* +@all\nuser search on +ping\n");
}

#[test]
fn unix_sockets_are_those_of_the_user_that_it_becomes() {
    if !is_root() {
        return;
    }
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .also_bind("unix:own.sock")
        .section("[runtime]\nuser = 64001\ngroup = 64002")
        .section("[admin]\nbind = \"unix:admin.sock\"\nprobe = \"unix:probe.sock\"")
        .before("umask 007")
        .start();
    let dir = proxy.directory();
    for name in ["own.sock", "admin.sock", "probe.sock"] {
        let found = fs::metadata(dir.join(name)).unwrap();
        let found = (found.uid(), found.gid(), found.mode() & 0o777);
        assert_eq!(found, (64001, 64002, 0o770), "{name}");
    }
    // The user itself asks how it is, and who shares its group.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.join("respgate");
    fs::copy(env!("CARGO_BIN_EXE_respgate"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let configuration = dir.join("respgate.toml");
    fs::set_permissions(&configuration, fs::Permissions::from_mode(0o644)).unwrap();
    for (uid, gid) in [(64001, 64001), (64003, 64002)] {
        let mut other = Command::new(&program);
        other.args(["healthcheck", "--config"]).arg(&configuration);
        std::os::unix::process::CommandExt::uid(&mut other, uid);
        std::os::unix::process::CommandExt::gid(&mut other, gid);
        let output = other.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
fn each_file_of_an_acl_folder_and_each_script_that_the_user_cannot_read_is_warned_of() {
    if !is_root() {
        return;
    }
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let users =
        "user cart on ~cart:* +@all script=kept.lua script=open.lua\nuser admin on ~* +@all\n";
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[runtime]\nuser = 64001\ngroup = 64002")
        .certs(own_certs())
        .users(users)
        .file("kept.acl", "user search on +ping\n")
        .file("kept.lua", "return 1")
        .file("open.lua", "return 2")
        // A folder by the name of the file.
        .before("mkdir -m 755 all && mv *.acl *.lua all && mv all users.acl")
        .before("chmod 755 . && chmod 644 users.acl/* && chmod 600 users.acl/kept.*")
        .allow_error("reload")
        .start();
    let log = proxy.log_text();
    let warned: Vec<_> = ["kept.acl", "kept.lua", "open.lua", "users.acl/users.acl"]
        .into_iter()
        .filter(|name| log.contains(&format!("{name}: can't be read")))
        .collect();
    assert_eq!(warned, ["kept.acl", "kept.lua"], "{log}");
    proxy.reload_until("the old generation stays in force");
    open_to_all(&proxy.directory().join("users.acl"));
    open_to_all(proxy.certs().dir());
    let configuration = proxy.directory().join("respgate.toml");
    fs::set_permissions(configuration, fs::Permissions::from_mode(0o644)).unwrap();
    proxy.reload_until("reload: nothing has changed");
}

#[test]
fn who_is_known_by_name_gets_the_groups_that_the_system_says() {
    if !is_root() {
        return;
    }
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[runtime]\nuser = \"nobody\"")
        .start();
    let id = |option| {
        let output = Command::new("id")
            .args([option, "nobody"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (user, group, groups) = (id("-u"), id("-g"), id("-G"));
    let four = |id: String| vec![id; 4].join(" ");
    let all = |field, expected: String| {
        let found = of_each_thread(proxy.pid(), field);
        assert!(found.iter().all(|value| *value == expected), "{found:?}");
    };
    all("Uid:", four(user));
    all("Gid:", four(group));
    all("Groups:", groups);
}

#[test]
fn a_user_that_cannot_be_had_is_an_error() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let text = refused(
        Proxy::builder()
            .upstream(&server)
            .section("[runtime]\nuser = \"no-such-user\""),
    );
    assert!(text.contains("runtime.user = \"no-such-user\""), "{text}");
    if !is_root() {
        return;
    }
    // What is read at every connect must be readable for that user from the start.
    let builder = Proxy::builder()
        .upstream_with(&server, "password_file = \"secret\"")
        .file("secret", "x")
        .section("[runtime]\nuser = 64001\ngroup = 64001");
    let text = refused(builder);
    assert!(text.contains("upstream.main.password_file"), "{text}");
    // Who isn't root becomes nobody else.
    let dir = tempfile::tempdir().unwrap();
    let certs = own_certs();
    let path = Proxy::builder()
        .upstream(&server)
        .certs(certs)
        .section("[runtime]\nuser = 64001\ngroup = 64001\nlandlock = false")
        .write(dir.path(), free_port());
    open_to_all(dir.path());
    open_to_all(certs.dir());
    let program = dir.path().join("respgate");
    fs::copy(env!("CARGO_BIN_EXE_respgate"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut other = Command::new(&program);
    std::os::unix::process::CommandExt::uid(&mut other, 64003);
    let output = other.args(["run", "--config"]).arg(&path).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("only root can become user 64001"), "{text}");
    // But who is that user already may.
    let mut same = Command::new(program);
    std::os::unix::process::CommandExt::uid(&mut same, 64001);
    std::os::unix::process::CommandExt::gid(&mut same, 64001);
    same.args(["run", "--config"]).arg(&path);
    let mut child = same.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut lines = std::io::BufRead::lines(log).map(Result::unwrap);
    let serves = lines.any(|line| line.contains("respgate serves"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(serves);
}
