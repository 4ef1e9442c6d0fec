//! In front of the nodes of a Cluster.

use respgate::rewrite::{Addresses, Answer, rewrite_answer, rewrite_redirect};

use crate::support::topology::Cluster;
use crate::support::{Proxy, Reply, Version};

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
    let front = cluster.front(Proxy::builder());
    // Slot 15495.
    let mut client = front.client(2, "admin");
    assert_eq!(client.call(&["SET", "a", "1"]), Reply::Simple("OK".into()));
    assert_eq!(client.call(&["WAIT", "1", "0"]), Reply::Integer(1));
    cluster.fail_over(2);
    client.expect_close();
    let mut client = front.client(5, "admin");
    assert_eq!(client.call(&["GET", "a"]), Reply::bulk("1"));
    assert_eq!(client.call(&["SET", "a", "2"]), Reply::Simple("OK".into()));
}
