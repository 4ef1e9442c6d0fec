//! The program shuts itself in, where the kernel can do that.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Builder, Proxy, RedisServer, Reply, Version, eventually};

/// Makes the kernel one without Landlock, by a filter of system calls, and becomes the program.
const WITHOUT_LANDLOCK: &str = r#"
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7FFF0000)]
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
program = Program(len(code), ctypes.addressof(text))
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
if libc.prctl(22, 2, ctypes.byref(program), 0, 0) != 0:  # PR_SET_SECCOMP
    print("no filter of system calls here", file=sys.stderr)
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// Starts a proxy and makes its ACL file a link to `target`.
fn linked(server: &RedisServer, target: &Path, change: impl Fn(Builder) -> Builder) -> Proxy {
    fs::write(target, crate::support::proxy::USERS).unwrap();
    let address = format!("address = \"localhost:{}\"", server.address().port());
    let builder = Proxy::builder()
        .upstream_named("main", &address)
        .section("[audit]\npath = \"audit.jsonl\"")
        .allow_error("reload");
    let proxy = change(builder).start();
    let link = proxy.directory().join("users.acl");
    fs::remove_file(&link).unwrap();
    symlink(target, &link).unwrap();
    proxy
}

#[test]
fn without_landlock_it_says_so_and_serves() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("users.acl");
    let without = |builder: Builder| {
        builder
            .file("without_landlock.py", WITHOUT_LANDLOCK)
            .before("exec python3 without_landlock.py \"$0\" \"$@\"")
    };
    let proxy = linked(&server, &target, without);
    if proxy.log_text().contains("no filter of system calls here") {
        eprintln!("skipped: system calls can't be filtered here");
        return;
    }
    let log = proxy.log_text();
    assert!(log.contains("WARN landlock: not available"), "{log}");
    // Not shut in, it follows the link wherever that leads.
    proxy.reload_until("reload: nothing has changed");
    let off = linked(&server, &target, |builder| {
        builder.section("[runtime]\nlandlock = false")
    });
    assert!(off.log_text().contains("landlock: off"));
    off.reload_until("reload: nothing has changed");
}

#[test]
fn landlock_lets_it_do_its_work_and_nothing_beside_it() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("users.acl");

    let proxy = linked(&server, &target, |builder| builder);
    if proxy.log_text().contains("landlock: not available") {
        eprintln!("skipped: this kernel has no Landlock");
        return;
    }
    assert!(proxy.log_text().contains("landlock: in force"));
    proxy.reload_until("reload failed");
    let log = proxy.log_text();
    assert!(
        log.contains("users.acl") && log.contains("landlock: where permissions allow it"),
        "{log}"
    );

    // Its own files are reloaded, also when they are replaced by rename; names resolve, the audit is
    // written, and users are saved.
    let own = proxy.directory().join("users.acl");
    fs::remove_file(&own).unwrap();
    proxy.reload("user cart on ~* +@all -flushall\nuser admin on ~* +@all\nuser search on +ping\n");
    let mut cart = proxy.client("cart");
    assert!(cart.call(&["FLUSHALL"]).is_error());
    let mut admin = proxy.client("admin");
    let ok = Reply::Simple("OK".into());
    assert_eq!(admin.call(&["ACL", "SETUSER", "search", "+get"]), ok);
    assert_eq!(admin.call(&["ACL", "SAVE"]), ok);
    assert!(fs::read_to_string(&own).unwrap().contains("+get"));
    let audit = proxy.directory().join("audit.jsonl");
    eventually("the audit", || {
        fs::read_to_string(&audit).is_ok_and(|text| text.contains("flushall"))
    });
}

#[test]
fn an_audit_that_is_a_link_to_what_is_not_there_yet_is_written() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("audit.jsonl");
    let proxy = Proxy::builder()
        .upstream(&server)
        .section("[audit]\npath = \"audit.jsonl\"")
        .before(&format!("ln -s '{}' audit.jsonl", target.display()))
        .start();
    assert!(proxy.client("cart").call(&["FLUSHALL"]).is_error());
    eventually("the audit", || {
        fs::read_to_string(&target).is_ok_and(|text| text.contains("flushall"))
    });
}
