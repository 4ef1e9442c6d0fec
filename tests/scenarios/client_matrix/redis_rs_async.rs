//! What applications do, with redis-rs' multiplexed connection: many tasks, one connection.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, PushKind, RedisResult, Script};
use tokio::time::timeout;

use super::in_process::{self, Check, Outcome, Unmet};
use super::redis_rs::{Make, refused};
use super::{Place, Seen};
use crate::support::PATIENCE;

pub fn run(place: &Place, protocol: u8) -> Seen {
    let checks: &[Check<Make<'_>>] = &[
        ("strings", |make| wait(strings(make))),
        ("transaction", |make| wait(transaction(make))),
        ("scan", |make| wait(scan(make))),
        ("scripts", |make| wait(scripts(make))),
        ("blocking pop", |make| wait(blocking_pop(make))),
        ("pub sub", |make| wait(pub_sub(make))),
        ("pub sub on the same connection", |make| {
            wait(pub_sub_in_band(make))
        }),
        ("refusals", |make| wait(refusals(make))),
        ("large value", |make| wait(large_value(make))),
        ("long pipeline", |make| wait(long_pipeline(make))),
        ("monitor", |make| wait(monitor(make))),
        ("client side cache", |make| wait(client_side_cache(make))),
        ("reconnect", |make| wait(reconnect(make))),
    ];
    let make = |direct| Make {
        place,
        direct,
        protocol,
    };
    in_process::run("redis", checks, &make(false), &make(true))
}

fn wait(check: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(check)
}

