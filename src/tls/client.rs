//! The client side of TLS, for the demo and the tests.
//!
//! Verifies the server always; there is no switch to turn that off.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::files::{self, Source, TlsProblem};
use super::provider;

/// A TLS client: what it trusts, and the certificate that it shows.
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

/// A host that is neither a DNS name nor an IP address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is neither a DNS name nor an IP address")]
pub struct InvalidServerName(String);

// === impl ClientTls ===

impl ClientTls {
    /// Trusts the authorities in `ca`, and shows the certificate and key of `identity` if asked.
    pub fn load(ca: &Path, identity: Option<(&Path, &Path)>) -> Result<Self, Vec<TlsProblem>> {
        let provider = provider();
        let roots = load_roots(Source {
            key: "ca",
            path: ca,
        });
        let pair = identity
            .map(|(cert, key)| {
                let cert = Source {
                    key: "cert",
                    path: cert,
                };
                let key = Source {
                    key: "key",
                    path: key,
                };
                files::key_pair(cert, key, &provider, SystemTime::now())
            })
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
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                vec![
                    Source {
                        key: "ca",
                        path: ca,
                    }
                    .problem(format!("cannot be used: {error}")),
                ]
            })?
            .with_root_certificates(roots);
        let config = match pair {
            Some(pair) => builder.with_client_cert_resolver(pair.resolver()),
            None => builder.with_no_client_auth(),
        };
        Ok(Self {
            config: Arc::new(config),
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

fn load_roots(source: Source<'_>) -> Result<RootCertStore, Vec<TlsProblem>> {
    let mut store = RootCertStore::empty();
    let problems: Vec<_> = files::certificates(source)?
        .into_iter()
        .filter_map(|der| store.add(der).err())
        .map(|error| source.problem(format!("cannot be a root: {error}")))
        .collect();
    if problems.is_empty() {
        Ok(store)
    } else {
        Err(problems)
    }
}
