//! ACL SAVE and LOAD: what becomes of run-time changes.

use std::path::Path;
use std::time::Duration;

use crate::support::acl::{call, changes, everything, ok, words};
use crate::support::proxy::USERS;
use crate::support::{Proxy, RedisServer, Reply, TestClient, Version, eventually};

/// Without ACL of its own, and with.
const UPSTREAMS: [Version; 2] = [Version::V5_0_6, Version::V8_2_3];

const NOT_SAVED: &str = "ERR There was an error trying to save the ACLs. Please check the server \
                         logs for more information";

/// The folder of the proxy's files, and the ACL file in it.
fn acl_file(proxy: &Proxy) -> std::path::PathBuf {
    proxy.directory().join("users.acl")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn save_writes_what_changed_and_nothing_else() {
    let users = format!("# ours\n{USERS}\n# the end\nuser gone on\nrole reader +@read\n");
    for version in UPSTREAMS {
        let server = RedisServer::start(version, &[]);
        let proxy = Proxy::builder().upstream(&server).users(&users).start();
        let mut admin = proxy.client("admin");
        let file = acl_file(&proxy);
        assert_eq!(call(&mut admin, "ACL SAVE"), ok());
        assert_eq!(read(&file), users, "nothing has changed");
        for line in [
            "ACL SETUSER search -set >new-secret",
            "ACL SETUSER bob on >bob-secret role=reader ~bob:* (+set ~w:*) db=0",
            "ACL SETUSER passing on",
        ] {
            assert_eq!(call(&mut admin, line), ok(), "{line}");
        }
        assert_eq!(
            call(&mut admin, "ACL DELUSER gone passing"),
            Reply::Integer(2)
        );
        assert_eq!(read(&file), users, "not before it is asked");
        let before = call(&mut admin, "ACL LIST");
        assert_eq!(call(&mut admin, "ACL SAVE"), ok());
        let saved = read(&file);
        let expected: String = users
            .lines()
            .filter(|line| !line.starts_with("user gone"))
            .map(|line| match line.starts_with("user search ") {
                true => format!("{}\n", described(&before, "search")),
                false => format!("{line}\n"),
            })
            .chain([format!("{}\n", described(&before, "bob"))])
            .collect();
        assert_eq!(saved, expected);
        assert_eq!(std::fs::read_dir(proxy.directory()).unwrap().count(), 2);
        // What it has written is what is in force: a reload has nothing to do, a LOAD no loss.
        proxy.reload_until("reload: nothing has changed");
        assert_eq!(call(&mut admin, "ACL LOAD"), ok());
        assert_eq!(call(&mut admin, "ACL LIST"), before);
        assert_eq!(call(&mut admin, "ACL SETUSER bob off"), ok());
        assert_eq!(call(&mut admin, "ACL SAVE"), ok(), "once more");
        assert!(read(&file).contains("user bob off "));
        eventually("all is audited", || changes(&proxy).len() == 9);
        let done: Vec<String> = changes(&proxy)
            .into_iter()
            .map(|(user, reason, detail)| format!("{user}: {reason}: {detail}"))
            .collect();
        assert_eq!(
            done,
            [
                "admin: saved: SAVE",
                "admin: changed: SETUSER search -set >…",
                "admin: changed: SETUSER bob on >… role=reader ~bob:* (+set ~w:*) db=0",
                "admin: changed: SETUSER passing on",
                "admin: changed: DELUSER gone passing",
                "admin: saved: SAVE",
                "admin: loaded: LOAD",
                "admin: changed: SETUSER bob off",
                "admin: saved: SAVE",
            ]
        );
        let all = everything(&proxy);
        for secret in ["new-secret", "bob-secret"] {
            assert!(!all.contains(secret), "{secret}");
        }
        // Every hash that is in force.
        let Reply::Array(list) = &before else {
            panic!("{before:?}");
        };
        let lines: Vec<String> = list.iter().map(Reply::text).collect();
        let hashes = lines.iter().flat_map(|line| line.split(' '));
        for hash in hashes.filter_map(|word| word.strip_prefix('#')) {
            assert!(!all.contains(hash), "{hash}");
        }
    }
}

/// The line of ACL LIST.
#[track_caller]
fn described(list: &Reply, name: &str) -> String {
    let Reply::Array(lines) = list else {
        panic!("{list:?}");
    };
    let mut lines = lines.iter().map(Reply::text);
    let head = format!("user {name} ");
    lines.find(|line| line.starts_with(&head)).unwrap()
}

#[test]
fn a_save_that_fails_changes_nothing_and_says_why_in_the_log() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .allow_error("the users are not saved")
        .start();
    let mut admin = proxy.client("admin");
    let file = acl_file(&proxy);
    assert_eq!(call(&mut admin, "ACL SETUSER bob on"), ok());
    let fails = |admin: &mut TestClient, reason: &str| {
        assert_eq!(call(admin, "ACL SAVE").error(), NOT_SAVED);
        eventually(reason, || proxy.log_text().contains(reason));
    };
    // Root may write anywhere; not to where something else is, though.
    let temporary = proxy
        .directory()
        .join(format!(".users.acl.respgate-{}", proxy.pid()));
    std::fs::create_dir(&temporary).unwrap();
    fails(&mut admin, "File exists");
    assert_eq!(read(&file), USERS);
    std::fs::remove_dir(&temporary).unwrap();
    // Somebody else has written it meanwhile.
    let theirs = format!("{USERS}# mine\n");
    std::fs::write(&file, &theirs).unwrap();
    fails(&mut admin, "ACL LOAD or SIGHUP first");
    assert_eq!(read(&file), theirs);
    std::fs::write(&file, USERS).unwrap();
    // A rule that no file can hold: they are UTF-8.
    assert_eq!(
        admin.call_bytes(&[b"ACL", b"SETUSER", b"bob", b"~\xff"]),
        ok()
    );
    fails(&mut admin, "could not be loaded");
    assert_eq!(read(&file), USERS);
    assert_eq!(call(&mut admin, "ACL SETUSER bob reset on"), ok());
    std::fs::remove_file(&file).unwrap();
    fails(&mut admin, "No such file");
    std::fs::create_dir(&file).unwrap();
    fails(&mut admin, "no file in it");
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, USERS).unwrap();
    assert_eq!(call(&mut admin, "ACL SAVE"), ok());
    assert!(read(&file).ends_with("user bob on sanitize-payload resetchannels -@all\n"));
}

