//! In front of the nodes of a Cluster.

use respgate::rewrite::{Addresses, Answer, rewrite_answer, rewrite_redirect};

use crate::support::topology::{Cluster, Front};
use crate::support::{Proxy, Reply, Version, cli, command, eventually};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn all_that_cluster_nodes_say_of_addresses_is_mapped() {
    let named = [
        "--cluster-announce-hostname",
        "node.internal",
        "--cluster-preferred-endpoint-type",
    ];
    let hostname = [&named[..], &["hostname"]].concat();
    let unknown = [&named[..], &["unknown-endpoint"]].concat();
    for (version, extra) in [
        (Version::V5_0_6, &[][..]),
        (Version::V7_0_15, &hostname),
        (Version::V8_2_3, &unknown),
    ] {
        let cluster = Cluster::start(version, extra);
        let ports = cluster.nodes.iter().map(|node| node.address().port());
        let pairs = ports.flat_map(|port| {
            let to = ("tls.example.com", 1);
            [(("127.0.0.1", port), to), (("node.internal", port), to)]
        });
        let map = Addresses::new(pairs, "127.0.0.1");
        let mut client = cluster.nodes[0].direct();
        let protocols: &[&str] = match version {
            Version::V5_0_6 => &["2"],
            _ => &["2", "3"],
        };
        for protocol in protocols {
            if *protocol == "3" {
                client.call_raw(&["HELLO", "3"]);
            }
            let id = &cluster.ids[0];
            let requests: &[&[&str]] = &[
                &["CLUSTER", "SLOTS"],
                &["CLUSTER", "NODES"],
                &["CLUSTER", "SLAVES", id],
                &["CLUSTER", "REPLICAS", id],
                &["ROLE"],
                &["INFO", "replication"],
                &["CLUSTER", "SHARDS"],
            ];
            let count = requests.len() - usize::from(version == Version::V5_0_6);
            for request in &requests[..count] {
                let what = format!("{version:?} RESP{protocol} {request:?}");
                let full = match request {
                    [container, sub, ..] if *container == "CLUSTER" => {
                        format!("cluster|{}", sub.to_lowercase())
                    }
                    _ => request[0].to_lowercase(),
                };
                let raw = client.call_raw(request);
                let mut out = bytes::BytesMut::new();
                let answer = Answer::of(&full).unwrap();
                assert!(
                    rewrite_answer(answer, &raw, &map, &mut out),
                    "{what}: {}",
                    text(&raw)
                );
                let new = text(&out);
                assert!(new.contains("tls.example.com"), "{what}: {new}");
                for old in ["127.0.0.1", "node.internal"] {
                    assert!(!new.contains(old), "{what}: {new}");
                }
            }
            // Slot 15495 is another node's.
            let raw = client.call_raw(&["GET", "a"]);
            let mut out = bytes::BytesMut::new();
            assert!(rewrite_redirect(&raw, &map, &mut out), "{}", text(&raw));
            assert_eq!(text(&out), "-MOVED 15495 tls.example.com:1\r\n");
        }
    }
}

#[test]
fn a_key_is_written_at_its_node_and_at_the_replica_that_follows_it() {
    let mut cluster = Cluster::start(Version::V7_0_15, &[]);
    let front = cluster.front(Proxy::builder().dedicated());
    // WAIT needs a connection of the client's own. Slot 15495.
    let mut client = front.client(2, "admin");
    assert_eq!(client.call(&["SET", "a", "1"]), Reply::Simple("OK".into()));
    assert_eq!(client.call(&["WAIT", "1", "0"]), Reply::Integer(1));
    cluster.fail_over(2);
    client.expect_close();
    let mut client = front.client(5, "admin");
    assert_eq!(client.call(&["GET", "a"]), Reply::bulk("1"));
    assert_eq!(client.call(&["SET", "a", "2"]), Reply::Simple("OK".into()));
}

// --- clients that follow ---

const USERS: &str = "\
user cart on ~cart:* +@all -@dangerous -@admin
user admin on ~* &* +@all
";

/// What a node says of a key: an answer, or where to go.
fn ask(front: &Front, node: usize, request: &[&str]) -> Reply {
    front.client(node, "cart").call(request)
}

