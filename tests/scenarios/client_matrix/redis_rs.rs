//! What applications do, with redis-rs' blocking connection.

use std::collections::{BTreeSet, HashMap};
use std::sync::mpsc;
use std::time::Duration;

use redis::streams::StreamReadReply;
use redis::{
    Client, ClientTlsConfig, Commands, Connection, ConnectionAddr, IntoConnectionInfo,
    ProtocolVersion, RedisError, RedisResult, Script, TlsCertificates, Value,
};

use super::in_process::{self, Check, Outcome, Unmet};
use super::{Connections, Place, Seen};
use crate::support::{PATIENCE, eventually};

/// Makes connections, by the proxy or directly.
pub struct Make<'a> {
    pub place: &'a Place,
    pub direct: bool,
    pub protocol: u8,
}

pub fn run(place: &Place, protocol: u8) -> Seen {
    let checks: &[Check<Make<'_>>] = &[
        ("strings", strings),
        ("collections", collections),
        ("pipeline", pipeline),
        ("transaction", transaction),
        ("scan", scan),
        ("scripts", scripts),
        ("blocking pop", blocking_pop),
        ("pub sub", pub_sub),
        ("channels of others", channels_of_others),
        ("refusals", refusals),
        ("large value", large_value),
        ("long pipeline", long_pipeline),
        ("databases", databases),
        ("names and ids", names_and_ids),
        ("who am i", who_am_i),
        ("native types", native_types),
        ("tracking", tracking),
        ("reconnect", reconnect),
    ];
    let make = |direct| Make {
        place,
        direct,
        protocol,
    };
    in_process::run("redis", checks, &make(false), &make(true))
}

// === impl Make ===

impl Make<'_> {
    pub fn client(&self, name: &str, db: i64) -> RedisResult<Client> {
        let version = if self.protocol == 3 {
            ProtocolVersion::RESP3
        } else {
            ProtocolVersion::RESP2
        };
        let settings = redis::RedisConnectionInfo::default()
            .set_protocol(version)
            .set_db(db);
        if self.direct {
            let upstream = self.place.upstream();
            let (host, port) = upstream.split_once(':').unwrap();
            let address = ConnectionAddr::Tcp(host.to_owned(), port.parse().unwrap());
            let info = address.into_connection_info()?.set_redis_settings(settings);
            return Client::open(info);
        }
        let proxy = &self.place.proxy;
        let read = |file: &str| std::fs::read(proxy.certs().file(file)).unwrap();
        let certificates = TlsCertificates {
            client_tls: Some(ClientTlsConfig {
                client_cert: read(&format!("{name}.pem")),
                client_key: read(&format!("{name}.key")),
            }),
            root_cert: Some(read("ca.pem")),
        };
        let info = format!("rediss://localhost:{}", proxy.port())
            .into_connection_info()?
            .set_redis_settings(settings);
        Client::build_with_tls(info, certificates)
    }

    fn connect(&self, name: &str) -> RedisResult<Connection> {
        self.client(name, 0)?.get_connection()
    }

    pub fn need_resp3(&self) -> Outcome {
        if self.protocol == 3 {
            Ok(())
        } else {
            Err(Unmet::NotHere)
        }
    }
}

/// The error of a call that must be refused.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: RedisResult<T>, like: &str) {
    let error: RedisError = result.expect_err("it is refused");
    assert_eq!(error.code(), Some("NOPERM"), "{error}");
    assert!(error.to_string().contains(like), "{error}");
}

// === the checks ===

fn strings(make: &Make<'_>) -> Outcome {
    let mut r = make.connect("cart")?;
    let () = r.set("cart:s", "value")?;
    let value: Option<String> = r.get("cart:s")?;
    assert_eq!(value.as_deref(), Some("value"));
    let none: Option<String> = r.get("cart:none")?;
    assert_eq!(none, None);
    let () = r.del("cart:n")?;
    let counts: (i64, i64) = (r.incr("cart:n", 1)?, r.incr("cart:n", 41)?);
    assert_eq!(counts, (1, 42));
    let () = r.mset(&[("cart:m1", "1"), ("cart:m2", "2")])?;
    let values: Vec<Option<i64>> = r.mget(&["cart:m1", "cart:none", "cart:m2"])?;
    assert_eq!(values, [Some(1), None, Some(2)]);
    let () = r.set_ex("cart:ttl", "x", 100)?;
    let left: i64 = r.ttl("cart:ttl")?;
    assert!(left > 0);
    let binary: Vec<u8> = (0..=255).chain(*b"\r\n$-1\r\n*3\r\n").collect();
    let () = r.set(&b"cart:\x00\xff"[..], &binary)?;
    let back: Vec<u8> = r.get(&b"cart:\x00\xff"[..])?;
    assert_eq!(back, binary);
    Ok(())
}