#[test]
fn load_drops_what_was_not_saved_and_names_it() {
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .allow_error("reload")
        .start();
    let mut admin = proxy.client("admin");
    let mut cart = proxy.client("cart");
    assert_eq!(call(&mut cart, "SET cart:1 a"), ok());
    assert_eq!(call(&mut admin, "ACL SETUSER cart -get"), ok());
    assert_eq!(call(&mut admin, "ACL SETUSER bob on"), ok());
    assert!(call(&mut cart, "GET cart:1").is_error());
    // What it loads holds for the next command of its pipeline too.
    admin.send("ACL LOAD\r\nACL USERS\r\n");
    assert_eq!(admin.read_reply(), ok());
    let users = ["admin", "cart", "search"].map(Reply::bulk);
    assert_eq!(admin.read_reply(), Reply::Array(users.to_vec()));
    assert_eq!(call(&mut cart, "GET cart:1"), Reply::bulk("a"));
    let event = &proxy.audit_when(|event| event["reason"] == "loaded")[0];
    assert_eq!(event["dropped"], serde_json::json!(["bob", "cart"]));
    assert_eq!(event["user"], "admin");
    eventually("it is in the log", || {
        proxy.log_text().matches("is lost").count() == 2
    });
    let slip = call(&mut admin, "ACL SETUSER bob on slipped-secret");
    assert!(slip.is_error());
    // A bad file changes nothing, and what stands there stays there.
    proxy.write_users(&format!(
        "{USERS}user bob on +nosuch >bad-secret\nuser ann on bare-secret\n"
    ));
    assert_eq!(call(&mut admin, "ACL SETUSER kept on"), ok());
    let error = call(&mut admin, "ACL LOAD").error().to_owned();
    let file = acl_file(&proxy);
    assert!(
        error.starts_with(&format!(
            "ERR {}:4: '+nosuch': Unknown command or category name in ACL. {}:5: ",
            file.display(),
            file.display()
        )),
        "{error}"
    );
    assert!(
        error.ends_with(
            ". WARNING: ACL errors detected, no change to the previously active ACL rules was \
             performed"
        ),
        "{error}"
    );
    let all = format!("{error}\n{}", everything(&proxy));
    assert!(!all.contains("bad-secret") && !all.contains("bare-secret"));
    assert!(!all.contains("slipped-secret"));
    assert!(!matches!(call(&mut admin, "ACL GETUSER kept"), Reply::Nil));
}

