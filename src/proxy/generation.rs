//! What is in force: the rules, and the settings that a reload may change, as one value that is
//! swapped whole.
//!
//! A client that is on its way in is judged by one generation from its first byte to its session, and
//! by the next one if that has come meanwhile; a session holds on to the settings that it was last
//! judged by, and is judged anew when it meets others.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::identity;
use crate::net::{Sources, effective};
use crate::rewrite::Addresses;
use crate::session::Rules;
use crate::tls::ServerTls;

use super::service::Upstream;

/// All that one generation consists of. Most of the proxy needs the rules alone.
#[derive(Debug)]
pub struct Generation {
    rules: Rules,
    settings: Arc<Settings>,
}

/// What isn't the rules: who may come, by which certificate, as whom, and for how long.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Who is who.
    pub(super) identities: Vec<identity::Rule>,
    /// By the listener's number. `None`: the configuration has it no more, and nobody may use it.
    pub(super) listeners: Vec<Option<ListenerState>>,
    /// By the upstream's number and that of its address: what its replies are mapped by; `None`:
    /// nothing is.
    pub(super) addresses: Vec<Vec<Option<Arc<Addresses>>>>,
    /// A client that takes nothing for so long is cut.
    pub(super) write_timeout: Duration,
    /// What a client may leave unread where it shares connections, bytes.
    pub(super) max_reply_buffer: usize,
    /// What each user and each address may have.
    pub(super) quotas: config::Quotas,
    /// Of all that this was made of.
    pub(super) fingerprint: Fingerprint,
}

/// A digest over the configuration and the files of its listeners' TLS.
pub type Fingerprint = [u8; 32];

/// A listener, as far as it can change.
#[derive(Debug)]
pub(super) struct ListenerState {
    pub(super) settings: config::Listener,
    /// `None`: plaintext.
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) sources: Sources,
}

// === impl Generation ===

impl Generation {
    pub(super) fn new(rules: Rules, settings: Arc<Settings>) -> Self {
        Self { rules, settings }
    }

    /// What isn't the rules.
    #[inline]
    pub(super) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }
}

impl Deref for Generation {
    type Target = Rules;

    #[inline]
    fn deref(&self) -> &Rules {
        &self.rules
    }
}

// === impl Settings ===

impl Settings {
    /// A listener of the configuration.
    pub(super) fn listener(&self, index: usize) -> Option<&ListenerState> {
        self.listeners.get(index)?.as_ref()
    }

    /// What replies of an upstream are mapped by, from its address in use.
    pub(super) fn address_map(&self, index: usize, upstream: &Upstream) -> Option<Arc<Addresses>> {
        let address = upstream.availability.status().address.unwrap_or_default();
        self.addresses.get(index)?.get(address)?.clone()
    }
}

// === impl ListenerState ===

impl ListenerState {
    pub(super) fn new(settings: config::Listener, tls: Option<Arc<ServerTls>>) -> Self {
        Self {
            sources: Sources::new(settings.allow.clone(), settings.deny.clone()),
            settings,
            tls,
        }
    }

    /// Whether a socket peer speaks for others, and must say so by a PROXY header.
    pub(super) fn takes_headers_of(&self, peer: IpAddr) -> bool {
        let peer = effective(peer);
        let proxies = &self.settings.proxy_protocol_from;
        proxies.iter().any(|net| net.contains(&peer))
    }
}
