//! What requests touch.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write;

use super::*;
use crate::command::{Resolved, Table};
use crate::resp::OwnedArgs;

/// Words split at blanks; `""` is an empty argument, `\0` a NUL byte.
fn request(line: &str) -> OwnedArgs {
    line.split_whitespace()
        .map(|word| match word {
            "\"\"" => String::new(),
            word => word.replace("\\0", "\0"),
        })
        .collect()
}

/// Everything touched, in order: `R:name`, `W:`, `RW:`, `-:` for keys (`?` where uncertain), `C:`
/// and `P:` for channels, `*:why`; then the error, if any.
fn told(table: &Table, args: &Args<'_>) -> String {
    let mut out = String::new();
    let Resolved::Command(id) = table.resolve(args) else {
        return "unknown".to_owned();
    };
    let result = touches(table.command(id), args, &mut |touch| {
        let (kind, name) = match touch {
            Touch::Key {
                index,
                name,
                access,
                certain,
            } => {
                assert_eq!(args.get(index), Some(name));
                let kind = match (access.reads(), access.writes()) {
                    (true, true) => "RW",
                    (true, false) => "R",
                    (false, true) => "W",
                    (false, false) => "-",
                };
                (format!("{kind}{}", if certain { "" } else { "?" }), name)
            }
            Touch::Channel {
                index,
                name,
                pattern,
            } => {
                assert_eq!(args.get(index), Some(name));
                ((if pattern { "P" } else { "C" }).to_owned(), name)
            }
            Touch::AllKeys { index, why, .. } => {
                assert!(index < args.len());
                ("*".to_owned(), why.as_bytes())
            }
        };
        write!(out, "{kind}:{} ", String::from_utf8_lossy(name)).unwrap();
        ControlFlow::Continue(())
    });
    match result {
        Ok(()) => {}
        Err(Unreadable::Unparsable { index }) => write!(out, "unparsable:{index}").unwrap(),
        Err(Unreadable::Incomplete) => out.push_str("incomplete"),
    }
    out.trim_end().to_owned()
}

fn check(vectors: &[(&str, &str)]) {
    let table = Table::builtin();
    for (line, expected) in vectors {
        assert_eq!(told(&table, &request(line).as_args()), *expected, "{line}");
    }
}

#[test]
fn plain_commands() {
    check(&[
        ("PING", ""),
        ("GET a", "R:a"),
        ("EXISTS a b", "-:a -:b"),
        ("TTL a", "R:a"),
        ("TYPE a", "-:a"),
        ("TOUCH a b", "-:a -:b"),
        ("WATCH a b", "-:a -:b"),
        ("DEL a b", "W:a W:b"),
        ("MSET a 1 b 2", "W:a W:b"),
        ("MSET a 1 b", "W:a W:b"),
        ("MSETEX 2 ok v forbidden v", "W:ok W:forbidden"),
        ("BLPOP a b 0", "RW:a RW:b"),
        ("BITOP AND d a b", "W:d R:a R:b"),
        ("COPY a b", "R:a W:b"),
        ("RENAME a b", "RW:a W:b"),
        ("SMOVE a b m", "RW:a W:b"),
        ("RPOPLPUSH a b", "RW:a W:b"),
        ("PFCOUNT a b", "R:a R:b"),
        ("PFDEBUG GETREG a", "R:a"),
        ("GETEX a", "RW:a"),
        ("RESTORE-ASKING a 0 x", "W:a"),
        ("OBJECT ENCODING a", "-:a"),
        ("OBJECT HELP", ""),
        ("MEMORY USAGE a", "-:a"),
        ("XGROUP CREATE s g $", "W:s"),
        ("XINFO STREAM s", "R:s"),
        ("STRALGO LCS KEYS a b", "R:a R:b"),
        ("STRALGO LCS IDX STRINGS KEYS KEYS", ""),
        ("STRALGO LCS IDX keys a b", "R:a R:b"),
        ("STRALGO X KEYS a b", "unparsable:1"),
        // Neither is a key to Redis' ACL: one names a key to others, one is a pure function.
        ("COMMAND GETKEYS GET a", ""),
        ("CLUSTER KEYSLOT a", ""),
    ]);
}

