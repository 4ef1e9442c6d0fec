//! What applications do, with fred.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::error::{Error, ErrorKind};
use fred::interfaces::TrackingInterface;
use fred::prelude::*;
use fred::types::config::{TlsConnector, TlsHostMapping};
use fred::types::scan::Scanner;
use fred::types::{ClusterHash, CustomCommand, RespVersion};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::in_process::{self, Check, Outcome, Unmet};
use super::{Connections, Place, Seen};
use crate::support::PATIENCE;

struct Make<'a> {
    place: &'a Place,
    direct: bool,
    protocol: u8,
}

pub fn run(place: &Place, protocol: u8) -> Seen {
    let checks: &[Check<Make<'_>>] = &[
        ("strings", |make| wait(strings(make))),
        ("collections", |make| wait(collections(make))),
        ("pipeline", |make| wait(pipeline(make))),
        ("transaction", |make| wait(transaction(make))),
        ("scan", |make| wait(scan(make))),
        ("scripts", |make| wait(scripts(make))),
        ("blocking pop", |make| wait(blocking_pop(make))),
        ("pub sub", |make| wait(pub_sub(make))),
        ("sharded pub sub", |make| wait(sharded_pub_sub(make))),
        ("refusals", |make| wait(refusals(make))),
        ("large value", |make| wait(large_value(make))),
        ("long pipeline", |make| wait(long_pipeline(make))),
        ("databases", |make| wait(databases(make))),
        ("names and ids", |make| wait(names_and_ids(make))),
        ("monitor", |make| wait(monitor(make))),
        ("native types", |make| wait(native_types(make))),
        ("tracking", |make| wait(tracking(make))),
        ("reconnect", |make| wait(reconnect(make))),
    ];
    let make = |direct| Make {
        place,
        direct,
        protocol,
    };
    in_process::run("fred", checks, &make(false), &make(true))
}

fn wait(check: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            timeout(3 * PATIENCE, check)
                .await
                .unwrap_or_else(|_| panic!("it hangs"))
        })
}

// === impl Make ===

impl Make<'_> {
    fn config(&self, name: &str, database: u8) -> Config {
        let proxy = &self.place.proxy;
        let server = if self.direct {
            let upstream = self.place.upstream();
            let (host, port) = upstream.split_once(':').unwrap();
            ServerConfig::new_centralized(host, port.parse().unwrap())
        } else {
            ServerConfig::new_centralized("localhost", proxy.port())
        };
        let tls = (!self.direct).then(|| {
            let config = proxy.certs().client_config(Some(name));
            fred::types::config::TlsConfig {
                connector: TlsConnector::Rustls(config.into()),
                hostnames: TlsHostMapping::None,
            }
        });
        Config {
            server,
            tls,
            database: (database != 0).then_some(database),
            version: if self.protocol == 3 {
                RespVersion::RESP3
            } else {
                RespVersion::RESP2
            },
            ..Config::default()
        }
    }

    async fn connect(&self, name: &str) -> Result<Client, Error> {
        let client = Builder::from_config(self.config(name, 0)).build()?;
        client.init().await?;
        Ok(client)
    }

    async fn subscriber(&self) -> Result<SubscriberClient, Error> {
        let client = Builder::from_config(self.config("cart", 0)).build_subscriber_client()?;
        client.init().await?;
        Ok(client)
    }

    fn need_resp3(&self) -> Outcome {
        if self.protocol == 3 {
            Ok(())
        } else {
            Err(Unmet::NotHere)
        }
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, like: &str) {
    let error = result.expect_err("it is refused");
    let text = error.to_string();
    assert!(text.contains("NOPERM") && text.contains(like), "{text}");
}

// === the checks ===

async fn strings(make: &Make<'_>) -> Outcome {
    let r = make.connect("cart").await?;
    let () = r.set("cart:s", "value", None, None, false).await?;
    let value: Option<String> = r.get("cart:s").await?;
    assert_eq!(value.as_deref(), Some("value"));
    let none: Option<String> = r.get("cart:none").await?;
    assert_eq!(none, None);
    let () = r.del("cart:n").await?;
    let counts: (i64, i64) = (r.incr("cart:n").await?, r.incr_by("cart:n", 41).await?);
    assert_eq!(counts, (1, 42));
    let values: Vec<Option<i64>> = r.mget(vec!["cart:n", "cart:none"]).await?;
    assert_eq!(values, [Some(42), None]);
    let binary: Vec<u8> = (0..=255).chain(*b"\r\n$-1\r\n*3\r\n").collect();
    let () = r
        .set("cart:bin", binary.as_slice(), None, None, false)
        .await?;
    let back: Vec<u8> = r.get::<fred::bytes::Bytes, _>("cart:bin").await?.to_vec();
    assert_eq!(back, binary);
    Ok(())
}

