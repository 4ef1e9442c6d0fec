//! In front of Sentinels and of the Redises that they watch.

use respgate::rewrite::{Addresses, Answer, rewrite_answer, rewrite_message};

use crate::support::topology::{Front, PASSWORD, SHOP, Sentinels};
use crate::support::{Proxy, Reply, TestClient, Version, cli, command, eventually};

/// Where the three kinds of Sentinel differ: RESP3 and COMMAND came in between.
const VERSIONS: [Version; 3] = [Version::V5_0_6, Version::V7_0_15, Version::V8_2_3];

/// A user as applications need it, and one that may do all that isn't lethal.
const USERS: &str = "\
user cart on ~cart:* &* +@all -@dangerous -@admin +sentinel|get-master-addr-by-name +sentinel|masters \
+sentinel|master +sentinel|replicas +sentinel|slaves +sentinel|sentinels +role +info
user admin on ~* &* +@all
";

/// Every address of the topology to one that can't be mistaken for it.
fn map(topology: &Sentinels) -> Addresses {
    let redis = topology.redis.iter().map(|redis| redis.address().port());
    let ports = redis.chain(topology.sentinels.iter().map(|sentinel| sentinel.port));
    let pairs = ports.map(|port| (("127.0.0.1", port), ("tls.example.com", 1)));
    Addresses::new(pairs, "127.0.0.1")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn all_that_sentinels_say_of_addresses_is_mapped() {
    for version in VERSIONS {
        let mut topology = Sentinels::start_to_fail_over(version);
        let map = map(&topology);
        let answers = |server: &str, mut client: TestClient, requests: &[&str]| {
            let protocols: &[&str] = match version {
                Version::V5_0_6 => &["2"],
                _ => &["2", "3"],
            };
            for protocol in protocols {
                if *protocol == "3" {
                    client.call_raw(&["HELLO", "3"]);
                }
                for request in requests {
                    let words: Vec<&str> = request.split(' ').collect();
                    let raw = client.call_raw(&words);
                    let what = format!("{version:?} {server} RESP{protocol} {request}");
                    assert!(text(&raw).contains("127.0.0.1"), "{what}: {}", text(&raw));
                    let full = match words[0] {
                        "SENTINEL" => format!("sentinel|{}", words[1]).to_lowercase(),
                        plain => plain.to_lowercase(),
                    };
                    let answer = Answer::of(&full).expect(&what);
                    let mut out = bytes::BytesMut::new();
                    assert!(rewrite_answer(answer, &raw, &map, &mut out), "{what}");
                    let new = text(&out);
                    assert!(!new.contains("127.0.0.1"), "{what}: {new}");
                    assert!(new.contains("tls.example.com"), "{what}: {new}");
                }
            }
        };
        answers(
            "sentinel",
            topology.sentinels[0].direct(),
            &[
                "SENTINEL GET-MASTER-ADDR-BY-NAME shop",
                "SENTINEL MASTERS",
                "SENTINEL MASTER shop",
                "SENTINEL REPLICAS shop",
                "SENTINEL SLAVES shop",
                "SENTINEL SENTINELS shop",
                "INFO sentinel",
            ],
        );
        answers(
            "master",
            topology.redis[0].direct(),
            &["ROLE", "INFO replication"],
        );
        answers(
            "replica",
            topology.redis[1].direct(),
            &["ROLE", "INFO replication"],
        );

        // What a Sentinel publishes while the master goes.
        let mut listener = topology.sentinels[1].direct();
        listener.call_raw(&["PSUBSCRIBE", "*"]);
        topology.fail_over();
        let mut switched = false;
        while !switched {
            let raw = listener.read_raw();
            let event = text(&raw);
            let mut out = bytes::BytesMut::new();
            let new = match rewrite_message(&raw, &map, &mut out) {
                true => text(&out),
                false => event.clone(),
            };
            assert!(!new.contains("127.0.0.1"), "{version:?}: {new}");
            switched = event.contains("+switch-master");
        }
    }
}

#[test]
fn a_listener_of_the_wrong_kind_serves_nobody_and_says_why() {
    let topology = Sentinels::start(Version::V7_0_15);
    let sentinel = topology.sentinels[0].port;
    let redis = topology.redis[0].address().port();
    for (port, kind, why) in [
        (sentinel, "redis", "its redis_mode is sentinel"),
        (redis, "sentinel", "its redis_mode is standalone"),
    ] {
        let builder = Proxy::builder()
            .upstream_named(
                "main",
                &format!("address = \"127.0.0.1:{port}\"\npassword_file = \"redis.password\""),
            )
            .file("redis.password", PASSWORD)
            .listener(&format!("kind = \"{kind}\""))
            .ready_when_listening();
        let dir = tempfile::tempdir().unwrap();
        let config = builder.write(dir.path(), 6380);
        let config = config.to_str().unwrap();
        let outcome = cli::respgate(&["check", "--config", config, "--upstream"]).expect_code(1);
        let told = format!("{why}, and listener.main.kind = \"{kind}\": it isn't served");
        assert!(outcome.text().contains(&told), "{outcome:#?}");

        // As what it is, it is in order.
        let right = match kind {
            "redis" => "sentinel",
            _ => "redis",
        };
        let text = std::fs::read_to_string(config).unwrap();
        let text = text.replace(
            &format!("kind = \"{kind}\""),
            &format!("kind = \"{right}\""),
        );
        std::fs::write(config, text).unwrap();
        let outcome = cli::respgate(&["check", "--config", config, "--upstream"]).expect_code(0);
        assert!(!outcome.text().contains("lacks"), "{outcome:#?}");

        let proxy = builder.start();
        eventually("the reason is in the log", || {
            proxy.log_text().contains(why)
        });
        let mut client = proxy.client("admin");
        client.send(command(&["PING"]));
        client.expect_close();
    }
}

#[test]
fn sentinel_commands_are_judged_and_who_is_master_is_lethal() {
    let topology = Sentinels::start(Version::V7_0_15);
    let front = topology.front(Proxy::builder().users(USERS));
    for name in ["cart", "admin"] {
        let mut client = front.client(3, name);
        let master = client.call(&["SENTINEL", "get-master-addr-by-name", SHOP]);
        assert_eq!(master.array().len(), 2);
        for request in [
            "SENTINEL MONITOR evil 10.0.0.1 6379 1",
            "SENTINEL SET shop quorum 1 x",
            "SENTINEL REMOVE shop",
            "SENTINEL RESET *",
            "SENTINEL FAILOVER shop",
            "SENTINEL CONFIG SET announce-ip 10.0.0.1",
            "SENTINEL SIMULATE-FAILURE crash-after-election",
            "PUBLISH __sentinel__:hello x",
            "SHUTDOWN",
        ] {
            let words: Vec<&str> = request.split(' ').collect();
            let answer = client.call(&words);
            assert!(
                answer.error().starts_with("NOPERM"),
                "{request}: {answer:?}"
            );
        }
        let answer = client.call(&["GET", "cart:1"]);
        assert!(
            answer.error().starts_with("ERR unknown command"),
            "{answer:?}"
        );
    }
    // A Redis that Sentinels watch hands such a message on to them.
    let mut client = front.client(0, "admin");
    let answer = client.call(&["PUBLISH", "__sentinel__:hello", "x"]);
    assert!(answer.error().starts_with("NOPERM"), "{answer:?}");
    assert_eq!(topology.master(), 0);
}

#[test]
fn who_goes_around_the_proxy_gets_nowhere() {
    let topology = Sentinels::start(Version::V5_0_6);
    let direct = |port| TestClient::tcp(([127, 0, 0, 1], port).into()).unwrap();
    let mut redis = direct(topology.redis[0].address().port());
    assert!(redis.call(&["GET", "a"]).error().starts_with("NOAUTH"));
    let mut sentinel = direct(topology.sentinels[0].port);
    assert!(
        sentinel
            .call(&["SENTINEL", "MASTERS"])
            .error()
            .starts_with("NOAUTH")
    );
}

// --- clients that follow ---

/// What a Sentinel says through the proxy: the port before the master.
fn master_port(front: &Front, sentinel: usize) -> Option<u16> {
    let mut client = front.try_client(3 + sentinel, "cart").ok()?;
    client
        .try_send(&command(&["SENTINEL", "get-master-addr-by-name", SHOP]))
        .ok()?;
    let address = client.try_read_reply().ok()?;
    assert_eq!(address.array()[0].text(), "localhost");
    Some(address.array()[1].text().parse().unwrap())
}

/// Appends `number` behind a WAIT; whether a replica has it.
fn append(client: &mut TestClient, number: usize) -> Option<bool> {
    let number = number.to_string();
    let both = [
        command(&["RPUSH", "cart:log", &number]),
        command(&["WAIT", "1", "2000"]),
    ]
    .concat();
    client.try_send(&both).ok()?;
    if client.try_read_reply().ok()?.is_error() {
        return None;
    }
    match client.try_read_reply().ok()? {
        Reply::Integer(replicas) => Some(replicas >= 1),
        _ => None,
    }
}

fn log_of(topology: &Sentinels) -> Vec<String> {
    let mut client = topology.redis[topology.master()].direct();
    let log = client.call(&["LRANGE", "cart:log", "0", "-1"]);
    log.array().iter().map(Reply::text).collect()
}

#[test]
fn a_client_that_follows_a_failover_loses_no_acknowledged_write() {
    // It says WAIT.
    for version in [Version::V5_0_6, Version::V8_2_3] {
        let mut topology = Sentinels::start_to_fail_over(version);
        let front = topology.front(Proxy::builder().dedicated().users(USERS));
        let mut acknowledged = Vec::new();
        let mut number = 0;
        let mut write = |count: usize| {
            let mut left = count;
            eventually("writes are acknowledged", || {
                // Any Sentinel will do, and one may be behind.
                let Some(port) = master_port(&front, number % 3) else {
                    return false;
                };
                assert!(front.ports[..3].contains(&port), "{port} is no listener");
                let Ok(mut client) = front.try_client_at(port, "cart") else {
                    return false;
                };
                while left > 0 {
                    number += 1;
                    match append(&mut client, number) {
                        Some(true) => {
                            acknowledged.push(number.to_string());
                            left -= 1;
                        }
                        Some(false) => {}
                        None => return false,
                    }
                }
                true
            });
        };
        write(50);
        topology.fail_over();
        write(50);
        let log = log_of(&topology);
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|one| !log.contains(one))
            .collect();
        assert!(lost.is_empty(), "{version:?}: {lost:?}");
        assert_eq!(acknowledged.len(), 100);
    }
}

