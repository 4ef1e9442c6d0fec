//! SELECT, on connections that others use too.

use super::{Witness, ok, rode_of, start};
use crate::support::redis::LEGACY_AND_CURRENT;
use crate::support::{RedisServer, Reply, Version, pipeline};

#[test]
fn clients_in_different_databases_do_not_see_each_others_keys() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = start(&server);
        let mut witness = Witness::of(&server);
        let before = witness.opened();
        let mut clients: Vec<_> = (0..8).map(|_| proxy.client("cart")).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            let database = (number % 4).to_string();
            assert_eq!(client.call(&["SELECT", &database]), ok());
        }
        for round in 0..30 {
            for (number, client) in clients.iter_mut().enumerate() {
                let value = format!("{}:{round}", number % 4);
                assert_eq!(client.call(&["SET", "k", &value]), ok());
            }
            // Not behind one's own SET: a connection that is in another database would not show.
            for (number, client) in clients.iter_mut().enumerate() {
                let value = format!("{}:{round}", number % 4);
                assert_eq!(client.call(&["GET", "k"]), Reply::bulk(&value));
            }
        }
        assert_eq!(
            witness.opened(),
            before + 3,
            "one for each database but the first"
        );
        for client in clients {
            assert_eq!(rode_of(&proxy, client).1, 0);
        }
    }
}

#[test]
fn a_pipeline_with_selects_is_answered_in_order() {
    let server = RedisServer::start(Version::V7_0_15, &[]);
    let proxy = start(&server);
    let mut client = proxy.client("cart");
    for round in 0..20 {
        let value = round.to_string();
        client.send(pipeline(&[
            &["SELECT", "3"],
            &["SET", "k", &value],
            &["SELECT", "0"],
            &["EXISTS", "k"],
            &["SELECT", "3"],
            &["GET", "k"],
            &["SELECT", "0"],
        ]));
        client.expect("+OK\r\n+OK\r\n+OK\r\n:0\r\n+OK\r\n");
        assert_eq!(client.read_reply(), Reply::bulk(&value));
        client.expect("+OK\r\n");
    }
}

#[test]
fn a_database_that_there_is_not_is_refused_in_redis_words() {
    for version in LEGACY_AND_CURRENT {
        let server = RedisServer::start(version, &[]);
        let proxy = start(&server);
        let mut witness = Witness::of(&server);
        let mut client = proxy.client("cart");
        assert_eq!(client.call(&["SELECT", "3"]), ok());
        assert_eq!(client.call(&["SET", "k", "three"]), ok());
        for args in [
            &["SELECT", "99"][..],
            &["SELECT", "16"],
            &["SELECT", "-1"],
            &["SELECT", "x"],
            &["SELECT", "99999999999999999999"],
            &["SELECT"],
            &["SELECT", "1", "2"],
        ] {
            let reply = client.call(args);
            assert_eq!(reply, witness.call(args), "{args:?}");
            assert!(reply.is_error(), "{args:?}");
            assert_eq!(client.call(&["GET", "k"]), Reply::bulk("three"), "{args:?}");
        }
        // One after the other, in a pipeline.
        client.send(pipeline(&[
            &["SELECT", "99"],
            &["GET", "k"],
            &["SELECT", "99"],
            &["GET", "k"],
        ]));
        for _ in 0..2 {
            assert!(client.read_reply().is_error());
            assert_eq!(client.read_reply(), Reply::bulk("three"));
        }
        assert_eq!(client.call(&["SELECT", "0"]), ok());
        assert_eq!(client.call(&["EXISTS", "k"]), Reply::Integer(0));
    }
}
