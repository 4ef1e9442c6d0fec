mod captured;

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::resp::{ReplyScanner, encode_bulk};
use captured as seen;

/// The bytes of a reply in the notation of [`captured`].
fn reply(words: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        match word {
            "null" => out.extend_from_slice(b"$-1\r\n"),
            "nil" => out.extend_from_slice(b"*-1\r\n"),
            text if text.starts_with('$') => encode_bulk(&text.as_bytes()[1..], &mut out),
            line => {
                out.extend_from_slice(line.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
    }
    out.to_vec()
}

fn text(content: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_bulk(content.as_bytes(), &mut out);
    out.to_vec()
}

fn verbatim(content: &str) -> Vec<u8> {
    format!("={}\r\ntxt:{content}\r\n", content.len() + 4).into_bytes()
}

/// 127.0.0.1:27000 and so on up to 29999 are behind tls.example.com, at ports below by 20000.
fn map() -> Addresses {
    let ports = 27_000..30_000_u16;
    let pairs = ports.map(|port| (("127.0.0.1", port), ("tls.example.com", port - 20_000)));
    Addresses::new(pairs, "127.0.0.1")
}

/// The same in a text: bus ports, which are above 37000, stay.
fn mapped(text: &str) -> String {
    let text = text.replace("127.0.0.1", "tls.example.com");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(['$', ':', '=', '[']) {
        let (before, from) = rest.split_at(at + 1);
        out.push_str(before);
        rest = from;
        let digits = from.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 5
            && let Ok(port @ 27_000..30_000) = from[..5].parse::<u16>()
        {
            out.push_str(&(port - 20_000).to_string());
            rest = &from[5..];
        }
    }
    out + rest
}

fn rewritten(answer: Answer, bytes: &[u8], map: &Addresses) -> Option<Vec<u8>> {
    let mut out = BytesMut::from(&b"before"[..]);
    let changed = rewrite_answer(answer, bytes, map, &mut out);
    assert_eq!(changed, out.len() > 6, "a change that isn't told");
    assert!(out.starts_with(b"before"));
    changed.then(|| out[6..].to_vec())
}

#[track_caller]
fn becomes(answer: Answer, from: &[u8], to: &[u8]) {
    let new = rewritten(answer, from, &map());
    let new = new.unwrap_or_else(|| panic!("unchanged: {}", from.escape_ascii()));
    assert_eq!(
        new.escape_ascii().to_string(),
        to.escape_ascii().to_string()
    );
    assert_eq!(rewritten(answer, from, &Addresses::default()), None);
}

/// Every address in it is mapped, and nothing else changes.
#[track_caller]
fn is_mapped(answer: Answer, words: &str) {
    becomes(answer, &reply(words), &reply(&mapped(words)));
}

#[track_caller]
fn stays(answer: Answer, bytes: &[u8]) {
    assert_eq!(rewritten(answer, bytes, &map()), None);
}

#[test]
fn what_a_sentinel_says_of_instances_is_mapped() {
    is_mapped(Answer::MasterAddress, seen::MASTER_ADDRESS);
    for words in [
        seen::MASTERS,
        seen::MASTER_3,
        seen::REPLICAS,
        seen::REPLICAS_3,
        seen::SENTINELS_3,
    ] {
        is_mapped(Answer::Instances, words);
    }
}

#[test]
fn what_names_no_address_stays() {
    stays(Answer::Role, &reply(seen::ROLE_SENTINEL));
    stays(Answer::MasterAddress, b"*-1\r\n");
    stays(Answer::MasterAddress, b"_\r\n");
    stays(Answer::Instances, b"*0\r\n");
    stays(Answer::Instances, b"-ERR No such master with that name\r\n");
    stays(
        Answer::ClusterSlots,
        b"-ERR This instance has cluster support disabled\r\n",
    );
    assert_eq!(Answer::of("cluster|links"), None);
    let links = String::from_utf8(reply(seen::LINKS)).unwrap();
    assert!(!links.contains("127.0.0.1"));
}

#[test]
fn role_names_the_mapped_master_or_replicas() {
    is_mapped(Answer::Role, seen::ROLE_MASTER);
    is_mapped(Answer::Role, seen::ROLE_REPLICA);
}

#[test]
fn info_names_mapped_addresses_in_both_protocols_and_in_the_cache_of_a_sentinel() {
    for info in [seen::INFO_MASTER, seen::INFO_REPLICA, seen::INFO_SENTINEL] {
        let new = mapped(info);
        becomes(Answer::Info, &text(info), &text(&new));
        becomes(Answer::Info, &verbatim(info), &verbatim(&new));
        let cache = |info: &str| {
            let before = reply("*2 $mymaster *2 *2 :12");
            [before, text(info), reply("*2 :40 null")].concat()
        };
        becomes(Answer::Info, &cache(info), &cache(&new));
    }
}

#[test]
fn cluster_slots_name_mapped_endpoints() {
    is_mapped(Answer::ClusterSlots, seen::SLOTS_5);
    is_mapped(Answer::ClusterSlots, seen::SLOTS_IP);
    for words in [seen::SLOTS_NAME, seen::SLOTS_NAME_3] {
        let new = mapped(words).replace("node.example.com", "tls.example.com");
        becomes(Answer::ClusterSlots, &reply(words), &reply(&new));
    }
    // What was left out is said: each proxy may be elsewhere.
    let cases = [
        (seen::SLOTS_UNKNOWN, "null"),
        (seen::SLOTS_UNKNOWN_3, "_"),
        (seen::SLOTS_NAMELESS, "$?"),
    ];
    for (words, endpoint) in cases {
        let new = mapped(words).replace("node.example.com", "tls.example.com");
        let words_of =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let new: Vec<String> = words_of(&new)
            .into_iter()
            .map(|word| match word == endpoint {
                true => "$tls.example.com".to_owned(),
                false => word,
            })
            .collect();
        becomes(Answer::ClusterSlots, &reply(words), &reply(&new.join(" ")));
    }
}

#[test]
fn cluster_shards_name_mapped_endpoints_and_both_ports() {
    is_mapped(Answer::ClusterShards, seen::SHARDS);
    let named = mapped(seen::SHARDS_NAME_3).replace("node.example.com", "tls.example.com");
    becomes(
        Answer::ClusterShards,
        &reply(seen::SHARDS_NAME_3),
        &reply(&named),
    );
    let named = mapped(seen::SHARDS_UNKNOWN)
        .replace("node.example.com", "tls.example.com")
        .replace("$endpoint $ ", "$endpoint $tls.example.com ");
    becomes(
        Answer::ClusterShards,
        &reply(seen::SHARDS_UNKNOWN),
        &reply(&named),
    );
    // Its own TLS port would lead around the proxy.
    let named = mapped(seen::SHARDS_TLS).replace(":9250", ":9200").replace(
        "$ip $ $endpoint $ ",
        "$ip $tls.example.com $endpoint $tls.example.com ",
    );
    becomes(
        Answer::ClusterShards,
        &reply(seen::SHARDS_TLS),
        &reply(&named),
    );
}

#[test]
fn cluster_nodes_name_mapped_addresses_and_keep_bus_ports_and_ids() {
    for (nodes, new) in [
        (seen::NODES_5, mapped(seen::NODES_5)),
        (
            seen::NODES_NAME,
            mapped(seen::NODES_NAME).replace("node.example.com", "tls.example.com"),
        ),
        (
            seen::NODES_OWN,
            seen::NODES_OWN.replace(" :29200@", " tls.example.com:9200@"),
        ),
    ] {
        becomes(Answer::ClusterNodes, &text(nodes), &text(&new));
        becomes(Answer::ClusterNodes, &verbatim(nodes), &verbatim(&new));
        assert!(new.contains("@39") || new.contains("@37"), "{new}");
    }
    let line = seen::REPLICA_NODE.trim_end();
    let new = mapped(line).replace("node.example.com", "tls.example.com");
    let array = |line: &str| [b"*1\r\n".to_vec(), text(line)].concat();
    becomes(Answer::ClusterNodes, &array(line), &array(&new));
}

#[test]
fn odd_forms_of_a_nodes_line_are_kept_apart_from_the_address() {
    let put = |line: &str| {
        let mut out = Vec::new();
        lines::nodes(line.as_bytes(), &map(), &mut out);
        String::from_utf8(out).unwrap()
    };
    // Up to 3.2 without the bus port; with an empty name; with what may come behind it.
    assert_eq!(
        put("id 127.0.0.1:27000 master"),
        "id tls.example.com:7000 master"
    );
    assert_eq!(
        put("id 127.0.0.1:27000@1,,shard-id=x master -"),
        "id tls.example.com:7000@1,,shard-id=x master -"
    );
    for line in [
        "id :0@0 master,noaddr - 1 1 1 disconnected",
        "vars currentEpoch 6 lastVoteEpoch 0",
        "id 10.0.0.1:27000@1 master",
        "",
        " ",
        "id",
    ] {
        assert_eq!(put(line), line);
    }
}

#[test]
fn redirections_lead_to_mapped_addresses() {
    let pairs = [
        (("10.0.0.5", 6379), ("a.example.com", 6380)),
        (("fd00::5", 6379), ("fd00::a", 6380)),
        (("Redis-B.internal", 7000), ("b.example.com", 6381)),
        // Not applied again.
        (("a.example.com", 6380), ("c.example.com", 1)),
    ];
    let map = Addresses::new(pairs, "10.0.0.5");
    let redirect = |line: &str| {
        let mut out = BytesMut::from(&b"x"[..]);
        let done = rewrite_redirect(line.as_bytes(), &map, &mut out);
        assert_eq!(done, out.len() > 1);
        done.then(|| String::from_utf8(out[1..].to_vec()).unwrap())
    };
    for (line, new) in [
        (
            "-MOVED 3999 10.0.0.5:6379\r\n",
            "-MOVED 3999 a.example.com:6380\r\n",
        ),
        ("-ASK 0 10.0.0.5:6379\r\n", "-ASK 0 a.example.com:6380\r\n"),
        (
            "-MOVED 16383 ::ffff:10.0.0.5:6379\r\n",
            "-MOVED 16383 a.example.com:6380\r\n",
        ),
        ("-MOVED 1 fd00::5:6379\r\n", "-MOVED 1 fd00::a:6380\r\n"),
        (
            "-ASK 1 redis-b.INTERNAL:7000\r\n",
            "-ASK 1 b.example.com:6381\r\n",
        ),
        // unknown-endpoint: where the upstream was found.
        ("-MOVED 1 :6379\r\n", "-MOVED 1 a.example.com:6380\r\n"),
    ] {
        assert_eq!(redirect(line).as_deref(), Some(new));
    }
    for line in [
        "-MOVED 1 10.0.0.5:6378\r\n",
        "-MOVED 1 10.0.0.6:6379\r\n",
        "-MOVED 1 ?:6379\r\n",
        "-MOVED 1 :6378\r\n",
        "-MOVED 1 10.0.0.5:+6379\r\n",
        "-MOVED 1 10.0.0.5:66379\r\n",
        "-MOVED x 10.0.0.5:6379\r\n",
        "-MOVED 1 10.0.0.5:6379 \r\n",
        "-MOVED 10.0.0.5:6379\r\n",
        "-MOVED 1 10.0.0.5:6379",
        "-ERR MOVED 1 10.0.0.5:6379\r\n",
        "-MOVED \r\n",
        "",
    ] {
        assert_eq!(redirect(line), None, "{line:?}");
    }
}

#[test]
fn what_a_sentinel_publishes_is_mapped() {
    let id = "2133b473698897cd0baca553478ae2e5bf601257";
    // As 7.0.15 published them in a failover.
    for (channel, event) in [
        ("+sdown", "master mymaster 127.0.0.1 27000".to_owned()),
        ("+odown", "master mymaster 127.0.0.1 27000 #quorum 3/2".to_owned()),
        ("+switch-master", "mymaster 127.0.0.1 27000 127.0.0.1 27002".to_owned()),
        (
            "-role-change",
            "slave 127.0.0.1:27002 127.0.0.1 27002 @ mymaster 127.0.0.1 27000 new reported role is master"
                .to_owned(),
        ),
        (
            "+config-update-from",
            format!("sentinel {id} 127.0.0.1 27012 @ mymaster 127.0.0.1 27000"),
        ),
        (
            "+slave",
            "slave 127.0.0.1:27001 127.0.0.1 27001 @ mymaster 127.0.0.1 27002".to_owned(),
        ),
    ] {
        let new = event.replace("127.0.0.1", "tls.example.com").replace(" 27", " 7");
        let new = new.replace(":27", ":7");
        for start in ["*3 $message", ">3 $message", "*4 $pmessage $*", ">4 $pmessage $+*"] {
            let frame = |event: &str| {
                let head = reply(&format!("{start} ${channel}"));
                [head, text(event)].concat()
            };
            let mut out = BytesMut::new();
            assert!(rewrite_message(&frame(&event), &map(), &mut out));
            assert_eq!(out, frame(&new), "{event}");
            assert!(!rewrite_message(&frame(&event), &Addresses::default(), &mut out));
        }
    }
    for frame in [
        [reply("*3 $message $+new-epoch"), text("1")].concat(),
        [
            reply("*3 $message $+vote-for-leader"),
            text(&format!("{id} 1")),
        ]
        .concat(),
        reply("*3 $psubscribe $127.0.0.1:27000 :1"),
        reply("*3 $subscribe $+switch-master :1"),
        reply("*2 $pong $127.0.0.1:27000"),
        reply("*1 $message"),
        reply(":1"),
    ] {
        assert!(!rewrite_message(&frame, &map(), &mut BytesMut::new()));
    }
}

#[test]
fn a_transaction_is_mapped_command_by_command() {
    let answers = [None, Some(Answer::Role), Some(Answer::ClusterSlots), None];
    let words = |role: &str, slots: &str, moved: &str| {
        let moved = format!("-MOVED 1 {moved}\r\n").into_bytes();
        [reply(&format!("*4 $127.0.0.1:27000 {role} {slots}")), moved].concat()
    };
    let before = words(seen::ROLE_REPLICA, seen::SLOTS_5, "127.0.0.1:27001");
    let after = words(
        &mapped(seen::ROLE_REPLICA),
        &mapped(seen::SLOTS_5),
        "tls.example.com:7001",
    );
    let mut out = BytesMut::new();
    assert!(rewrite_transaction(&answers, &before, &map(), &mut out));
    assert_eq!(out, after);
    for aborted in [&b"*-1\r\n"[..], b"_\r\n", b"-EXECABORT no\r\n", b"*0\r\n"] {
        assert!(!rewrite_transaction(&answers, aborted, &map(), &mut out));
    }
    assert_eq!(out, after);
}

#[test]
fn an_ipv6_target_has_brackets_where_they_are_usual() {
    let pairs = [(("fd00::1", 6379), ("fd00::2", 6380))];
    let map = Addresses::new(pairs, "");
    let event = |text: &str| {
        let mut out = Vec::new();
        lines::event(text.as_bytes(), &map, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        event("slave [fd00::1]:6379 fd00::1 6379 @ shop fd00:0::1 6379"),
        "slave [fd00::2]:6380 fd00::2 6380 @ shop fd00::2 6380"
    );
    let mut out = Vec::new();
    lines::info(
        b"# Replication\r\nmaster_host:fd00::1\r\nmaster_port:6379\r\nslave0:ip=fd00::1,port=6379,state=online\r\n",
        &map,
        &mut out,
    );
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "# Replication\r\nmaster_host:fd00::2\r\nmaster_port:6380\r\nslave0:ip=fd00::2,port=6380,state=online\r\n"
    );
}

#[test]
fn names_and_addresses_are_looked_up_as_what_they_are() {
    let pairs = [
        (("10.0.0.5", 6379), ("a", 1)),
        (("::ffff:10.0.0.6", 6379), ("b", 2)),
        (("Redis.Internal", 6379), ("c", 3)),
        (("redis.internal", 6380), ("d", 4)),
        (("10.0.0.5", 6379), ("last", 9)),
    ];
    let map = Addresses::new(pairs, "10.0.0.6");
    assert_eq!(map.find("10.0.0.5", 6379), Some(("last", 9)));
    assert_eq!(map.find("10.0.0.6", 6379), Some(("b", 2)));
    assert_eq!(map.find("", 6379), Some(("b", 2)));
    assert_eq!(map.find("REDIS.internal", 6379), Some(("c", 3)));
    assert_eq!(map.find("redis.internal", 6380), Some(("d", 4)));
    assert_eq!(map.find("redis.internal", 6381), None);
    assert_eq!(map.find(&"a".repeat(300), 6379), None);
    assert!(!map.is_empty() && Addresses::default().is_empty());
    assert_eq!(Addresses::new([], "").find("", 6379), None);
}

// --- anything else ---

/// One RESP value of any kind, with addresses of the map in unusual places.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("127.0.0.1".to_owned()),
        Just("127.0.0.1:27000".to_owned()),
        Just("27000".to_owned()),
        Just(String::new()),
        prop::sample::select(vec![
            "ip",
            "port",
            "nodes",
            "slots",
            "name",
            "endpoint",
            "hostname",
            "tls-port",
            "master",
            "slave",
            "master-host",
            "master-port",
            "message",
            "pmessage",
            "sentinel",
        ])
        .prop_map(str::to_owned),
        Just(
            "master_host:127.0.0.1\r\nmaster_port:27000\r\nslave0:ip=127.0.0.1,port=27001\r\n"
                .to_owned()
        ),
        Just("id 127.0.0.1:27000@1,n master\n".to_owned()),
        "[ -~\r\n]{0,12}",
    ];
    let leaf = prop_oneof![
        4 => word.clone().prop_map(|word| text(&word)),
        1 => word.prop_map(|word| verbatim(&word)),
        1 => (0_u32..40_000).prop_map(|number| format!(":{number}\r\n").into_bytes()),
        1 => prop::sample::select(vec![
            "$-1\r\n", "*-1\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "+OK\r\n", "-MOVED 1 127.0.0.1:27000\r\n",
            "|1\r\n+a\r\n+b\r\n:1\r\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        (
            prop::sample::select(vec![b'*', b'%', b'~', b'>']),
            prop::collection::vec(inner, 0..8),
        )
            .prop_map(|(kind, mut items)| {
                // In the midst of others a push is none of them.
                items.retain(|item| item[0] != b'>');
                if kind == b'%' && items.len() % 2 == 1 {
                    items.pop();
                }
                let count = items.len() / if kind == b'%' { 2 } else { 1 };
                let mut out = format!("{}{count}\r\n", kind as char).into_bytes();
                items.iter().for_each(|item| out.extend_from_slice(item));
                out
            })
    })
}

