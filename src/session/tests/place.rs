//! Which database a request is judged in.

use super::*;

/// `picky` may select anything and use database 9 alone; `two` uses 0 and 1; `zero` only 0.
const PLACES: &[u8] = b"user picky on nopass +@connection +@transaction ~* (db=9 +@all ~*)\n\
                        user two on nopass db=0,1 +@all ~*\n\
                        user zero on nopass db=0 +@all ~*\n\
                        user any on nopass +@all ~*\n";
/// The selector that comes farthest is the root's, which has no such command.
const NO_GET: &str = "-NOPERM User picky has no permissions to run the 'get' command\r\n";
const NO_SET: &str = "-NOPERM User picky has no permissions to run the 'set' command\r\n";
const NO_DB: &str = "-NOPERM No permissions to access database\r\n";
const POISON: &str = "ECHO";
const ARITY: &str = "-ERR wrong number of arguments for 'echo' command\r\n";
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";
const RANGE: &str = "-ERR DB index is out of range\r\n";

fn user(name: &str) -> Harness {
    let rules = rules(&[], &[]).with_policy(policy(PLACES));
    Harness::new(Who::Fixed(name.into()), AuthKind::Certificate, rules)
}

impl Harness {
    /// What goes upstream when these replies have come, and what the client gets.
    fn replies(&mut self, bytes: &str) -> (Vec<String>, String) {
        let got = self.upstream(bytes);
        (self.commands(&[]), got)
    }

    fn in_multi(name: &str, queued: &[&str]) -> Self {
        let mut it = user(name);
        assert_eq!(it.commands(&["MULTI"]), ["MULTI"]);
        it.upstream("+OK\r\n");
        for line in queued {
            assert_eq!(it.commands(&[line]), [*line]);
            assert_eq!(it.upstream("+QUEUED\r\n"), "+QUEUED\r\n");
        }
        it
    }
}

