//! Clients that count what ran.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::support::{Proxy, RedisServer, Reply, TestClient, eventually, pipeline};

/// Clients that count: every attempt has a key of its own, and is made once.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Fates>>,
}

/// What became of each attempt, by its key.
pub(super) type Fates = BTreeMap<String, Fate>;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It was answered: it has run, once.
    Acknowledged,
    /// The Redis said no: it has not run.
    Refused,
    /// The connection closed before.
    Unknown,
}

/// Requests of one pipeline.
const PIPELINE: usize = 5;

impl Load {
    /// `count` clients, which connect anew whenever they are closed.
    pub(super) fn start(proxy: &Proxy, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let threads = (0..count).map(|number| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            let config = proxy.certs().client_config(Some("cart"));
            let address = proxy.address();
            std::thread::spawn(move || {
                let connect = || TestClient::tls(address, config.clone());
                count_up(number, connect, &stop, &acknowledged)
            })
        });
        Self {
            threads: threads.collect(),
            stop,
            acknowledged,
        }
    }

    /// Waits until so many more attempts are acknowledged.
    #[track_caller]
    pub(super) fn go_on(&self, count: usize) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        eventually("writes are acknowledged", || {
            self.acknowledged.load(Ordering::Relaxed) >= before + count
        });
    }

    /// What became of the attempts of all.
    pub(super) fn end(self) -> Fates {
        self.stop.store(true, Ordering::Relaxed);
        let fates = self
            .threads
            .into_iter()
            .map(|thread| thread.join().unwrap());
        fates.flatten().collect()
    }
}

fn count_up(
    number: usize,
    connect: impl Fn() -> std::io::Result<TestClient>,
    stop: &AtomicBool,
    acknowledged: &AtomicUsize,
) -> Fates {
    let mut fates = Fates::new();
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = connect() else {
            continue;
        };
        'connected: while !stop.load(Ordering::Relaxed) {
            let keys: Vec<_> = (next..next + PIPELINE)
                .map(|attempt| format!("cart:{number}:{attempt}"))
                .collect();
            next += PIPELINE;
            let requests: Vec<_> = keys.iter().map(|key| ["INCR", key]).collect();
            let requests: Vec<&[&str]> = requests.iter().map(|request| &request[..]).collect();
            fates.extend(keys.iter().map(|key| (key.clone(), Fate::Unknown)));
            if client.try_send(&pipeline(&requests)).is_err() {
                break;
            }
            for key in &keys {
                let fate = match client.try_read_reply() {
                    Ok(Reply::Integer(1)) => Fate::Acknowledged,
                    Ok(Reply::Error(error))
                        if ["READONLY", "NOREPLICAS", "LOADING", "MASTERDOWN"]
                            .iter()
                            .any(|code| error.starts_with(code)) =>
                    {
                        Fate::Refused
                    }
                    // It ran twice, or another's reply came.
                    Ok(reply) => panic!("{key}: {reply:?}"),
                    // Every slot is answered or the connection closed: nobody waits.
                    Err(why) => {
                        assert!(!why.contains("temporarily unavailable"), "{key}: {why}");
                        break 'connected;
                    }
                };
                acknowledged.fetch_add(usize::from(fate == Fate::Acknowledged), Ordering::Relaxed);
                fates.insert(key.clone(), fate);
            }
        }
    }
    fates
}

/// Acknowledged: exactly once. Refused: never. Otherwise: at most once.
#[track_caller]
pub(super) fn assert_ran_as_told(fates: &Fates, server: &RedisServer) {
    let mut direct = server.direct();
    for (key, fate) in fates {
        let count = direct.call(&["GET", key]);
        let right = match fate {
            Fate::Acknowledged => count == Reply::bulk("1"),
            Fate::Refused => count == Reply::Nil,
            Fate::Unknown => count == Reply::bulk("1") || count == Reply::Nil,
        };
        assert!(right, "{key} is {fate:?}, and stands at {count:?}");
    }
}
