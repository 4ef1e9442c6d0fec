//! What is not tried and why, and where respgate differs on purpose.

use crate::frame::Frame;

/// What respgate doesn't do yet. Each part of the generator asks before it makes use of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// (P|S)SUBSCRIBE and what belongs to it.
    Pubsub,
    /// HELLO 3.
    Resp3,
    Monitor,
    /// CLIENT TRACKING.
    Tracking,
    /// CLIENT REPLY OFF and SKIP.
    ReplyOff,
    /// A client that is blocked and has sent QUIT, RESET or what is no request, and goes.
    EndWhileBlocked,
    /// EXEC refused by policy, which ends the transaction.
    ExecRefused,
    /// What only newer servers have is unknown, whoever asks.
    UnknownUpstream,
}

/// Empty, once all is built.
const NOT_YET: &[Mode] = &[Mode::ExecRefused, Mode::UnknownUpstream];

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
    (
        "restore",
        "its payload is no word that chance finds; made by hand",
    ),
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

// === impl Mode ===

impl Mode {
    pub fn is_built(self) -> bool {
        !NOT_YET.contains(&self)
    }
}

/// What Redis says to commands that only newer ones have, of which the generator makes some.
const NEWER: [&str; 3] = [
    "-ERR unknown command 'msetex'",
    "-ERR unknown command 'hexpire'",
    "-ERR unknown subcommand 'SETINFO'",
];

/// Requests that users of narrow rules aren't compared on: in the README's "Where it differs from
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
pub fn is_barred_from_multi(args: &[Vec<u8>]) -> bool {
    let word = |at: usize| args.get(at).map(|arg| arg.to_ascii_lowercase());
    match &*word(0).unwrap_or_default() {
        b"client" => word(1).as_deref() == Some(b"reply"),
        b"auth" | b"hello" | b"acl" | b"monitor" => true,
        name => name.ends_with(b"subscribe"),
    }
}

/// Whether two errors say the same in the words of two versions: refusals by policy are worded as in
/// 7.2 and later, in front of every Redis.
pub fn same_words(native: &Frame, ours: &Frame) -> bool {
    native.is_error() && ours.is_error() && modern(&native.head) == modern(&ours.head)
}

/// A refusal of 7.0 or of respgate, without what its version adds.
fn modern(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line).into_owned();
    let user = "-NOPERM User ";
    if let Some((_, rest)) = text
        .strip_prefix(user)
        .and_then(|rest| rest.split_once(' '))
    {
        return format!("-NOPERM this user {rest}");
    }
    let places = [("a key", "keys"), ("a channel", "channels")];
    for (new, old) in places {
        if text == format!("-NOPERM No permissions to access {new}") {
            return format!(
                "-NOPERM this user has no permissions to access one of the {old} used as arguments"
            );
        }
    }
    text
}

/// Whether it is one of the differences that are meant.
pub fn is_meant(native: &Frame, ours: &Frame) -> bool {
    const UNKNOWN: &[u8] = b"-ERR unknown command '";
    // `unreadable` and its like: Redis finds out when it runs the command, respgate before.
    let refused = |frame: &Frame| {
        frame.head == b"-NOPERM No permissions to access a key"
            || frame
                .head
                .ends_with(b"option of SORT denied due to insufficient ACL permissions.")
    };
    let failed = native.is_error() && !native.head.starts_with(b"-NOPERM");
    // Arguments that are long are not waited for, where the name alone decides.
    let shortened = native.head.starts_with(UNKNOWN)
        && native.head.starts_with(&ours.head)
        && ours.head.ends_with(b"with args beginning with: ");
    let exec = !Mode::ExecRefused.is_built()
        && native
            .head
            .starts_with(b"-EXECABORT Transaction discarded because of: ")
        && (ours.head.starts_with(b"-NOPERM") || ours.head.starts_with(b"-ERR wrong number"));
    let newer = !Mode::UnknownUpstream.is_built()
        && NEWER
            .iter()
            .any(|text| native.head.starts_with(text.as_bytes()));
    failed && refused(ours) || shortened || exec || newer
}