fn sent(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

#[test]
fn a_session_begins_in_database_zero() {
    assert_eq!(user("zero").commands(&["GET k"]), ["GET k"]);
    let mut it = user("picky");
    assert!(it.commands(&["GET k"]).is_empty());
    assert_eq!(drain(&mut it.down), NO_GET);
}

#[test]
fn a_confirmed_select_is_where_the_session_is() {
    let mut it = user("picky");
    assert_eq!(it.commands(&["SELECT 9"]), ["SELECT 9"]);
    assert_eq!(it.upstream("+OK\r\n"), "+OK\r\n");
    assert_eq!(it.commands(&["GET k", "SELECT 0"]), ["GET k", "SELECT 0"]);
    it.upstream("$-1\r\n+OK\r\n");
    assert!(it.commands(&["GET k"]).is_empty());
    assert_eq!(drain(&mut it.down), NO_GET);
}

#[test]
fn what_a_select_on_its_way_decides_waits_for_its_reply() {
    let mut it = user("picky");
    let lines = ["SELECT 9", "SET k v", "GET k"];
    assert_eq!(it.commands(&lines), ["SELECT 9"]);
    assert!(!it.session.takes_requests(&it.down));
    let (passed, got) = it.replies("+OK\r\n");
    assert_eq!(passed, sent(&["SET k v", "GET k"]));
    assert_eq!(got, "+OK\r\n");

    let mut it = user("picky");
    assert_eq!(it.commands(&lines), ["SELECT 9"]);
    let (passed, got) = it.replies(RANGE);
    assert!(passed.is_empty());
    assert_eq!(got, format!("{RANGE}{NO_SET}{NO_GET}"));
}

#[test]
fn a_pipeline_that_is_allowed_everywhere_does_not_wait() {
    let lines = ["SELECT 1", "SET k v", "SELECT 0", "SET k v"];
    assert_eq!(user("two").commands(&lines), lines);
    assert_eq!(user("any").commands(&lines), lines);
}

#[test]
fn of_several_selects_the_last_reply_settles() {
    let mut it = user("picky");
    let lines = ["SELECT 9", "SELECT 3", "PING", "GET k"];
    assert_eq!(it.commands(&lines), lines[..3]);
    assert_eq!(it.replies("+OK\r\n"), (sent(&[]), "+OK\r\n".into()));
    // SELECT 3 failed: 9 it is.
    assert_eq!(it.replies(RANGE), (sent(&["GET k"]), RANGE.into()));
    assert_eq!(it.upstream("+PONG\r\n$-1\r\n"), "+PONG\r\n$-1\r\n");
}

#[test]
fn more_databases_than_can_be_told_are_waited_for_and_then_known() {
    let mut it = user("picky");
    let selects: Vec<String> = (0..40).map(|n| format!("SELECT {n}")).collect();
    let mut lines: Vec<&str> = selects.iter().map(String::as_str).collect();
    lines.extend(["SELECT 9", "GET k"]);
    assert_eq!(it.commands(&lines), lines[..41]);
    assert!(it.replies(&"+OK\r\n".repeat(40)).0.is_empty());
    assert_eq!(it.replies("+OK\r\n").0, sent(&["GET k"]));
}

#[test]
fn replies_in_pieces_tell_the_same() {
    let mut it = user("picky");
    it.commands(&["SELECT 9", "GET k"]);
    for piece in ["+", "O", "K"] {
        assert!(it.replies(piece).0.is_empty());
    }
    assert_eq!(it.replies("\r").0, sent(&["GET k"]), "the text is here");
}

#[test]
fn a_queued_select_may_have_happened_after_exec() {
    let mut it = Harness::in_multi("picky", &["SELECT 9", "PING"]);
    assert_eq!(it.commands(&["EXEC"]), ["EXEC"]);
    it.upstream("*2\r\n+OK\r\n+PONG\r\n");
    // It may have failed for all that is known.
    assert!(it.commands(&["GET k"]).is_empty());
    assert_eq!(drain(&mut it.down), NO_GET);
    assert_eq!(it.commands(&["SELECT 9"]), ["SELECT 9"]);
    it.upstream("+OK\r\n");
    assert_eq!(it.commands(&["GET k"]), ["GET k"]);
}

#[test]
fn who_may_use_both_is_not_bothered_after_exec() {
    let mut it = Harness::in_multi("two", &["SELECT 1", "SET k v"]);
    assert_eq!(it.commands(&["EXEC", "GET k"]), ["EXEC", "GET k"]);
}

#[test]
fn behind_a_queued_select_nothing_is_sure() {
    let mut it = Harness::in_multi("picky", &["SELECT 9"]);
    assert_eq!(it.commands(&["SET k v", "EXEC"]), [POISON, "EXEC"]);
    let got = it.upstream(&format!("{ARITY}{ABORTED}"));
    assert_eq!(got, format!("{NO_SET}{ABORTED}"));
}

#[test]
fn an_aborted_transaction_selects_nothing() {
    for (end, reply) in [
        ("DISCARD", "+OK\r\n"),
        ("EXEC", "*-1\r\n"),
        ("EXEC", "$-1\r\n"),
        ("EXEC", ABORTED),
        ("EXEC", "-EXECABORT Transaction discarded because of: x\r\n"),
    ] {
        let mut it = user("picky");
        it.commands(&["SELECT 9"]);
        it.upstream("+OK\r\n");
        it.commands(&["MULTI", "SELECT 0", end, "GET k"]);
        it.upstream("+OK\r\n+QUEUED\r\n");
        let (passed, got) = it.replies(reply);
        if reply == "$-1\r\n" {
            // Nobody answers EXEC like this, so nothing is concluded from it.
            assert_eq!(passed, [POISON]);
            continue;
        }
        assert_eq!(passed, sent(&["GET k"]), "{end} {reply}");
        assert_eq!(got, reply);
    }
}

#[test]
fn an_exec_that_leaves_the_transaction_open_keeps_what_is_queued() {
    let mut it = Harness::in_multi("picky", &["SELECT 9"]);
    it.commands(&["EXEC x"]);
    it.upstream("-ERR wrong number of arguments for 'exec' command\r\n");
    it.commands(&["DISCARD", "SELECT 9"]);
    it.upstream("+OK\r\n+OK\r\n");
    assert_eq!(it.commands(&["GET k"]), ["GET k"]);
}

/// MULTI, SELECT and what follows in one write: no reply has come, so whether SELECT is queued or
/// done is told by its own.
#[test]
fn a_select_behind_a_pending_multi_is_told_by_its_reply() {
    let lines = ["MULTI", "SELECT 9", "SET k v", "EXEC"];
    let mut it = user("picky");
    assert_eq!(it.commands(&lines), lines[..2]);
    let (passed, got) = it.replies("+OK\r\n+QUEUED\r\n");
    assert_eq!(passed, sent(&[POISON, "EXEC"]));
    assert_eq!(got, "+OK\r\n+QUEUED\r\n");
    assert_eq!(
        it.upstream(&format!("{ARITY}{ABORTED}")),
        format!("{NO_SET}{ABORTED}")
    );

    // MULTI itself failed.
    let mut it = user("picky");
    it.commands(&lines);
    let (passed, _) = it.replies("-LOADING Redis is loading the dataset in memory\r\n+OK\r\n");
    assert_eq!(passed, sent(&["SET k v", "EXEC"]));
}

#[test]
fn the_order_of_a_whole_pipeline_is_followed() {
    let mut it = user("two");
    let lines = ["MULTI", "SELECT 1", "EXEC", "SELECT 0", "GET k"];
    assert_eq!(it.commands(&lines), lines);
    it.upstream("+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n+OK\r\n$-1\r\n");
    it.reload(policy(b"user two on nopass db=0 +@all ~*\n"))
        .unwrap();
    assert_eq!(it.commands(&["GET k"]), ["GET k"], "the last SELECT counts");
}

#[test]
fn a_session_that_is_narrowed_is_judged_where_it_is() {
    for (line, reply, refused) in [
        ("SELECT 1", "+OK\r\n", true),
        ("SELECT 1", RANGE, false),
        // What 2.8 and 3.0 take for 1, and newer ones refuse.
        ("SELECT 01", "+OK\r\n", true),
        ("SELECT 01", "-ERR invalid DB index\r\n", false),
    ] {
        let mut it = user("any");
        assert_eq!(it.commands(&[line]), [line]);
        it.upstream(reply);
        it.reload(policy(b"user any on nopass db=0 +@all ~*\n"))
            .unwrap();
        assert_eq!(
            it.commands(&["GET k"]).is_empty(),
            refused,
            "{line} {reply}"
        );
    }
}

#[test]
fn what_only_old_versions_read_is_refused_to_those_it_matters_to() {
    for line in ["SELECT +0", "SELECT 00", "SELECT 0\0x", "SELECT -0"] {
        let mut it = user("zero");
        assert!(it.commands(&[line]).is_empty(), "{line}");
        assert_eq!(it.notes.0[0].2, "unparsable");
        assert_eq!(it.commands(&["GET k"]), ["GET k"], "and it stays");
    }
}

#[test]
fn a_transaction_in_a_closed_database_is_poisoned() {
    let mut it = user("zero");
    let lines = ["MULTI", "SELECT 3", "GET k", "EXEC"];
    assert_eq!(it.commands(&lines), ["MULTI", POISON, "GET k", "EXEC"]);
    let got = it.upstream(&format!("+OK\r\n{ARITY}+QUEUED\r\n{ABORTED}"));
    assert_eq!(got, format!("+OK\r\n{NO_DB}+QUEUED\r\n{ABORTED}"));
}

#[test]
fn reset_leads_back_to_database_zero() {
    let mut it = user("picky");
    it.commands(&["SELECT 9"]);
    it.upstream("+OK\r\n");
    assert!(it.commands(&["RESET", "GET k"]).is_empty());
    assert_eq!(drain(&mut it.down), format!("+RESET\r\n{NO_GET}"));
}

#[test]
fn substitutes_are_judged_by_what_runs() {
    let rules = rules(&[], &[("touch", "SELECT 9"), ("dump", "SELECT")]);
    for (line, runs) in [("TOUCH", "SELECT 9"), ("DUMP 9", "SELECT 9")] {
        let rules = rules.with_policy(policy(b"user picky on nopass +@all ~*\n"));
        let mut it = Harness::new(Who::Fixed("picky".into()), AuthKind::Certificate, rules);
        it.facts.commands.as_mut().unwrap().insert("select".into());
        assert_eq!(it.commands(&[line]), [runs]);
        it.upstream("+OK\r\n");
        it.reload(policy(b"user picky on nopass db=9 +@all ~*\n"))
            .unwrap();
        assert_eq!(it.commands(&["GET k"]), ["GET k"]);
    }
}
