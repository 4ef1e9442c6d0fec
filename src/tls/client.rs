//! The client side of TLS: towards an upstream, and for the demo and the tests.
//!
//! Verifies the server always; there is no switch to turn that off.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::ServerName;

use super::files::{self, KeyPair, Source, TlsProblem};
use super::roots::Roots;
use super::system_roots::SystemRoots;
use super::{ClientStream, provider};
use crate::config;

/// A TLS client: what it trusts, and the certificate that it shows.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    expiry: Vec<(&'static str, i64)>,
}

/// The TLS of one upstream: the client, the name that the server at each address must prove, and what
/// is odd about the files.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    client: ClientTls,
    names: Vec<ServerName<'static>>,
    warnings: Vec<String>,
    fingerprint: [u8; 32],
}

/// Who may sign for the server.
#[derive(Clone, Copy, Debug)]
enum Trust<'a> {
    /// The authorities in this file.
    File(&'a Path),
    /// Those of this machine.
    System(&'a SystemRoots),
}

/// A host that is neither a DNS name nor an IP address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is neither a DNS name nor an IP address")]
pub struct InvalidServerName(String);

// === impl ClientTls ===

impl ClientTls {
    /// Trusts the authorities in `ca`, and shows the certificate and key of `identity` if asked.
    pub fn load(ca: &Path, identity: Option<(&Path, &Path)>) -> Result<Self, Vec<TlsProblem>> {
        Self::build(
            Trust::File(ca),
            identity,
            SystemTime::now(),
            &mut Vec::new(),
        )
    }

    fn build(
        trust: Trust<'_>,
        identity: Option<(&Path, &Path)>,
        now: SystemTime,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Vec<TlsProblem>> {
        let provider = provider();
        let roots = match trust {
            Trust::File(path) => Roots::load("ca", path, &provider, now, warnings)
                .map(|roots| (roots.store(), roots.expires(now))),
            // Nobody minds when one of the system's hundreds ends.
            Trust::System(roots) => (roots.get())
                .map(|store| (store, None))
                .map_err(|reason| vec![trust.problem(reason)]),
        };
        let pair = identity
            .map(|(cert, key)| key_pair(cert, key, &provider, now))
            .transpose();
        let (roots, pair) = match (roots, pair) {
            (Ok(roots), Ok(pair)) => (roots, pair),
            (roots, pair) => {
                return Err([roots.err(), pair.err()]
                    .into_iter()
                    .flatten()
                    .flatten()
                    .collect());
            }
        };
        let (roots, ca_ends) = roots;
        let ours = pair.as_ref().and_then(KeyPair::expires);
        let expiry = files::known([("upstream_ca", ca_ends), ("upstream_client", ours)]);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| vec![trust.problem(format!("cannot be used: {error}"))])?
            .with_root_certificates(roots);
        // What rustls does by default is what is wanted: sessions are resumed, from a store that
        // this configuration shares with no other; no early data, which could be replayed; no ALPN,
        // which no Redis knows.
        let config = match pair {
            Some(pair) => {
                warnings.extend_from_slice(&pair.warnings);
                builder.with_client_cert_resolver(pair.resolver())
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self {
            config: Arc::new(config),
            expiry,
        })
    }

    /// Performs handshakes; clones share the sessions that they may resume.
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.config))
    }

    /// `host` as the name that the server's certificate must hold.
    pub fn server_name(host: &str) -> Result<ServerName<'static>, InvalidServerName> {
        // An IPv6 address in an URL or a bind string wears brackets.
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        ServerName::try_from(bare.to_owned()).map_err(|_| InvalidServerName(host.to_owned()))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

// === impl Trust ===

impl Trust<'_> {
    fn problem(self, reason: String) -> TlsProblem {
        let path = match self {
            Self::File(path) => path,
            Self::System(_) => Path::new(""),
        };
        Source { key: "ca", path }.problem(reason)
    }
}

// === impl UpstreamTls ===

impl UpstreamTls {
    /// Reads the files of `settings` and checks all that can be known without the server. Every
    /// problem of every file is reported. `roots` are trusted where the settings name no `ca`.
    pub fn load(
        settings: &config::UpstreamTls,
        roots: &SystemRoots,
    ) -> Result<Self, Vec<TlsProblem>> {
        Self::load_at(settings, roots, SystemTime::now())
    }

    pub(super) fn load_at(
        settings: &config::UpstreamTls,
        roots: &SystemRoots,
        now: SystemTime,
    ) -> Result<Self, Vec<TlsProblem>> {
        let identity = settings.identity.as_ref();
        let identity = identity.map(|(cert, key)| (&**cert, &**key));
        let mut warnings = Vec::new();
        // Before anything is read: where a file changes meanwhile, the next load finds a difference.
        let own = settings.identity.iter().flat_map(|(cert, key)| [cert, key]);
        let fingerprint = files::fingerprint(settings, own.chain(&settings.ca));
        let trust = (settings.ca.as_deref()).map_or(Trust::System(roots), Trust::File);
        let client = ClientTls::build(trust, identity, now, &mut warnings);
        let names: Result<Vec<_>, _> = (settings.server_names.iter())
            .map(|name| {
                ClientTls::server_name(name).map_err(|_| {
                    vec![TlsProblem {
                        key: "server_name",
                        path: PathBuf::from(name),
                        reason: "is neither a DNS name nor an IP address".to_owned(),
                    }]
                })
            })
            .collect();
        match (client, names) {
            (Ok(client), Ok(names)) => Ok(Self {
                client,
                names,
                warnings,
                fingerprint,
            }),
            (client, names) => Err([client.err(), names.err()]
                .into_iter()
                .flatten()
                .flatten()
                .collect()),
        }
    }

    /// What the operator should know though it stops nothing.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A digest over the settings and all files that this was made of: the system's trust store is
    /// none of them.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// When the certificates end that it was made from, Unix seconds, by what they are for:
    /// `upstream_ca`, `upstream_client`.
    pub fn expiry(&self) -> &[(&'static str, i64)] {
        &self.client.expiry
    }

    /// The handshake. The stream that comes of it has proved the name of the address of this number.
    ///
    /// # Errors
    /// Those of the socket, and of TLS: see [`super::upstream_failure`]. A server of TLS 1.3 that
    /// refuses our certificate says so later, to the first read.
    pub async fn connect<S>(&self, address: usize, stream: S) -> io::Result<ClientStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.names.get(address).cloned();
        let name = name.ok_or_else(|| io::Error::other("an address without a name"))?;
        self.client.connector().connect(name, stream).await
    }
}

fn key_pair(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
    now: SystemTime,
) -> Result<KeyPair, Vec<TlsProblem>> {
    let cert = Source {
        key: "cert",
        path: cert,
    };
    let key = Source {
        key: "key",
        path: key,
    };
    files::key_pair(cert, key, provider, now)
}

#[cfg(test)]
mod tests;