fn collections(make: &Make<'_>) -> Outcome {
    let mut r = make.connect("cart")?;
    let () = r.del(&["cart:h", "cart:l", "cart:set", "cart:z", "cart:x"])?;
    let () = r.hset_multiple("cart:h", &[("a", "1"), ("b", "zwei")])?;
    let map: HashMap<String, String> = r.hgetall("cart:h")?;
    assert_eq!(map.len(), 2);
    assert_eq!(map["b"], "zwei");
    let length: i64 = r.rpush("cart:l", &["a", "b", "c"])?;
    assert_eq!(length, 3);
    let list: Vec<String> = r.lrange("cart:l", 0, -1)?;
    assert_eq!(list, ["a", "b", "c"]);
    let () = r.sadd("cart:set", &["x", "y"])?;
    let set: BTreeSet<String> = r.smembers("cart:set")?;
    assert_eq!(set.into_iter().collect::<Vec<_>>(), ["x", "y"]);
    let () = r.zadd_multiple("cart:z", &[(1.0, "one"), (0.5, "half")])?;
    let scores: Vec<(String, f64)> = r.zrange_withscores("cart:z", 0, -1)?;
    assert_eq!(scores, [("half".to_owned(), 0.5), ("one".to_owned(), 1.0)]);
    let score: f64 = r.zscore("cart:z", "half")?;
    assert!((score - 0.5).abs() < f64::EPSILON);
    let first: String = r.xadd("cart:x", "*", &[("field", "value")])?;
    let () = r.xgroup_create("cart:x", "group", "0")?;
    let options = redis::streams::StreamReadOptions::default().group("group", "consumer");
    let read: StreamReadReply = r.xread_options(&["cart:x"], &[">"], &options)?;
    assert_eq!(read.keys[0].ids[0].id, first);
    let taken: i64 = r.xack("cart:x", "group", &[&first])?;
    assert_eq!(taken, 1);
    Ok(())
}

fn pipeline(make: &Make<'_>) -> Outcome {
    let mut r = make.connect("cart")?;
    let (value, count): (String, i64) = redis::pipe()
        .set("cart:p", "1")
        .ignore()
        .get("cart:p")
        .incr("cart:p", 1)
        .query(&mut r)?;
    assert_eq!((value.as_str(), count), ("1", 2));
    let result = redis::pipe()
        .get("cart:p")
        .get("other")
        .get("cart:p")
        .query::<Vec<String>>(&mut r);
    refused(result, "key");
    let value: i64 = r.get("cart:p")?;
    assert_eq!(value, 2, "the connection goes on");
    Ok(())
}

fn transaction(make: &Make<'_>) -> Outcome {
    let (mut r, mut other) = (make.connect("cart")?, make.connect("cart")?);
    let () = r.set("cart:t", 1)?;
    let mut attempts = 0;
    // The library tries again when another connection was faster.
    let (count,): (i64,) = redis::transaction(&mut r, &["cart:t"], |r, pipe| {
        let old: i64 = r.get("cart:t")?;
        attempts += 1;
        if attempts == 1 {
            let () = other.incr("cart:t", 10)?;
        }
        pipe.set("cart:t", old + 1)
            .ignore()
            .incr("cart:t", 0)
            .query(r)
    })?;
    assert_eq!((attempts, count), (2, 12));
    let refused = redis::pipe()
        .atomic()
        .incr("cart:t", 1)
        .get("other")
        .query::<(i64, i64)>(&mut r);
    assert!(refused.is_err());
    let value: i64 = r.get("cart:t")?;
    assert_eq!(value, 12, "half a transaction ran");
    Ok(())
}

fn scan(make: &Make<'_>) -> Outcome {
    let mut r = make.connect("cart")?;
    let mut pipe = redis::pipe();
    for i in 0..300 {
        pipe.set(format!("cart:scan:{i}"), i).ignore();
        pipe.hset("cart:scanned", i, i).ignore();
    }
    let () = pipe.query(&mut r)?;
    let keys = r
        .scan_match::<_, String>("cart:scan:*")?
        .collect::<RedisResult<BTreeSet<_>>>()?;
    assert_eq!(keys.len(), 300);
    let fields = r
        .hscan::<_, (String, String)>("cart:scanned")?
        .collect::<RedisResult<BTreeSet<_>>>()?;
    assert_eq!(fields.len(), 300);
    Ok(())
}

