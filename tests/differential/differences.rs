//! What is not tried and why, and where respgate differs on purpose.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::frame::Frame;
use crate::sides::Mode;

const PAGE: &str = include_str!("../../docs/clients.md");
const SECTION: &str = "## Where it differs from Redis itself";

/// Commands that are made from COMMAND DOCS like others, but for these.
pub const EXCLUDED: &[(&str, &str)] = &[
    (
        "acl",
        "the proxy answers it itself, in the words of 8.2; tests/acl_oracle compares it",
    ),
    ("asking", "for cluster nodes"),
    ("auth", "made by hand: who the client is"),
    (
        "bgrewriteaof",
        "forks, and its reply depends on whether another fork is at work",
    ),
    (
        "bgsave",
        "forks, and its reply depends on whether another fork is at work",
    ),
    ("blmove", "made by hand: who blocks must be waited for"),
    ("blmpop", "made by hand: who blocks must be waited for"),
    ("blpop", "made by hand: who blocks must be waited for"),
    ("brpop", "made by hand: who blocks must be waited for"),
    ("brpoplpush", "made by hand: who blocks must be waited for"),
    ("bzmpop", "made by hand: who blocks must be waited for"),
    ("bzpopmax", "made by hand: who blocks must be waited for"),
    ("bzpopmin", "made by hand: who blocks must be waited for"),
    ("client", "made by hand: it is about connections"),
    ("cluster", "disabled in both"),
    (
        "command",
        "made by hand: lists come in the order of a hash table",
    ),
    ("config", "made by hand: not every parameter is harmless"),
    ("debug", "made by hand: it crashes"),
    ("discard", "made by hand: transactions"),
    ("eval", "made by hand: needs a script"),
    ("eval_ro", "made by hand: needs a script"),
    ("evalsha", "made by hand: needs a script"),
    ("evalsha_ro", "made by hand: needs a script"),
    ("exec", "made by hand: transactions"),
    ("failover", "leads away"),
    ("fcall", "made by hand: needs a function"),
    ("fcall_ro", "made by hand: needs a function"),
    ("function", "made by hand: needs a library"),
    ("hello", "made by hand: the protocol changes"),
    ("hrandfield", "random"),
    ("info", "made by hand: tells of the process"),
    ("lastsave", "made by hand: the time of the start"),
    ("latency", "tells of the process"),
    ("lolwut", "random"),
    ("memory", "tells of the process"),
    ("migrate", "leads away"),
    ("module", "no modules"),
    ("monitor", "made by hand: it ends in a stream"),
    ("multi", "made by hand: transactions"),
    ("pfselftest", "takes seconds"),
    ("psubscribe", "made by hand: the connection changes"),
    ("psync", "a replica's"),
    ("publish", "made by hand: to channels that somebody hears"),
    ("punsubscribe", "made by hand: the connection changes"),
    ("quit", "made by hand: the connection ends"),
    ("randomkey", "random"),
    ("readonly", "for cluster nodes"),
    ("readwrite", "for cluster nodes"),
    ("replconf", "a replica's"),
    ("replicaof", "leads away"),
    ("reset", "made by hand: the client is somebody else"),
    ("restore", "its payload is no word that chance finds"),
    ("restore-asking", "for cluster nodes"),
    ("role", "tells of replicas"),
    ("save", "writes files"),
    (
        "scan",
        "made by hand: the cursor depends on the hash table's seed",
    ),
    ("script", "made by hand: needs a script"),
    ("select", "made by hand"),
    ("shutdown", "ends it"),
    ("slaveof", "leads away"),
    ("slowlog", "tells of the process"),
    ("spop", "random"),
    ("spublish", "made by hand: to channels that somebody hears"),
    ("srandmember", "random"),
    ("ssubscribe", "made by hand: the connection changes"),
    ("subscribe", "made by hand: the connection changes"),
    ("sunsubscribe", "made by hand: the connection changes"),
    ("sync", "a replica's"),
    ("time", "made by hand: the time"),
    ("unsubscribe", "made by hand: the connection changes"),
    ("unwatch", "made by hand: transactions"),
    ("wait", "made by hand: it blocks"),
    ("watch", "made by hand: transactions"),
    ("xread", "made by hand: it may block"),
    ("xreadgroup", "made by hand: it may block"),
    ("zrandmember", "random"),
];