#[test]
fn a_saved_user_keeps_the_files_of_its_scripts() {
    let users = "user cart on nopass ~cart:* +@all script=get.lua\n\
                 user admin on nopass ~* &* +@all lethal=acl\n";
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(users)
        .file("get.lua", "return 1")
        .allow_error("the users are not saved")
        .start();
    let mut admin = proxy.client("admin");
    assert_eq!(call(&mut admin, "ACL SETUSER cart -flushall"), ok());
    assert_eq!(call(&mut admin, "ACL SAVE"), ok());
    assert!(read(&acl_file(&proxy)).contains(" script=get.lua "));
    proxy.reload_until("reload: nothing has changed");
    // The script belongs to the file that names it: what is in force is not what would be saved.
    assert_eq!(call(&mut admin, "ACL SETUSER cart -flushdb"), ok());
    proxy.write_file("get.lua", "return 2");
    assert_eq!(call(&mut admin, "ACL SAVE").error(), NOT_SAVED);
    assert_eq!(call(&mut admin, "ACL LOAD"), ok());
    assert_eq!(
        proxy.client("cart").call(&["EVAL", "return 2", "0"]),
        Reply::Integer(2)
    );
}

#[test]
fn changes_saves_and_reloads_at_once_lose_nothing() {
    const EACH: usize = 25;
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::start(&server);
    // As an editor of another system leaves it, behind a link.
    let (file, real) = (acl_file(&proxy), proxy.directory().join("real"));
    let dos = USERS.trim_end().replace('\n', "\r\n");
    std::fs::write(&real, format!("# ours\r\n{dos}")).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("real", &file).unwrap();
    proxy.reload_until("a new generation is in force");
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let mut admin = proxy.client("admin");
            scope.spawn(move || {
                for number in 0..EACH {
                    let line = format!("ACL SETUSER w{writer}-{number} on +get ~w:{number}");
                    assert_eq!(call(&mut admin, &line), ok());
                    let old = format!("ACL DELUSER w{writer}-{}", number.wrapping_sub(2));
                    call(&mut admin, &old);
                }
            });
        }
        let mut saver = proxy.client("admin");
        scope.spawn(move || {
            for _ in 0..EACH {
                assert_eq!(call(&mut saver, "ACL SAVE"), ok());
            }
        });
        for _ in 0..5 {
            proxy.reload_until("reload: nothing has changed");
        }
    });
    assert_eq!(
        proxy
            .log_text()
            .matches("a new generation is in force")
            .count(),
        1
    );
    let mut admin = proxy.client("admin");
    let before = call(&mut admin, "ACL LIST");
    assert_eq!(call(&mut admin, "ACL SAVE"), ok());
    assert_eq!(call(&mut admin, "ACL LOAD"), ok());
    assert_eq!(call(&mut admin, "ACL LIST"), before);
    assert!(std::fs::symlink_metadata(&file).unwrap().is_symlink());
    let saved = read(&real);
    assert!(
        saved.starts_with(&format!("# ours\r\n{dos}\nuser w")),
        "{saved}"
    );
    assert_eq!(saved.lines().count(), USERS.lines().count() + 1 + 3 * 2);
}