async fn collections(make: &Make<'_>) -> Outcome {
    let r = make.connect("cart").await?;
    let () = r
        .del(vec!["cart:h", "cart:l", "cart:set", "cart:z", "cart:x"])
        .await?;
    let () = r.hset("cart:h", [("a", "1"), ("b", "zwei")]).await?;
    let map: HashMap<String, String> = r.hgetall("cart:h").await?;
    assert_eq!((map.len(), map["b"].as_str()), (2, "zwei"));
    let length: i64 = r.rpush("cart:l", vec!["a", "b", "c"]).await?;
    assert_eq!(length, 3);
    let list: Vec<String> = r.lrange("cart:l", 0, -1).await?;
    assert_eq!(list, ["a", "b", "c"]);
    let () = r.sadd("cart:set", vec!["x", "y"]).await?;
    let set: BTreeSet<String> = r.smembers("cart:set").await?;
    assert_eq!(set.into_iter().collect::<Vec<_>>(), ["x", "y"]);
    let () = r
        .zadd(
            "cart:z",
            None,
            None,
            false,
            false,
            vec![(1.0, "one"), (0.5, "half")],
        )
        .await?;
    let scores: Vec<(String, f64)> = r.zrange("cart:z", 0, -1, None, false, None, true).await?;
    assert_eq!(scores, [("half".to_owned(), 0.5), ("one".to_owned(), 1.0)]);
    let first: String = r
        .xadd("cart:x", false, None, "*", vec![("field", "value")])
        .await?;
    let () = r.xgroup_create("cart:x", "group", "0", false).await?;
    let read: Value = r
        .xreadgroup("group", "consumer", None, None, false, "cart:x", ">")
        .await?;
    assert!(format!("{read:?}").contains(&first), "{read:?}");
    let taken: i64 = r.xack("cart:x", "group", first).await?;
    assert_eq!(taken, 1);
    Ok(())
}

async fn pipeline(make: &Make<'_>) -> Outcome {
    let r = make.connect("cart").await?;
    let pipe = r.pipeline();
    let () = pipe.set("cart:p", 1, None, None, false).await?;
    let () = pipe.get("other").await?;
    let () = pipe.get("cart:p").await?;
    let answers: Vec<Result<Value, Error>> = pipe.try_all().await;
    assert_eq!(answers.len(), 3);
    refused(answers[1].clone(), "key");
    assert_eq!(answers[2].clone()?.as_str().as_deref(), Some("1"));
    Ok(())
}

async fn transaction(make: &Make<'_>) -> Outcome {
    let r = make.connect("cart").await?;
    let () = r.set("cart:t", 1, None, None, false).await?;
    let both = r.multi();
    let () = both.incr("cart:t").await?;
    let () = both.incr("cart:t").await?;
    let counts: (i64, i64) = both.exec(true).await?;
    assert_eq!(counts, (2, 3));
    let spoiled = r.multi();
    let () = spoiled.incr("cart:t").await?;
    let () = spoiled.get("other").await?;
    assert!(spoiled.exec::<Value>(true).await.is_err());
    let value: i64 = r.get("cart:t").await?;
    assert_eq!(value, 3, "half a transaction ran");
    Ok(())
}

async fn scan(make: &Make<'_>) -> Outcome {
    let r = make.connect("cart").await?;
    let pipe = r.pipeline();
    for i in 0..300 {
        let () = pipe
            .set(format!("cart:scan:{i}"), i, None, None, false)
            .await?;
    }
    let () = pipe.last().await?;
    let mut found = BTreeSet::new();
    let mut pages = std::pin::pin!(r.scan("cart:scan:*", Some(50), None));
    while let Some(page) = pages.next().await {
        let mut page = page?;
        for key in page.take_results().unwrap_or_default() {
            found.insert(key.as_str_lossy().into_owned());
        }
        page.next();
    }
    assert_eq!(found.len(), 300);
    Ok(())
}

