//! What is made by hand: connections, subscriptions, scripts, who waits for whom.

use sha1::{Digest, Sha1};

use crate::docs::key;
use crate::generate::Author;
use crate::mask::Mask;
use crate::script::{Ends, Item};

/// Scripts that do no harm, with the number of keys that they want.
const SCRIPTS: &[(&str, usize)] = &[
    ("return 1", 0),
    ("return {1,'two',{3,false,true}}", 0),
    ("return redis.call('set',KEYS[1],ARGV[1])", 1),
    ("return redis.call('get',KEYS[1])", 1),
    ("return redis.pcall('lpush',KEYS[1],ARGV[1])", 1),
    ("return redis.error_reply('MY own\\r\\nerror')", 0),
    ("return redis.status_reply('FINE')", 0),
    ("error('it went wrong')", 0),
    ("return nosuch.thing", 0),
    ("this is no Lua", 0),
    ("redis.call('set',KEYS[1],'x') redis.call('nosuch')", 1),
    ("redis.setresp(3) return redis.call('hgetall',KEYS[1])", 1),
    ("return redis.call('incrbyfloat',KEYS[1],'1.5')", 1),
    ("return {double=3.5}", 0),
    ("return {map={a=1}}", 0),
    ("return redis.sha1hex('x')", 0),
    ("return cjson.encode({1,2})", 0),
    ("return redis.call('publish','a:c',ARGV[1])", 0),
    (
        "#!lua flags=no-writes\nreturn redis.call('set','a:s1','1')",
        0,
    ),
];

const LIBRARY: &str = "#!lua name=lib\nredis.register_function('f',function(k,a) \
                       return redis.call('set',k[1],a[1]) end)\nredis.register_function{\
                       function_name='g',callback=function(k,a) return {1,a[1]} end,\
                       flags={'no-writes'}}";

/// What is published to and heard.
pub const CHANNELS: [&str; 4] = ["a:c", "a:d", "b:c", "news"];

/// DEBUG PROTOCOL's words: each type of reply that there is.
const TYPES: [&str; 12] = [
    "string", "integer", "double", "null", "array", "set", "map", "attrib", "push", "verbatim",
    "bignum", "true",
];

