//! From a configuration that was loaded to settings that this process can work by.
//!
//! What can't change while it runs (addresses, upstreams) stays as it began, whatever the file says.

use std::sync::Arc;

use crate::config::{self, UpstreamAddress};
use crate::rewrite::Addresses;
use crate::tls::ServerTls;

use super::generation::{ListenerState, Settings};
use super::reload::LoadedSettings;
use super::service::{Listening, Upstream};

/// Fits what was loaded to the listeners and upstreams at work. What TLS of `before` says the same
/// goes on, with its tickets.
pub(super) fn settle(
    loaded: LoadedSettings,
    before: Option<&Settings>,
    listeners: &[Arc<Listening>],
    upstreams: &[Upstream],
) -> Settings {
    let mut parts = loaded.listeners;
    let states = listeners.iter().map(|listening| {
        let place = parts
            .iter()
            .position(|part| part.settings.name == listening.name)?;
        let part = parts.swap_remove(place);
        let old = before.and_then(|before| before.listener(listening.index));
        let tls = part.tls.map(|tls| keep(tls, old));
        Some(ListenerState::new(part.settings, tls))
    });
    let listeners = states.collect();
    let addresses = upstreams.iter().map(|upstream| {
        let addresses = upstream.connector.settings().addresses.iter();
        let maps = addresses.map(|address| map_addresses(&loaded.addresses, address));
        maps.collect()
    });
    Settings {
        listeners,
        addresses: addresses.collect(),
        identities: loaded.identities,
        write_timeout: loaded.write_timeout,
        max_reply_buffer: loaded.max_reply_buffer,
        quotas: loaded.quotas,
        fingerprint: loaded.fingerprint,
    }
}

fn keep(tls: Arc<ServerTls>, old: Option<&ListenerState>) -> Arc<ServerTls> {
    match old.and_then(|old| old.tls.as_ref()) {
        Some(old) if old.says_the_same(&tls) => Arc::clone(old),
        _ => tls,
    }
}

/// The address map as seen from one address of an upstream.
fn map_addresses(
    pairs: &[(config::Address, config::Address)],
    address: &UpstreamAddress,
) -> Option<Arc<Addresses>> {
    let own_host = match address {
        UpstreamAddress::Tcp { host, .. } => host,
        UpstreamAddress::Unix(_) => "",
    };
    let pairs = pairs
        .iter()
        .map(|(from, to)| ((&*from.host, from.port), (&*to.host, to.port)));
    (pairs.len() > 0).then(|| Arc::new(Addresses::new(pairs, own_host)))
}