async fn scripts(make: &Make<'_>) -> Outcome {
    let (r, admin) = (make.connect("cart").await?, make.connect("admin").await?);
    let script = "return redis.call('incrby', KEYS[1], ARGV[1]) * 2";
    let double = fred::types::scripts::Script::from_lua(script);
    let () = r.del("cart:script").await?;
    // With its own call the library says SYNC, which Redis knows since 6.2.
    let script_flush = CustomCommand::new("SCRIPT", ClusterHash::FirstKey, false);
    let () = admin.custom(script_flush, vec!["FLUSH"]).await?;
    let missing = double.evalsha::<i64, _, _, _>(&r, "cart:script", 5).await;
    assert!(missing.is_err_and(|error| error.details().contains("NOSCRIPT")));
    let () = double.load(&r).await?;
    let answer: i64 = double.evalsha(&r, "cart:script", 5).await?;
    assert_eq!(answer, 10);
    let answer: i64 = r.eval(script, "cart:script", 5).await?;
    assert_eq!(answer, 20);
    Ok(())
}

async fn blocking_pop(make: &Make<'_>) -> Outcome {
    let (r, other) = (make.connect("cart").await?, make.connect("cart").await?);
    let () = r.del("cart:queue").await?;
    // A whole number: Redis takes others since 6.0.
    let blpop = CustomCommand::new("BLPOP", ClusterHash::FirstKey, true);
    let waiting = tokio::spawn(async move {
        r.custom::<(String, String), _>(blpop, vec!["cart:queue", "20"])
            .await
    });
    while make.place.server.lock().unwrap().info("blocked_clients") != "1" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let () = other.rpush("cart:queue", "job").await?;
    assert_eq!(waiting.await?.map(|(_, job)| job)?, "job");
    Ok(())
}

async fn pub_sub(make: &Make<'_>) -> Outcome {
    let r = make.connect("cart").await?;
    let sub = make.subscriber().await?;
    let mut messages = sub.message_rx();
    sub.subscribe("cart:news").await?;
    sub.psubscribe("cart:p*").await?;
    // The library doesn't wait for the answers.
    for channel in ["cart:news", "cart:pattern"] {
        while r.publish::<i64, _, _>(channel, "first").await? == 0 {}
        let message = timeout(PATIENCE, messages.recv()).await??;
        assert_eq!(&*message.channel, channel);
    }
    for i in 0..50 {
        let heard: i64 = r.publish("cart:news", i).await?;
        assert_eq!(heard, 1);
        let heard: i64 = r.publish("cart:pattern", i).await?;
        assert_eq!(heard, 1);
        for channel in ["cart:news", "cart:pattern"] {
            let message = timeout(PATIENCE, messages.recv()).await??;
            assert_eq!(&*message.channel, channel);
            assert_eq!(message.value.convert::<i64>()?, i);
        }
    }
    sub.unsubscribe("cart:news").await?;
    while r.publish::<i64, _, _>("cart:news", "unheard").await? > 0 {}
    refused(r.publish::<i64, _, _>("other", "x").await, "channel");
    Ok(())
}

async fn sharded_pub_sub(make: &Make<'_>) -> Outcome {
    let r = make.connect("cart").await?;
    let heard: i64 = r.spublish("cart:shard", "nobody").await?;
    assert_eq!(heard, 0);
    let sub = make.subscriber().await?;
    let mut messages = sub.message_rx();
    sub.ssubscribe("cart:shard").await?;
    while r.spublish::<i64, _, _>("cart:shard", "m").await? == 0 {}
    let message = timeout(PATIENCE, messages.recv()).await??;
    assert_eq!(&*message.channel, "cart:shard");
    Ok(())
}

async fn refusals(make: &Make<'_>) -> Outcome {
    let r = make.connect("cart").await?;
    refused(r.flushall::<Value>(false).await, "flushall");
    refused(r.get::<Value, _>("other").await, "key");
    let pong: String = r.ping(None).await?;
    assert_eq!(pong, "PONG");
    Ok(())
}

async fn large_value(make: &Make<'_>) -> Outcome {
    let r = make.connect("cart").await?;
    let value = fred::bytes::Bytes::from(b"respgate".repeat((20 << 20) / 8));
    let () = r
        .set("cart:large", Value::Bytes(value.clone()), None, None, false)
        .await?;
    let back: fred::bytes::Bytes = r.get("cart:large").await?;
    assert!(back == value);
    let () = r.del("cart:large").await?;
    Ok(())
}