/// Requests that users of narrow rules aren't compared on: in the documentation's "Where it differs from
/// Redis' ACL" they are `all-keys`, `misread`, `pfmerge` and `arity`. tests/acl_oracle compares the verdicts.
pub fn is_judged_otherwise(args: &[Vec<u8>]) -> bool {
    let has = |word: &[u8]| {
        args.iter()
            .filter(|arg| arg.eq_ignore_ascii_case(word))
            .count()
    };
    match &*args[0].to_ascii_lowercase() {
        b"sort" | b"sort_ro" => has(b"BY") + has(b"GET") > 0,
        b"georadius" | b"georadiusbymember" => has(b"STORE") + has(b"STOREDIST") > 1,
        b"zrank" | b"zrevrank" => args.len() != 3,
        b"pfmerge" => args.len() == 2,
        b"command" => has(b"GETKEYS") > 0,
        _ => false,
    }
}

/// Requests that respgate refuses inside MULTI, where Redis queues them: EXEC's array would not have
/// one reply for each, or they are the proxy's to answer. tests/scenarios has the refusals.
pub fn is_barred_from_multi(args: &[Vec<u8>], mode: Mode) -> bool {
    let word = |at: usize| args.get(at).map(|arg| arg.to_ascii_lowercase());
    match &*word(0).unwrap_or_default() {
        b"client" => word(1).as_deref() == Some(b"reply"),
        b"auth" | b"hello" | b"acl" | b"monitor" => true,
        b"wait" | b"waitaof" => mode == Mode::Shared,
        name => name.ends_with(b"subscribe"),
    }
}

/// Whether two errors say the same in the words of two versions: refusals by policy are worded as in
/// 7.2 and later, in front of every Redis.
pub fn same_words(native: &Frame, ours: &Frame) -> bool {
    let same = native.is_error() && ours.is_error() && plain(&native.head) == plain(&ours.head);
    if same {
        met("wording");
    }
    same
}

/// A refusal by policy in the words of 7.0, whichever they were.
fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line).into_owned();
    let Some((before, refusal)) = text.split_once("NOPERM ") else {
        return text;
    };
    let command = refusal.strip_prefix("User ");
    let plain = match (refusal, command.and_then(|rest| rest.split_once(' '))) {
        (_, Some((_, rest))) => format!("this user {rest}"),
        ("No permissions to access a key", _) => denied("keys"),
        ("No permissions to access a channel", _) => denied("channels"),
        _ => refusal.to_owned(),
    };
    format!("{before}NOPERM {plain}")
}

fn denied(what: &str) -> String {
    format!("this user has no permissions to access one of the {what} used as arguments")
}

/// How WAIT is refused where clients share connections.
const NO_WAIT: &[u8] =
    b"-ERR respgate: 'wait' tells what was written on one connection, and clients share";

/// Whether it is a difference that is meant.
pub fn is_meant(native: &Frame, ours: &Frame) -> bool {
    let (native, ours) = (&*native.head, &*ours.head);
    if ours.starts_with(NO_WAIT) {
        met("wait");
        return true;
    }
    let Some(error) = native.strip_prefix(b"-") else {
        return false;
    };
    let refused = ours == b"-NOPERM No permissions to access a key"
        || ours.ends_with(b"option of SORT denied due to insufficient ACL permissions.");
    let shortened = error.starts_with(b"ERR unknown command '")
        && native.starts_with(ours)
        && ours.ends_with(b"with args beginning with: ");
    if refused && !error.starts_with(b"NOPERM") {
        // Redis finds out when it runs the command, respgate before it sends it.
        met("unreadable");
    } else if shortened {
        met("long-arguments");
    } else {
        return false;
    }
    true
}

thread_local! {
    /// How often which difference was met, by the test of this thread.
    static MET: RefCell<BTreeMap<&'static str, usize>> = const { RefCell::new(BTreeMap::new()) };
}

/// Counts a difference, which must stand in the documentation.
pub fn met(name: &'static str) {
    let (_, section) = PAGE.split_once(SECTION).expect("the page has the list");
    let section = section.split("\n#").next().unwrap();
    let listed = section.contains(&format!("| `{name}` |"));
    assert!(listed, "the page's list lacks {name}");
    MET.with_borrow_mut(|met| *met.entry(name).or_default() += 1);
}

/// What was met, in words.
pub fn summary() -> String {
    MET.with_borrow(|met| {
        let words = met.iter().map(|(name, times)| format!("{name} {times}"));
        words.collect::<Vec<_>>().join(", ")
    })
}