#[test]
fn who_shares_connections_finds_the_new_master_too() {
    for version in [Version::V5_0_6, Version::V8_2_3] {
        let mut topology = Sentinels::start_to_fail_over(version);
        let front = topology.front(Proxy::builder().users(USERS));
        let set = ["SET", "cart:1", "a"];
        let ok = Reply::Simple("OK".into());
        let old = master_port(&front, 0).unwrap();
        let mut kept: Vec<TestClient> = (0..3)
            .map(|_| front.try_client_at(old, "cart").unwrap())
            .collect();
        for client in &mut kept {
            assert_eq!(client.call(&set), ok);
        }
        topology.fail_over();
        // Who was owed nothing finds out when it says something, and can ask a Sentinel then.
        for client in &mut kept {
            let _ = client.try_send(&command(&set));
            client.expect_close();
        }
        eventually("a write is answered", || {
            let new = master_port(&front, 1).filter(|new| *new != old);
            new.and_then(|new| front.try_client_at(new, "cart").ok())
                .is_some_and(|mut client| {
                    client.try_send(&command(&set)).is_ok()
                        && client.try_read_reply() == Ok(ok.clone())
                })
        });
    }
}

#[test]
fn redis_py_follows_a_failover_over_tls_and_loses_no_acknowledged_write() {
    // It says WAIT.
    for version in [Version::V7_0_15, Version::V8_2_3] {
        let mut topology = Sentinels::start_to_fail_over(version);
        let front = topology.front(Proxy::builder().dedicated().users(USERS));
        let ports: Vec<String> = front.ports[3..].iter().map(u16::to_string).collect();
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        let outcome = std::thread::scope(|scope| {
            let client = scope.spawn(|| cli::python(&front.proxy, "redis_py_sentinel.py", &ports));
            eventually("it writes", || log_of(&topology).len() >= 50);
            topology.fail_over();
            let before = log_of(&topology).len();
            eventually("it goes on", || log_of(&topology).len() >= before + 50);
            let mut master = topology.redis[topology.master()].direct();
            master.call(&["SET", "cart:stop", "1"]);
            client.join().unwrap()
        });
        let outcome = outcome.expect_code(0);
        let log = log_of(&topology);
        let acknowledged: Vec<&str> = outcome.stdout.lines().next().unwrap().split(' ').collect();
        assert!(acknowledged.len() >= 100, "{outcome:#?}");
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|one| !log.iter().any(|known| known == *one))
            .collect();
        assert!(lost.is_empty(), "{version:?}: {lost:?}");
        assert!(outcome.stdout.ends_with("passed\n"), "{outcome:#?}");
    }
}

