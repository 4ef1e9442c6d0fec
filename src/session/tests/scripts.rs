//! Scripts that the policy names, and those that it doesn't.

use super::*;
use crate::policy::hash_of;

/// `app` may run one script; `pinner` may do all that a script may, and names one besides.
const SCRIPTS: &[u8] = b"user app on nopass +@all ~cart:* script=get.lua\n\
    user flat on nopass +@all ~* db=0 script=any\n\
    user any on nopass +@all ~* script=any\n\
    user root on nopass +@all ~* &*\n\
    user lord on nopass +@all ~* &* lethal=config\n\
    user pinner on nopass +@all ~* &* script=get.lua\n";
const BODY: &str = "return-1";
const NOT_NAMED: &str = "with a script that its policy does not name\r\n";
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";
const NOSCRIPT: &str = "-NOSCRIPT No matching script. Please use EVAL.\r\n";

fn sha(body: &str) -> String {
    let hash = hash_of(body.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn policy_with(body: &str) -> Policy {
    let source = Source {
        path: "users.acl".into(),
        content: SCRIPTS.to_vec(),
    };
    let read = |_: &std::path::Path, _: &str| Ok(body.as_bytes().to_vec());
    Policy::parse_with(&[source], &Table::builtin(), &read)
        .unwrap()
        .0
}

fn harness(name: &str, rules: Rules) -> Harness {
    let rules = rules.with_policy(policy_with(BODY));
    let mut it = Harness::new(Who::Fixed(name.into()), AuthKind::Certificate, rules);
    it.facts.commands.as_mut().unwrap().insert("script".into());
    it
}

fn user(name: &str) -> Harness {
    harness(name, rules(&[], &[]))
}

fn old(name: &str, version: Version) -> Harness {
    let mut it = user(name);
    it.facts.version = version;
    it
}

fn call(args: &str) -> String {
    format!("EVALSHA {} {args}", sha(BODY))
}

fn load() -> String {
    format!("SCRIPT LOAD {BODY}")
}

#[test]
fn a_script_is_loaded_before_its_first_call() {
    let mut it = user("app");
    let (get, upper) = (call("1 cart:1"), call("0").to_uppercase());
    assert_eq!(
        it.commands(&["PING", &get, &upper]),
        ["PING", &load(), &get, &upper]
    );
    let loaded = format!("+PONG\r\n$40\r\n{}\r\n", sha(BODY));
    assert_eq!(it.upstream(&loaded), "+PONG\r\n");
    assert_eq!(it.upstream("$1\r\na\r\n:1\r\n"), "$1\r\na\r\n:1\r\n");
    assert_eq!(it.commands(&[&get]), [get.as_str()], "once a connection");
}

#[test]
fn an_upstream_that_cannot_load_is_not_the_clients_affair() {
    let mut it = user("app");
    it.commands(&[&call("0")]);
    assert_eq!(it.upstream("-OOM no\r\n"), "");
    assert_eq!(it.upstream(NOSCRIPT), NOSCRIPT);
}

#[test]
fn a_script_that_was_flushed_is_loaded_again() {
    let mut it = user("app");
    let get = call("0");
    it.commands(&[&get]);
    it.upstream("$1\r\na\r\n:1\r\n");
    assert_eq!(it.commands(&[&get]), [get.as_str()]);
    for piece in ["-NOSC", "RIPT No matching script. Please use EVAL.\r", "\n"] {
        it.upstream(piece);
    }
    assert_eq!(it.commands(&[&get]), [load(), get.clone()]);
    it.upstream("$1\r\na\r\n:1\r\n");
    // On this very connection it is known beforehand.
    assert_eq!(
        it.commands(&["SCRIPT FLUSH", &get]),
        ["SCRIPT FLUSH", &load(), &get]
    );
}

#[test]
fn a_fresh_upstream_is_loaded_anew() {
    let mut it = user("app");
    it.commands(&[&call("0")]);
    it.upstream("$1\r\na\r\n:1\r\n");
    it.commands(&["RESET"]);
    it.upstream("");
    assert_eq!(it.commands(&[&call("0")]), [load(), call("0")]);
}

#[test]
fn in_a_transaction_the_script_is_spelled_out() {
    let mut it = user("app");
    let spelled = format!("EVAL {BODY} 1 cart:1");
    let read_only = format!("EVAL_RO {BODY} 0");
    let lines = ["MULTI", &call("1 cart:1"), "EXEC"];
    assert_eq!(it.commands(&lines), ["MULTI", &spelled, "EXEC"]);
    let replies = "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n";
    assert_eq!(it.upstream(replies), replies);
    it.commands(&["MULTI"]);
    it.upstream("+OK\r\n");
    let call_ro = call("0").replace("EVALSHA", "EVALSHA_RO");
    assert_eq!(it.commands(&[&call_ro, "EXEC"]), [&read_only, "EXEC"]);
    it.upstream("+QUEUED\r\n*1\r\n:1\r\n");
    assert_eq!(it.commands(&[&call("0")]), [load(), call("0")]);
}

#[test]
fn an_upstream_without_script_gets_it_spelled_out() {
    let mut it = user("app");
    it.facts.commands.as_mut().unwrap().remove("script");
    let spelled = format!("EVAL {BODY} 0");
    assert_eq!(
        it.commands(&[&call("0"), &call("0")]),
        [spelled.clone(), spelled]
    );
    let inline = format!("{}\r\n", call("1 cart:9"));
    let sent = it.client(inline.as_bytes());
    assert_eq!(decode(sent.as_bytes()), [format!("EVAL {BODY} 1 cart:9")]);
    assert_eq!(it.upstream(":1\r\n:1\r\n:1\r\n"), ":1\r\n:1\r\n:1\r\n");
}

#[test]
fn renamed_and_substituted_calls_are_seen_through() {
    let fixed = format!("EVALSHA {} 0", sha(BODY));
    let rules = rules(&[("evalsha", "CALL")], &[("touch", &fixed)]);
    let mut it = harness("app", rules);
    it.facts.commands.as_mut().unwrap().insert("evalsha".into());
    let renamed = call("1 cart:1").replace("EVALSHA", "CALL");
    let upstream = call("1 cart:1").replace("EVALSHA", "evalsha");
    assert_eq!(it.commands(&[&renamed]), [load(), upstream]);
    it.upstream("+x\r\n+x\r\n");
    assert_eq!(
        it.commands(&["MULTI", &renamed, "TOUCH"]),
        [
            "MULTI".to_owned(),
            format!("EVAL {BODY} 1 cart:1"),
            format!("EVAL {BODY} 0")
        ]
    );
}

#[test]
fn a_call_in_pieces_is_a_call() {
    for spelled in [false, true] {
        let bytes = encode(&call(&format!("1 cart:1 {}", "x".repeat(40_000))));
        let mut it = user("app");
        let mut expected = if spelled {
            it.commands(&["MULTI"]);
            it.upstream("+OK\r\n");
            vec![format!("EVAL {BODY} 1 cart:1 {}", "x".repeat(40_000))]
        } else {
            vec![load(), String::from_utf8(bytes.clone()).unwrap()]
        };
        let mut sent = String::new();
        for piece in bytes.chunks(7_000) {
            sent.push_str(&it.client(piece));
        }
        if !spelled {
            expected[1] = decode(expected[1].as_bytes()).remove(0);
        }
        assert_eq!(decode(sent.as_bytes()), expected);
    }
}

#[test]
fn keys_and_other_scripts_are_judged() {
    let mut it = user("app");
    for (line, reason) in [
        (call("1 other"), "key"),
        (format!("EVAL {BODY} 1 other"), "key"),
        ("EVAL return-2 0".into(), "script"),
        (format!("EVALSHA {} 0", sha("return-2")), "script"),
        ("EVALSHA abc 0".into(), "script"),
        ("SCRIPT LOAD return-2".into(), "script"),
        ("FUNCTION LOAD x".into(), "script"),
        ("FCALL f 0".into(), "script"),
    ] {
        it.notes.0.clear();
        assert!(it.commands(&[&line]).is_empty(), "{line}");
        assert_eq!(it.notes.0[0].2, reason, "{line}");
        if reason == "script" {
            assert!(drain(&mut it.down).ends_with(NOT_NAMED));
        }
    }
    let (eval, load) = (format!("EVAL {BODY} 1 cart:1"), load());
    assert_eq!(it.commands(&[&eval, &load]), [eval.clone(), load.clone()]);
}

#[test]
fn where_only_the_hash_is_known_nothing_is_loaded() {
    for name in ["any", "root"] {
        let mut it = user(name);
        assert_eq!(it.commands(&["MULTI", &call("0")]), ["MULTI", &call("0")]);
    }
    let users = format!("user app on nopass +@all ~* script=sha1:{}\n", sha(BODY));
    let mut it = user("app");
    it.reload(policy(users.as_bytes())).unwrap();
    assert_eq!(it.commands(&[&call("0")]), [call("0")]);
}

#[test]
fn long_pipelines_of_calls_do_not_fill_the_memory() {
    let body = "-".repeat(100_000);
    let mut it = user("app");
    it.reload(policy_with(&body)).unwrap();
    it.notes.2.0 = Oversight::Each;
    let call = format!("EVALSHA {} 0", sha(&body));
    let mut lines = vec!["MULTI"];
    lines.extend(vec![call.as_str(); 100]);
    lines.push("EXEC");
    let bytes: Vec<u8> = lines.iter().flat_map(|line| encode(line)).collect();
    let mut sent = it.client(&bytes);
    assert!(sent.len() < 300_000);
    it.upstream("+OK\r\n");
    let mut queued = 0;
    while queued < 100 {
        assert!(
            it.upstream("+QUEUED\r\n").starts_with("+QUEUED"),
            "{queued}"
        );
        queued += 1;
        let more = it.client(b"");
        assert!(more.len() < 300_000);
        sent.push_str(&more);
    }
    assert_eq!(decode(sent.as_bytes()).len(), 102);
    // However often each was looked at.
    assert_eq!(it.notes.2.1.len(), 102);
}

#[test]
fn before_5_0_a_script_is_a_way_to_the_machine() {
    let (v4, v5) = (Version::new(4, 0, 14), Version::new(5, 0, 0));
    let eval = "EVAL return-2 0";
    for (name, version, allowed) in [
        ("root", v4, false),
        ("root", v5, true),
        ("lord", v4, true),
        ("any", v4, true),
        ("pinner", v4, false),
        ("pinner", v5, true),
    ] {
        for line in [eval, "SCRIPT LOAD return-2", "EVALSHA abc 0"] {
            let mut it = old(name, version);
            assert_eq!(
                it.commands(&[line]).len(),
                usize::from(allowed),
                "{name} {line}"
            );
        }
    }
    let mut it = old("pinner", v4);
    assert_eq!(it.commands(&[&call("0")]), [load(), call("0")]);
    // In a transaction a refusal spoils it, as any other.
    let mut it = old("root", v4);
    assert_eq!(
        it.commands(&["MULTI", eval, "EXEC"]),
        ["MULTI", "ECHO", "EXEC"]
    );
    let got = it.upstream(&format!("+OK\r\n-ERR arity\r\n{ABORTED}"));
    assert!(got.ends_with(&format!("{NOT_NAMED}{ABORTED}")), "{got}");
}

#[test]
fn before_2_8_12_a_script_may_lead_its_caller_astray() {
    for (version, allowed) in [
        (Version::new(2, 8, 11), false),
        (Version::new(2, 8, 12), true),
    ] {
        let mut it = old("flat", version);
        assert_eq!(it.commands(&["EVAL return-2 0"]).is_empty(), !allowed);
        assert_eq!(old("any", version).commands(&["EVAL return-2 0"]).len(), 1);
    }
}