async fn long_pipeline(make: &Make<'_>) -> Outcome {
    let r = make.connect("cart").await?;
    let pipe = r.pipeline();
    for i in 0..5_000 {
        let key = format!("cart:long:{}", i % 100);
        let () = pipe.set(&key, i, None, None, false).await?;
        let () = pipe.get(&key).await?;
    }
    let answers: Vec<Value> = pipe.all().await?;
    assert_eq!(answers.len(), 10_000);
    for (i, answer) in (0..).zip(answers.chunks(2)) {
        assert_eq!(answer[1].clone().convert::<i64>()?, i);
    }
    Ok(())
}

async fn databases(make: &Make<'_>) -> Outcome {
    let one = Builder::from_config(make.config("cart", 3)).build()?;
    let other = Builder::from_config(make.config("cart", 4)).build()?;
    one.init().await?;
    other.init().await?;
    let () = one.set("cart:db", "three", None, None, false).await?;
    let value: Option<String> = other.get("cart:db").await?;
    assert_eq!(value, None);
    other.select(3).await?;
    let value: Option<String> = other.get("cart:db").await?;
    assert_eq!(value.as_deref(), Some("three"));
    Ok(())
}

async fn names_and_ids(make: &Make<'_>) -> Outcome {
    let (r, admin) = (make.connect("cart").await?, make.connect("admin").await?);
    r.client_setname("shop").await?;
    let number: i64 = r.client_id().await?;
    let list = CustomCommand::new("CLIENT", ClusterHash::FirstKey, false);
    let list: String = admin.custom(list, vec!["LIST"]).await?;
    let mine = list.lines().find(|line| line.contains(" name=shop "));
    if make.place.connections == Connections::Shared {
        // The Redis has no such client.
        assert_eq!(mine, None);
        return Ok(());
    }
    assert!(
        mine.is_some_and(|line| line.starts_with(&format!("id={number} "))),
        "{list}"
    );
    Ok(())
}

async fn monitor(make: &Make<'_>) -> Outcome {
    let r = make.connect("cart").await?;
    let lines = fred::monitor::run(make.config("admin", 0)).await?;
    let mut lines = std::pin::pin!(lines);
    let () = r.set("cart:watched", "m", None, None, false).await?;
    loop {
        let line = timeout(PATIENCE, lines.next()).await?.expect("a line");
        if format!("{line:?}").contains("cart:watched") {
            return Ok(());
        }
    }
}

async fn native_types(make: &Make<'_>) -> Outcome {
    make.need_resp3()?;
    let r = make.connect("cart").await?;
    let () = r.del(vec!["cart:z3", "cart:h3"]).await?;
    let () = r
        .zadd("cart:z3", None, None, false, false, (1.5, "m"))
        .await?;
    let () = r.hset("cart:h3", ("f", "v")).await?;
    let score: Value = r.zscore("cart:z3", "m").await?;
    assert!(score.is_double(), "{score:?}");
    let map: Value = r.hgetall("cart:h3").await?;
    assert!(map.is_map(), "{map:?}");
    Ok(())
}

async fn tracking(make: &Make<'_>) -> Outcome {
    make.need_resp3()?;
    let (r, other) = (make.connect("cart").await?, make.connect("cart").await?);
    let mut heard = r.invalidation_rx();
    r.start_tracking(None, false, false, false, false).await?;
    let _: Option<String> = r.get("cart:tracked").await?;
    let () = other.set("cart:tracked", "new", None, None, false).await?;
    let invalidation = timeout(PATIENCE, heard.recv()).await??;
    assert!(format!("{:?}", invalidation.keys).contains("cart:tracked"));
    Ok(())
}

async fn reconnect(make: &Make<'_>) -> Outcome {
    let r = Builder::from_config(make.config("cart", 0))
        .set_policy(ReconnectPolicy::new_constant(0, 20))
        .build()?;
    r.init().await?;
    let () = r.set("cart:before", "x", None, None, false).await?;
    make.place.restart();
    loop {
        match r.get::<Option<String>, _>("cart:before").await {
            Ok(answer) => {
                assert_eq!(answer, None);
                return Ok(());
            }
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Timeout
                ),
                "{error}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