fn scripts(make: &Make<'_>) -> Outcome {
    let (mut r, mut admin) = (make.connect("cart")?, make.connect("admin")?);
    let double = Script::new("return redis.call('incrby', KEYS[1], ARGV[1]) * 2");
    let () = r.del("cart:script")?;
    for expected in [10, 20] {
        let () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut admin)?;
        // EVALSHA, and on NOSCRIPT a SCRIPT LOAD.
        let answer: i64 = double.key("cart:script").arg(5).invoke(&mut r)?;
        assert_eq!(answer, expected);
    }
    let text: Vec<String> = redis::cmd("EVAL")
        .arg("return {KEYS[1], ARGV[1]}")
        .arg(1)
        .arg("cart:k")
        .arg("a")
        .query(&mut r)?;
    assert_eq!(text, ["cart:k", "a"]);
    Ok(())
}

fn blocking_pop(make: &Make<'_>) -> Outcome {
    let (mut r, mut other) = (make.connect("cart")?, make.connect("cart")?);
    let () = r.del("cart:queue")?;
    // With its own call the library sends `20.0`, which Redis takes since 6.0.
    let waiting = std::thread::spawn(move || {
        redis::cmd("BLPOP")
            .arg("cart:queue")
            .arg(20)
            .query::<(String, String)>(&mut r)
    });
    let server = &make.place.server;
    eventually("a client blocks", || {
        server.lock().unwrap().info("blocked_clients") == "1"
    });
    let () = other.rpush("cart:queue", "job")?;
    let (key, job) = waiting.join().unwrap()?;
    assert_eq!((key.as_str(), job.as_str()), ("cart:queue", "job"));
    Ok(())
}

fn pub_sub(make: &Make<'_>) -> Outcome {
    let (mut r, mut listener) = (make.connect("cart")?, make.connect("cart")?);
    let mut sub = listener.as_pubsub();
    sub.set_read_timeout(Some(PATIENCE))?;
    sub.subscribe(&["cart:news", "cart:more"])?;
    sub.psubscribe("cart:p*")?;
    for i in 0..50 {
        let heard: (i64, i64) = (
            r.publish("cart:news", format!("message {i}"))?,
            r.publish("cart:pattern", format!("pattern {i}"))?,
        );
        assert_eq!(heard, (1, 1));
        let message = sub.get_message()?;
        assert_eq!(message.get_channel_name(), "cart:news");
        assert_eq!(message.get_payload::<String>()?, format!("message {i}"));
        let message = sub.get_message()?;
        assert_eq!(message.get_pattern::<String>()?, "cart:p*");
        assert_eq!(message.get_payload::<String>()?, format!("pattern {i}"));
    }
    sub.unsubscribe("cart:news")?;
    let heard: i64 = r.publish("cart:news", "unheard")?;
    assert_eq!(heard, 0);
    sub.subscribe("cart:again")?;
    drop(sub);
    // The library takes its subscriptions back, and goes on.
    let () = listener.set("cart:after", 1)?;
    Ok(())
}

fn channels_of_others(make: &Make<'_>) -> Outcome {
    let mut r = make.connect("cart")?;
    refused(r.publish::<_, _, i64>("other", "x"), "channel");
    // This call doesn't tell what the server says.
    r.as_pubsub().subscribe("other")?;
    let heard: i64 = make.connect("admin")?.publish("other", "x")?;
    assert_eq!(heard, 0);
    let () = r.set("cart:after", 1)?;
    Ok(())
}

fn refusals(make: &Make<'_>) -> Outcome {
    let mut r = make.connect("cart")?;
    refused(r.flushall::<()>(), "flushall");
    refused(r.get::<_, String>("other"), "key");
    let config = redis::cmd("CONFIG")
        .arg("GET")
        .arg("*")
        .query::<Value>(&mut r);
    refused(config, "config|get");
    let () = redis::cmd("PING").query(&mut r)?;
    Ok(())
}

fn large_value(make: &Make<'_>) -> Outcome {
    let mut r = make.connect("cart")?;
    let value = b"respgate".repeat((20 << 20) / 8);
    let () = r.set("cart:large", &value)?;
    let back: Vec<u8> = r.get("cart:large")?;
    assert!(back == value);
    let () = r.del("cart:large")?;
    Ok(())
}