#[test]
fn redis_cli_is_told_of_listeners_alone() {
    let topology = Sentinels::start(Version::V7_0_15);
    let front = topology.front(Proxy::builder().users(USERS));
    let port = front.ports[3].to_string();
    let requests =
        "SENTINEL MASTERS\nSENTINEL REPLICAS shop\nSENTINEL SENTINELS shop\nINFO sentinel\n";
    // The last -p counts.
    let outcome = cli::redis_cli(&front.proxy, "cart", &["-p", &port], requests).expect_code(0);
    assert!(!outcome.stdout.contains("127.0.0.1"), "{outcome:#?}");
    for port in &front.ports {
        // All but the one that was asked.
        let told = outcome.stdout.contains(&port.to_string());
        assert_eq!(told, *port != front.ports[3], "{port} {outcome:#?}");
    }
    for (server, field) in [
        (0, "slave0:ip=localhost,"),
        (1, "master_host:localhost\r\n"),
    ] {
        let info = front
            .client(server, "cart")
            .call(&["INFO", "replication"])
            .text();
        assert!(info.contains(field), "{info}");
    }
    let role = front.client(1, "cart").call(&["ROLE"]);
    assert_eq!(role.array()[1].text(), "localhost");
    assert_eq!(role.array()[2], Reply::Integer(front.ports[0].into()));
}

#[test]
fn who_listens_to_a_sentinel_hears_of_the_listener_before_the_new_master() {
    for version in [Version::V5_0_6, Version::V7_0_15] {
        let mut topology = Sentinels::start_to_fail_over(version);
        let front = topology.front(Proxy::builder().users(USERS));
        let mut client = front.client(4, "cart");
        client.send(command(&["PSUBSCRIBE", "*"]));
        client.read_raw();
        topology.fail_over();
        let new = front.ports[topology.master()];
        let expected = format!("{SHOP} localhost {} localhost {new}", front.ports[0]);
        loop {
            let event = text(&client.read_raw());
            assert!(!event.contains("127.0.0.1"), "{event}");
            if event.contains("+switch-master") {
                assert!(event.contains(&expected), "{event}");
                break;
            }
        }
    }
}
