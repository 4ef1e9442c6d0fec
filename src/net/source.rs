//! Which source addresses may connect, judged before a byte is read.

use std::net::IpAddr;

use ipnet::IpNet;

/// A listener's `allow` and `deny`.
#[derive(Clone, Debug)]
pub struct Sources {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

// === impl Sources ===

impl Sources {
    /// `deny` wins over `allow`; what neither names is refused.
    pub fn new(allow: Vec<IpNet>, deny: Vec<IpNet>) -> Self {
        Self { allow, deny }
    }

    /// Whether a source may connect.
    pub fn admit(&self, source: IpAddr) -> bool {
        let source = effective(source);
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&source));
        within(&self.allow) && !within(&self.deny)
    }
}

/// An address as rules mean it: a dual-stack socket shows IPv4 peers as `::ffff:a.b.c.d`.
pub fn effective(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_wins_and_nothing_is_nobody() {
        let nets = |items: &[&str]| items.iter().map(|item| item.parse().unwrap()).collect();
        let sources = Sources::new(nets(&["10.0.0.0/8", "::1/128"]), nets(&["10.9.0.0/16"]));
        let cases = [
            ("10.0.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("10.9.0.1", false),
            ("::ffff:10.9.0.1", false),
            ("192.168.0.1", false),
            ("::1", true),
            ("::2", false),
        ];
        for (address, expected) in cases {
            assert_eq!(
                sources.admit(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
        assert!(!Sources::new(Vec::new(), Vec::new()).admit("127.0.0.1".parse().unwrap()));
    }
}