#[test]
fn load_does_not_give_back_what_only_lethal_acl_could_take() {
    let users = "user admin on +@all ~* &*\nuser search on +@all ~* &* lethal=*\n\
                 user fixer on +debug lethal=debug\n";
    let server = RedisServer::start(Version::V5_0_6, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(users)
        .allow_error("reload")
        .start();
    let (mut admin, mut root) = (proxy.client("admin"), proxy.client("search"));
    for change in ["SETUSER fixer lethal=none", "DELUSER fixer"] {
        assert!(!call(&mut root, &format!("ACL {change}")).is_error());
        assert_eq!(call(&mut admin, "ACL SETUSER bob on"), ok());
        let before = call(&mut admin, "ACL LIST");
        let refused = call(&mut admin, "ACL LOAD");
        let told = "ERR the user 'fixer' holds lethal= or script= rules";
        assert!(refused.error().starts_with(told), "{refused:?}");
        assert_eq!(call(&mut admin, "ACL LIST"), before, "{change}");
        assert_eq!(call(&mut root, "ACL LOAD"), ok());
        assert_eq!(call(&mut admin, "ACL LOAD"), ok(), "nothing is lost");
    }
    // What the file says is the operator's word, whoever asks for it.
    proxy.write_users(&users.replace("lethal=debug", "lethal=config"));
    assert_eq!(call(&mut admin, "ACL LOAD"), ok());
}

/// So many that to compile them takes far longer than to answer anybody.
fn thousands() -> String {
    let users = (0..4000).map(|number| {
        format!("user u{number} on >p{number} ~u{number}:* &u{number}:* +@read +@write -flushall\n")
    });
    USERS
        .lines()
        .map(|line| format!("{line}\n"))
        .chain(users)
        .collect()
}

/// Has the proxy begin what takes it seconds.
fn begin(admin: &mut TestClient, line: &str) {
    // What is answered before it in the same read is sent when it is under way.
    admin.send(format!("ACL WHOAMI\r\n{line}\r\n"));
    assert_eq!(admin.read_reply().text(), "admin");
}

/// The proxy's thread that loads or saves.
const ACL_FILES: &str = "acl-files";

#[test]
fn who_loads_or_saves_thousands_of_users_keeps_nobody_else_waiting() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(&thousands())
        .section("[runtime]\nworkers = 1\n")
        .start();
    let mut cart = proxy.client("cart");
    for line in ["ACL SAVE", "ACL LOAD"] {
        let mut admin = proxy.client("admin");
        admin.set_patience(Duration::from_secs(60));
        assert_eq!(call(&mut admin, "ACL SETUSER u7 -@write"), ok());
        let order = std::thread::spawn(move || {
            admin.send_args(&words(line));
            admin.send_args(&["ACL", "WHOAMI"]);
            assert_eq!(admin.read_reply(), ok());
            assert_eq!(admin.read_reply().text(), "admin", "in order");
        });
        let mut meanwhile = 0;
        while !order.is_finished() {
            let before = proxy.has_thread(ACL_FILES);
            assert_eq!(cart.call(&["GET", "cart:1"]), Reply::Nil);
            meanwhile += usize::from(before && proxy.has_thread(ACL_FILES));
        }
        order.join().unwrap();
        assert!(meanwhile > 2, "{line}: {meanwhile}");
    }
}

#[test]
fn a_change_that_comes_while_users_are_loaded_or_saved_waits_and_is_not_lost() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(&thousands())
        .start();
    let (mut one, mut other) = (proxy.client("admin"), proxy.client("admin"));
    one.set_patience(Duration::from_secs(60));
    other.set_patience(Duration::from_secs(60));
    for (line, user) in [("ACL LOAD", "late"), ("ACL SAVE", "later")] {
        assert_eq!(call(&mut other, "ACL SETUSER u7 -@write"), ok());
        begin(&mut one, line);
        assert_eq!(call(&mut other, &format!("ACL SETUSER {user} on")), ok());
        assert_eq!(call(&mut other, "ACL SAVE"), ok());
        assert_eq!(one.read_reply(), ok());
        assert!(
            read(&acl_file(&proxy)).contains(&format!("\nuser {user} on")),
            "{user}"
        );
    }
}

#[test]
fn users_that_are_being_saved_are_saved_though_the_client_goes_and_the_proxy_ends() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let mut proxy = Proxy::builder()
        .upstream(&server)
        .users(&thousands())
        .start();
    let file = acl_file(&proxy);
    let mut admin = proxy.client("admin");
    assert_eq!(call(&mut admin, "ACL SETUSER late on"), ok());
    begin(&mut admin, "ACL SAVE");
    drop(admin);
    proxy.terminate();
    assert!(proxy.wait().success());
    assert!(read(&file).contains("\nuser late on"));
    let saved = |(_, reason, _): &(String, String, String)| reason == "saved";
    assert!(changes(&proxy).iter().any(saved));
}

#[test]
fn what_an_operator_writes_during_a_save_stays() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let users = thousands();
    let proxy = Proxy::builder()
        .upstream(&server)
        .users(&users)
        .allow_error("the users are not saved")
        .start();
    let (file, next) = (acl_file(&proxy), proxy.directory().join(".next"));
    let mut admin = proxy.client("admin");
    admin.set_patience(Duration::from_secs(60));
    assert_eq!(call(&mut admin, "ACL SETUSER late on"), ok());
    let theirs = format!("{users}user theirs off\n");
    std::fs::write(&next, &theirs).unwrap();
    begin(&mut admin, "ACL SAVE");
    std::fs::rename(&next, &file).unwrap();
    assert_eq!(admin.read_reply().error(), NOT_SAVED);
    assert_eq!(read(&file), theirs);
    eventually("the log says why", || {
        proxy
            .log_text()
            .contains("have changed since they were loaded")
    });
}