#[test]
fn channels() {
    check(&[
        ("PUBLISH c m", "C:c"),
        ("SPUBLISH c m", "C:c"),
        ("SUBSCRIBE a b", "C:a C:b"),
        ("SSUBSCRIBE a b", "C:a C:b"),
        ("PSUBSCRIBE a* b", "P:a* P:b"),
        ("UNSUBSCRIBE a", ""),
        ("PUNSUBSCRIBE a*", ""),
        ("SUNSUBSCRIBE a", ""),
    ]);
}

#[test]
fn counts_are_canonical_and_in_range() {
    check(&[
        ("EVAL s 0", ""),
        ("EVAL s 0 arg", ""),
        ("EVAL s 1 k arg", "RW:k"),
        ("EVAL_RO s 2 k l", "R:k R:l"),
        ("EVALSHA s 1 k", "RW:k"),
        ("FCALL f 1 k", "RW:k"),
        ("FCALL_RO f 0", ""),
        ("EVAL s +1 k", "unparsable:2"),
        ("EVAL s 01 k", "unparsable:2"),
        ("EVAL s 1\\0x k", "unparsable:2"),
        ("EVAL s 1x k", "unparsable:2"),
        ("EVAL s \"\" k", "unparsable:2"),
        ("EVAL s -1 k", "unparsable:2"),
        ("EVAL s -0 k", "unparsable:2"),
        ("EVAL s 99 k", "unparsable:2"),
        ("EVAL s 2 k", "unparsable:2"),
        ("EVAL s 18446744073709551617 k", "unparsable:2"),
        ("EVAL s 4294967297 k", "unparsable:2"),
        // An arity error, which Redis answers.
        ("EVAL s", ""),
        ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", "W:d R:a R:b"),
        ("ZUNIONSTORE d 0 a", "W:d unparsable:2"),
        ("ZUNIONSTORE d 3 a b", "W:d unparsable:2"),
        ("ZINTERSTORE d 1 a", "W:d R:a"),
        ("ZDIFFSTORE d 1 a", "W:d R:a"),
        ("ZUNION 2 a b", "R:a R:b"),
        ("ZINTER 2 a b", "R:a R:b"),
        ("ZDIFF 2 a b", "R:a R:b"),
        ("ZINTERCARD 1 a LIMIT 1", "R:a"),
        ("SINTERCARD 2 a b LIMIT 1", "R:a R:b"),
        ("SINTERCARD 0 a", "unparsable:1"),
        ("LMPOP 1 a LEFT", "RW:a"),
        ("BLMPOP 0 2 a b LEFT", "RW:a RW:b"),
        ("ZMPOP 1 a MIN", "RW:a"),
        ("BZMPOP 0 1 a MIN", "RW:a"),
        ("MSETEX 3 a v b v", "unparsable:1"),
    ]);
}

#[test]
fn sort_follows_the_last_store() {
    check(&[
        ("SORT a", "R:a"),
        ("SORT a STORE ok STORE forbidden", "R:a W:forbidden"),
        ("SORT a STORE BY STORE forb", "R:a W:forb"),
        ("SORT a STORE GET store forb", "R:a W:forb"),
        ("SORT a STORE STORE", "R:a W:STORE"),
        ("SORT a BY STORE STORE forb", "R:a W:forb"),
        ("SORT a BY STORE forb", "R:a unparsable:4"),
        ("SORT a LIMIT STORE x STORE forb", "R:a W:forb"),
        ("SORT a BY nosort", "R:a"),
        ("SORT a BY w_* DESC", "R:a *:BY"),
        ("SORT a GET # ALPHA STORE d", "R:a *:GET W:d"),
        ("SORT a STORE\\0 forbidden", "R:a unparsable:2"),
        ("SORT a STORE", "R:a unparsable:2"),
        ("SORT a NEW forbidden", "R:a unparsable:2"),
        ("SORT_RO a BY w_*", "R:a *:BY"),
        ("SORT_RO a STORE d", "R:a unparsable:2"),
    ]);
}

