//! The address map: what Sentinel and Cluster say of where a Redis is, said of the proxy before it.
//!
//! A client that asks a Sentinel or a Cluster node is sent to plaintext ports. With the map it is
//! sent to the proxies that stand before them. What the map lacks stays as it came, and so does
//! every reply that isn't of the shape that Redis gives it: a reply is never broken, at worst it
//! names a port that lets nobody in.
//!
//! - `answers`: replies to commands, by their shapes; `messages`: redirections and pub/sub messages.
//! - `lines`: the texts in them; `values`: a reply's values, read one after the other.
//!
//! Nothing here runs on the path of ordinary commands but [`rewrite_redirect`], which doesn't
//! allocate.

mod answers;
mod lines;
mod messages;
#[cfg(test)]
mod tests;
mod values;

use std::collections::HashMap;
use std::net::IpAddr;

pub use answers::{Answer, rewrite_answer, rewrite_transaction};
pub use messages::{rewrite_message, rewrite_redirect};

/// The longest host name in DNS.
const MAX_NAME: usize = 253;

/// Where a Redis is → where the proxy before it is, as seen from one upstream.
///
/// An address is looked up once: what a pair leads to may well be another's left side.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// Never IPv4-mapped IPv6.
    ips: HashMap<(IpAddr, u16), Target>,
    /// Lower case; each with its ports, which are few.
    names: HashMap<Box<str>, Vec<(u16, Target)>>,
    /// The host that the upstream is reached at; empty where it is a unix socket.
    own_host: Box<str>,
}

/// A right side.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Target {
    host: Box<str>,
    port: u16,
}

// === impl Addresses ===

impl Addresses {
    /// The map of these pairs, for the replies of an upstream that is reached at `own_host` (a name
    /// or an address, without brackets; empty for a unix socket).
    ///
    /// A Cluster node may leave out a host (`-MOVED 1 :6379`, a null endpoint), which means "where
    /// you found me": that is `own_host`. Of two pairs for one address the last holds.
    pub fn new<'a>(
        pairs: impl IntoIterator<Item = ((&'a str, u16), (&'a str, u16))>,
        own_host: &str,
    ) -> Self {
        let mut addresses = Self {
            own_host: own_host.into(),
            ..Self::default()
        };
        for ((host, port), (to, to_port)) in pairs {
            let target = Target {
                host: to.into(),
                port: to_port,
            };
            match host.parse::<IpAddr>() {
                Ok(ip) => {
                    addresses.ips.insert((ip.to_canonical(), port), target);
                }
                Err(_) => {
                    let name = host.to_ascii_lowercase().into();
                    let ports = addresses.names.entry(name).or_default();
                    ports.retain(|(known, _)| *known != port);
                    ports.push((port, target));
                }
            }
        }
        addresses
    }

    /// Whether nothing is mapped: then no reply needs to be held back.
    pub fn is_empty(&self) -> bool {
        self.ips.is_empty() && self.names.is_empty()
    }

    /// Where the proxy is that stands before this address; `None`: it isn't in the map.
    ///
    /// An address is compared as such (`::ffff:10.0.0.5` is `10.0.0.5`), a name in any case.
    pub fn find(&self, host: &str, port: u16) -> Option<(&str, u16)> {
        let host = match host {
            "" => &*self.own_host,
            named => named,
        };
        let target = match host.parse::<IpAddr>() {
            Ok(ip) => self.ips.get(&(ip.to_canonical(), port)),
            Err(_) => self.find_name(host, port),
        };
        target.map(|target| (&*target.host, target.port))
    }

    fn find_name(&self, name: &str, port: u16) -> Option<&Target> {
        let mut folded = [0_u8; MAX_NAME];
        let folded = folded.get_mut(..name.len())?;
        folded.copy_from_slice(name.as_bytes());
        folded.make_ascii_lowercase();
        let ports = self.names.get(std::str::from_utf8(folded).ok()?)?;
        let found = ports.iter().find(|(known, _)| *known == port);
        found.map(|(_, target)| target)
    }

    /// The same for bytes of a reply.
    fn find_bytes(&self, host: &[u8], port: u16) -> Option<(&str, u16)> {
        self.find(std::str::from_utf8(host).ok()?, port)
    }

    /// The same for `host:port`, `v6:port` or `[v6]:port`.
    fn find_address(&self, address: &[u8]) -> Option<(&str, u16)> {
        let (host, port) = split_address(address)?;
        self.find_bytes(host, port)
    }
}

/// The host, without brackets, and the port. Redis writes `%s:%d` mostly, so an IPv6 address has no
/// brackets there, and the last colon is the one that counts.
fn split_address(address: &[u8]) -> Option<(&[u8], u16)> {
    let colon = address.iter().rposition(|&byte| byte == b':')?;
    let port = read_port(&address[colon + 1..])?;
    let host = match &address[..colon] {
        [b'[', host @ .., b']'] => host,
        host => host,
    };
    Some((host, port))
}

/// A port as Redis writes it; 0 stands for an unknown one.
fn read_port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