/// About the connection or the server, with one reply.
pub fn connection_request(author: &mut Author<'_>) -> Item {
    let random = &mut author.random;
    let plain: &[&[&str]] = &[
        &["PING"],
        &["PING", "hello"],
        &["SELECT", "0"],
        &["SELECT", "1"],
        &["SELECT", "2"],
        &["SELECT", "16"],
        &["SELECT", "x"],
        &["CLIENT", "GETNAME"],
        &["CLIENT", "SETNAME", "name"],
        &["CLIENT", "SETNAME", "bad name"],
        &["CLIENT", "NO-EVICT", "off"],
        &["CLIENT", "UNPAUSE"],
        &["CLIENT", "nosuch"],
        &["CLIENT"],
        &["CLIENT", "HELP"],
        &["CLIENT", "KILL", "1.2.3.4:5"],
        &["CLIENT", "KILL", "ID", "x"],
        &["CLIENT", "KILL", "ID", "999999"],
        &["CLIENT", "UNBLOCK", "999999"],
        &["CLIENT", "UNBLOCK", "x"],
        &["CLIENT", "REPLY", "on"],
        &["COMMAND", "COUNT"],
        &["COMMAND", "INFO", "get", "nosuch", "eval"],
        &["COMMAND", "GETKEYS", "mset", "a", "1", "b", "2"],
        &["COMMAND", "GETKEYS", "ping"],
        &["COMMAND", "DOCS", "incr"],
        &["CONFIG", "GET", "maxmemory-samples"],
        &["CONFIG", "SET", "maxmemory-samples", "6"],
        &["CONFIG", "SET", "nosuch", "1"],
        &["CONFIG", "SET"],
        &["CONFIG", "RESETSTAT"],
        &["DEBUG", "SLEEP", "0"],
        &["DEBUG", "STRINGMATCH-LEN", "10", "a*"],
        &["DEBUG", "JMAP"],
        &["OBJECT", "HELP"],
        &["SLOWLOG", "HELP"],
        &["READONLY"],
        &["READWRITE"],
        &["ASKING"],
        &["CLUSTER", "INFO"],
        &["CLUSTER", "nosuch"],
        &["SUBSTR", "a:s1", "0", "1"],
        &["WAIT", "0", "0"],
        &["SCAN", "x"],
        &["REPLICAOF", "no", "one"],
        &["DISCARD"],
        &["EXEC"],
        &["UNWATCH"],
        &["LATENCY", "nosuch"],
        &["XGROUP", "nosuch"],
        &["GET", "a", "b", "c"],
    ];
    let masked: &[(Mask, &[&str])] = &[
        (Mask::Kind, &["CLIENT", "ID"]),
        (Mask::Kind, &["CLIENT", "LIST"]),
        (Mask::Client, &["CLIENT", "INFO"]),
        (Mask::Kind, &["TIME"]),
        (Mask::Kind, &["LASTSAVE"]),
        (Mask::Kind, &["INFO"]),
        (Mask::Kind, &["MEMORY", "USAGE", "a:s1"]),
        (Mask::Kind, &["SLOWLOG", "LEN"]),
        (Mask::Unordered, &["SCAN", "0", "COUNT", "10000"]),
        (
            Mask::Unordered,
            &["SCAN", "0", "COUNT", "10000", "TYPE", "list"],
        ),
        (
            Mask::Unordered,
            &["SCAN", "0", "MATCH", "a:*", "COUNT", "10000"],
        ),
        (Mask::Unordered, &["PUBSUB", "CHANNELS"]),
        (Mask::Kind, &["CLIENT", "TRACKINGINFO"]),
    ];
    match random.below(10) {
        0..=1 => {
            let (mask, args) = masked[random.below(masked.len())];
            Item::masked(mask, args)
        }
        2 if author.open => Item::request(&["DEBUG", "PROTOCOL", random.pick(&TYPES)]),
        3 => Item::request(&["PUBLISH", random.pick(&CHANNELS), "said"]),
        4 => Item::request(&["SPUBLISH", random.pick(&CHANNELS), "said"]),
        _ => Item::request(random.pick(plain)),
    }
}

pub fn scripts(author: &mut Author<'_>) {
    let Some(speaker) = author.somebody_plain() else {
        return;
    };
    let mut items = Vec::new();
    for _ in 0..author.random.between(1, 5) {
        let random = &mut author.random;
        let (script, keys) = SCRIPTS[random.below(SCRIPTS.len())];
        let keys: Vec<Vec<u8>> = (0..keys).map(|_| key("", random)).collect();
        let mut sha = Sha1::digest(script)
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        if random.chance(20) {
            sha = sha.to_uppercase();
        }
        let call = |name: &str, what: &str| {
            let count = keys.len().to_string();
            let mut args = vec![name.as_bytes().to_vec(), what.into(), count.into()];
            args.extend(keys.iter().cloned());
            args.push(b"value".to_vec());
            Item::request(&args)
        };
        items.push(match random.below(18) {
            0..=4 => call(&random.cased("eval"), script),
            5 => call("EVAL_RO", script),
            6..=7 => Item::request(&["SCRIPT", "LOAD", script]),
            8..=9 => call("EVALSHA", &sha),
            10 => Item::request(&["SCRIPT", "EXISTS", &sha, "x"]),
            11 => Item::request(&["SCRIPT", random.pick(&["FLUSH", "KILL", "HELP", "nosuch"])]),
            12 => Item::request(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]),
            13 => call("FCALL", random.pick(&["f", "g", "nosuch"])),
            14 => call("FCALL_RO", random.pick(&["f", "g"])),
            15 => Item::masked(Mask::Unordered, &["FUNCTION", "LIST"]),
            _ => Item::request(random.pick(&[
                &["FUNCTION", "DELETE", "lib"][..],
                &["FUNCTION", "FLUSH"],
                &["FUNCTION", "KILL"],
                &["EVAL", "return 1"],
                &["EVAL", "return 1", "x"],
                &["EVAL", "return 1", "-1"],
                &["EVAL", "return 1", "5", "k"],
                &["FUNCTION", "LOAD", "no library"],
            ])),
        });
    }
    author.say_it(speaker, items);
}