fn slot_of(cluster: &Cluster, key: &str) -> u16 {
    let answer = cluster.nodes[0].direct().call(&["CLUSTER", "KEYSLOT", key]);
    match answer {
        Reply::Integer(slot) => u16::try_from(slot).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Leaves a slot between two nodes: who asks the old one for a key that isn't there is sent on.
fn start_moving(cluster: &Cluster, slot: &str, from: usize, to: usize) {
    let importing = ["CLUSTER", "SETSLOT", slot, "IMPORTING", &cluster.ids[from]];
    let migrating = ["CLUSTER", "SETSLOT", slot, "MIGRATING", &cluster.ids[to]];
    let ok = Reply::Simple("OK".into());
    assert_eq!(cluster.nodes[to].direct().call(&importing), ok);
    assert_eq!(cluster.nodes[from].direct().call(&migrating), ok);
}

#[test]
fn redirections_lead_from_listener_to_listener() {
    for version in [Version::V5_0_6, Version::V7_0_15, Version::V8_2_3] {
        let cluster = Cluster::start(version, &[]);
        let front = cluster.front(Proxy::builder().users(USERS));
        let key = "cart:{moving}";
        let slot = slot_of(&cluster, key);
        let from = cluster.owner(slot, 0);
        let to = (from + 1) % 3;
        let (slot, port) = (slot.to_string(), |node: usize| front.ports[node]);

        let moved = ask(&front, to, &["GET", key]);
        assert_eq!(
            moved.error(),
            format!("MOVED {slot} 127.0.0.1:{}", port(from))
        );
        start_moving(&cluster, &slot, from, to);
        let sent = ask(&front, from, &["SET", key, "1"]);
        assert_eq!(sent.error(), format!("ASK {slot} 127.0.0.1:{}", port(to)));
        // In a pipeline the redirection has its place.
        let mut client = front.client(from, "cart");
        client.send(
            [
                command(&["PING"]),
                command(&["GET", key]),
                command(&["PING"]),
            ]
            .concat(),
        );
        client.expect(format!(
            "+PONG\r\n-ASK {slot} 127.0.0.1:{}\r\n+PONG\r\n",
            port(to)
        ));
        let mut client = front.client(to, "cart");
        assert_eq!(client.call(&["ASKING"]), Reply::Simple("OK".into()));
        assert_eq!(client.call(&["SET", key, "1"]), Reply::Simple("OK".into()));

        let ports: Vec<String> = front.ports.iter().map(u16::to_string).collect();
        let mut args = vec!["follow"];
        args.extend(ports.iter().map(String::as_str));
        let follow = || {
            let outcome = cli::python(&front.proxy, "redis_py_cluster.py", &args).expect_code(0);
            assert!(outcome.stdout.ends_with("passed\n"), "{outcome:#?}");
        };
        follow();
        for node in [to, from] {
            let done = ["CLUSTER", "SETSLOT", &slot, "NODE", &cluster.ids[to]];
            let answer = cluster.nodes[node].direct().call(&done);
            assert_eq!(answer, Reply::Simple("OK".into()));
        }
        let moved = ask(&front, from, &["GET", key]);
        assert_eq!(
            moved.error(),
            format!("MOVED {slot} 127.0.0.1:{}", port(to))
        );
        follow();

        let nodes = ask(&front, 0, &["CLUSTER", "NODES"]).text();
        let slots = front.client(0, "cart").call_raw(&["CLUSTER", "SLOTS"]);
        for (node, port) in cluster.nodes.iter().zip(&front.ports) {
            // SLOTS leaves out a replica that has copied nothing yet, as 7.0 sees it.
            assert!(nodes.contains(&format!(":{port}@")), "{port}: {nodes}");
            let plain = format!(":{}", node.address().port());
            for told in [&nodes, &text(&slots)] {
                assert!(!told.contains(&plain), "{plain}: {told}");
            }
        }
    }
}

#[test]
fn redis_py_goes_on_when_a_master_dies_and_loses_no_acknowledged_write() {
    // It says WAIT.
    for version in [Version::V5_0_6, Version::V8_2_3] {
        let mut cluster = Cluster::start(version, &[]);
        let front = cluster.front(Proxy::builder().dedicated().users(USERS));
        let ports: Vec<String> = front.ports.iter().map(u16::to_string).collect();
        let mut args = vec!["write"];
        args.extend(ports.iter().map(String::as_str));
        let keys: Vec<(u16, String)> = (0..30)
            .map(|list| format!("cart:log:{list}"))
            .map(|key| (slot_of(&cluster, &key), key))
            .collect();
        // The lists of one node, and what is in them.
        let lists = |cluster: &Cluster, node: usize| -> Vec<(String, Vec<String>)> {
            let mut client = cluster.nodes[node].direct();
            let own = keys
                .iter()
                .filter(|(slot, _)| cluster.owner(*slot, node) == node);
            own.map(|(_, key)| {
                let items = client.call(&["LRANGE", key, "0", "-1"]);
                (key.clone(), items.array().iter().map(Reply::text).collect())
            })
            .collect()
        };
        let count = |cluster: &Cluster, node: usize| -> usize {
            let lists = lists(cluster, node);
            lists.iter().map(|(_, items)| items.len()).sum()
        };
        let stop = cluster.owner(slot_of(&cluster, "cart:stop"), 0);
        // The one that dies is not the one that says stop.
        let dies = (stop + 1) % 3;
        let outcome = std::thread::scope(|scope| {
            let client = scope.spawn(|| cli::python(&front.proxy, "redis_py_cluster.py", &args));
            eventually("it writes", || count(&cluster, dies) >= 30);
            cluster.fail_over(dies);
            let before = count(&cluster, dies + 3);
            eventually("it goes on where the master died", || {
                count(&cluster, dies + 3) >= before + 30
            });
            let said = cluster.nodes[stop]
                .direct()
                .call(&["SET", "cart:stop", "1"]);
            assert_eq!(said, Reply::Simple("OK".into()));
            client.join().unwrap()
        });
        let outcome = outcome.expect_code(0);
        assert!(outcome.stdout.ends_with("passed\n"), "{outcome:#?}");
        let masters = (0..3).map(|node| if node == dies { node + 3 } else { node });
        let all: Vec<(String, Vec<String>)> =
            masters.flat_map(|node| lists(&cluster, node)).collect();
        let acknowledged: Vec<&str> = outcome.stdout.lines().next().unwrap().split(' ').collect();
        assert!(acknowledged.len() >= 100, "{outcome:#?}");
        for one in acknowledged {
            let (list, number) = one.split_once(':').unwrap();
            let key = format!("cart:log:{list}");
            let found = all.iter().find(|(known, _)| *known == key);
            let items = &found.unwrap().1;
            assert!(
                items.iter().any(|item| item == number),
                "{version:?}: lost {one}"
            );
        }
    }
}
