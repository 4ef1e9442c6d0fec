//! Who may run what, by the rules that Redis doesn't have: databases, lethal commands, scripts.

use super::*;

#[test]
fn a_database_must_be_allowed() {
    let database = |index| DenyReason::Database { index };
    allowed("+@all ~* db=0,3", "SELECT 3");
    denied("+@all ~* db=0,3", "SELECT 1", database(1));
    denied(
        "+@all ~* db=0",
        "SELECT +0",
        DenyReason::Unparsable { index: 1 },
    );
    denied("+@all ~* db=3", "GET a", database(0));
    allowed("+@all ~* db=3", "PING");
    allowed("+@all ~* db=3", "SELECT 3");
    denied("+@all ~* db=0", "MOVE k 1", database(2));
    denied("+@all ~* db=0", "COPY a b DB 1", database(4));
    allowed("+@all ~* db=0,1", "COPY a b REPLACE DB 1");
    denied("+@all ~* db=0", "SWAPDB 0 1", database(2));
    denied("+@all ~* db=0", "FLUSHALL", database(0));
    denied("+@all ~* db=0 lethal=*", "MIGRATE h 1 k 2 9", database(4));
    let table = Table::builtin();
    let user = user("+@all ~* db=0,3", &table);
    let args: OwnedArgs = ["GET", "a"].iter().collect();
    let id = table.find(b"get").unwrap();
    let at = |whereabouts| decide(&user, id, &args.as_args(), whereabouts, &table);
    assert!(matches!(
        at(Whereabouts::Among(&[0, 3])),
        Decision::Allow(_)
    ));
    assert!(matches!(
        at(Whereabouts::Among(&[0, 1])),
        Decision::Unsettled(_)
    ));
    assert!(matches!(at(Whereabouts::Among(&[1])), Decision::Deny(_)));
    assert!(matches!(at(Whereabouts::Anywhere), Decision::Deny(_)));
}

#[test]
fn all_commands_are_not_the_lethal_ones() {
    let lethal = |index| DenyReason::Lethal { index };
    let all = "+@all ~* &*";
    denied(all, "DEBUG SLEEP 0", lethal(0));
    denied(all, "SHUTDOWN", lethal(0));
    denied(all, "MODULE LOAD /x.so", lethal(0));
    denied(all, "CLUSTER MEET a 1", lethal(0));
    denied(all, "CONFIG SET dir /tmp", lethal(2));
    denied(all, "CONFIG SET maxmemory 1 DbFileName x", lethal(4));
    denied(all, "CONFIG SET dir\0x /tmp", lethal(2));
    denied(all, "SENTINEL MONITOR m 10.0.0.1 6379 2", lethal(0));
    denied(all, "SENTINEL SET m notification-script /x", lethal(0));
    denied(all, "SENTINEL CONFIG SET announce-ip 10.0.0.1", lethal(0));
    allowed(all, "SENTINEL GET-MASTER-ADDR-BY-NAME m");
    allowed(all, "SENTINEL CKQUORUM m");
    denied(all, "PUBLISH __sentinel__:hello x", lethal(1));
    denied(all, "PUBLISH __sentinel__:hello\0 x", lethal(1));
    allowed(all, "PUBLISH __sentinel__:hell x");
    denied(all, "CONFIG SET replica-announce-ip 1", lethal(2));
    allowed(all, "CONFIG SET maxmemory 1");
    allowed(all, "MODULE LIST");
    allowed(all, "CLUSTER INFO");
    allowed("+@all ~* lethal=config", "CONFIG SET dir /tmp");
    allowed("+@all ~* lethal=config|set", "CONFIG SET dir /tmp");
    denied("+@all ~* lethal=config|set", "CONFIG REWRITE", lethal(0));
    allowed(
        "+@all lethal=sentinel",
        "SENTINEL MONITOR m 10.0.0.1 6379 2",
    );
    allowed("+@all &* lethal=publish", "PUBLISH __sentinel__:hello x");
    allowed("+@all ~* lethal=*", "SHUTDOWN NOSAVE");
    denied("-@all lethal=*", "SHUTDOWN", DenyReason::Command);
    denied("+@all ~* lethal=* lethal=none", "SHUTDOWN", lethal(0));
}

#[test]
fn scripts_are_for_those_who_may_do_everything_or_named() {
    let one = "script=sha1:e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    allowed("+@all ~* &*", "EVAL x 0");
    for narrow in [
        "+@all ~*",
        "+@all ~a &*",
        "+@all ~* &* -get",
        "+@all ~* &* db=0",
    ] {
        denied(narrow, "EVAL x 0", DenyReason::Script);
        denied(narrow, "SCRIPT LOAD x", DenyReason::Script);
        denied(narrow, "FCALL x 0", DenyReason::Script);
    }
    let table = Table::builtin();
    let user = user(&format!("+@all ~a {one}"), &table);
    let told = |words: &[&str]| {
        let args: OwnedArgs = words.iter().collect();
        let args = args.as_args();
        let Resolved::Command(id) = table.resolve(&args) else {
            panic!("{words:?}")
        };
        matches!(
            decide(&user, id, &args, Whereabouts::START, &table),
            Decision::Allow(_)
        )
    };
    assert!(told(&["EVAL", "return 1", "0"]));
    assert!(told(&["EVAL", "return 1", "1", "a"]));
    assert!(
        !told(&["EVAL", "return 1", "1", "b"]),
        "its keys are judged all the same"
    );
    assert!(!told(&["EVAL", "return 2", "0"]));
    assert!(told(&["SCRIPT", "LOAD", "return 1"]));
    assert!(told(&[
        "evalsha",
        "E0E1F9FABFC9D4800C877A703B823AC0578FF8DB",
        "0"
    ]));
    assert!(!told(&["evalsha", "e0e1", "0"]));
    allowed("+@all ~a script=any", "FCALL x 0");
}