async fn connect(make: &Make<'_>, name: &str) -> RedisResult<MultiplexedConnection> {
    // Half a second is the library's default for an answer; the machine may be busy.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    make.client(name, 0)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

// === the checks ===

async fn strings(make: &Make<'_>) -> Outcome {
    let r = connect(make, "cart").await?;
    let tasks = (0..200).map(|i| {
        let mut r = r.clone();
        tokio::spawn(async move {
            let key = format!("cart:task:{i}");
            let () = r.set(&key, i).await?;
            let value: i64 = r.get(&key).await?;
            let none: Option<String> = r.get("cart:none").await?;
            assert_eq!((value, none), (i, None));
            RedisResult::Ok(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap()?;
    }
    Ok(())
}

async fn transaction(make: &Make<'_>) -> Outcome {
    let mut r = connect(make, "cart").await?;
    let (one, two): (i64, i64) = redis::pipe()
        .atomic()
        .del("cart:n")
        .ignore()
        .incr("cart:n", 1)
        .incr("cart:n", 1)
        .query_async(&mut r)
        .await?;
    assert_eq!((one, two), (1, 2));
    let refused = redis::pipe()
        .atomic()
        .incr("cart:n", 1)
        .get("other")
        .query_async::<(i64, i64)>(&mut r)
        .await;
    assert!(refused.is_err());
    let value: i64 = r.get("cart:n").await?;
    assert_eq!(value, 2, "half a transaction ran");
    Ok(())
}

async fn scan(make: &Make<'_>) -> Outcome {
    let mut r = connect(make, "cart").await?;
    let mut pipe = redis::pipe();
    for i in 0..300 {
        pipe.set(format!("cart:scan:{i}"), i).ignore();
    }
    let () = pipe.query_async(&mut r).await?;
    let mut found = BTreeSet::new();
    let mut keys = r.scan_match::<_, String>("cart:scan:*").await?;
    while let Some(key) = keys.next_item().await {
        found.insert(key?);
    }
    assert_eq!(found.len(), 300);
    Ok(())
}

async fn scripts(make: &Make<'_>) -> Outcome {
    let (mut r, mut admin) = (connect(make, "cart").await?, connect(make, "admin").await?);
    let double = Script::new("return redis.call('incrby', KEYS[1], ARGV[1]) * 2");
    let () = r.del("cart:script").await?;
    for expected in [10, 20] {
        let () = redis::cmd("SCRIPT")
            .arg("FLUSH")
            .query_async(&mut admin)
            .await?;
        let answer: i64 = double
            .key("cart:script")
            .arg(5)
            .invoke_async(&mut r)
            .await?;
        assert_eq!(answer, expected);
    }
    Ok(())
}

async fn blocking_pop(make: &Make<'_>) -> Outcome {
    let (mut r, mut other) = (connect(make, "cart").await?, connect(make, "cart").await?);
    let () = r.del("cart:queue").await?;
    let waiting = tokio::spawn(async move {
        redis::cmd("BLPOP")
            .arg("cart:queue")
            .arg(20)
            .query_async::<(String, String)>(&mut r)
            .await
    });
    while make.place.server.lock().unwrap().info("blocked_clients") != "1" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let () = other.rpush("cart:queue", "job").await?;
    assert_eq!(waiting.await.unwrap()?.1, "job");
    Ok(())
}

async fn pub_sub(make: &Make<'_>) -> Outcome {
    let mut r = connect(make, "cart").await?;
    let (mut sink, mut stream) = make.client("cart", 0)?.get_async_pubsub().await?.split();
    sink.subscribe("cart:news").await?;
    sink.psubscribe("cart:p*").await?;
    for i in 0..50 {
        let () = r.publish("cart:news", i).await?;
        let () = r.publish("cart:pattern", i).await?;
        for channel in ["cart:news", "cart:pattern"] {
            let message = timeout(PATIENCE, stream.next()).await?.expect("a message");
            assert_eq!(message.get_channel_name(), channel);
            assert_eq!(message.get_payload::<i64>()?, i);
        }
    }
    sink.unsubscribe("cart:news").await?;
    let heard: i64 = r.publish("cart:news", "unheard").await?;
    assert_eq!(heard, 0);
    refused(sink.subscribe("other").await, "channel");
    Ok(())
}

async fn pub_sub_in_band(make: &Make<'_>) -> Outcome {
    make.need_resp3()?;
    let (send, mut receive) = tokio::sync::broadcast::channel(1000);
    let config = AsyncConnectionConfig::new()
        .set_push_sender(send)
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let mut r = make
        .client("cart", 0)?
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    r.subscribe("cart:news").await?;
    for i in 0..50 {
        let heard: i64 = r.publish("cart:news", i).await?;
        assert_eq!(heard, 1);
    }
    let mut messages = 0;
    while messages < 50 {
        let push = timeout(PATIENCE, receive.recv()).await?.expect("a push");
        messages += usize::from(push.kind == PushKind::Message);
    }
    Ok(())
}

async fn refusals(make: &Make<'_>) -> Outcome {
    let mut r = connect(make, "cart").await?;
    refused(r.flushall::<()>().await, "flushall");
    refused(r.get::<_, String>("other").await, "key");
    refused(r.publish::<_, _, i64>("other", "x").await, "channel");
    let () = redis::cmd("PING").query_async(&mut r).await?;
    Ok(())
}

async fn large_value(make: &Make<'_>) -> Outcome {
    let mut r = connect(make, "cart").await?;
    let value = b"respgate".repeat((20 << 20) / 8);
    let () = r.set("cart:large", &value).await?;
    let back: Vec<u8> = r.get("cart:large").await?;
    assert!(back == value);
    let () = r.del("cart:large").await?;
    Ok(())
}

async fn long_pipeline(make: &Make<'_>) -> Outcome {
    let mut r = connect(make, "cart").await?;
    let mut pipe = redis::pipe();
    for i in 0..5_000 {
        let key = format!("cart:long:{}", i % 100);
        pipe.set(&key, i).ignore().get(&key);
    }
    let answers: Vec<i64> = pipe.query_async(&mut r).await?;
    assert!(answers.into_iter().eq(0..5_000));
    Ok(())
}

async fn monitor(make: &Make<'_>) -> Outcome {
    let mut r = connect(make, "cart").await?;
    let mut lines = make.client("admin", 0)?.get_async_monitor().await?;
    let mut lines = std::pin::pin!(lines.on_message::<String>());
    let () = r.set("cart:watched", "m").await?;
    while !timeout(PATIENCE, lines.next())
        .await?
        .expect("a line")
        .contains("\"cart:watched\"")
    {}
    Ok(())
}

async fn client_side_cache(make: &Make<'_>) -> Outcome {
    make.need_resp3()?;
    let config = AsyncConnectionConfig::new()
        .set_cache_config(redis::caching::CacheConfig::new())
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let mut r = make
        .client("cart", 0)?
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let mut other = connect(make, "cart").await?;
    let () = other.set("cart:cached", "old").await?;
    for _ in 0..2 {
        let value: String = r.get("cart:cached").await?;
        assert_eq!(value, "old");
    }
    let statistics = r.get_cache_statistics().expect("there is a cache");
    assert_eq!(statistics.hit, 1);
    let () = other.set("cart:cached", "new").await?;
    let new = async {
        while r.get::<_, String>("cart:cached").await? != "new" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        RedisResult::Ok(())
    };
    timeout(PATIENCE, new).await??;
    Ok(())
}

async fn reconnect(make: &Make<'_>) -> Outcome {
    // Its own half a second for an answer is too little on a busy machine.
    let config = redis::aio::ConnectionManagerConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let client = make.client("cart", 0)?;
    let mut r = match client.get_connection_manager_with_config(config).await {
        Ok(manager) => manager,
        Err(error) => return Err(Unmet::Error(error.to_string())),
    };
    let () = r.set("cart:before", "x").await?;
    make.place.restart();
    let again = async {
        while r.get::<_, Option<String>>("cart:before").await != Ok(None) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, again).await?;
    Ok(())
}
