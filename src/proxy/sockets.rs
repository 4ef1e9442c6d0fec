//! The listening sockets, bound before anything else is done: while the process still has the
//! privileges that it was started with.

use std::io;
use std::path::Path;

use crate::config::{self, Bind};
use crate::net::{self, Bound, Inherited};

use super::service::StartError;

/// A socket for each `bind` of each listener, in the configuration's order.
#[derive(Debug)]
pub struct Sockets(pub(super) Vec<Vec<Bound>>);

// === impl Sockets ===

impl Sockets {
    /// Takes the inherited ones that are meant, and binds the rest.
    ///
    /// # Errors
    /// Every address that can't be bound, and every inherited socket that nobody wants.
    pub fn bind(
        listeners: &[config::Listener],
        mut inherited: Inherited,
    ) -> Result<Self, Vec<StartError>> {
        let mut errors = Vec::new();
        // By address first, of all listeners: a name must not take what another one's address means.
        let by_address: Vec<Vec<Option<Bound>>> = listeners
            .iter()
            .map(|listener| {
                let binds = listener.bind.iter();
                binds.map(|bind| inherited.claim(bind)).collect()
            })
            .collect();
        let mut all = Vec::new();
        for (listener, claimed) in listeners.iter().zip(by_address) {
            let mut sockets = Vec::new();
            for (bind, claimed) in listener.bind.iter().zip(claimed) {
                let fits = |to: &Bind| stands_for(listener, bind, to);
                match claimed.or_else(|| inherited.claim_named(&listener.name, fits)) {
                    Some(socket) => sockets.push(socket),
                    None => match net::bind(bind) {
                        Ok(socket) => sockets.push(socket),
                        Err(source) => errors.push(failed(&listener.name, bind, source)),
                    },
                }
            }
            all.push(sockets);
        }
        errors.extend(inherited.rest().map(StartError::Inherited));
        match errors.is_empty() {
            true => Ok(Self(all)),
            false => Err(errors),
        }
    }

    /// The files of the unix sockets that were bound here.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().flatten().filter_map(Bound::file)
    }
}

pub(super) fn failed(listener: &str, bind: &Bind, source: io::Error) -> StartError {
    StartError::Bind {
        listener: listener.to_owned(),
        bind: bind.to_string(),
        source,
    }
}

/// Whether a socket that is named after the listener may take the place of one of its addresses.
/// Plaintext stays on this host, whoever binds it.
fn stands_for(listener: &config::Listener, bind: &Bind, to: &Bind) -> bool {
    match (bind, to) {
        (Bind::Tcp(_), Bind::Tcp(to)) => {
            listener.tls.is_some() || to.ip().to_canonical().is_loopback()
        }
        (Bind::Unix(_), Bind::Unix(_)) => true,
        _ => false,
    }
}