/// One waits, another one (mostly) brings what it waits for.
pub fn blocking(author: &mut Author<'_>) {
    let Some(waiter) = author.somebody_plain() else {
        return;
    };
    let random = &mut author.random;
    let forever = random.chance(70);
    let timeout = if forever { "0" } else { "0.02" };
    let milliseconds = if forever { "0" } else { "20" };
    let (args, release): (&[&str], &[&str]) = match random.below(10) {
        0 => (
            &["BLPOP", "a:l9", "a:l8", timeout],
            &["RPUSH", "a:l8", "x", "y"],
        ),
        1 => (&["BRPOP", "a:l9", timeout], &["LPUSH", "a:l9", "x"]),
        2 => (
            &["BLMOVE", "a:l9", "a:l8", "LEFT", "RIGHT", timeout],
            &["RPUSH", "a:l9", "x"],
        ),
        3 => (
            &["BRPOPLPUSH", "a:l9", "a:l8", timeout],
            &["RPUSH", "a:l9", "x"],
        ),
        4 => (
            &["BLMPOP", timeout, "2", "a:l9", "a:l8", "LEFT", "COUNT", "2"],
            &["RPUSH", "a:l8", "x", "y", "z"],
        ),
        5 => (&["BZPOPMIN", "a:z9", timeout], &["ZADD", "a:z9", "1", "m"]),
        6 => (
            &["BZPOPMAX", "a:z9", timeout],
            &["ZADD", "a:z9", "1.5", "m", "2", "n"],
        ),
        7 => (
            &["BZMPOP", timeout, "1", "a:z9", "MIN"],
            &["ZADD", "a:z9", "1", "m"],
        ),
        8 => (
            &["XREAD", "BLOCK", milliseconds, "STREAMS", "a:x9", "$"],
            &["XADD", "a:x9", "999999-1", "f", "v"],
        ),
        _ => (&["WAIT", "1", "20"], &["PING"]),
    };
    let forever = forever && args[0] != "WAIT";
    let mut items = Vec::new();
    if random.chance(30) {
        items.push(Item::request(&["DEL", "a:l9", "a:l8", "a:z9"]));
    }
    items.push(Item::request(args));
    // What it says behind that must wait too.
    let behind = if random.chance(40) {
        author.requests(3)
    } else {
        Vec::new()
    };
    items.extend(behind);
    if !forever {
        author.say_it(waiter, items);
        return;
    }
    author.speakers[waiter].blocked = true;
    author.say(waiter, items, Ends::Blocked);
    let Some(other) = author.somebody_plain() else {
        return;
    };
    if author.random.chance(25)
        && let Some(id) = author.id_of(waiter)
    {
        let word = author.random.pick(&["TIMEOUT", "ERROR"]).as_bytes();
        let args = [&b"CLIENT"[..], b"UNBLOCK", &id, word];
        author.say_it(other, vec![Item::request(&args)]);
    } else {
        let mut items = vec![Item::request(release)];
        if author.random.chance(30) {
            items.insert(0, Item::request(&["MULTI"]));
            items.push(Item::request(&["PING"]));
            items.push(Item::request(&["EXEC"]));
        }
        author.say_it(other, items);
    }
    author.speakers[waiter].blocked = false;
}

