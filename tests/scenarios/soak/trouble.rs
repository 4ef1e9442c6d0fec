//! What an operator does to a proxy, and what happens to the Redis behind it.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Certs, RedisServer, eventually};

use super::{Dice, Soak};

/// Renews certificates, users, lists and limits every moment; and now and then breaks a file.
pub(super) fn reload(soak: &Soak<'_>, mut dice: Dice, users: &str) {
    let proxy = soak.proxy;
    let mut bulk = 512;
    while soak.goes_on() {
        thread::sleep(Duration::from_millis(300 + dice.below(700)));
        let mut broken = false;
        match dice.below(5) {
            0 => {
                let renewed = proxy.certs().renewed();
                for file in ["server.pem", "server.key"] {
                    std::fs::copy(renewed.file(file), proxy.directory().join(file)).unwrap();
                }
            }
            1 => proxy.write_users(&format!("{users}user u{} on +get ~x\n", dice.below(1000))),
            2 => {
                let list = Certs::shared().revocation_list(&["nobody", "search"]);
                proxy.write_file("list.crl", &list);
            }
            3 => {
                let now = 256 + dice.below(256);
                let line = |megabytes| format!("max_bulk = \"{megabytes}MB\"\n");
                match bulk {
                    512 => proxy.edit("[limits]\n", &format!("[limits]\n{}", line(now))),
                    before => proxy.edit(&line(before), &line(now)),
                }
                bulk = now;
            }
            _ => {
                broken = true;
                proxy.write_users("user cart on +no-such-command\n");
            }
        }
        if broken {
            proxy.reload_until("the old generation stays in force");
            proxy.write_users(users);
            soak.counts.broken_reloads.fetch_add(1, Ordering::Relaxed);
        } else {
            proxy.reload_until("reload: ");
            soak.counts.reloads.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Kills the Redis and starts it again, some ten times in all.
pub(super) fn restart(soak: &Soak<'_>, server: &mut RedisServer, mut dice: Dice, seconds: u64) {
    let pause = Duration::from_secs(seconds) / 12;
    loop {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if !soak.goes_on() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        soak.epoch.fetch_add(1, Ordering::SeqCst);
        server.kill();
        thread::sleep(Duration::from_millis(dice.below(500)));
        server.restart();
        for port in [soak.proxy.port(), soak.dedicated] {
            eventually("the proxy serves again", || {
                let config = soak.proxy.certs().client_config(Some("cart"));
                let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
                let client = crate::support::TestClient::tls(address, config);
                client.is_ok_and(|mut client| {
                    client.try_send(b"PING\r\n").is_ok() && client.try_read_reply().is_ok()
                })
            });
        }
        soak.epoch.fetch_add(1, Ordering::SeqCst);
        soak.counts.restarts.fetch_add(1, Ordering::Relaxed);
    }
}