const ALL: [Answer; 7] = [
    Answer::Role,
    Answer::Info,
    Answer::MasterAddress,
    Answer::Instances,
    Answer::ClusterSlots,
    Answer::ClusterShards,
    Answer::ClusterNodes,
];

/// Whether these bytes are one reply, and nothing more.
fn is_one_reply(bytes: &[u8]) -> bool {
    let step = ReplyScanner::default().advance(bytes);
    step.is_ok_and(|step| step.done.is_some() && step.consumed == bytes.len())
}

proptest! {
    #[test]
    fn whatever_comes_one_reply_goes_out(value in value()) {
        prop_assert!(is_one_reply(&value));
        for answer in ALL {
            if let Some(new) = rewritten(answer, &value, &map()) {
                prop_assert!(is_one_reply(&new), "{answer:?} {}", new.escape_ascii());
                prop_assert_ne!(&new, &value);
            }
            prop_assert_eq!(rewritten(answer, &value, &Addresses::default()), None);
        }
        let mut out = BytesMut::new();
        if rewrite_message(&value, &map(), &mut out) {
            prop_assert!(is_one_reply(&out));
        }
        out.clear();
        if rewrite_transaction(&ALL.map(Some), &value, &map(), &mut out) {
            prop_assert!(is_one_reply(&out));
        }
    }

    #[test]
    fn bytes_that_are_no_reply_stay(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for answer in ALL {
            if let Some(new) = rewritten(answer, &bytes, &map()) {
                prop_assert!(is_one_reply(&new));
            }
        }
        let mut out = BytesMut::new();
        let _ = rewrite_message(&bytes, &map(), &mut out);
        let _ = rewrite_redirect(&bytes, &map(), &mut out);
        let _ = rewrite_transaction(&[], &bytes, &map(), &mut out);
    }

    #[test]
    fn a_reply_cut_anywhere_stays(at in 0_usize..4_000) {
        let whole = reply(seen::SHARDS_NAME_3);
        let at = at % whole.len();
        prop_assert_eq!(rewritten(Answer::ClusterShards, &whole[..at], &map()), None);
    }
}

#[test]
fn a_reply_nested_beyond_reason_stays() {
    let mut deep = b"*1\r\n".repeat(100_000);
    deep.extend_from_slice(b"$5\r\n27000\r\n");
    for answer in ALL {
        stays(answer, &deep);
    }
    assert!(!rewrite_message(&deep, &map(), &mut BytesMut::new()));
    assert!(!rewrite_transaction(
        &[None],
        &deep,
        &map(),
        &mut BytesMut::new()
    ));
}