#[test]
fn georadius_follows_the_last_store() {
    check(&[
        ("GEORADIUS a 0 0 1 m", "R:a"),
        (
            "GEORADIUS a 0 0 1 m STORE ok STORE forbidden",
            "R:a W:forbidden",
        ),
        (
            "GEORADIUS a 0 0 1 m STORE ok STOREDIST forbidden",
            "R:a W:forbidden",
        ),
        ("GEORADIUS a 0 0 1 m STORE STORE", "R:a W:STORE"),
        (
            "GEORADIUS a 0 0 1 STORE COUNT 1 ANY ASC STOREDIST forb",
            "R:a W:forb",
        ),
        ("GEORADIUS a 0 0 1 m COUNT STORE STORE d", "R:a W:d"),
        ("GEORADIUS a 0 0 1 m STORE\\0 d", "R:a unparsable:6"),
        (
            "GEORADIUSBYMEMBER a STORE 1 m STORE ok STORE forbidden",
            "R:a W:forbidden",
        ),
        ("GEORADIUSBYMEMBER a m 1 km WITHDIST storedist d", "R:a W:d"),
        ("GEORADIUS_RO a 0 0 1 m", "R:a"),
        ("GEOSEARCHSTORE d a FROMMEMBER m BYRADIUS 1 m", "W:d R:a"),
    ]);
}

#[test]
fn streams_begin_where_redis_finds_them() {
    check(&[
        ("XREAD STREAMS a b 0 0", "R:a R:b"),
        ("XREAD COUNT 2 BLOCK 0 streams STREAMS 0", "R:STREAMS"),
        ("XREADGROUP GROUP g c STREAMS a >", "R:a"),
        ("XREADGROUP GROUP STREAMS STREAMS STREAMS a >", "R:a"),
        (
            "XREADGROUP NOACK GROUP g STREAMS STREAMS forbidden >",
            "R:forbidden",
        ),
        ("XREADGROUP GROUP g c CLAIM STREAMS STREAMS a >", "R:a"),
        ("XREAD STREAMS a b 0", "unparsable:1"),
        ("XREAD COUNT STREAMS a 0", "unparsable:3"),
        ("XREAD GROUP g c STREAMS a >", "unparsable:1"),
        ("XREAD STREAMS\\0 a 0", "unparsable:1"),
        ("XREAD COUNT 1 BLOCK 1", "unparsable:4"),
    ]);
}

#[test]
fn migrate_skips_what_is_not_keys() {
    check(&[
        ("MIGRATE h p k 0 1", "RW:k"),
        ("MIGRATE h p k 0 1 COPY REPLACE", "RW:k"),
        ("MIGRATE h p \"\" 0 1 KEYS a b", "RW:a RW:b"),
        (
            "MIGRATE h p \"\" 0 1 COPY AUTH KEYS KEYS forbidden",
            "RW:forbidden",
        ),
        (
            "MIGRATE h p \"\" 0 1 AUTH2 KEYS KEYS keys a KEYS",
            "RW:a RW:KEYS",
        ),
        ("MIGRATE h p \"\" 0 1", "RW:"),
        ("MIGRATE h p k 0 1 KEYS a", "unparsable:6"),
        ("MIGRATE h p \"\" 0 1 KEYS", "unparsable:6"),
        ("MIGRATE h p \"\" 0 1 KEYS\\0 a", "unparsable:6"),
        ("MIGRATE h p \"\" 0 1 AUTH2 KEYS", "unparsable:6"),
    ]);
}