/// Who the client is, said again, rightly and wrongly.
pub fn login(author: &mut Author<'_>) {
    let Some(speaker) = author.somebody_plain() else {
        return;
    };
    if author.speakers[speaker].tracking {
        return;
    }
    let mut items = author.requests(2);
    let user = author.user;
    match author.random.below(12) {
        0..=2 => {
            items.push(author.introduction(speaker));
            let resp3 = author.speakers[speaker].resp3;
            if !resp3 {
                // AUTH alone leaves the protocol as it was, which only HELLO tells.
                items.push(Item::masked(Mask::Hello, &["HELLO", "2"]));
            }
        }
        3 => items.push(Item::request(&["AUTH", user, "wrong"])),
        4 => items.push(Item::request(&["AUTH", "nosuchuser", "wrong"])),
        5 => items.push(Item::request(&["HELLO", "2", "AUTH", user, "wrong"])),
        6 => items.push(Item::masked(Mask::Hello, &["HELLO"])),
        7 => {
            items.push(Item::request(author.random.pick(&[
                &["HELLO", "4"][..],
                &["HELLO", "x"],
                &["HELLO", "02"],
                &["HELLO", "2", "nosuch"],
                &["HELLO", "2", "SETNAME", "bad name"],
                &["HELLO", "2", "SETNAME"],
                &["HELLO", "2", "AUTH", "x"],
                &["AUTH"],
                &["AUTH", "a", "b", "c"],
            ])));
        }
        8 => {
            items.push(Item::masked(
                Mask::Hello,
                &["HELLO", "2", "SETNAME", "other"],
            ));
            author.speakers[speaker].resp3 = false;
            items.push(Item::request(&["CLIENT", "GETNAME"]));
        }
        9 => items.push(Item::request(&["ACL", "WHOAMI"])),
        10 => items.push(Item::request(&["RESET", "x"])),
        _ => {
            items.extend(author.reset(speaker));
            items.push(Item::request(&["CLIENT", "GETNAME"]));
        }
    }
    items.extend(author.requests(3));
    author.say_it(speaker, items);
}

/// Values and requests that come in many reads.
pub fn large(author: &mut Author<'_>) {
    let Some(speaker) = author.somebody_plain() else {
        return;
    };
    let random = &mut author.random;
    let item = match random.below(4) {
        0 => {
            let length = random.between(1, 1024) * 1024;
            let value: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            Item::request(&[b"SET".to_vec(), b"a:s0".to_vec(), value])
        }
        1 => {
            let mut args = vec![b"RPUSH".to_vec(), b"a:l0".to_vec()];
            args.extend((0..10_000).map(|at: usize| at.to_string().into_bytes()));
            Item::request(&args)
        }
        2 => {
            let mut args = vec![b"MSET".to_vec()];
            for at in 0..random.between(100, 2000) {
                args.push(format!("a:s{}", at % 7).into_bytes());
                args.push(vec![b'v'; 20]);
            }
            Item::request(&args)
        }
        _ => Item::request(&[
            b"NOSUCH".to_vec(),
            vec![b'n'; random.between(1, 300) * 1024],
        ]),
    };
    let items = vec![
        item,
        Item::request(&["GET", "a:s0"]),
        Item::request(&["LRANGE", "a:l0", "0", "-1"]),
        Item::request(&["DEL", "a:l0"]),
    ];
    author.say_it(speaker, items);
}

/// One connection acts on another one.
pub fn others(author: &mut Author<'_>) {
    let Some(actor) = author.somebody_plain() else {
        return;
    };
    let other = author.random.below(author.speakers.len());
    let Some(id) = author.id_of(other) else {
        return;
    };
    match author.random.below(3) {
        0 => {
            let args = [&b"CLIENT"[..], b"KILL", b"ID", &id];
            author.say_it(actor, vec![Item::request(&args)]);
            if author.open && other != actor {
                author.speakers[other].ended = true;
            }
        }
        1 => {
            let args = [&b"CLIENT"[..], b"UNBLOCK", &id];
            author.say_it(actor, vec![Item::request(&args)]);
        }
        _ => {
            let items = vec![
                Item::request(&["CLIENT", "PAUSE", "20", "WRITE"]),
                Item::request(&["SET", "a:s1", "later"]),
                Item::request(&["GET", "a:s1"]),
                // For whom SET is refused, nothing has waited so far.
                Item::request(&["CLIENT", "UNPAUSE"]),
            ];
            author.say_it(actor, items);
        }
    }
}