fn long_pipeline(make: &Make<'_>) -> Outcome {
    let mut r = make.connect("cart")?;
    let mut pipe = redis::pipe();
    for i in 0..5_000 {
        let key = format!("cart:long:{}", i % 100);
        pipe.set(&key, i).ignore().get(&key);
    }
    let answers: Vec<i64> = pipe.query(&mut r)?;
    assert!(answers.into_iter().eq(0..5_000));
    Ok(())
}

fn databases(make: &Make<'_>) -> Outcome {
    let mut one = make.client("cart", 3)?.get_connection()?;
    let mut other = make.client("cart", 4)?.get_connection()?;
    let () = one.set("cart:db", "three")?;
    let value: Option<String> = other.get("cart:db")?;
    assert_eq!(value, None);
    let () = redis::cmd("SELECT").arg(3).query(&mut other)?;
    let value: Option<String> = other.get("cart:db")?;
    assert_eq!(value.as_deref(), Some("three"));
    Ok(())
}

fn names_and_ids(make: &Make<'_>) -> Outcome {
    let (mut r, mut admin) = (make.connect("cart")?, make.connect("admin")?);
    let () = r.client_setname("shop")?;
    let number: i64 = r.client_id()?;
    let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut admin)?;
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
    let killed: i64 = redis::cmd("CLIENT")
        .arg("KILL")
        .arg("ID")
        .arg(number)
        .query(&mut admin)?;
    assert_eq!(killed, 1);
    let error = r.client_id::<i64>().expect_err("it was killed");
    assert!(
        error.is_connection_dropped() || error.is_io_error(),
        "{error}"
    );
    let again: i64 = make.connect("cart")?.client_id()?;
    assert_ne!(again, number);
    Ok(())
}

fn who_am_i(make: &Make<'_>) -> Outcome {
    let mut r = make.connect("cart")?;
    let name: String = redis::cmd("ACL").arg("WHOAMI").query(&mut r)?;
    assert_eq!(name, "cart");
    Ok(())
}

fn native_types(make: &Make<'_>) -> Outcome {
    make.need_resp3()?;
    let mut r = make.connect("cart")?;
    let () = r.del(&["cart:set3", "cart:z3", "cart:h3"])?;
    let () = r.sadd("cart:set3", "a")?;
    let () = r.zadd("cart:z3", "m", 1.5)?;
    let () = r.hset("cart:h3", "f", "v")?;
    let set: Value = r.smembers("cart:set3")?;
    assert!(matches!(set, Value::Set(_)), "{set:?}");
    let score: Value = r.zscore("cart:z3", "m")?;
    assert_eq!(score, Value::Double(1.5));
    let map: Value = r.hgetall("cart:h3")?;
    assert!(matches!(map, Value::Map(_)), "{map:?}");
    Ok(())
}

fn tracking(make: &Make<'_>) -> Outcome {
    make.need_resp3()?;
    let (mut r, mut other) = (make.connect("cart")?, make.connect("cart")?);
    let (send, receive) = mpsc::channel();
    r.set_push_sender(send);
    let () = redis::cmd("CLIENT")
        .arg("TRACKING")
        .arg("ON")
        .query(&mut r)?;
    let _: Option<String> = r.get("cart:tracked")?;
    let () = other.set("cart:tracked", "new")?;
    eventually("an invalidation", || {
        let () = redis::cmd("PING").query(&mut r).unwrap();
        receive
            .try_iter()
            .any(|push| push.kind == redis::PushKind::Invalidate)
    });
    Ok(())
}

fn reconnect(make: &Make<'_>) -> Outcome {
    let client = make.client("cart", 0)?;
    let mut r = client.get_connection()?;
    let () = r.set("cart:before", "x")?;
    let before = make.place.proxy.times_ready();
    make.place.restart();
    if make.place.connections == Connections::Shared && !make.direct {
        // Nothing was owed to it: it is served by the new one.
        eventually("the proxy has found the new one", || {
            make.place.proxy.times_ready() > before
        });
        assert_eq!(r.get::<_, Option<String>>("cart:before")?, None);
        return Ok(());
    }
    let error = r.get::<_, String>("cart:before").expect_err("it is gone");
    assert!(
        error.is_connection_dropped() || error.is_io_error(),
        "{error}"
    );
    // This library leaves it to the application to connect again.
    eventually("an answer of the new Redis", || {
        let answer = client
            .get_connection_with_timeout(Duration::from_secs(5))
            .and_then(|mut r| r.get::<_, Option<String>>("cart:before"));
        matches!(answer, Ok(None))
    });
    Ok(())
}