#[test]
fn options_decide_on_access() {
    check(&[
        ("SET k v", "W:k"),
        ("SET k get", "W:k"),
        ("SET k v EX 5", "W:k"),
        ("SET k v EX 5 GET", "RW:k"),
        ("SET k v gEt\\0x", "RW:k"),
        ("SET k v IFEQ b", "RW:k"),
        ("BITFIELD k", "R:k"),
        ("BITFIELD k GET u8 0 OVERFLOW SAT GET u8 1", "R:k"),
        ("BITFIELD k GET SET SET GET u8 0", "R:k"),
        ("BITFIELD k GET u8 0 SET u8 0 1", "RW:k"),
        ("BITFIELD k GET\\0 u8 0", "RW:k"),
        ("BITFIELD_RO k GET u8 0", "R:k"),
        ("DEBUG OBJECT k", "R:k"),
        ("DEBUG SLEEP 0", ""),
        ("DEBUG DIGEST-VALUE a b", "R:a R:b"),
        ("DEBUG RELOAD", "*:DEBUG"),
        ("DEBUG OBJECT\\0 k", "unparsable:1"),
    ]);
}

#[test]
fn a_late_argument_only_narrows_the_access() {
    let table = Table::builtin();
    let partial = |line, present| told(&table, &request(line).as_partial(present));
    assert_eq!(partial("SET k v", 2), "W:k");
    assert_eq!(partial("SET k v EX 5", 2), "RW?:k");
    assert_eq!(partial("SET k v EX 5", 4), "RW?:k");
    assert_eq!(partial("SET k v EX 5", 5), "W:k");
    assert_eq!(partial("SET k v GET EX 5", 4), "RW:k");
    assert_eq!(partial("SET k v", 1), "incomplete");
    assert_eq!(partial("BITFIELD k GET u8 0 GET u8 1", 5), "RW?:k");
    assert_eq!(partial("BITFIELD k SET u8 0 1", 3), "RW:k");
    assert_eq!(partial("MSET a 1 b 2", 3), "W:a incomplete");
    assert_eq!(partial("MSET a 1 b 2", 4), "W:a W:b");
    assert_eq!(partial("SORT a STORE b", 2), "R:a incomplete");
    assert_eq!(partial("EVAL s 1 k v", 2), "incomplete");
    assert_eq!(partial("EVAL s 1 k v", 4), "RW:k");
    assert_eq!(partial("XREAD STREAMS a b 0 0", 4), "R:a R:b");
    assert_eq!(partial("DEBUG OBJECT k", 1), "incomplete");
}

#[test]
fn visiting_ends_when_the_visitor_has_seen_enough() {
    let table = Table::builtin();
    let request = request("DEL a b c");
    let mut seen = 0;
    let command = table.command(table.find(b"del").unwrap());
    let result = touches(command, &request.as_args(), &mut |_| {
        seen += 1;
        if seen == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!((result, seen), (Ok(()), 2));
}

#[test]
fn declared_ranges_are_read_as_redis_reads_them() {
    let read = |first, last, step| Keys::range(first, last, step, Access::READ);
    assert_eq!(read(0, 0, 0), Keys::None);
    assert_eq!(read(2, 1, 1), Keys::Unknown);
    assert_eq!(read(1, 1, 0), Keys::Unknown);
    assert_eq!(read(60_000, 5, 1), Keys::Unknown);
    let Keys::One(spec) = read(2, 4, 2) else {
        panic!()
    };
    assert_eq!(
        spec.find,
        Find::Range {
            last: 2,
            step: 2,
            limit: 0
        }
    );
    let Keys::One(spec) = read(1, -2, 1) else {
        panic!()
    };
    assert_eq!(
        spec.find,
        Find::Range {
            last: -2,
            step: 1,
            limit: 0
        }
    );
}
