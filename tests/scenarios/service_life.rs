//! A service among others: the service manager, inherited sockets, dropped privileges, Landlock, and
//! the end.

mod drain;
mod landlock;
mod manager;
mod privileges;
mod sockets;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use tempfile::TempDir;

use crate::support::{Builder, PATIENCE, Proxy, Reply, TestClient};

/// What systemd is to a service: a socket that hears.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        // A process of another user writes to it, too.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let everyone = fs::Permissions::from_mode(0o777);
        fs::set_permissions(dir.path().join("notify"), everyone).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, dir }
    }

    fn of(&self, builder: Builder) -> Builder {
        let path = self.dir.path().join("notify");
        builder.env("NOTIFY_SOCKET", path.to_str().unwrap())
    }

    /// The next thing that it is told, but for pings.
    #[track_caller]
    fn told(&self) -> String {
        let mut buffer = [0; 4096];
        loop {
            let len = self.socket.recv(&mut buffer).expect("nothing is told");
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if text != "WATCHDOG=1\n" {
                return text;
            }
        }
    }

    /// What is told already.
    fn all_told(&self) -> String {
        self.socket.set_nonblocking(true).unwrap();
        let mut all = String::new();
        let mut buffer = [0; 4096];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            all.push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
        self.socket.set_nonblocking(false).unwrap();
        all
    }
}

/// Starts what must not start; what it says.
#[track_caller]
fn refused(builder: Builder) -> String {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(builder.start())));
    *result
        .expect_err("it started")
        .downcast::<String>()
        .unwrap()
}

#[track_caller]
fn ping(address: SocketAddr, proxy: &Proxy) {
    let config = proxy.certs().client_config(Some("cart"));
    let mut client = TestClient::tls(address, config).unwrap();
    assert_eq!(client.call(&["PING"]), Reply::Simple("PONG".into()));
}
